//! What a person sees of a sync while it goes on, and of its rows when it is over: a bar per table on a terminal, plain
//! lines otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::connectors::{Progress, TableProgress};
use crate::domain::op::Tally;

/// Often enough to look alive.
const TICK: Duration = Duration::from_millis(120);
/// Without a terminal, a line about a table this often is plenty.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What was read in less says nothing about rows per second.
const TELLING: Duration = Duration::from_secs(1);

/// A running view.
pub(super) struct View {
    name: String,
    progress: Arc<Progress>,
    bars: Option<MultiProgress>,
    tables: BTreeMap<String, Seen>,
    ended: BTreeSet<String>,
    ticks: tokio::time::Interval,
}

struct Seen {
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
}

impl View {
    pub(super) fn new(name: &str, progress: Arc<Progress>) -> View {
        View {
            name: name.to_owned(),
            progress,
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            tables: BTreeMap::new(),
            ended: BTreeSet::new(),
            ticks: tokio::time::interval(TICK),
        }
    }

    /// Waits a moment and shows how things are.
    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
        self.show();
    }

    /// Says something in between, above the bars where there are any.
    pub(super) fn say(&self, line: &str) {
        if self.bars.as_ref().is_none_or(|bars| bars.println(line).is_err()) {
            eprintln!("{line}");
        }
    }

    /// Shows how things ended.
    pub(super) fn end(&mut self) {
        self.show();
        for seen in self.tables.values() {
            if let Some(bar) = &seen.bar {
                bar.abandon();
            }
        }
    }

    fn show(&mut self) {
        for (table, progress) in self.progress.tables() {
            if !progress.started.load(Ordering::Relaxed) || self.ended.contains(table) {
                continue;
            }
            let now = Instant::now();
            let new = !self.tables.contains_key(table);
            let bars = &self.bars;
            let seen = self.tables.entry(table.clone()).or_insert_with(|| Seen {
                bar: bars.as_ref().map(|bars| bars.add(bar(table))),
                began: now,
                told: now,
            });
            let done = progress.done.load(Ordering::Relaxed);
            let broken = progress.broken.load(Ordering::Relaxed);
            let text = words(progress, now - seen.began);
            match &seen.bar {
                Some(bar) if done && broken => bar.finish_with_message(format!("{text}, broke off")),
                Some(bar) if done => bar.finish_with_message(text),
                Some(bar) => {
                    bar.set_message(text);
                    bar.tick();
                }
                None if done && broken => eprintln!("{}: {table}: broke off, {text}", self.name),
                None if done => eprintln!("{}: {table}: read, {text}", self.name),
                None if !new && now - seen.told >= LINE_EVERY => {
                    seen.told = now;
                    eprintln!("{}: {table}: {text}", self.name);
                }
                None => {}
            }
            if done {
                self.ended.insert(table.clone());
            }
        }
    }
}

fn bar(table: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_prefix(table.to_owned());
    match ProgressStyle::with_template("{spinner} {prefix:<24} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn words(progress: &TableProgress, took: Duration) -> String {
    let rows = progress.rows.load(Ordering::Relaxed);
    let (requests, retries, _) = progress.counts();
    let rate = rows as f64 / took.as_secs_f64();
    let rate = if took >= TELLING { format!(" {rate:.0} rows/s,") } else { String::new() };
    let again = if retries > 0 { format!(" ({retries} made again)") } else { String::new() };
    let limited = if progress.limited.load(Ordering::Relaxed) { ", waiting for the rate limit" } else { "" };
    format!("{rows} rows,{rate} {requests} requests{again}{limited}")
}

/// A table of tallies. A dry run knows only what was seen.
pub(super) fn tallies(tallies: &BTreeMap<String, Tally>, dry_run: bool) -> String {
    if tallies.is_empty() {
        return String::new();
    }
    let heads: &[&str] = if dry_run {
        &["seen", "rejected"]
    } else {
        &["seen", "inserted", "updated", "unchanged", "duplicate", "rejected", "deleted"]
    };
    let width = tallies.keys().map(String::len).max().unwrap_or(0).max("table".len());
    let mut out = format!("{:<width$}", "table");
    for head in heads {
        out.push_str(&format!(" {head:>10}"));
    }
    out.push('\n');
    for (table, t) in tallies {
        out.push_str(&format!("{table:<width$}"));
        let all = [t.seen, t.inserted, t.updated, t.unchanged, t.duplicate, t.rejected, t.deleted];
        let shown: Vec<u64> = if dry_run { vec![t.seen, t.rejected] } else { all.to_vec() };
        for count in shown {
            out.push_str(&format!(" {count:>10}"));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows a second are told of what went on for long enough to say.
    #[test]
    fn only_what_is_known_is_told() {
        let progress = TableProgress::default();
        progress.rows.store(30, Ordering::Relaxed);
        progress.requests.store(1, Ordering::Relaxed);
        assert_eq!(words(&progress, Duration::from_millis(3)), "30 rows, 1 requests");
        assert_eq!(words(&progress, Duration::from_secs(2)), "30 rows, 15 rows/s, 1 requests");
    }
}
