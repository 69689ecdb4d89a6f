//! The dashboard in a real browser, in front of a demo whose scenes the tests play.
//!
//! Where there is no browser these tests say so and pass; with `REQUIRE_BROWSER=1` that is a failure. Screenshots
//! stay in `target/screenshots`.

mod axe;
mod chromium;

use std::path::{Path, PathBuf};

use data_sources_monitor::testing::commands::service::demo::Show;
use data_sources_monitor::testing::runtime::board::MonitorView;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::monitoring::demo::{play, show, wait_for_banner, wait_until};
use crate::postgres::cluster::skipped;
use chromium::{Tab, program};

/// Browsers are heavy: one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// A demo and a browser.
struct Session {
    tab: Tab,
    show: Show,
    url: String,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// `None` where there is no browser and none is required.
async fn session() -> Option<Session> {
    let Some(program) = program() else {
        skipped("REQUIRE_BROWSER", "a headless Chromium is missing (Debian: chromium-headless-shell)");
        return None;
    };
    let turn = TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let show = show(folder.path()).await;
    wait_until(&show, |board| {
        let synced = board.syncs.values().filter(|sync| sync.last_success.is_some()).count();
        let read =
            |monitor: &&MonitorView| monitor.state.read_at.is_some() && monitor.state.unknown.is_none();
        (synced, board.monitors.values().filter(read).count()) == (3, 7)
    })
    .await;
    let url = format!("http://{}", show.address());
    let mut tab = Tab::open(&program).await;
    tab.emulate(1280, 900, "light").await;
    Some(Session { tab, show, url, _folder: folder, _turn: turn })
}

impl Session {
    async fn goto(&mut self, path: &str) {
        self.tab.goto(&format!("{}{path}", self.url)).await;
    }

    /// Waits until a section of the page, named by its heading's id, contains the text.
    async fn wait_for(&mut self, part: &str, words: &str) {
        let (part, words) = (json!(format!("[aria-labelledby={part}]")), json!(words));
        self.tab.wait_for(&format!("document.querySelector({part})?.innerText.includes({words})")).await;
    }

