//! How fast a connector's whole sync is: the real release program from a local server into SQLite, beside a bare loop of
//! prepared upserts over the same rows; and into a throwaway PostgreSQL of the machine's own binaries, beside a bare loop
//! of binary COPY and merge.
//!
//! `cargo bench --bench connectors` or, smaller, `cargo bench --bench connectors -- activities=20000 tests=20
//! history=200 rounds=1`; 0 leaves a part out, `postgres=0` the server, `rate=0` the sync at the service's rate. `PROGRAM=…` measures another binary, `BENCH_FOLDER` is where files go.
//! In each round the floor comes first and then the sync, so that both meet the same load.
//!
//! Start at [`people_ai`]. `source` is what the program reads from, `floor` the bare loop, `server` the PostgreSQL and its
//! bare loop, `program` the child process.
//! Nothing here is a test: targets are printed beside the figures and judged by the reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time")]

#[path = "../rows/activity.rs"]
mod activity;
#[path = "../../tests/it/postgres/cluster.rs"]
mod cluster;
#[path = "../rows/copy.rs"]
mod copy;
mod floor;
mod program;
mod server;
mod source;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use data_sources_monitor::testing::domain::syncing::cell::Cell;
use rusqlite::Connection;

use program::Sync;
use server::Server;
use source::Source;

/// Rows in a page of activities, as the definition asks for.
const PAGE: usize = 1_000;
/// One activity in so many changes before the incremental sync.
const CHANGED: u64 = 100;
/// The target for memory, in bytes.
const MEMORY: u64 = 64_000_000;
/// The target for memory where pages grow, in bytes.
const GROWN_MEMORY: u64 = 96_000_000;
/// The target for a million activities at the rate that the service allows.
const AT_ITS_RATE: Duration = Duration::from_secs(30);
/// The target as a share of the floor's speed.
const SHARE: f64 = 0.8;

struct Sizes {
    activities: u64,
    tests: usize,
    history: usize,
    rounds: usize,
    postgres: usize,
    rate: usize,
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
    let server = if sizes.postgres > 0 { Server::start()? } else { None };
    let mut aims = Vec::new();
    for _ in 0..sizes.rounds {
        let folder = tempfile::tempdir_in(std::env::var("BENCH_FOLDER").unwrap_or(".".into()))?;
        program::unlimited(folder.path())?;
        if sizes.activities > 0 {
            aims.extend(people_ai(&sizes, &source, &url, folder.path())?);
            if sizes.rate > 0 {
                aims.extend(at_its_rate(&source, &url)?);
            }
            if let Some(server) = &server {
                aims.extend(into_postgres(&sizes, &source, &url, folder.path(), server)?);
            }
        }
        if sizes.tests * sizes.history > 0 {
            aims.extend(statuscake(&sizes, &source, &url, folder.path())?);
        }
    }
    println!("\n{}", aims.join("\n"));
    Ok(())
}

/// Activities into SQLite.
fn people_ai(sizes: &Sizes, source: &Source, url: &str, folder: &Path) -> anyhow::Result<Vec<String>> {
    let pages = source.activities.pages(PAGE).map(|page| (page, Vec::new()));
    let floor = floor::write(&folder.join("floor.db"), floor::activity_layout(), pages)?;
    report("activities, bare loop", floor.rows, floor.wall, (floor.cpu, 0), 0);
    std::fs::remove_file(folder.join("floor.db"))?;
    let file = folder.join("data/people_ai.db");
    let first = activities("activities", sizes, source, (url, folder), None, &|sql| count(&file, sql))?;
    std::fs::remove_file(&file)?;
    Ok(vec![share("activities", floor.wall, first.took), memory("activities", &first, GROWN_MEMORY)])
}

/// A first sync with the definition as it ships: five requests a second.
fn at_its_rate(source: &Source, url: &str) -> anyhow::Result<Vec<String>> {
    let folder = tempfile::tempdir_in(std::env::var("BENCH_FOLDER").unwrap_or(".".into()))?;
    let vars = people_ai_vars(url);
    source.requests();
    let sync = program::sync(folder.path(), &["people_ai", "--table", "activity"], &vars)?;
    let rows = count(&folder.path().join("data/people_ai.db"), "SELECT count(*) FROM activity")?;
    report("activities, 5 requests a second", rows, sync.took, (sync.cpu, sync.peak), source.requests());
    let met = if sync.took <= AT_ITS_RATE { "met" } else { "MISSED" };
    let took =
        format!("{met:<6}  activities, 5 requests a second: at most {AT_ITS_RATE:?}: {:.1?}", sync.took);
    Ok(vec![took, memory("activities, 5 requests a second", &sync, GROWN_MEMORY)])
}

fn people_ai_vars(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("PEOPLE_AI_API_KEY", "bench".to_owned()),
        ("PEOPLE_AI_API_SECRET", "bench".to_owned()),
        ("PEOPLE_AI_BASE_URL", url.to_owned()),
        ("PEOPLE_AI_TOKEN_URL", format!("{url}/auth/v1/tokens")),
    ]
}

