//! What the daemon costs and how fast it is: the real release program between stand-in pages and a stand-in tenant.
//!
//! `cargo bench --bench daemon` or `cargo bench --bench daemon -- 4 1000` with other numbers of monitors; `PROGRAM=…`
//! measures another binary. `-- engines` measures pages of every engine instead, `-- tenants` many tenants. Few
//! monitors are watched every second, to see many changes soon; many every minute, as in real life, over two
//! whole cycles. A tenth of the pages accept a request and never answer it.
//!
//! Start at [`measure`]. `pages` and `tenant` are what the program talks to, `program` is the child process,
//! `ledger` knows which change must be on the banner, `report` prints. Nothing here is a test: targets are printed
//! beside the figures and judged by the reader.

#![allow(clippy::disallowed_methods, reason = "a measurement takes real time")]

mod engines;
mod ledger;
mod pages;
mod program;
mod report;
mod tenant;
mod tenants;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use ledger::Ledger;
use pages::Plan;
use program::{Program, Scrape};
use report::Row;

/// Measured unless the command line says otherwise; about six minutes.
const USUAL: [usize; 4] = [4, 100, 1_000, 10_000];
/// Up to here monitors are watched every second.
const FEW: usize = 100;
/// For how long few are measured.
const FEW_FOR: Duration = Duration::from_secs(30);
/// Many are watched this often.
const MINUTE: Duration = Duration::from_secs(60);
/// The timeout of a poll with many monitors, the program's default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// One measurement may take this much longer than planned.
const SLACK: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    // `cargo test --benches` starts benchmarks too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench: use `cargo bench --bench daemon`");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("cannot start the runtime").and_then(|runtime| runtime.block_on(bench()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> anyhow::Result<()> {
    let named = |name: &str| std::env::args().any(|argument| argument == name);
    let (engines, tenants) = (named("engines"), named("tenants"));
    let counts = if engines || tenants { Vec::new() } else { counts()? };
    println!("{}\n", report::machine());
    if let Some(warning) = report::too_few_files() {
        println!("{warning}\n");
    }
    if engines {
        tokio::select! {
            figures = engines::measure() => println!("{}", figures?),
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
        return Ok(());
    }
    if tenants {
        tokio::select! {
            measured = tenants::measure() => return measured,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    }
    println!("{}", Row::HEAD);
    let mut rows = Vec::new();
    for count in counts {
        let plan = plan(count);
        let limit = plan.window + plan.interval + SLACK;
        // Dropping the measurement ends the program, however it came to that.
        let row = tokio::select! {
            row = tokio::time::timeout(limit, measure(plan)) => row,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        };
        let row = row.with_context(|| format!("{count} monitors: not finished after {limit:?}"))?;
        let row = row.with_context(|| format!("{count} monitors"))?;
        println!("{row}");
        rows.push(row);
    }
    println!("\n{}", report::targets(&rows));
    Ok(())
}

fn counts() -> anyhow::Result<Vec<usize>> {
    let given: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with("--")).collect();
    if given.is_empty() {
        return Ok(USUAL.to_vec());
    }
    let number = |text: &String| {
        let count = text.parse().ok().filter(|count| (1..=pages::MOST).contains(count));
        count.with_context(|| format!("`{text}` is not a number of monitors from 1 to {}", pages::MOST))
    };
    given.iter().map(number).collect()
}

fn plan(count: usize) -> Plan {
    if count <= FEW {
        let interval = Duration::from_secs(1);
        Plan { count, interval, timeout: interval / 2, window: FEW_FOR }
    } else {
        Plan { count, interval: MINUTE, timeout: TIMEOUT, window: MINUTE * 2 }
    }
}

/// One row: starts the program, lets every page be polled once, then measures for the length of the window.
async fn measure(plan: Plan) -> anyhow::Result<Row> {
    let ledger = Ledger::new(plan);
    let port = pages::serve(ledger.clone())?;
    let tenant = tenant::serve(ledger.clone()).await?;
    away_from_the_tick(plan).await;
    let program = Program::start(plan, Some(tenant), |folder| pages::define(folder, plan, port))?;
    let web = program.listens_at().await?;
    while ledger.polled_once() < plan.count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What follows the first polls (the first banner, the first save of all states) is no steady state.
    tokio::time::sleep(Duration::from_secs(1)).await;

    ledger.begin();
    let (from, began) = (program.cpu()?, Instant::now());
    tokio::time::sleep(plan.window).await;
    let (cpu, wall) = (program.cpu()?.since(&from), began.elapsed());
    let seen = ledger.end();
    let peak = program.peak_memory()?;
    let missed = Scrape::of(web).await?.sum("dsm_looks_missed_total");
    let peak_scraped = program.peak_memory()?;
    Ok(Row { plan, cpu, wall, peak, peak_scraped, missed, seen })
}

/// A first poll just before the common tick is followed by the second at once, which a page that hangs misses:
/// correct, but not what is measured here.
async fn away_from_the_tick(plan: Plan) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = plan.interval.as_millis() - now.as_millis() % plan.interval.as_millis();
    if left <= plan.timeout.as_millis() + 1_000 {
        tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or_default())).await;
    }
}
