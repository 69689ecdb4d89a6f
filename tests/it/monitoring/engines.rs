//! Every engine's definition against a stand-in of that engine, through real polls.

mod answers;
mod clouds;
mod detection;
mod levels;
mod others;
mod own;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use data_sources_monitor::testing::definitions::engine::read_one;
use data_sources_monitor::testing::domain::monitoring::monitor;
use data_sources_monitor::testing::domain::monitoring::monitor::{Pattern, Remap};
use data_sources_monitor::testing::domain::monitoring::observation::Reading;
use data_sources_monitor::testing::http::{ClientOptions, Network, PageClient};
use data_sources_monitor::testing::poll::{PageDocuments, look};

use stand_ins::Clock;
use stand_ins::engines::{EnginePage, Level, Model};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Hosts that definitions name.
const HOSTS: [&str; 5] = [
    "https://api.status.io",
    "https://api.status.salesforce.com",
    "https://public-api.freshstatus.io",
    "https://raw.githubusercontent.com",
    "https://api.openstatus.dev",
];

/// The options that the stand-ins expect.
const OPTIONS: [(&str, &str, &str); 6] = [
    ("statusio", "page_id", "5b36dc6502d06804c08349f7"),
    ("salesforce", "instance", "EU45"),
    ("freshstatus", "account_id", "3616"),
    ("upptime", "owner", "examplify"),
    ("upptime", "repo", "upptime"),
    ("openstatus", "slug", "examplify"),
];

/// A page of an engine, and a monitor that polls it.
struct Bench {
    page: EnginePage,
    monitor: monitor::StatusPage,
}

/// Its making takes longer than a poll.
static CLIENT: LazyLock<PageClient> = LazyLock::new(|| {
    PageClient::new(&ClientOptions { network: Network::default(), keep_alive: false }).unwrap()
});

/// The id of the component that tests break.
const SICK: u32 = 11;

/// A page with a component of this level, and an incident that says so.
fn broken(engine: &str, level: Level) -> Bench {
    let bench = Bench::of(engine);
    bench.page(|model| model.break_component(SICK, level));
    bench
}

impl Bench {
    fn of(engine: &str) -> Bench {
        let page = EnginePage::open(engine, &Clock::system()).unwrap().recording();
        let file = format!("{}/engines/{engine}.toml", env!("CARGO_MANIFEST_DIR"));
        let mut text = std::fs::read_to_string(&file).unwrap();
        for host in HOSTS {
            text = text.replace(host, &page.url());
        }
        let definition = read_one(&file, &text).unwrap();
        let path = match engine {
            "feed" => "/feed",
            "http" => "/health",
            _ => "/",
        };
        let options = OPTIONS.iter().filter(|(name, ..)| *name == engine);
        let monitor = monitor::StatusPage {
            root: format!("{}{path}", page.url()).parse().unwrap(),
            engine: definition.into(),
            options: options
                .map(|(_, key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            components: vec![],
            ignore: vec![],
            incidents: false,
            announce: None,
        };
        Bench { page, monitor }
    }

    fn option(mut self, name: &str, value: &str) -> Bench {
        self.monitor.options.insert(name.into(), value.into());
        self
    }

    fn with_incidents(mut self) -> Bench {
        self.monitor.incidents = true;
        self
    }

    fn components(mut self, patterns: &[&str]) -> Bench {
        self.monitor.components = patterns.iter().map(|text| Pattern::new(text)).collect();
        self
    }

    /// Changes the page.
    fn page(&self, change: impl FnOnce(&mut Model)) {
        self.page.change(|server| change(server.model()));
    }

    fn quirk(self, name: &'static str) -> Bench {
        self.page(|model| model.quirk(name));
        self
    }

    async fn outcome(&self) -> Result<Reading, String> {
        let documents = PageDocuments::of(&self.monitor);
        let result =
            look(&CLIENT, &documents, &self.monitor, &Remap::default(), TIMEOUT, tokio::time::Instant::now())
                .await;
        let reading = result.outcome.map_err(|why| why.to_string())?;
        reading.verdict().map_err(ToString::to_string)?;
        Ok(reading)
    }

    /// The severity, or `unknown`.
    async fn severity(&self) -> String {
        self.outcome().await.map_or_else(|_| "unknown".to_owned(), |reading| reading.severity.to_string())
    }

    /// `severity: description`, or `unknown: reason`.
    async fn says(&self) -> String {
        match self.outcome().await {
            Ok(reading) => format!("{}: {}", reading.severity, reading.description),
            Err(why) => format!("unknown: {why}"),
        }
    }
}