/// The same into PostgreSQL.
fn into_postgres(
    sizes: &Sizes,
    source: &Source,
    url: &str,
    folder: &Path,
    server: &Server,
) -> anyhow::Result<Vec<String>> {
    let rows = floor::decoded(floor::activity_layout(), source.activities.pages(PAGE))?;
    let floor = server.floor(rows)?;
    report("PostgreSQL, bare loop", floor.rows, floor.took, (0.0, 0), 0);
    let database = server.database()?;
    let first = activities("PostgreSQL", sizes, source, (url, folder), Some(&database.url), &|sql| {
        database.count(sql)
    })?;
    Ok(vec![share("PostgreSQL", floor.took, first.took), memory("PostgreSQL", &first, GROWN_MEMORY)])
}

/// A first sync, one of what changed, the same again, and one with nothing new. Returns the first.
fn activities(
    case: &str,
    sizes: &Sizes,
    source: &Source,
    (url, folder): (&str, &Path),
    database: Option<&str>,
    count: &dyn Fn(&str) -> anyhow::Result<u64>,
) -> anyhow::Result<Sync> {
    let mut vars = people_ai_vars(url);
    vars.extend(database.map(|database| ("DATABASE_URL", database.to_owned())));
    let args = ["people_ai", "--table", "activity"];
    let sync = |what: &str, rows: Option<u64>| {
        let sync = program::sync(folder, &args, &vars)?;
        let rows = rows.map_or_else(|| count("SELECT count(*) FROM activity"), Ok)?;
        report(&format!("{case}, {what}"), rows, sync.took, (sync.cpu, sync.peak), source.requests());
        anyhow::Ok((sync, rows))
    };
    source.requests();
    source.change(u64::MAX);
    let (first, stored) = sync("first sync", None)?;
    anyhow::ensure!(stored == sizes.activities, "{stored} of {} activities are stored", sizes.activities);
    let changed = source.change(CHANGED);
    sync("incremental, 1 % new", Some(changed))?;
    let updated = count("SELECT updated FROM _runs WHERE table_name = 'activity' ORDER BY run DESC LIMIT 1")?;
    anyhow::ensure!(updated == changed, "{updated} of {changed} changes are stored");
    sync("the same again", Some(changed))?;
    *source.changed.write().unwrap() = source::Listing::default();
    sync("nothing new", Some(0))?;
    Ok(first)
}

fn statuscake(sizes: &Sizes, source: &Source, url: &str, folder: &Path) -> anyhow::Result<Vec<String>> {
    let pages = (0..sizes.tests).flat_map(|test| {
        let id = Cell::Text((1_000_000 + test).to_string().into());
        source.results.iter().map(move |page| (page.clone(), vec![id.clone()]))
    });
    let floor = floor::write(&folder.join("floor.db"), floor::history_layout(), pages)?;
    report("results, bare loop", floor.rows, floor.wall, (floor.cpu, 0), 0);
    std::fs::remove_file(folder.join("floor.db"))?;
    let vars = [("STATUSCAKE_API_KEY", "bench".to_owned()), ("STATUSCAKE_BASE_URL", format!("{url}/v1"))];
    let args = ["statuscake", "--table", "uptime_test", "--table", "uptime_test_history"];
    source.requests();
    let first = program::sync(folder, &args, &vars)?;
    let file = folder.join("data/statuscake.db");
    let stored = count(&file, "SELECT count(*) FROM uptime_test_history")?;
    anyhow::ensure!(stored == floor.rows, "{stored} of {} results are stored", floor.rows);
    report("results, first sync", stored, first.took, (first.cpu, first.peak), source.requests());
    let second = program::sync(folder, &args, &vars)?;
    report("results, nothing new", 0, second.took, (second.cpu, second.peak), source.requests());
    std::fs::remove_file(file)?;
    Ok(vec![share("results", floor.wall, first.took), memory("results", &first, MEMORY)])
}

fn report(case: &str, rows: u64, took: Duration, (cpu, peak): (f64, u64), requests: u64) {
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

fn memory(what: &str, sync: &Sync, aim: u64) -> String {
    let met = if sync.peak < aim { "met" } else { "MISSED" };
    let (peak, aim) = (sync.peak as f64 / 1e6, aim / 1_000_000);
    format!("{met:<6}  {what}: peak memory under {aim} MB: {peak:.1} MB")
}

fn count(file: &Path, sql: &str) -> anyhow::Result<u64> {
    let db = Connection::open(file)?;
    let count: i64 = db.query_row(sql, [], |row| row.get(0)).with_context(|| sql.to_owned())?;
    Ok(count.unsigned_abs())
}

fn sizes() -> anyhow::Result<Sizes> {
    let mut sizes =
        Sizes { activities: 1_000_000, tests: 500, history: 1_000, rounds: 3, postgres: 1, rate: 1 };
    for given in std::env::args().skip(1).filter(|one| !one.starts_with("--")) {
        let (name, number) =
            given.split_once('=').with_context(|| format!("`{given}` is not NAME=NUMBER"))?;
        let number: usize = number.parse().with_context(|| format!("`{given}`"))?;
        match name {
            "activities" => sizes.activities = number as u64,
            "tests" => sizes.tests = number,
            "history" => sizes.history = number,
            "rounds" => sizes.rounds = number,
            "postgres" => sizes.postgres = number,
            "rate" => sizes.rate = number,
            other => {
                anyhow::bail!(
                    "there is no size {other:?}; there are activities, tests, history, rounds, postgres, rate"
                )
            }
        }
    }
    Ok(sizes)
}

/// The machine of the measurement.
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
