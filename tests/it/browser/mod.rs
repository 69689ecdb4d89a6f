//! The dashboard in a real browser, before a demo that the tests direct.
//!
//! Where there is no browser these tests say so and pass; with `REQUIRE_BROWSER=1` that is a failure. Pictures of what
//! was looked at stay in `target/screenshots`.

mod axe;
mod chromium;

use std::path::{Path, PathBuf};

use data_sources_monitor::commands::demo::Show;
use data_sources_monitor::runtime::board::MonitorView;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::cluster::skipped;
use crate::demo::{play, show, wait_for_banner, wait_until};
use chromium::{Tab, program};

/// Browsers are heavy: one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// A demo and a browser to look at it with.
struct Seat {
    tab: Tab,
    show: Show,
    url: String,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Where there is a browser, or one is required.
async fn seat() -> Option<Seat> {
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
        (synced, board.monitors.values().filter(read).count()) == (3, 5)
    })
    .await;
    let url = format!("http://{}", show.address());
    let mut tab = Tab::open(&program).await;
    tab.look_like(1280, 900, "light").await;
    Some(Seat { tab, show, url, _folder: folder, _turn: turn })
}

impl Seat {
    async fn goto(&mut self, path: &str) {
        self.tab.goto(&format!("{}{path}", self.url)).await;
    }

    /// Waits until a part of the page, named by its heading's id, holds the words.
    async fn wait_for(&mut self, part: &str, words: &str) {
        let (part, words) = (json!(format!("[aria-labelledby={part}]")), json!(words));
        self.tab.wait_for(&format!("document.querySelector({part})?.innerText.includes({words})")).await;
    }

