//! The dashboard as browsers and attackers see it: over HTTP, from a board that the test fills.

mod access;
mod brand;
mod compressed;
mod lists;
mod pages;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use data_sources_monitor::testing::domain::monitoring::assess::Transition;
use data_sources_monitor::testing::domain::monitoring::history::{Day, MonitorDay, Span};
use data_sources_monitor::testing::domain::monitoring::responses::MonitorResponses;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::domain::syncing::op::{End, Tally};
use data_sources_monitor::testing::domain::syncing::run_history::{Entry, RejectedRow, Run, TableFacts};
use data_sources_monitor::testing::runtime::board::{Board, BoardWriter, SyncView, channel};
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::web::brand::Brand;
use data_sources_monitor::testing::web::metrics::LogLosses;
use data_sources_monitor::testing::web::server::security::{Access, AccessMode};
use data_sources_monitor::testing::web::view::records::{RecordError, RecordReader};
use data_sources_monitor::testing::web::{WebState, router};
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

/// Stored history, as a test sets it.
#[derive(Default)]
pub(crate) struct StoredRecords {
    pub(crate) broken: bool,
    pub(crate) raw: String,
    pub(crate) loads: AtomicUsize,
}

impl StoredRecords {
    fn give<T>(&self, found: T) -> Result<T, RecordError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.broken { Err(RecordError("the <disk> is gone".into())) } else { Ok(found) }
    }
}

#[async_trait]
impl RecordReader for StoredRecords {
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, RecordError> {
        // Requests that arrive meanwhile must wait for this result.
        tokio::task::yield_now().await;
        self.give(vec![("A".into(), since, Day { at: [1, 0, 0, 1, 0] })])
    }

    async fn days_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorDay>, RecordError> {
        self.give(vec![(monitor.into(), since, Day { at: [1, 0, 0, 1, 0] })])
    }

    async fn responses_of(&self, _: &str, _: Date) -> Result<Vec<MonitorResponses>, RecordError> {
        self.give(Vec::new())
    }

    async fn transitions(&self, _: Span) -> Result<Vec<Transition>, RecordError> {
        self.give(vec![Transition {
            monitor: "A".into(),
            at: "2026-05-01T00:00:00Z".parse().unwrap(),
            from: Severity::None,
            to: Severity::Major,
            description: self.raw.clone(),
        }])
    }

    async fn runs(&self, _: &str, _: usize) -> Result<Vec<Run>, RecordError> {
        let entry = Entry {
            end: Some(End::Partial),
            reason: Some(self.raw.clone()),
            place: Some(self.raw.clone()),
            tally: Tally { seen: 1, ..Tally::default() },
            ..Entry::default()
        };
        let started = "2026-05-01T00:00:00Z".parse().unwrap();
        let tables = [(self.raw.clone(), entry.clone())].into();
        self.give(vec![Run {
            number: 1,
            started,
            ended: Some(started),
            entry,
            tables,
            follow_ups: [].into(),
        }])
    }

    async fn tables(&self, _: &str) -> Result<Vec<TableFacts>, RecordError> {
        self.give(vec![TableFacts { table: self.raw.clone(), rows: 1, deleted: 0 }])
    }

    async fn rejected(&self, _: &str, _: usize) -> Result<Vec<RejectedRow>, RecordError> {
        let row =
            RejectedRow { run: 1, table: self.raw.clone(), reason: self.raw.clone(), raw: self.raw.clone() };
        self.give(vec![row])
    }
}

/// A dashboard that is served.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) board: BoardWriter,
    pub(crate) archive: Arc<StoredRecords>,
    pub(crate) stop: CancellationToken,
    client: reqwest::Client,
}

impl TestServer {
    pub(crate) async fn open(fill: impl FnOnce(&mut Board)) -> TestServer {
        TestServer::with(StoredRecords::default(), AccessMode::Open, fill).await
    }

    pub(crate) async fn with(
        archive: StoredRecords,
        mode: AccessMode,
        fill: impl FnOnce(&mut Board),
    ) -> TestServer {
        TestServer::branded(archive, mode, Brand::default(), fill).await
    }

    async fn branded(
        archive: StoredRecords,
        mode: AccessMode,
        brand: Brand,
        fill: impl FnOnce(&mut Board),
    ) -> TestServer {
        let clock = Clock::system();
        let (board, reader) = channel(clock.now(), true);
        board.update(|board| {
            (board.cycles.finished_at, board.cycles.max_age) =
                (Some(board.started_at), Duration::from_secs(60));
            fill(board);
        });
        let archive = Arc::new(archive);
        let stop = CancellationToken::new();
        let state = WebState {
            board: reader,
            clock,
            records: archive.clone(),
            log_losses: Arc::new(LogLosses::default),
            brand: Arc::new(brand),
            stop: stop.clone(),
        };
        let access = Access { mode, status_open: false, hosts: vec!["monitor.acme.test".into()] };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(state, access)).await });
        let client = crate::http_client::client();
        TestServer { address, board, archive, stop, client }
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method.parse().unwrap(), url)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.ask("GET", path).send().await.unwrap()
    }

    /// The body of a response, which must be 200.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }
}

/// Adds a monitor that was polled just now.
pub(crate) fn add(board: &mut Board, name: &str, severity: Severity, description: &str) {
    let now = board.started_at;
    let view = board.monitors.entry(name.to_owned()).or_default();
    view.polls = 1;
    view.address = "https://status.acme.test/".into();
    view.state.severity = severity;
    view.state.description = description.to_owned();
    view.state.since = Some(now);
    view.state.read_at = Some(now);
}

/// Adds a connector.
pub(crate) fn add_sync(board: &mut Board, name: &str) {
    board.syncs.insert(name.to_owned(), SyncView::default());
}
