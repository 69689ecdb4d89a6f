//! The demo's stage: stand-in servers for the status pages, two tenants, Slack and the three data APIs, on the loopback
//! interface.
//! The [`script`] changes what they return.
//!
//! The daemon is the real one; [`Stage::variables`] configures it with the URLs of the servers. Start at [`Stage::open`]. The
//! scenes are in [`script::SCENES`].

mod pages;
pub mod past;
pub mod script;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::json;
use stand_ins::Clock;
use stand_ins::channels::slack::{self, Slack};
use stand_ins::limiter::Limiter;
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource, error_in_200};
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::tenant::{self, Banner, Tenant};

use pages::Pages;
pub use script::{Scene, SceneEvent};

/// Seed of the data APIs' random data.
const SEED: u64 = 2026;
/// Uptime checks of the StatusCake account.
const CHECKS: [&str; 4] = ["Shop", "Shop: checkout", "Partner portal", "Public API"];
/// One and a half pages of results for each check.
const SIZES: Sizes = Sizes { tests: CHECKS.len() as u64, history: 150, periods: 3, alerts: 2 };
/// What the second tenant shows.
const WAREHOUSES: [&str; 2] = ["Snowflake", "BigQuery"];
/// Where the prod tenant gets the data of StatusCake, and the app that is reloaded.
const SPACE: &str = "Data team";
const APP: &str = "service-levels";
/// Duration of a manual banner.
const A_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Timing of the daemon in the demo.
#[derive(Debug, Clone, Copy)]
pub struct DemoPace {
    /// Interval between runs of a connector.
    pub sync: Duration,
    /// Age at which its data is late.
    pub late: Duration,
    /// How long a green banner follows an incident.
    pub resolved_for: Duration,
}

impl DemoPace {
    /// The timing that the script is written for.
    pub const SHOW: DemoPace = DemoPace {
        sync: Duration::from_secs(10),
        late: Duration::from_secs(18),
        resolved_for: Duration::from_secs(6),
    };
}

/// All stand-in servers. They run until it is dropped.
pub struct Stage {
    clock: Clock,
    pages: Pages,
    tenant: Tenant,
    /// Where only data warehouses matter.
    analytics: Tenant,
    slack: Slack,
    statuscake: StatusCake,
    sensource: SenSource,
    people_ai: PeopleAi,
}

impl Stage {
    /// Starts the stand-in servers, each on a free port.
    ///
    /// # Errors
    /// If no port is free or a thread cannot be started.
    pub fn open() -> io::Result<Stage> {
        let clock = Clock::system();
        let pages = Pages::open(&clock)?;
        let tenant = Tenant::open(&clock)?;
        tenant.set_latency(Duration::from_millis(25));
        tenant.change(|state| {
            state.data.add_space(SPACE);
            state.data.add_app(APP);
            state.data.rules.runs_for = SignedDuration::from_secs(2);
        });
        let analytics = Tenant::open(&clock)?;
        analytics.set_latency(Duration::from_millis(35));
        let slack = Slack::open()?;
        let statuscake = open_statuscake(&clock)?;
        let opened = clock.now().to_zoned(TimeZone::UTC).date().saturating_sub(90.days());
        let sensource = SenSource::open(SEED, 6, opened, &clock)?;
        sensource.set_latency(Duration::from_millis(60));
        let people_ai = PeopleAi::open(SEED, 400, 50, &clock)?;
        people_ai.set_latency(Duration::from_millis(60));
        people_ai.change(|org| org.rules.activity_every = Some(SignedDuration::from_secs(7)));
        Ok(Stage { clock, pages, tenant, analytics, slack, statuscake, sensource, people_ai })
    }

    /// The tenant whose users see every incident.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The tenant that shows data warehouses only.
    pub fn analytics(&self) -> &Tenant {
        &self.analytics
    }

    pub fn slack(&self) -> &Slack {
        &self.slack
    }

    /// Applies the events of a scene.
    pub fn play(&self, scene: &Scene) {
        let now = self.clock.now();
        for event in scene.events {
            match *event {
                SceneEvent::PersonSays(words) => {
                    self.tenant.person_sets(Banner::of("info", words, now, end_after(now, A_WEEK)));
                }
                SceneEvent::PersonIsDone => self.tenant.person_ends(),
                SceneEvent::QuotaUsedUp { seconds } => {
                    let until = end_after(now, SignedDuration::from_secs(seconds.into()));
                    self.statuscake.change(|account| account.rules.used_up_until = until);
                }
                SceneEvent::SenSourceFails => self.sensource.always_on("GET /api/data/", error_in_200()),
                SceneEvent::SenSourceWorks => self.sensource.as_usual(),
                ref page => self.pages.play(page),
            }
        }
    }

