//! Many monitors of status pages of every engine: what it costs to interpret the engines' definitions.
//!
//! Each page is a stand-in server of its own; 25 monitors read each, with and without a filter of components. A page
//! breaks or recovers every second.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use stand_ins::Clock;
use stand_ins::engines::{EnginePage, Level};

use crate::ledger::{self, Ledger};
use crate::pages::Plan;
use crate::program::{Program, Scrape};
use crate::{MINUTE, TIMEOUT, report, tenant};

const MONITORS: usize = 10_000;
const PAGES: usize = 400;
/// For how long it is measured.
const WINDOW: Duration = Duration::from_secs(180);
/// A page breaks or recovers this often.
const CHANGE: Duration = Duration::from_secs(1);
/// The id of the component that breaks.
const SICK: u32 = 11;

/// The hosts that definitions of engines name; pages are below their own address instead.
const HOSTS: [&str; 5] = [
    "https://api.status.io/",
    "https://api.status.salesforce.com/",
    "https://public-api.freshstatus.io/",
    "https://raw.githubusercontent.com/",
    "https://api.openstatus.dev/",
];

/// Measured, and judged by its goals.
pub(crate) struct EngineFigures {
    engines: usize,
    cpu: Duration,
    wall: Duration,
    peak: u64,
    peak_scraped: u64,
    polls: u64,
    missed: u64,
    unknown: u64,
}

pub(crate) async fn measure() -> anyhow::Result<EngineFigures> {
    let names: Vec<&str> = EnginePage::engines().collect();
    let mut pages = Vec::new();
    for number in 0..PAGES {
        let engine = names[number % names.len()];
        pages.push((engine, EnginePage::open(engine, &Clock::system())?));
    }
    let plan = Plan { count: MONITORS, interval: MINUTE, timeout: TIMEOUT, window: WINDOW };
    let tenant = tenant::serve(Ledger::new(plan)).await?;
    let program = Program::start(plan, Some(tenant), |folder| define(folder, &pages))?;
    let web = program.listens_at().await?;
    // The first round, which also saves all states for the first time.
    let first = Instant::now();
    while Scrape::of(web).await?.sum("dsm_monitor_polls_total") < MONITORS as u64 {
        anyhow::ensure!(first.elapsed() < MINUTE * 3, "not every monitor was polled within three minutes");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let before = Scrape::of(web).await?.sum("dsm_monitor_polls_total");
    let (from, began) = (program.cpu()?, Instant::now());
    let mut broken = false;
    let mut nth = 0;
    while began.elapsed() < WINDOW {
        tokio::time::sleep(CHANGE).await;
        pages[nth % pages.len()].1.change(|server| match broken {
            true => server.model().resolve(),
            false => server.model().break_component(SICK, Level::Outage),
        });
        (broken, nth) = (!broken, nth + usize::from(broken));
    }
    let (cpu, wall) = (program.cpu()?.since(&from), began.elapsed());
    let peak = program.peak_memory()?;
    let scrape = Scrape::of(web).await?;
    Ok(EngineFigures {
        engines: names.len(),
        cpu,
        wall,
        peak,
        peak_scraped: program.peak_memory()?,
        polls: scrape.sum("dsm_monitor_polls_total") - before,
        missed: scrape.sum("dsm_looks_missed_total"),
        unknown: scrape.sum("dsm_monitor_unknown"),
    })
}

/// The definitions of the monitors, and those of the engines without their hosts.
fn define(folder: &Path, pages: &[(&str, EnginePage)]) -> anyhow::Result<()> {
    let (monitors, engines) = (folder.join("monitors"), folder.join("engines"));
    fs::create_dir(&monitors)?;
    fs::create_dir(&engines)?;
    for (engine, _) in &pages[..EnginePage::engines().count()] {
        let file = format!("{}/engines/{engine}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&file).with_context(|| file.clone())?;
        let own = HOSTS
            .iter()
            .fold(text.clone(), |text, host| text.replace(&format!("url = \"{host}"), "path = \""));
        if own != text {
            fs::write(engines.join(format!("{engine}.toml")), own)?;
        }
    }
    for number in 0..MONITORS {
        let (engine, page) = &pages[number % pages.len()];
        let name = ledger::name(number);
        let (path, more) = match *engine {
            "feed" => ("/feed", ""),
            "http" => ("/health", ""),
            "statusio" => ("/", "options = { page_id = \"5b36dc6502d06804c08349f7\" }"),
            "salesforce" => ("/", "options = { instance = \"EU45\" }"),
            "freshstatus" => ("/", "options = { account_id = \"3616\" }"),
            "upptime" => ("/", "options = { owner = \"examplify\", repo = \"upptime\" }"),
            "openstatus" => ("/", "options = { slug = \"examplify\" }"),
            _ => ("/", ""),
        };
        let filtered = !matches!(
            *engine,
            "http" | "hyperping" | "microsoft" | "oci" | "openstatus" | "rootly" | "salesforce"
        );
        let filter = if filtered && number / pages.len() % 2 == 1 { "components = [\"*e*\"]" } else { "" };
        let text = format!(
            "name = \"{name}\"\nurl = \"{}{path}\"\nengine = \"{engine}\"\nincidents = true\n{more}\n{filter}\n",
            page.url()
        );
        fs::write(monitors.join(format!("{name}.toml")), text)?;
    }
    Ok(())
}

impl EngineFigures {
    fn core_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

impl fmt::Display for EngineFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (core, memory) = (self.core_percent(), report::megabytes(self.peak));
        writeln!(
            f,
            "{MONITORS} monitors of {PAGES} pages of {} engines every {} s, for {:.0} s: {} polls, {core:.2} % of a core, peak memory \
             {memory:.1} MB (with /metrics {:.1} MB), {} missed, {} unknown",
            self.engines,
            MINUTE.as_secs(),
            self.wall.as_secs_f64(),
            self.polls,
            report::megabytes(self.peak_scraped),
            self.missed,
            self.unknown,
        )?;
        let word = |met: bool| if met { "met" } else { "MISSED" };
        writeln!(f, "{:<6}  no missed tick", word(self.missed == 0))?;
        writeln!(f, "{:<6}  at most 150 MB", word(memory <= 150.0))?;
        write!(f, "{:<6}  at most 5 % of a core", word(core <= 5.0))
    }
}
