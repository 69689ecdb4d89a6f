//! The demo: its day stepped through scene by scene, and the program that plays it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_sources_monitor::commands::demo::Show;
use data_sources_monitor::demo::script::SCENES;
use data_sources_monitor::demo::{Pace, Stage};
use data_sources_monitor::runtime::board::Board;
use data_sources_monitor::secrets::Redactor;
use rusqlite::Connection;
use tokio::net::TcpListener;

use crate::binary::{output, program};
use stand_ins::Reply;
use stand_ins::tenant::Tenant;

/// Quick, and with room for a machine under load before data count as late.
const QUICK: Pace = Pace {
    sync: Duration::from_secs(1),
    late: Duration::from_secs(10),
    resolved_for: Duration::from_millis(1500),
};

/// A demo whose scenes the test calls.
pub(crate) async fn show(folder: &Path) -> Show {
    data_sources_monitor::http::install_tls_provider();
    let stage = Stage::open().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Show::open(stage, folder, QUICK, listener, &Redactor::default()).await.unwrap()
}

/// Plays the scene of this title.
pub(crate) fn play(show: &Show, title: &str) {
    let scene = SCENES.iter().find(|scene| scene.title == title);
    show.stage().play(scene.unwrap_or_else(|| panic!("there is no scene {title:?}")));
}

/// Returns once the daemon's board shows what is asked for.
pub(crate) async fn wait_until(show: &Show, condition: impl Fn(&Board) -> bool) {
    let mut changes = show.board().subscribe();
    let in_time = tokio::time::timeout(Duration::from_secs(30), changes.wait_for(|board| condition(board)));
    assert!(in_time.await.is_ok(), "waited in vain: {}", show.board().read(|board| format!("{board:#?}")));
}

/// What the tenant's users saw so far, as `kind: message`, empty for no banner; the same twice in a row counts once.
fn seen(show: &Show) -> Vec<String> {
    let mut seen = vec![String::new()];
    seen.extend(show.stage().tenant().seen().iter().map(|sight| {
        sight.banner.as_ref().map(|banner| format!("{}: {}", banner.kind, banner.message)).unwrap_or_default()
    }));
    seen.dedup();
    seen
}

/// Returns once the tenant's users see this banner, as `kind: message`; empty for none.
pub(crate) async fn wait_for_banner(show: &Show, want: &str) {
    let seen = || seen(show).pop().unwrap_or_default();
    // The board changes with every look, so whoever waits for it looks often enough.
    wait_until(show, |_| seen() == want).await;
}

fn unread(board: &Board, monitor: &str) -> bool {
    board.monitors.get(monitor).is_some_and(|monitor| monitor.state.unknown.is_some())
}

fn ended(board: &Board, connector: &str, end: &str) -> u64 {
    board.syncs.get(connector).and_then(|sync| sync.ends.get(end).copied()).unwrap_or(0)
}

const HERS: &str = "info: Year-end close: please finish your reports by Friday.";
const LATE: &str = "warning: Visitor counts: data is less than a minute old";

/// The whole day: each scene has the effect that the audience is told to look for, the tenant's users see exactly
/// this row of banners and nothing in between, and no more is written than there are changes of ours.
#[tokio::test(flavor = "multi_thread")]
async fn the_day_as_its_audience_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let show = show(folder.path()).await;
    let names = ["statuscake", "sensource", "people_ai"];
    wait_until(&show, |board| names.iter().all(|name| ended(board, name, "complete") > 0)).await;
    wait_until(&show, |board| board.monitors.keys().all(|name| !unread(board, name))).await;
    let mut story = Vec::new();
    for scene in SCENES {
        show.stage().play(scene);
        let banner = match scene.second {
            6 | 62 => HERS,
            14 => "warning: Snowflake: Slow queries in US West",
            30 => "error: Snowflake: Queries fail in US West",
            38 => "error: Snowflake: Queries fail in US West | GitHub: Actions start late",
            54 => "warning: GitHub: Actions start late",
            0 | 72 => "",
            76 => "info: Epic Games: Weekly update of the store",
            92 => "resolved: Resolved: Epic Games: Weekly update of the store",
            99 => LATE,
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
                wait_for_banner(&show, &format!("resolved: Resolved: {}", &LATE[9..])).await;
                wait_for_banner(&show, "").await;
            }
            _ => {}
        }
    }
    let seen = seen(&show);
    let after = ["resolved: Resolved: Visitor counts: data is less than a minute old", ""];
    assert_eq!(seen, [&story[..], &after[..]].concat());
    wait_until(&show, |board| ended(board, "sensource", "complete") > 1).await;
    // Raise, two updates, down to GitHub, hand back; Epic Games up, resolved, off; late, resolved, off. What has
    // ended by itself is switched off a moment later.
    wait_until(&show, |_| show.stage().tenant().writes().len() >= 11).await;
    assert_eq!(show.stage().tenant().writes().len(), 11);
    assert!(show.close().await, "stopped with work unfinished");
    rate_limits_cost_no_rows(folder.path());
}

/// While others used up the quota StatusCake's runs waited, and every one of them was complete.
fn rate_limits_cost_no_rows(folder: &Path) {
    let db = Connection::open(folder.join("data/statuscake.db")).unwrap();
    let whole = "FROM _runs WHERE table_name = '' AND ended_at IS NOT NULL";
    let count = |condition: &str| -> i64 {
        db.query_row(&format!("SELECT count(*) {whole} AND {condition}"), [], |row| row.get(0)).unwrap()
    };
    assert!(count("waited_ms > 1000 AND retries > 0 AND outcome = 'complete'") > 0);
    assert_eq!(count("outcome NOT IN ('complete', 'deferred')"), 0);
}

/// The demo as typed; killed if the test ends before it.
struct Typed {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Typed {
    fn start(mut command: Command) -> Typed {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Typed { child, lines }
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

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whatever the environment and `.env` say, the demo asks nobody they name and touches nothing they name; its first
/// line is the link, and Ctrl-C leaves nothing behind but what `--data-dir` wants kept.
#[test]
fn it_keeps_to_itself() {
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
    // Of the process environment it would be heeded.
    fs::write(folder.path().join(".env"), file + "LISTEN=nonsense\nLOG_LEVEL='half a line\n").unwrap();
    vars.push(("TMPDIR", temporary.to_str().unwrap()));
    for args in [&["demo"][..], &["demo", "--port", "0", "--data-dir", "kept"]] {
        let mut demo = Typed::start(program(folder.path(), args, &vars));
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
    assert_eq!(names_in(&folder.path().join("kept")), ["data", "monitor.log", "monitors"]);
    // What is there may be somebody's: it is not touched.
    let (code, _, said) = output(folder.path(), &["demo", "--data-dir", "kept"], &[]);
    assert!(code == 1 && said.contains("is not empty"), "{code} {said}");
}

/// Asks `/readyz` until it answers 200, in one program that waits between its tries.
fn becomes_ready(link: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = crate::http_client::client();
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