    /// The settings of the daemon, as in `.env`. All its files are in `folder`.
    pub fn variables(&self, folder: &Path, pace: DemoPace) -> BTreeMap<String, String> {
        let every = format!("{} ms", pace.sync.as_millis());
        let below = |name: &str| folder.join(name).display().to_string();
        let pairs = [
            ("TENANTS_DIR", below("tenants")),
            ("TENANT_PROD_API_KEY", tenant::API_KEY.to_owned()),
            ("TENANT_ANALYTICS_API_KEY", tenant::API_KEY.to_owned()),
            ("CHANNEL_DATA_STATUS_TOKEN", slack::TOKEN.to_owned()),
            ("POLL_INTERVAL", "1s".to_owned()),
            ("POLL_TIMEOUT", "5s".to_owned()),
            ("MONITORS_DIR", below("monitors")),
            ("CHANNELS_DIR", below("channels")),
            ("CONNECTORS_DIR", below("connectors")),
            ("DATA_DIR", below("data")),
            ("LOG_FILE", below("monitor.log")),
            ("BANNER_SPACING", "1s".to_owned()),
            ("BANNER_RECHECK", "1s".to_owned()),
            ("BANNER_RESOLVED_FOR", format!("{} ms", pace.resolved_for.as_millis())),
            ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
            ("STATUSCAKE_BASE_URL", self.statuscake.base_url()),
            ("STATUSCAKE_EVERY", every.clone()),
            ("SENSOURCE_CLIENT_ID", sensource::CLIENT_ID.to_owned()),
            ("SENSOURCE_CLIENT_SECRET", sensource::CLIENT_SECRET.to_owned()),
            ("SENSOURCE_BASE_URL", self.sensource.base_url()),
            ("SENSOURCE_TOKEN_URL", self.sensource.token_url()),
            ("SENSOURCE_START_DATE", "-30d".to_owned()),
            ("SENSOURCE_EVERY", every.clone()),
            ("PEOPLE_AI_API_KEY", people_ai::API_KEY.to_owned()),
            ("PEOPLE_AI_API_SECRET", people_ai::API_SECRET.to_owned()),
            ("PEOPLE_AI_BASE_URL", self.people_ai.base_url()),
            ("PEOPLE_AI_TOKEN_URL", self.people_ai.token_url()),
            ("PEOPLE_AI_START_DATE", "-60d".to_owned()),
            ("PEOPLE_AI_EVERY", every),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The definitions by folder and file name: status pages, the age of one connector's data, two tenants of which
    /// one gets the data of StatusCake, a channel.
    pub fn definitions(&self, pace: DemoPace) -> Vec<(&'static str, String, String)> {
        let page = |(name, url, engine): (&str, String, &str)| {
            // One status page is read by its overall status alone, which is the default.
            let incidents = name != "MongoDB";
            let mut text = format!("name = \"{name}\"\nurl = \"{url}\"\nincidents = {incidents}\n");
            if engine != "statuspage" {
                text.push_str(&format!("engine = \"{engine}\"\n"));
            }
            if WAREHOUSES.contains(&name) {
                text.push_str("tags = [\"warehouse\"]\n");
            }
            ("monitors", format!("{}.toml", name.replace(' ', "").to_lowercase()), text)
        };
        let mut files: Vec<_> = self.pages.all().into_iter().map(page).collect();
        let late = pace.late.as_millis();
        let visitors = format!(
            "name = \"Visitor counts\"\nkind = \"sync\"\nconnector = \"sensource\"\n\
             stale_after = \"{late} ms\"\nseverity = \"minor\"\n"
        );
        let prod = format!(
            "name = \"prod\"\nurl = \"{}\"\n\n[[data]]\nconnector = \"statuscake\"\nspace = \"{SPACE}\"\nreload = [\"{APP}\"]\n",
            self.tenant.url()
        );
        let analytics = format!(
            "name = \"analytics\"\nurl = \"{}\"\nmonitors = [\"tag:warehouse\"]\nprefix = \"[External]\"\nlink = \"off\"\n",
            self.analytics.url()
        );
        let channel = format!(
            "name = \"data-status\"\nkind = \"slack\"\nchannel = \"#{}\"\napi_url = \"{}\"\n",
            slack::OPS.1,
            self.slack.api()
        );
        files.extend([
            ("monitors", "visitors.toml".to_owned(), visitors),
            ("tenants", "prod.toml".to_owned(), prod),
            ("tenants", "analytics.toml".to_owned(), analytics),
            ("channels", "data-status.toml".to_owned(), channel),
        ]);
        files
    }
}

fn open_statuscake(clock: &Clock) -> io::Result<StatusCake> {
    let server = StatusCake::open(SEED, SIZES, clock)?;
    server.set_latency(Duration::from_millis(60));
    let ids = server.test_ids();
    server.change(|account| {
        account.rules.limits.push(Limiter::new(5, 1));
        account.rules.result_every = Some(SignedDuration::from_secs(30));
        for (id, name) in ids.iter().zip(CHECKS) {
            account.set(id, "name", json!(name));
            account.set(id, "status", json!("up"));
        }
    });
    Ok(server)
}

fn end_after(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}
