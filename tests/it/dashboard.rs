//! The dashboard as browsers and those who mean ill meet it: over HTTP, from a board that the test fills.

mod doors;
mod live;
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use data_sources_monitor::domain::assess::Transition;
use data_sources_monitor::domain::history::{Day, MonitorDay, Span};
use data_sources_monitor::domain::ledger::{Entry, RejectedRow, Run, TableFacts};
use data_sources_monitor::domain::op::{End, Tally};
use data_sources_monitor::domain::severity::Severity;
use data_sources_monitor::runtime::board::{Board, BoardHandle, SyncView};
use data_sources_monitor::runtime::clock::Clock;
use data_sources_monitor::web::records::{Records, Unreadable};
use data_sources_monitor::web::security::{Access, Door};
use data_sources_monitor::web::{Shown, router};
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

/// What is kept, as a test wants it.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) broken: bool,
    pub(crate) raw: String,
    pub(crate) loads: AtomicUsize,
}

impl Archive {
    fn give<T>(&self, found: T) -> Result<T, Unreadable> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.broken { Err(Unreadable("the <disk> is gone".into())) } else { Ok(found) }
    }
}

#[async_trait]
impl Records for Archive {
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, Unreadable> {
        // Whoever asks meanwhile must wait for this answer.
        tokio::task::yield_now().await;
        self.give(vec![("A".into(), since, Day { at: [1, 0, 0, 1, 0] })])
    }

    async fn days_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorDay>, Unreadable> {
        self.give(vec![(monitor.into(), since, Day { at: [1, 0, 0, 1, 0] })])
    }

    async fn transitions(&self, _: Span) -> Result<Vec<Transition>, Unreadable> {
        self.give(vec![Transition {
            monitor: "A".into(),
            at: "2026-05-01T00:00:00Z".parse().unwrap(),
            from: Severity::None,
            to: Severity::Major,
            description: self.raw.clone(),
        }])
    }

    async fn runs(&self, _: &str, _: usize) -> Result<Vec<Run>, Unreadable> {
        let entry = Entry {
            end: Some(End::Partial),
            reason: Some(self.raw.clone()),
            place: Some(self.raw.clone()),
            tally: Tally { seen: 1, ..Tally::default() },
            ..Entry::default()
        };
        let started = "2026-05-01T00:00:00Z".parse().unwrap();
        let tables = [(self.raw.clone(), entry.clone())].into();
        self.give(vec![Run { number: 1, started, ended: Some(started), entry, tables }])
    }

    async fn tables(&self, _: &str) -> Result<Vec<TableFacts>, Unreadable> {
        self.give(vec![TableFacts { table: self.raw.clone(), rows: 1, deleted: 0 }])
    }

    async fn rejected(&self, _: &str, _: usize) -> Result<Vec<RejectedRow>, Unreadable> {
        let row =
            RejectedRow { run: 1, table: self.raw.clone(), reason: self.raw.clone(), raw: self.raw.clone() };
        self.give(vec![row])
    }
}

/// A dashboard that is served.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) board: BoardHandle,
    pub(crate) archive: Arc<Archive>,
    pub(crate) stop: CancellationToken,
    client: reqwest::Client,
}

impl Served {
    pub(crate) async fn open(fill: impl FnOnce(&mut Board)) -> Served {
        Served::with(Archive::default(), Door::Open, fill).await
    }

    pub(crate) async fn with(archive: Archive, door: Door, fill: impl FnOnce(&mut Board)) -> Served {
        let clock = Clock::system();
        let board = BoardHandle::new(clock.now(), true);
        board.update(|board| {
            (board.cycles.finished_at, board.cycles.patience) =
                (Some(board.started_at), Duration::from_secs(60));
            fill(board);
        });
        let archive = Arc::new(archive);
        let stop = CancellationToken::new();
        let shown = Shown { board: board.clone(), clock, records: archive.clone(), stop: stop.clone() };
        let access = Access { door, status_open: false, hosts: vec!["monitor.acme.test".into()] };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(shown, access)).await });
        let client = crate::http_client::client();
        Served { address, board, archive, stop, client }
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method.parse().unwrap(), url)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.ask("GET", path).send().await.unwrap()
    }

    /// The text of an answer, which must be 200.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }
}

/// Adds a monitor that was read just now.
pub(crate) fn add(board: &mut Board, name: &str, severity: Severity, description: &str) {
    let now = board.started_at;
    let view = board.monitors.entry(name.to_owned()).or_default();
    view.looks = 1;
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
