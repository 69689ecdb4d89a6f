//! One poll of a status page, for pages that are valid, odd, broken, hostile, moved or slow.

mod components;
mod costs;
mod exchange;
mod responses;

use std::collections::BTreeMap;
use std::time::Duration;

use data_sources_monitor::testing::definitions::engine::built_in;
use data_sources_monitor::testing::domain::monitoring::monitor;
use data_sources_monitor::testing::domain::monitoring::monitor::{Pattern, Remap};
use data_sources_monitor::testing::domain::monitoring::observation::{Reading, Unknown};
use data_sources_monitor::testing::http::{ClientOptions, Network, PageClient};
use data_sources_monitor::testing::poll::{PageDocuments, PollResult, look};

use stand_ins::status_page::StatusPage;

/// Far more than a poll of a valid page takes on a loaded machine.
const LONG: Duration = Duration::from_secs(10);
/// For pages that never end.
const SHORT: Duration = Duration::from_millis(300);

/// A whole page of the default engine.
pub(crate) fn status_page(root: url::Url) -> monitor::StatusPage {
    monitor::StatusPage {
        root,
        engine: built_in()["statuspage"].clone(),
        options: BTreeMap::new(),
        components: vec![],
        ignore: vec![],
        incidents: false,
        announce: None,
    }
}

/// Polls one page repeatedly.
struct Poller {
    client: PageClient,
    page: monitor::StatusPage,
    remap: Remap,
    timeout: Duration,
    documents: PageDocuments,
}

impl Poller {
    fn of(page: &StatusPage) -> Poller {
        Poller::at(&page.url())
    }

    fn at(url: &str) -> Poller {
        let options = ClientOptions { network: Network::default(), keep_alive: false };
        let root = format!("{url}/").parse().unwrap();
        let page = status_page(root);
        let client = PageClient::new(&options).unwrap();
        let documents = PageDocuments::of(&page);
        Poller { client, page, remap: Remap::default(), timeout: LONG, documents }
    }

    fn of_components(page: &StatusPage, components: &[&str], ignore: &[&str]) -> Poller {
        let mut poller = Poller::of(page);
        poller.page.components = components.iter().map(|text| Pattern::new(text)).collect();
        poller.page.ignore = ignore.iter().map(|text| Pattern::new(text)).collect();
        poller
    }

    fn with_incidents(mut self) -> Poller {
        self.page.incidents = true;
        self
    }

    fn remapping(mut self, from: &str, to: &str) -> Poller {
        self.remap.0.push((from.parse().unwrap(), to.parse().unwrap()));
        self
    }

    fn with_short_timeout(mut self) -> Poller {
        self.timeout = SHORT;
        self
    }

    async fn look(&mut self) -> PollResult {
        look(
            &self.client,
            &self.documents,
            &self.page,
            &self.remap,
            self.timeout,
            tokio::time::Instant::now(),
        )
        .await
    }

    async fn reading(&mut self) -> Reading {
        self.look().await.outcome.unwrap()
    }

    async fn unknown(&mut self) -> Unknown {
        match self.look().await.outcome {
            Ok(reading) => reading.verdict().unwrap_err().clone(),
            Err(unknown) => unknown,
        }
    }

    /// `severity: description`.
    async fn says(&mut self) -> String {
        let outcome = self.look().await.outcome;
        match outcome.as_ref().and_then(Reading::verdict) {
            Ok(reading) => format!("{}: {}", reading.severity, reading.description),
            Err(unknown) => format!("unknown: {unknown}"),
        }
    }
}
