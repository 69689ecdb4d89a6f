//! How fast a connector's whole sync is: the real release program from a local server into SQLite, beside a bare loop of
//! prepared upserts over the same rows.
//!
//! `cargo bench --bench connectors` or, smaller, `cargo bench --bench connectors -- activities=20000 tests=20
//! history=200 rounds=1`; 0 leaves a part out. `PROGRAM=…` measures another binary, `BENCH_FOLDER` is where files go.
//! In each round the floor comes first and then the sync, so that both meet the same load.
//!
//! Start at [`people_ai`]. `source` is what the program reads from, `floor` the bare loop, `program` the child process.
//! Nothing here is a test: aims are printed beside the figures and judged by the reader.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../rows/activity.rs"]
mod activity;
mod floor;
mod program;
mod source;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use data_sources_monitor::domain::cell::Cell;
use rusqlite::Connection;

use program::Sync;
use source::Source;

/// Rows in a page of activities, as the definition asks for.
const PAGE: usize = 1_000;
/// One activity in so many changes before the incremental sync.
const CHANGED: u64 = 100;
/// The aim for memory, in bytes.
const MEMORY: u64 = 64_000_000;
/// The aim beside the floor.
const SHARE: f64 = 0.8;

struct Sizes {
    activities: u64,
    tests: usize,
    history: usize,
    rounds: usize,
}

fn main() -> ExitCode {
    // `cargo test --benches` starts benchmarks too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench: use `cargo bench --bench connectors`");
        return ExitCode::SUCCESS;
    }
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> anyhow::Result<()> {
    let sizes = sizes()?;
    println!("{}\n", machine());
    println!(
        "{:<34} {:>9} {:>8} {:>10} {:>8} {:>9} {:>9}",
        "case", "rows", "seconds", "rows/s", "CPU s", "peak MB", "requests"
    );
    let source = Arc::new(Source::new(sizes.activities, sizes.tests, sizes.history));
    let url = Arc::clone(&source).serve()?;
    let mut aims = Vec::new();
    for _ in 0..sizes.rounds {
        let folder = tempfile::tempdir_in(std::env::var("BENCH_FOLDER").unwrap_or(".".into()))?;
        program::unlimited(folder.path())?;
        if sizes.activities > 0 {
            aims.extend(people_ai(&sizes, &source, &url, folder.path())?);
        }
        if sizes.tests * sizes.history > 0 {
            aims.extend(statuscake(&sizes, &source, &url, folder.path())?);
        }
    }
    println!("\n{}", aims.join("\n"));
    Ok(())
}

fn people_ai(sizes: &Sizes, source: &Source, url: &str, folder: &Path) -> anyhow::Result<Vec<String>> {
    let pages = source.activities.pages(PAGE).map(|page| (page, Vec::new()));
    let floor = floor::write(&folder.join("floor.db"), floor::activity_layout(), pages)?;
    tell("activities, bare loop", floor.rows, floor.wall, (floor.cpu, 0), 0);
    std::fs::remove_file(folder.join("floor.db"))?;
    let vars = [
        ("PEOPLE_AI_API_KEY", "bench".to_owned()),
        ("PEOPLE_AI_API_SECRET", "bench".to_owned()),
        ("PEOPLE_AI_BASE_URL", url.to_owned()),
        ("PEOPLE_AI_TOKEN_URL", format!("{url}/auth/v1/tokens")),
    ];
    let args = ["people_ai", "--table", "activity"];
    let file = folder.join("data/people_ai.db");
    source.change(u64::MAX);
    let first = program::sync(folder, &args, &vars)?;
    let stored = count(&file, "SELECT count(*) FROM activity")?;
    anyhow::ensure!(stored == sizes.activities, "{stored} of {} activities are stored", sizes.activities);
    tell("activities, first sync", stored, first.took, (first.cpu, first.peak), source.requests());
    let changed = source.change(CHANGED);
    let second = program::sync(folder, &args, &vars)?;
    let updated = "SELECT updated FROM _runs WHERE table_name = 'activity' ORDER BY run DESC LIMIT 1";
    let updated = count(&file, updated)?;
    anyhow::ensure!(updated == changed, "{updated} of {changed} changes are stored");
    tell(
        "activities, incremental, 1 % new",
        changed,
        second.took,
        (second.cpu, second.peak),
        source.requests(),
    );
    let third = program::sync(folder, &args, &vars)?;
    tell("activities, the same again", changed, third.took, (third.cpu, third.peak), source.requests());
    *source.changed.write().unwrap() = source::Listing::default();
    let fourth = program::sync(folder, &args, &vars)?;
    tell("activities, nothing new", 0, fourth.took, (fourth.cpu, fourth.peak), source.requests());
    std::fs::remove_file(file)?;
    Ok(vec![share("activities", floor.wall, first.took), memory("activities", &first)])
}

