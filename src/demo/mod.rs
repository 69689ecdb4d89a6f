//! The demo's far ends: stand-ins of the status pages, the tenant and the three data APIs, on the loopback interface.
//!
//! They keep the facts that the program relies on (paging, tokens, quotas, etags) over invented figures, and change
//! as the [`script`] says. They know nothing of the daemon that looks at them: it is the real one, set to their
//! addresses by [`Stage::variables`]. Start at [`Stage::open`]; the story is in [`script::SCENES`].

mod far_end;
mod pages;
pub mod past;
mod people_ai;
pub mod script;
mod sensource;
mod statuscake;
mod tenant;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use far_end::Server;
use pages::Pages;
use people_ai::PeopleAi;
pub use script::{Event, Scene};
use sensource::SenSource;
use statuscake::StatusCake;
pub use tenant::{Sight, Tenant};

/// Tells the present moment.
pub type Now = fn() -> Timestamp;

/// How quick the daemon is on this stage.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Time between two runs of a connector.
    pub sync: Duration,
    /// Age at which its data count as late.
    pub late: Duration,
    /// How long a green banner follows an incident.
    pub resolved_for: Duration,
}

impl Pace {
    /// The pace that the script's seconds are made for.
    pub const SHOW: Pace = Pace {
        sync: Duration::from_secs(10),
        late: Duration::from_secs(18),
        resolved_for: Duration::from_secs(6),
    };
}

/// Everything outside of the daemon.
pub struct Stage {
    pages: Pages,
    tenant: Tenant,
    statuscake: StatusCake,
    sensource: SenSource,
    people_ai: PeopleAi,
}

/// What answers for the stage; nothing does before [`Servers::serve`].
pub struct Servers(Vec<Server>);

impl Servers {
    /// Answers until dropped.
    ///
    /// # Errors
    /// When a port can no longer be served.
    pub async fn serve(self) -> io::Result<()> {
        try_join_all(self.0.into_iter().map(Server::serve)).await.map(drop)
    }
}

impl Stage {
    /// Takes a free port for each far end.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(now: Now) -> io::Result<(Stage, Servers)> {
        let (pages, at_pages) = Pages::open(now).await?;
        let (tenant, at_tenant) = Tenant::open(now).await?;
        let (statuscake, at_statuscake) = StatusCake::open(now).await?;
        let (sensource, at_sensource) = SenSource::open(now).await?;
        let (people_ai, at_people_ai) = PeopleAi::open(now).await?;
        let servers = vec![at_pages, at_tenant, at_statuscake, at_sensource, at_people_ai];
        Ok((Stage { pages, tenant, statuscake, sensource, people_ai }, Servers(servers)))
    }

    /// The tenant, to see what its users saw.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Lets a scene happen.
    pub fn play(&self, scene: &Scene) {
        for event in scene.events {
            match event {
                Event::PersonSays(words) => self.tenant.person_says(words),
                Event::PersonIsDone => self.tenant.person_is_done(),
                Event::QuotaUsedUp { seconds } => self.statuscake.use_up(*seconds),
                Event::SenSourceFails => self.sensource.set_broken(true),
                Event::SenSourceWorks => self.sensource.set_broken(false),
                page => self.pages.play(page),
            }
        }
    }

    /// The variables that set the daemon to this stage, as a person would write them into `.env`, with everything
    /// that is kept in `folder`.
    pub fn variables(&self, folder: &Path, pace: Pace) -> BTreeMap<String, String> {
        let every = format!("{} ms", pace.sync.as_millis());
        let below = |name: &str| folder.join(name).display().to_string();
        let pairs = [
            ("QLIK_TENANT_URL", self.tenant.root().to_owned()),
            ("QLIK_API_KEY", tenant::KEY.to_owned()),
            ("POLL_INTERVAL", "1s".to_owned()),
            ("POLL_TIMEOUT", "5s".to_owned()),
            ("MONITORS_DIR", below("monitors")),
            ("CONNECTORS_DIR", below("connectors")),
            ("DATA_DIR", below("data")),
            ("LOG_FILE", below("monitor.log")),
            ("BANNER_SPACING", "1s".to_owned()),
            ("BANNER_RECHECK", "1s".to_owned()),
            ("BANNER_RESOLVED_FOR", format!("{} ms", pace.resolved_for.as_millis())),
            ("STATUSCAKE_API_KEY", statuscake::KEY.to_owned()),
            ("STATUSCAKE_BASE_URL", self.statuscake.base_url()),
            ("STATUSCAKE_EVERY", every.clone()),
            ("SENSOURCE_CLIENT_ID", sensource::CLIENT.to_owned()),
            ("SENSOURCE_CLIENT_SECRET", sensource::SECRET.to_owned()),
            ("SENSOURCE_BASE_URL", self.sensource.base_url()),
            ("SENSOURCE_TOKEN_URL", self.sensource.token_url()),
            ("SENSOURCE_START_DATE", "-30d".to_owned()),
            ("SENSOURCE_EVERY", every.clone()),
            ("PEOPLE_AI_API_KEY", people_ai::KEY.to_owned()),
            ("PEOPLE_AI_API_SECRET", people_ai::SECRET.to_owned()),
            ("PEOPLE_AI_BASE_URL", self.people_ai.base_url()),
            ("PEOPLE_AI_TOKEN_URL", self.people_ai.token_url()),
            ("PEOPLE_AI_START_DATE", "-60d".to_owned()),
            ("PEOPLE_AI_EVERY", every),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The monitors' files, by name: the pages of this stage, and the age of one connector's data.
    pub fn monitors(&self, pace: Pace) -> Vec<(String, String)> {
        let page = |(name, url): (&str, String)| {
            // One page is read by its roll-up alone, as pages are where nothing else is said.
            let incidents = name != "MongoDB";
            let text = format!("name = \"{name}\"\nurl = \"{url}\"\nincidents = {incidents}\n");
            (format!("{}.toml", name.replace(' ', "").to_lowercase()), text)
        };
        let mut files: Vec<_> = self.pages.all().into_iter().map(page).collect();
        let late = pace.late.as_millis();
        files.push((
            "visitors.toml".to_owned(),
            format!(
                "name = \"Visitor counts\"\nkind = \"sync\"\nconnector = \"sensource\"\n\
                 stale_after = \"{late} ms\"\nseverity = \"minor\"\n"
            ),
        ));
        files
    }
}
