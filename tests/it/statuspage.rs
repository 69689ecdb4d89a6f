//! One look at a status page, against pages that are sound, odd, broken, hostile, moved or slow.

mod answers;
mod costs;
mod exchange;
mod parts;

use std::time::Duration;

use data_sources_monitor::domain::monitor::{Page, Pattern, Remap};
use data_sources_monitor::domain::observation::{Reading, Unknown};
use data_sources_monitor::http::{ClientOptions, Network, PageClient, Redirects};
use data_sources_monitor::poll::{Look, Memo, look};

use stand_ins::status_page::StatusPage;

/// Far more than a look at a sound page takes, on a machine under load.
const LONG: Duration = Duration::from_secs(10);
/// For pages that never end.
const SHORT: Duration = Duration::from_millis(300);

/// Somebody who looks at one page again and again.
struct Onlooker {
    client: PageClient,
    page: Page,
    remap: Remap,
    timeout: Duration,
    memo: Memo,
}

impl Onlooker {
    fn of(page: &StatusPage) -> Onlooker {
        Onlooker::at(&page.url())
    }

    fn at(url: &str) -> Onlooker {
        let options =
            ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
        let root = format!("{url}/").parse().unwrap();
        let page = Page { root, components: vec![], ignore: vec![], incidents: false };
        let client = PageClient::new(&options).unwrap();
        Onlooker { client, page, remap: Remap::default(), timeout: LONG, memo: Memo::default() }
    }

    fn of_components(page: &StatusPage, components: &[&str], ignore: &[&str]) -> Onlooker {
        let mut onlooker = Onlooker::of(page);
        onlooker.page.components = components.iter().map(|text| Pattern::new(text)).collect();
        onlooker.page.ignore = ignore.iter().map(|text| Pattern::new(text)).collect();
        onlooker
    }

    fn with_incidents(mut self) -> Onlooker {
        self.page.incidents = true;
        self
    }

    fn remapping(mut self, from: &str, to: &str) -> Onlooker {
        self.remap.0.push((from.parse().unwrap(), to.parse().unwrap()));
        self
    }

    fn hasty(mut self) -> Onlooker {
        self.timeout = SHORT;
        self
    }

    async fn look(&mut self) -> Look {
        look(&self.client, &self.page, &self.remap, self.timeout, &mut self.memo).await
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
