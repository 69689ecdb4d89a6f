//! The demo: its day, scene by scene, and the program that plays it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_sources_monitor::testing::commands::service::demo::Show;
use data_sources_monitor::testing::demo::script::SCENES;
use data_sources_monitor::testing::demo::{DemoPace, Stage};
use data_sources_monitor::testing::runtime::board::Board;
use data_sources_monitor::testing::telemetry::Log;
use rusqlite::Connection;
use tokio::net::TcpListener;

use crate::http_client::client;
use crate::processes::binary::{output, program};
use stand_ins::Reply;
use stand_ins::tenant::Tenant;

/// Short, with room for a loaded machine before data count as late.
const SHORT: DemoPace = DemoPace {
    sync: Duration::from_secs(1),
    late: Duration::from_secs(10),
    resolved_for: Duration::from_millis(1500),
};

/// A demo whose scenes the test calls.
pub(crate) async fn show(folder: &Path) -> Show {
    data_sources_monitor::testing::http::install_tls_provider();
    let stage = Stage::open().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Show::open(stage, folder, SHORT, listener, &Log::default()).await.unwrap()
}

/// Plays the scene of this title.
pub(crate) fn play(show: &Show, title: &str) {
    let scene = SCENES.iter().find(|scene| scene.title == title);
    show.stage().play(scene.unwrap_or_else(|| panic!("there is no scene {title:?}")));
}

/// Returns once the daemon's board meets the condition.
pub(crate) async fn wait_until(show: &Show, condition: impl Fn(&Board) -> bool) {
    let mut changes = show.board().subscribe();
    let in_time = tokio::time::timeout(Duration::from_secs(30), changes.wait_for(|board| condition(board)));
    let late = in_time.await.is_err();
    assert!(!late, "waited in vain: {:?} {}", seen(show), show.board().read(|board| format!("{board:#?}")));
}

/// A message about late data without the moment since when.
fn without_moment(message: &str) -> String {
    match (message.split_once("since "), message.split_once(", expected")) {
        (Some((before, _)), Some((_, after))) => format!("{before}since …, expected{after}"),
        _ => message.to_owned(),
    }
}

/// What the tenant's users saw so far, as `kind: message`, empty for no banner; the same twice in a row counts once.
fn seen(show: &Show) -> Vec<String> {
    let mut seen = vec![String::new()];
    seen.extend(show.stage().tenant().seen().iter().map(|sight| {
        let banner = sight.banner.as_ref();
        banner
            .map(|banner| without_moment(&format!("{}: {}", banner.kind, banner.message)))
            .unwrap_or_default()
    }));
    seen.dedup();
    seen
}

/// Returns once the tenant's users see this banner, as `kind: message`; empty for none.
pub(crate) async fn wait_for_banner(show: &Show, want: &str) {
    let seen = || seen(show).pop().unwrap_or_default();
    // The board changes with every poll, so this condition is checked often enough.
    wait_until(show, |_| seen() == want).await;
}

fn unread(board: &Board, monitor: &str) -> bool {
    board.monitors.get(monitor).is_some_and(|monitor| monitor.state.unknown.is_some())
}

fn ended(board: &Board, connector: &str, end: &str) -> u64 {
    board.syncs.get(connector).and_then(|sync| sync.ends.get(end).copied()).unwrap_or(0)
}

const MANUAL: &str = "info: Year-end close: please finish your reports by Friday.";
/// The moment varies.
const LATE: &str = "warning: Visitor counts: no new data since …, expected every 1 s";

