//! What the integration tests and benches use. The program does not: everything else is private to the crate, so that the
//! compiler finds dead code.

pub mod channels {
    pub use crate::channels::{Channel, SlackBot, Webhook};
}
pub mod cli {
    pub use crate::cli::Cli;
}
pub mod commands {
    pub mod service {
        pub mod demo {
            pub use crate::commands::service::demo::Show;
        }
    }
}
pub mod database {
    pub use crate::database::{Connected, Database, DatabaseError, DatabaseErrorKind};
}
pub mod definitions {
    pub mod connector {
        pub use crate::definitions::connector::{read_all, read_one};
    }
    pub mod engine {
        pub use crate::definitions::engine::{built_in, detection_order, read_one};
    }
}
pub mod demo {
    pub use crate::demo::{DemoPace, Stage};
    pub mod script {
        pub use crate::demo::script::SCENES;
    }
}
pub mod destinations {
    pub use crate::destinations::{
        Destination, DestinationError, DestinationKind, Ending, RejectedRow, Run, RunOutcome, RunReport,
        RunStart, TableFacts, WriterThread,
    };
    pub mod dry_run {
        pub use crate::destinations::dry_run::CountingDestination;
    }
    pub mod postgres {
        pub use crate::destinations::postgres::{find, open};
    }
    pub mod sqlite {
        pub use crate::destinations::sqlite::open;
    }
}
pub mod export {
    pub use crate::export::{
        ExportOptions, ExportOutcome, ExportProgress, ExportReport, ExportScope, export,
    };
}
pub mod domain {
    pub mod data_rule {
        pub use crate::domain::data_rule::DataRule;
    }
    pub mod file_format {
        pub use crate::domain::file_format::FileFormat;
    }
    pub mod monitoring {
        pub mod assess {
            pub use crate::domain::monitoring::assess::{Candidate, Issue, MonitorState, Transition, Unread};
        }
        pub mod audience {
            pub use crate::domain::monitoring::audience::{Audience, Selector};
            pub mod tenant {
                pub use crate::domain::monitoring::audience::tenant::TenantRules;
            }
        }
        pub mod banner {
            pub use crate::domain::monitoring::banner::{Banner, BannerKind};
            pub mod style {
                pub use crate::domain::monitoring::banner::style::{BannerLink, BannerStyle};
            }
        }
        pub mod history {
            pub use crate::domain::monitoring::history::{Day, DayTotals, MonitorDay, Span};
        }
        pub mod monitor {
            pub use crate::domain::monitoring::monitor::{Pattern, Remap, StatusPage};
        }
        pub mod observation {
            pub use crate::domain::monitoring::observation::{Event, Link, Observation, Reading, Unknown};
        }
        pub mod responses {
            pub use crate::domain::monitoring::responses::{MonitorResponses, ResponseDay, ResponseHour};
        }
        pub mod news {
            pub use crate::domain::monitoring::news::ChannelState;
            pub mod channel {
                pub use crate::domain::monitoring::news::channel::{
                    ChannelPlace, ChannelRules, WebhookFormat,
                };
            }
        }
        pub mod plan {
            pub use crate::domain::monitoring::plan::{BannerState, Foreign, Policy, Shown, Why};
        }
        pub mod severity {
            pub use crate::domain::monitoring::severity::Severity;
        }
    }
    pub mod syncing {
        pub mod cell {
            pub use crate::domain::syncing::cell::{Cell, ColumnType};
        }
        pub mod definition {
            pub mod config {
                pub use crate::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
            }
            pub mod connector {
                pub use crate::domain::syncing::definition::connector::{
                    Arrays, Auth, ColumnKind, ColumnRule, Definition, Key, Nested,
                };
            }
        }
        pub mod delivery {
            pub use crate::domain::syncing::delivery::{
                AppReport, DeliveryPace, DeliveryPhase, DeliveryReport, DeliveryState, DeliveryStep,
                FileForUpload, ReloadOutcome, RunExport,
            };
        }
        pub mod naming {
            pub use crate::domain::syncing::naming::column_name;
        }
        pub mod op {
            pub use crate::domain::syncing::op::{
                Checkpoint, Column, End, Op, Rejected, Rows, State, Sweep, TableShape, Tally, Write,
            };
        }
        pub mod run_history {
            pub use crate::domain::syncing::run_history::{Entry, RejectedRow, Run, TableFacts};
        }
    }
    pub mod tenure {
        pub use crate::domain::tenure::LeasePace;
    }
}
pub mod http {
    pub use crate::http::{ClientOptions, Network, PageClient, install_tls_provider};
}
pub mod log_file {
    pub use crate::log_file::{Notice, RotatingFile, Rotation};
}
pub mod poll {
    pub use crate::poll::{PageCache, PageDocuments, PollResult, detect, look};
}
pub mod protocol {
    pub mod fivetran {
        pub use crate::protocol::fivetran::serve;
    }
    pub mod source {
        pub use crate::protocol::source::{ConnectorSource, PipelineSource, Selection, SourceEnd};
    }
    pub mod stdin {
        pub use crate::protocol::stdin::answer;
    }
}
pub mod publish {
    pub use crate::publish::{DryRun, Qlik, Target, TargetError};
}
pub mod qlik {
    pub use crate::qlik::{QlikCredentials, REQUEST_TIMEOUT, TenantClient};
}
pub mod runtime {
    pub use crate::runtime::{Controls, Daemon, GRACE, MonitoringContext, run};
    pub mod board {
        pub use crate::runtime::board::{
            BannerView, Board, BoardReader, BoardWriter, LastRun, MonitorView, SyncView, channel,
        };
    }
    pub mod clock {
        pub use crate::runtime::clock::Clock;
    }
    pub mod jobs {
        pub use crate::runtime::jobs::{ConnectorRoster, Job, LoadedConnectors};
        pub mod claims {
            pub use crate::runtime::jobs::claims::{ClaimPace, Claims};
        }
        pub mod sync {
            pub use crate::runtime::jobs::sync::{SyncOptions, execute};
        }
    }
    pub mod last_successes {
        pub use crate::runtime::last_successes::LastSuccesses;
    }
    pub mod lease {
        pub use crate::runtime::lease::Contest;
    }
    pub mod monitoring {
        pub mod connection {
            pub use crate::runtime::monitoring::connection::ConnectedTenant;
        }
        pub mod messenger {
            pub use crate::runtime::monitoring::messenger::{ChannelRoster, ConfiguredChannel, LoadChannels};
        }
        pub mod tenants {
            pub use crate::runtime::monitoring::tenants::TenantRoster;
        }
        pub mod watcher {
            pub use crate::runtime::monitoring::watcher::Options;
        }
    }
}
pub mod settings {
    pub use crate::settings::VARIABLES;
}
pub mod source {
    pub use crate::source::{Account, ReadOutcome, RunPlan, RunProgress, run, test};
    pub mod decode {
        pub use crate::source::decode::{Layout, RowReader};
    }
}
pub mod store {
    pub use crate::store::{Batch, Store, StoredState};
    pub mod jobs {
        pub use crate::store::jobs::{Jobs, Offer};
    }
    pub mod lease {
        pub use crate::store::lease::{Lease, Taken};
    }
    pub mod schema {
        pub use crate::store::schema::Schema;
    }
}
pub mod telemetry {
    pub use crate::telemetry::{Log, LogFormat, LogSettings, TelemetryError, subscriber};
}
pub mod upload {
    pub use crate::upload::DataClient;
}
pub mod web {
    pub use crate::web::{WebState, router};
    pub mod api {
        pub use crate::web::api::{OPENAPI, paths};
    }
    pub mod brand {
        pub use crate::web::brand::Brand;
    }
    pub mod metrics {
        pub use crate::web::metrics::{LogLosses, render};
    }
    pub mod server {
        pub mod security {
            pub use crate::web::server::security::{Access, AccessMode};
        }
    }
    pub mod view {
        pub mod records {
            pub use crate::web::view::records::{RecordError, RecordReader};
        }
    }
}