    /// The browser reported nothing, and requested nothing but our server.
    fn assert_no_complaints(&mut self) {
        let strangers: Vec<String> = self.tab.requested();
        let strangers: Vec<&String> =
            strangers.iter().filter(|asked| !asked.starts_with(&self.url)).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
        let complaints = self.tab.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots").join(format!("{name}.png"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_appears_and_clears_without_a_page_reload() {
    let Some(mut session) = session().await else { return };
    session.goto("/").await;
    session.wait_for("banner", "No banner").await;
    session.tab.value("window.still_here = true").await;
    for (scene, words) in [
        ("Snowflake slows down", "Slow queries in US West"),
        ("Snowflake gets worse", "Queries fail in US West"),
        ("Snowflake is fixed", "Resolved"),
    ] {
        play(&session.show, scene);
        session.wait_for("banner", words).await;
    }
    session.wait_for("banner", "No banner").await;
    session.wait_for("monitors", "All Systems Operational").await;
    assert_eq!(session.tab.value("window.still_here").await, true);
    session.assert_no_complaints();
}

/// Links lead to the pages of a monitor and a connector.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_readable_without_scripts() {
    let Some(mut session) = session().await else { return };
    session.tab.allow_scripts(false).await;
    play(&session.show, "Snowflake gets worse");
    wait_for_banner(&session.show, "error: Snowflake: Queries fail in US West").await;
    session.goto("/").await;
    let text = session.tab.text().await;
    for words in ["Snowflake", "Queries fail in US West", "GitHub", "MongoDB", "Epic Games", "statuscake"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for name in ["Snowflake", "statuscake"] {
        session.goto("/").await;
        let link = json!(format!("main a[href$='/{name}']"));
        let href = session.tab.value(&format!("document.querySelector({link}).href")).await;
        session.tab.goto(href.as_str().unwrap()).await;
        let heading = session.tab.value("document.querySelector('h1').innerText").await;
        assert!(heading.as_str().unwrap().contains(name), "{heading}");
    }
    session.assert_no_complaints();
}

/// Everything that the pages can show, at once: each severity, an unreadable page, a failed run.
async fn trouble(session: &mut Session) {
    for scene in ["Snowflake gets worse", "GitHub has a problem as well", "MongoDB's status page moves away"]
    {
        play(&session.show, scene);
    }
    play(&session.show, "Epic Games starts its maintenance");
    play(&session.show, "SenSource answers with errors");
    wait_until(&session.show, |board| {
        let all = [("Snowflake", false), ("MongoDB", true)];
        all.iter().all(|(name, unread)| {
            let state = &board.monitors[*name].state;
            state.unknown.is_some() == *unread && (*unread || state.severity > Default::default())
        }) && board.syncs["sensource"].ends.contains_key("failed")
            && board.issues.len() >= 3
    })
    .await;
}

/// The pages that are checked in light and dark: the name of the screenshot, and the path.
const PAGES: [(&str, &str); 9] = [
    ("overview", "/"),
    ("compact", "/?view=compact&changes=all"),
    ("problems", "/?state=problem"),
    ("month", "/monitors/Snowflake?range=30d"),
    ("monitor", "/monitors/Snowflake"),
    ("unread", "/monitors/MongoDB"),
    ("connector", "/connectors/statuscake"),
    ("failed", "/connectors/sensource"),
    ("nowhere", "/monitors/Nobody"),
];

/// In light and dark, on desktop, wide screen and phone: nothing is cut off or scrolls sideways.
#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_every_screen_and_have_no_axe_violations() {
    let (Some(axe), Some(mut session)) = (axe::script(), session().await) else { return };
    trouble(&mut session).await;
    let mut wrong = Vec::new();
    for (device, width, height) in [("desk", 1280, 900), ("wide", 2560, 1400), ("phone", 390, 844)] {
        let mut grounds = Vec::new();
        for scheme in ["light", "dark"] {
            for (name, path) in PAGES {
                session.tab.emulate(width, height, scheme).await;
                session.goto(path).await;
                let found = problems(&mut session.tab, &axe, &format!("{name}-{device}-{scheme}")).await;
                wrong.extend(found.iter().map(|found| format!("{name}, {device}, {scheme}: {found}")));
            }
            grounds.push(session.tab.value("getComputedStyle(document.body).backgroundColor").await);
        }
        assert_ne!(grounds[0], grounds[1], "dark looks like light");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // It would have been reported.
    session.tab.value("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\">')").await;
    let found = axe::check(&mut session.tab, &axe).await;
    assert!(found.iter().any(|found| found.starts_with("image-alt")), "{found:?}");
}

/// What is wrong with the current page; a screenshot is saved.
async fn problems(tab: &mut Tab, axe: &str, name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let [wide, tall] = ["Width", "Height"].map(|side| format!("document.documentElement.scroll{side}"));
    let beyond = tab.value(&format!("{wide} - document.documentElement.clientWidth")).await;
    if beyond.as_i64() > Some(0) {
        wrong.push(format!("{beyond} px too wide"));
    }
    // What is below the fold is drawn, and can be checked, only once it is visible.
    let tall = tab.value(&tall).await.as_u64().unwrap();
    tab.grow(u32::try_from(tall).unwrap()).await;
    wrong.extend(axe::check(tab, axe).await);
    tab.picture(&picture(name)).await;
    wrong
}

/// The first key skips the header; a monitor's page can be reached.
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_can_be_used_by_keyboard_alone() {
    let Some(mut session) = session().await else { return };
    session.goto("/").await;
    session.tab.press("Tab").await;
    session.tab.wait_for("document.activeElement.hash === '#main' && document.activeElement.getBoundingClientRect().top >= 0").await;
    session.tab.press("Enter").await;
    session.tab.wait_for("document.activeElement.id === 'main'").await;
    for _ in 0..40 {
        session.tab.press("Tab").await;
        if session.tab.value("document.activeElement.pathname === '/monitors/GitHub'").await == true {
            session.tab.press("Enter").await;
            session.tab.wait_for("document.querySelector('h1')?.innerText.includes('GitHub')").await;
            return;
        }
    }
    panic!("no monitor can be reached by the keyboard");
}