/// The users of the tenant see exactly this list of banners, and there is one write per change of ours.
#[tokio::test(flavor = "multi_thread")]
async fn each_scene_has_the_effect_that_the_audience_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let show = show(folder.path()).await;
    let names = ["statuscake", "sensource", "people_ai"];
    wait_until(&show, |board| names.iter().all(|name| ended(board, name, "complete") > 0)).await;
    wait_until(&show, |board| board.monitors.keys().all(|name| !unread(board, name))).await;
    let mut story = Vec::new();
    let late_is_over = format!("resolved: Resolved: {}", &LATE[9..]);
    for scene in SCENES {
        show.stage().play(scene);
        let banner = match scene.second {
            6 | 62 => MANUAL,
            14 => "warning: Snowflake: Slow queries in US West",
            30 => "error: Snowflake: Queries fail in US West",
            38 => "error: Snowflake: Queries fail in US West | GitHub: Actions start late",
            54 => "warning: GitHub: Actions start late",
            0 | 72 => "",
            76 => "info: Epic Games: Weekly update of the store",
            92 => "resolved: Resolved: Epic Games: Weekly update of the store",
            99 => LATE,
            110 => "error: BigQuery: Queries fail in Europe",
            115 => "resolved: Resolved: BigQuery: Queries fail in Europe",
            _ => story.last().copied().unwrap_or_default(),
        };
        if scene.second == 92 {
            // Late data is the scene after the next one.
            wait_until(&show, |board| ended(board, "sensource", "failed") > 0).await;
        }
        wait_for_banner(&show, banner).await;
        if story.last() != Some(&banner) {
            story.push(banner);
        }
        match scene.second {
            46 => wait_until(&show, |board| unread(board, "MongoDB")).await,
            68 => wait_until(&show, |board| !unread(board, "MongoDB")).await,
            92 => {
                wait_for_banner(&show, "").await;
                story.push("");
            }
            104 => {
                wait_for_banner(&show, &late_is_over).await;
                wait_for_banner(&show, "").await;
                // What has ended by itself is switched off a moment later.
                wait_until(&show, |_| show.stage().tenant().writes().len() >= 11).await;
                story.extend([&*late_is_over, ""]);
            }
            _ => {}
        }
    }
    wait_for_banner(&show, "").await;
    story.push("");
    assert_eq!(seen(&show), story);
    wait_until(&show, |board| ended(board, "sensource", "complete") > 1).await;
    // Raise, two updates, down to GitHub, restore; Epic Games, late data and BigQuery: up, resolved, off. What has ended by
    // itself is switched off a moment later.
    wait_until(&show, |_| show.stage().tenant().writes().len() >= 14).await;
    assert_eq!(show.stage().tenant().writes().len(), 14);
    only_warehouses_reach_the_second_tenant(&show).await;
    // One message for each incident, which says in the end that it is over.
    let over =
        ["GitHub", "Epic Games", "Visitor counts", "BigQuery"].map(|name| format!("✅ Resolved: {name}"));
    wait_until(&show, |_| slack_says(&show) == over).await;
    the_app_shows_the_data_of_statuscake(&show).await;
    assert!(show.close().await, "stopped with work unfinished");
    rate_limits_cost_no_rows(folder.path());
}

/// The first line of each message in the channel.
fn slack_says(show: &Show) -> Vec<String> {
    show.stage().slack().messages().into_iter().map(|message| message.lines[0].clone()).collect()
}

async fn only_warehouses_reach_the_second_tenant(show: &Show) {
    let shown = || {
        let sights = show.stage().analytics().seen();
        let messages = sights.into_iter().filter_map(|sight| Some(sight.banner?.message));
        let mut messages: Vec<String> = messages.collect();
        messages.dedup();
        messages
    };
    let want = [
        "[External] Snowflake: Slow queries in US West",
        "[External] Snowflake: Queries fail in US West",
        "[External] Resolved: Snowflake: Queries fail in US West",
        "[External] BigQuery: Queries fail in Europe",
        "[External] Resolved: BigQuery: Queries fail in Europe",
    ];
    wait_until(show, |_| shown().len() >= want.len()).await;
    assert_eq!(shown(), want);
}

/// Its tables are in the space, and the dashboard says how old the data in the app is.
async fn the_app_shows_the_data_of_statuscake(show: &Show) {
    let has_data = |board: &Board| board.deliveries.values().any(|view| view.report.as_of.is_some());
    wait_until(show, has_data).await;
    let files: Vec<_> = show.stage().tenant().read(|state| state.data.contents().into_keys().collect());
    assert_eq!(files.len(), 4, "{files:?}");
    let page = client().get(format!("http://{}/", show.address())).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("Data in Qlik") && page.contains("as of <time"), "{page}");
}

