//! The demo's stage: stand-in servers of the status pages, the tenant and the three data APIs, on the loopback
//! interface, which change as the [`script`] says.
//!
//! They know nothing of the daemon between them: it is the real one, configured with their addresses by
//! [`Stage::variables`]. Start at [`Stage::open`]; the story is in [`script::SCENES`].

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
use stand_ins::limiter::Limiter;
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource, error_in_200};
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::tenant::{self, Banner, Tenant};

use pages::Pages;
pub use script::{Event, Scene};

/// Where the figures of the data APIs come from.
const SEED: u64 = 2026;
/// The checks of the StatusCake account.
const CHECKS: [&str; 4] = ["Shop", "Shop: checkout", "Partner portal", "Public API"];
/// A page and a half of results for each check.
const SIZES: Sizes = Sizes { tests: CHECKS.len() as u64, history: 150, periods: 3, alerts: 2 };
/// How long a manual banner lasts.
const A_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

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

/// Everything outside of the daemon. The servers run until it is dropped.
pub struct Stage {
    clock: Clock,
    pages: Pages,
    tenant: Tenant,
    statuscake: StatusCake,
    sensource: SenSource,
    people_ai: PeopleAi,
}

impl Stage {
    /// Starts the stand-in servers, each on a free port.
    ///
    /// # Errors
    /// When no port is free or no thread can be started.
    pub fn open() -> io::Result<Stage> {
        let clock = Clock::system();
        let pages = Pages::open(&clock)?;
        let tenant = Tenant::open(&clock)?;
        tenant.set_latency(Duration::from_millis(25));
        let statuscake = open_statuscake(&clock)?;
        let opened = clock.now().to_zoned(TimeZone::UTC).date().saturating_sub(90.days());
        let sensource = SenSource::open(SEED, 6, opened, &clock)?;
        sensource.set_latency(Duration::from_millis(60));
        let people_ai = PeopleAi::open(SEED, 400, 50, &clock)?;
        people_ai.set_latency(Duration::from_millis(60));
        people_ai.change(|org| org.rules.activity_every = Some(SignedDuration::from_secs(7)));
        Ok(Stage { clock, pages, tenant, statuscake, sensource, people_ai })
    }

    /// The tenant, to see what its users saw.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Lets a scene happen.
    pub fn play(&self, scene: &Scene) {
        let now = self.clock.now();
        for event in scene.events {
            match *event {
                Event::PersonSays(words) => {
                    self.tenant.person_sets(Banner::of("info", words, now, end_after(now, A_WEEK)));
                }
                Event::PersonIsDone => self.tenant.person_ends(),
                Event::QuotaUsedUp { seconds } => {
                    let until = end_after(now, SignedDuration::from_secs(seconds.into()));
                    self.statuscake.change(|account| account.rules.used_up_until = until);
                }
                Event::SenSourceFails => self.sensource.always_on("GET /api/data/", error_in_200()),
                Event::SenSourceWorks => self.sensource.as_usual(),
                ref page => self.pages.play(page),
            }
        }
    }

    /// The variables that set the daemon to this stage, as a person would write them into `.env`, with everything
    /// that is kept in `folder`.
    pub fn variables(&self, folder: &Path, pace: Pace) -> BTreeMap<String, String> {
        let every = format!("{} ms", pace.sync.as_millis());
        let below = |name: &str| folder.join(name).display().to_string();
        let pairs = [
            ("QLIK_TENANT_URL", self.tenant.url()),
            ("QLIK_API_KEY", tenant::API_KEY.to_owned()),
            ("POLL_INTERVAL", "1s".to_owned()),
            ("POLL_TIMEOUT", "5s".to_owned()),
            ("MONITORS_DIR", below("monitors")),
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