    /// The browser had nothing to complain of, and asked nobody but us.
    fn assert_content(&mut self) {
        let strangers: Vec<String> = self.tab.asked_for();
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

/// On a page that stays open an incident appears, gets worse and clears; the page is never loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn an_incident_comes_and_goes_without_a_reload() {
    let Some(mut seat) = seat().await else { return };
    seat.goto("/").await;
    seat.wait_for("banner", "No banner").await;
    seat.tab.value("window.still_here = true").await;
    for (scene, words) in [
        ("Snowflake slows down", "Slow queries in US West"),
        ("Snowflake gets worse", "Queries fail in US West"),
        ("Snowflake is mended", "Resolved"),
    ] {
        play(&seat.show, scene);
        seat.wait_for("banner", words).await;
    }
    seat.wait_for("banner", "No banner").await;
    seat.wait_for("monitors", "All Systems Operational").await;
    assert_eq!(seat.tab.value("window.still_here").await, true);
    seat.assert_content();
}

/// With scripts off the same is there to be read, and links lead to the pages of a monitor and a connector.
#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_read_with_scripts_off() {
    let Some(mut seat) = seat().await else { return };
    seat.tab.allow_scripts(false).await;
    play(&seat.show, "Snowflake gets worse");
    wait_for_banner(&seat.show, "error: Snowflake: Queries fail in US West").await;
    seat.goto("/").await;
    let text = seat.tab.text().await;
    for words in ["Snowflake", "Queries fail in US West", "GitHub", "MongoDB", "Epic Games", "statuscake"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for name in ["Snowflake", "statuscake"] {
        seat.goto("/").await;
        let link = json!(format!("main a[href$='/{name}']"));
        let href = seat.tab.value(&format!("document.querySelector({link}).href")).await;
        seat.tab.goto(href.as_str().unwrap()).await;
        let heading = seat.tab.value("document.querySelector('h1').innerText").await;
        assert!(heading.as_str().unwrap().contains(name), "{heading}");
    }
    seat.assert_content();
}

/// Everything that the pages know to show at once: each severity, a page that cannot be read, a failed run.
async fn trouble(seat: &mut Seat) {
    for scene in ["Snowflake gets worse", "GitHub has a problem as well", "MongoDB's page moves away"] {
        play(&seat.show, scene);
    }
    play(&seat.show, "Epic Games begins its maintenance");
    play(&seat.show, "SenSource answers with errors");
    wait_until(&seat.show, |board| {
        let all = [("Snowflake", false), ("MongoDB", true)];
        all.iter().all(|(name, unread)| {
            let state = &board.monitors[*name].state;
            state.unknown.is_some() == *unread && (*unread || state.severity > Default::default())
        }) && board.syncs["sensource"].ends.contains_key("failed")
            && board.issues.len() >= 3
    })
    .await;
}

/// The pages that are looked at in every light: the name of the picture, and the path.
const PAGES: [(&str, &str); 6] = [
    ("overview", "/"),
    ("monitor", "/monitors/Snowflake"),
    ("unread", "/monitors/MongoDB"),
    ("connector", "/connectors/statuscake"),
    ("failed", "/connectors/sensource"),
    ("nowhere", "/monitors/Nobody"),
];

/// In light and in dark, on a desk and on a phone: nothing is cut off or wants scrolling sideways, and axe finds
/// nothing that would keep anybody out.
#[tokio::test(flavor = "multi_thread")]
async fn fit_for_every_screen_and_everybody() {
    let (Some(axe), Some(mut seat)) = (axe::script(), seat().await) else { return };
    trouble(&mut seat).await;
    let mut wrong = Vec::new();
    for (device, width, height) in [("desk", 1280, 900), ("phone", 390, 844)] {
        let mut grounds = Vec::new();
        for scheme in ["light", "dark"] {
            for (name, path) in PAGES {
                seat.tab.look_like(width, height, scheme).await;
                seat.goto(path).await;
                let found = judge(&mut seat.tab, &axe, &format!("{name}-{device}-{scheme}")).await;
                wrong.extend(found.iter().map(|found| format!("{name}, {device}, {scheme}: {found}")));
            }
            grounds.push(seat.tab.value("getComputedStyle(document.body).backgroundColor").await);
        }
        assert_ne!(grounds[0], grounds[1], "dark looks like light");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // It would have been told.
    seat.tab.value("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\">')").await;
    let found = axe::check(&mut seat.tab, &axe).await;
    assert!(found.iter().any(|found| found.starts_with("image-alt")), "{found:?}");
}

/// What is wrong with the page that is shown; its picture is kept.
async fn judge(tab: &mut Tab, axe: &str, name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let [wide, tall] = ["Width", "Height"].map(|side| format!("document.documentElement.scroll{side}"));
    let beyond = tab.value(&format!("{wide} - document.documentElement.clientWidth")).await;
    if beyond.as_i64() > Some(0) {
        wrong.push(format!("{beyond} px too wide"));
    }
    // What is below the fold is drawn, and can be judged, only once it is seen.
    let tall = tab.value(&tall).await.as_u64().unwrap();
    tab.grow(u32::try_from(tall).unwrap()).await;
    wrong.extend(axe::check(tab, axe).await);
    tab.picture(&picture(name)).await;
    wrong
}

/// Whoever uses the keyboard alone gets past the header with the first key, and reaches a monitor's page.
#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough() {
    let Some(mut seat) = seat().await else { return };
    seat.goto("/").await;
    seat.tab.press("Tab").await;
    seat.tab.wait_for("document.activeElement.hash === '#main' && document.activeElement.getBoundingClientRect().top >= 0").await;
    seat.tab.press("Enter").await;
    seat.tab.wait_for("document.activeElement.id === 'main'").await;
    for _ in 0..40 {
        seat.tab.press("Tab").await;
        if seat.tab.value("document.activeElement.pathname === '/monitors/GitHub'").await == true {
            seat.tab.press("Enter").await;
            seat.tab.wait_for("document.querySelector('h1')?.innerText.includes('GitHub')").await;
            return;
        }
    }
    panic!("no monitor can be reached by the keyboard");
}