fn statuscake(sizes: &Sizes, source: &Source, url: &str, folder: &Path) -> anyhow::Result<Vec<String>> {
    let pages = (0..sizes.tests).flat_map(|test| {
        let id = Cell::Text((1_000_000 + test).to_string().into());
        source.results.iter().map(move |page| (page.clone(), vec![id.clone()]))
    });
    let floor = floor::write(&folder.join("floor.db"), floor::history_layout(), pages)?;
    tell("results, bare loop", floor.rows, floor.wall, (floor.cpu, 0), 0);
    std::fs::remove_file(folder.join("floor.db"))?;
    let vars = [("STATUSCAKE_API_KEY", "bench".to_owned()), ("STATUSCAKE_BASE_URL", format!("{url}/v1"))];
    let args = ["statuscake", "--table", "uptime_test", "--table", "uptime_test_history"];
    source.requests();
    let first = program::sync(folder, &args, &vars)?;
    let file = folder.join("data/statuscake.db");
    let stored = count(&file, "SELECT count(*) FROM uptime_test_history")?;
    anyhow::ensure!(stored == floor.rows, "{stored} of {} results are stored", floor.rows);
    tell("results, first sync", stored, first.took, (first.cpu, first.peak), source.requests());
    let second = program::sync(folder, &args, &vars)?;
    tell("results, nothing new", 0, second.took, (second.cpu, second.peak), source.requests());
    std::fs::remove_file(file)?;
    Ok(vec![share("results", floor.wall, first.took), memory("results", &first)])
}

fn tell(case: &str, rows: u64, took: Duration, (cpu, peak): (f64, u64), requests: u64) {
    let seconds = took.as_secs_f64();
    let rate = rows as f64 / seconds;
    let peak = if peak == 0 { String::new() } else { format!("{:.1}", peak as f64 / 1e6) };
    let requests = if requests == 0 { String::new() } else { requests.to_string() };
    println!("{case:<34} {rows:>9} {seconds:>8.2} {rate:>10.0} {cpu:>8.1} {peak:>9} {requests:>9}");
}

fn share(what: &str, floor: Duration, sync: Duration) -> String {
    let share = floor.as_secs_f64() / sync.as_secs_f64();
    let met = if share >= SHARE { "met" } else { "MISSED" };
    format!("{met:<6}  {what}: at least {:.0} % of the bare loop: {:.0} %", SHARE * 100.0, share * 100.0)
}

fn memory(what: &str, sync: &Sync) -> String {
    let met = if sync.peak < MEMORY { "met" } else { "MISSED" };
    format!("{met:<6}  {what}: peak memory under 64 MB: {:.1} MB", sync.peak as f64 / 1e6)
}

fn count(file: &Path, sql: &str) -> anyhow::Result<u64> {
    let db = Connection::open(file)?;
    let count: i64 = db.query_row(sql, [], |row| row.get(0)).with_context(|| sql.to_owned())?;
    Ok(count.unsigned_abs())
}

fn sizes() -> anyhow::Result<Sizes> {
    let mut sizes = Sizes { activities: 1_000_000, tests: 500, history: 1_000, rounds: 3 };
    for given in std::env::args().skip(1).filter(|one| !one.starts_with("--")) {
        let (name, number) =
            given.split_once('=').with_context(|| format!("`{given}` is not NAME=NUMBER"))?;
        let number: usize = number.parse().with_context(|| format!("`{given}`"))?;
        match name {
            "activities" => sizes.activities = number as u64,
            "tests" => sizes.tests = number,
            "history" => sizes.history = number,
            "rounds" => sizes.rounds = number,
            other => {
                anyhow::bail!("there is no size {other:?}; there are activities, tests, history, rounds")
            }
        }
    }
    Ok(sizes)
}

/// What it is measured on.
fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap_or_default();
        line.trim_matches([' ', '\t', ':']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores of {}, memory {}, load {} before",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        load.split(' ').next().unwrap_or_default()
    )
}