/// StatusCake's runs waited while the quota was used up, and all of them were complete.
fn rate_limits_cost_no_rows(folder: &Path) {
    let db = Connection::open(folder.join("data/statuscake.db")).unwrap();
    let whole = "FROM _runs WHERE table_name = '' AND ended_at IS NOT NULL";
    let count = |condition: &str| -> i64 {
        db.query_row(&format!("SELECT count(*) {whole} AND {condition}"), [], |row| row.get(0)).unwrap()
    };
    assert!(count("waited_ms > 1000 AND retries > 0 AND outcome = 'complete'") > 0);
    assert_eq!(count("outcome NOT IN ('complete', 'deferred')"), 0);
}

/// The demo as a process; killed if the test ends before it.
struct DemoProcess {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl DemoProcess {
    fn start(mut command: Command) -> DemoProcess {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        DemoProcess { child, lines }
    }

    /// The next line that contains the words.
    fn until(&mut self, words: &str) -> String {
        let line = self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(words));
        line.unwrap_or_else(|| panic!("never said {words:?}"))
    }

    fn interrupt(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whatever the environment and `.env` name, the demo contacts and touches none of it. Its first line is the link;
/// after Ctrl-C only what `--data-dir` asks for stays.
#[test]
fn the_demo_ignores_the_environment_and_leaves_nothing_behind() {
    let trap = Tenant::start();
    trap.always_on("", Reply::status(500));
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let url = trap.url();
    let urls = ["QLIK_TENANT_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "STATUSCAKE_BASE_URL"];
    let mut vars: Vec<(&str, &str)> = urls.map(|name| (name, url.as_str())).to_vec();
    // The first of the connectors to run does so within two seconds.
    vars.extend([("SENSOURCE_BASE_URL", url.as_str()), ("SENSOURCE_TOKEN_URL", &url)]);
    vars.extend([("SENSOURCE_CLIENT_ID", "x-id"), ("SENSOURCE_CLIENT_SECRET", "x-secret")]);
    vars.extend([("QLIK_API_KEY", "x-key"), ("STATUSCAKE_API_KEY", "x-key")]);
    vars.extend([("DATA_DIR", "mine"), ("LOG_FILE", "mine.log"), ("MONITORS_DIR", "none")]);
    let file: String = vars.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    // From the process environment it would be used.
    fs::write(folder.path().join(".env"), file + "LISTEN=nonsense\nLOG_LEVEL='half a line\n").unwrap();
    vars.push(("TMPDIR", temporary.to_str().unwrap()));
    for args in [&["demo"][..], &["demo", "--port", "0", "--data-dir", "kept"]] {
        let mut demo = DemoProcess::start(program(folder.path(), args, &vars));
        let first = demo.until("");
        let link = first.strip_prefix("Dashboard: ").unwrap_or_else(|| panic!("{first}"));
        demo.until("A quiet morning");
        becomes_ready(link);
        demo.until("An administrator");
        assert_eq!(demo.interrupt(), 0);
        assert!(reqwest::Url::parse(link).is_ok());
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "the temporary folder is left");
    }
    assert_eq!(trap.requests().len(), 0, "{}", trap.dump());
    assert_eq!(names_in(folder.path()), [".env", "kept", "temporary"]);
    assert_eq!(
        names_in(&folder.path().join("kept")),
        ["channels", "data", "monitor.log", "monitors", "tenants"]
    );
    // Existing files may belong to someone: they are not touched.
    let (code, _, said) = output(folder.path(), &["demo", "--data-dir", "kept"], &[]);
    assert!(code == 1 && said.contains("is not empty"), "{code} {said}");
}

/// Polls `/readyz` until it answers 200, in one program that waits between its attempts.
fn becomes_ready(link: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = client();
    let asking = async {
        while !client.get(format!("{link}readyz")).send().await.is_ok_and(|answer| answer.status() == 200) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ready = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), asking).await });
    assert!(ready.is_ok(), "never ready");
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
