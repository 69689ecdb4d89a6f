//! What programs read: the JSON API, the daemon as a status page, badges, the calendar. Start at [`TestServer`].

mod document;
mod lists;
mod public_formats;
mod real_program;
mod requests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::assess::{
    Candidate, Issue, MonitorState, Transition, Unread,
};
use data_sources_monitor::testing::domain::monitoring::banner::{Banner, BannerKind};
use data_sources_monitor::testing::domain::monitoring::history::{Day, MonitorDay, Span};
use data_sources_monitor::testing::domain::monitoring::observation::{
    Event, Link, Observation, Reading, Unknown,
};
use data_sources_monitor::testing::domain::monitoring::responses::MonitorResponses;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::domain::syncing::delivery::{AppReport, ReloadOutcome};
use data_sources_monitor::testing::domain::syncing::op::{End, Tally};
use data_sources_monitor::testing::domain::syncing::run_history::{Entry, RejectedRow, Run, TableFacts};
use data_sources_monitor::testing::runtime::board::{Board, BoardWriter, LastRun, channel};
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::web::metrics::LogLosses;
use data_sources_monitor::testing::web::server::security::{Access, AccessMode};
use data_sources_monitor::testing::web::view::records::{RecordError, RecordReader};
use data_sources_monitor::testing::web::{self, WebState};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use reqwest::Response;

/// Stored history, as the server reads it.
#[derive(Default)]
pub(super) struct StoredHistory {
    pub(super) transitions: Mutex<Vec<Transition>>,
    pub(super) runs: Mutex<Vec<(String, Run)>>,
    pub(super) broken: Mutex<bool>,
}

impl StoredHistory {
    fn whole<T>(&self, value: T) -> Result<T, RecordError> {
        if *self.broken.lock().unwrap() { Err(RecordError("the disk is gone".into())) } else { Ok(value) }
    }
}

#[async_trait::async_trait]
impl RecordReader for StoredHistory {
    async fn days(&self, _: Date) -> Result<Vec<MonitorDay>, RecordError> {
        let today = jiff::tz::TimeZone::UTC.to_datetime(Timestamp::now()).date();
        self.whole(vec![("Examplify".into(), today, Day { at: [3_000_000, 0, 0, 1_000_000, 0] })])
    }

    async fn days_of(&self, _: &str, since: Date) -> Result<Vec<MonitorDay>, RecordError> {
        self.days(since).await
    }

    async fn responses_of(&self, _: &str, _: Date) -> Result<Vec<MonitorResponses>, RecordError> {
        self.whole(Vec::new())
    }

    async fn transitions(&self, span: Span) -> Result<Vec<Transition>, RecordError> {
        let all = self.transitions.lock().unwrap().clone();
        let inside = |t: &Transition| {
            span.monitor.as_ref().is_none_or(|name| *name == t.monitor) && t.at >= span.from && t.at < span.to
        };
        self.whole(all.into_iter().filter(inside).take(span.limit).collect())
    }

    async fn runs(&self, connector: &str, limit: usize) -> Result<Vec<Run>, RecordError> {
        let all = self.runs.lock().unwrap().clone();
        self.whole(
            all.into_iter().filter(|(name, _)| name == connector).map(|(_, run)| run).take(limit).collect(),
        )
    }

    async fn tables(&self, _: &str) -> Result<Vec<TableFacts>, RecordError> {
        self.whole(vec![TableFacts { table: "uptime_test".into(), rows: 12, deleted: 1 }])
    }

    async fn rejected(&self, _: &str, _: usize) -> Result<Vec<RejectedRow>, RecordError> {
        let (table, reason) = ("uptime_test".into(), "without its key".into());
        self.whole(vec![RejectedRow { run: 7, table, reason, raw: "{\"name\":\"x\"}".into() }])
    }
}

/// A served board and a client for it.
pub(super) struct TestServer {
    pub(super) url: String,
    pub(super) board: BoardWriter,
    pub(super) kept: Arc<StoredHistory>,
    client: reqwest::Client,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TestServer {
    /// A server of a daemon that has just finished a cycle.
    pub(super) async fn start() -> TestServer {
        TestServer::behind(AccessMode::Open).await
    }

    pub(super) async fn behind(mode: AccessMode) -> TestServer {
        TestServer::with(mode, false).await
    }

    pub(super) async fn with(mode: AccessMode, status_open: bool) -> TestServer {
        let clock = Clock::system();
        let (board, reader) = channel(clock.now(), true);
        board.update(|board| {
            (board.cycles.finished, board.cycles.finished_at) = (1, Some(clock.now()));
            board.cycles.max_age = Duration::from_secs(3600);
        });
        let kept = Arc::new(StoredHistory::default());
        let state = WebState {
            board: reader,
            clock,
            records: kept.clone(),
            log_losses: Arc::new(LogLosses::default),
            brand: Arc::default(),
            stop: Default::default(),
        };
        let router = web::router(state, Access { mode, status_open, hosts: vec![] });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        TestServer { url, board, kept, client: crate::http_client::client(), serving }
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub(super) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(super) async fn json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// Status and detail of a refusal.
    pub(super) async fn refused(&self, path: &str) -> (u16, String) {
        let answer = self.get(path).await;
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let status = answer.status().as_u16();
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&status.into(), &"about:blank".into()));
        (status, problem["detail"].as_str().unwrap().to_owned())
    }

    /// Records a successful poll of a monitor just now.
    pub(super) fn reads(&self, name: &str, severity: Severity, description: &str) {
        let now = Timestamp::now();
        self.board.update(|board| {
            let state = &mut board.monitors.entry(name.into()).or_default().state;
            *state = MonitorState { severity, description: description.into(), ..MonitorState::default() };
            (state.since, state.read_at) = (Some(now), Some(now));
        });
    }

    /// Makes a monitor unreadable for an hour.
    pub(super) fn loses(&self, name: &str) {
        let since = ago(1);
        self.board.update(|board| {
            let unread = Unread { reason: Unknown::Timeout, since, times: 60 };
            board.monitors.entry(name.into()).or_default().state.unknown = Some(unread);
        });
    }
}

pub(super) fn ago(hours: i64) -> Timestamp {
    Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).unwrap()
}

pub(super) fn event(planned: bool, title: &str, state: &str) -> Event {
    Event {
        planned,
        title: title.into(),
        impact: if planned { Severity::Maintenance } else { Severity::Major },
        state: state.into(),
        begins: Some(ago(2)),
        ends: planned.then(|| ago(-2)),
        link: Link::checked("https://stspg.io/abc", "Incident"),
        update: "We are looking.".into(),
    }
}

pub(super) fn run(number: i64, started: Timestamp, end: Option<End>) -> Run {
    let tally = Tally { seen: 3, inserted: 2, rejected: 1, ..Tally::default() };
    let entry = Entry {
        end,
        reason: (end != Some(End::Complete)).then(|| "rows were rejected".into()),
        place: Some("uptime_test".into()),
        requests: 4,
        retries: 1,
        waited_ms: 250,
        tally,
    };
    let tables = [("uptime_test".to_owned(), entry.clone())].into();
    let follow_ups = [("export".to_owned(), entry.clone())].into();
    Run { number, started, ended: end.map(|_| started), entry, tables, follow_ups }
}

/// A daemon with a value for everything that can be shown.
pub(super) async fn with_everything() -> TestServer {
    let served = TestServer::start().await;
    *served.kept.transitions.lock().unwrap() = vec![Transition {
        monitor: "Examplify".into(),
        at: ago(2),
        from: Severity::None,
        to: Severity::Major,
        description: "Partial System Outage".into(),
    }];
    *served.kept.runs.lock().unwrap() = vec![("statuscake".into(), run(7, ago(1), Some(End::Partial)))];
    served.board.update(fill);
    served
}

fn fill(board: &mut Board) {
    let now = Timestamp::now();
    let link = Link::checked("https://status.examplify.test/", "Status page");
    let view = board.monitors.entry("Examplify".into()).or_default();
    view.address = "https://status.examplify.test/".into();
    (view.tags, view.muted_until) = (vec!["crm".into()], Some(ago(-2)));
    let reading = Reading {
        open: Some(vec![
            event(false, "Slow queries", "identified"),
            event(true, "Storage upgrade", "scheduled"),
        ]),
        ..Reading::whole(Severity::Major, "Partial System Outage".into(), link.clone())
    };
    let seen = |outcome| Observation { monitor: "Examplify".into(), at: now, outcome };
    view.looked(Duration::from_millis(80), false, &seen(Err(Unknown::Timeout)));
    view.looked(Duration::from_millis(80), true, &seen(Ok(reading)));
    view.state = MonitorState {
        definition: 1,
        severity: Severity::Major,
        description: "Partial System Outage".into(),
        link: link.clone(),
        since: Some(ago(2)),
        read_at: Some(now),
        unknown: Some(Unread { reason: Unknown::Timeout, since: now, times: 1 }),
        candidate: Some(Candidate { worse: false, count: 1, since: now }),
        parts: vec![],
    };
    board.issues = vec![Issue {
        monitor: "Examplify".into(),
        tags: Vec::new(),
        severity: Severity::Major,
        description: "Partial System Outage".into(),
        link,
        since: ago(2),
    }];
    board.monitors.entry("StatusCake".into()).or_default().address = "sync statuscake".into();
    let banner = board.banners.entry("default".into()).or_default();
    banner.url = "https://acme.test/".into();
    banner.report.shown = Some(Banner {
        kind: BannerKind::Error,
        enabled: true,
        message: "Examplify: Partial System Outage".into(),
        start_time: ago(2),
        end_time: ago(-2),
        link_enabled: true,
        link_url: Some("https://status.examplify.test/".into()),
        link_label: Some("Status page".into()),
    });
    (banner.report.ours, banner.report.pending_since, banner.report.answered_at) =
        (true, Some(now), Some(now));
    banner.report.displaced.clone_from(&banner.report.shown);
    banner.report.trouble = Some("HTTP 403".into());
    let lease = board.lease.get_or_insert_default();
    (lease.held, lease.holder, lease.since) = (true, Some("monitor-1".into()), Some(now));
    board.store_trouble = Some((now, "the disk is full".into()));
    let channel = board.channels.entry("ops".into()).or_default();
    (channel.report.delivered_at, channel.report.pending_since) = (Some(now), Some(now));
    (channel.report.kind, channel.report.trouble) = ("slack".into(), Some("HTTP 503".into()));
    let data = board.deliveries.entry(("prod".into(), "statuscake".into())).or_default();
    (data.report.as_of, data.report.pending_since) = (Some(ago(3)), Some(now));
    (data.report.space, data.report.trouble) = (Some("Sales data".into()), Some("HTTP 503".into()));
    let app = AppReport {
        outcome: Some(ReloadOutcome::Failed),
        message: Some("Table not found".into()),
        ended_at: Some(now),
        as_of: Some(ago(3)),
        ..AppReport::default()
    };
    data.report.apps.insert("app-1".into(), app);
    let sync = board.syncs.entry("statuscake".into()).or_default();
    (sync.last_success, sync.next_at, sync.every) = (Some(ago(3)), Some(ago(-1)), Duration::from_secs(900));
    sync.last_run = Some(LastRun {
        ended_at: now,
        end: "partial",
        reason: Some("rows were rejected".into()),
        took: Duration::from_millis(1500),
        rows: [("uptime_test".to_owned(), 7)].into(),
        waited: Duration::from_millis(250),
    });
}
