//! Progress and row counts of a sync: a progress bar per table on a terminal, plain lines otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::domain::syncing::op::Tally;
use crate::domain::text::counted;
use crate::source::{RunProgress, TableProgress};

/// Refresh interval of the progress bars.
const TICK: Duration = Duration::from_millis(120);
/// Interval of the lines about a table where stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A rate that is measured over less time than this means nothing.
const MIN_RATE_TIME: Duration = Duration::from_secs(1);

pub(in crate::commands) struct ProgressView {
    name: String,
    progress: Arc<RunProgress>,
    bars: Option<MultiProgress>,
    tables: BTreeMap<String, TableSnapshot>,
    ended: BTreeSet<String>,
    ticks: tokio::time::Interval,
}

struct TableSnapshot {
    bar: Option<ProgressBar>,
    started: Instant,
    printed: Instant,
}

impl ProgressView {
    pub(crate) fn new(name: &str, progress: Arc<RunProgress>) -> ProgressView {
        ProgressView {
            name: name.to_owned(),
            progress,
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            tables: BTreeMap::new(),
            ended: BTreeSet::new(),
            ticks: tokio::time::interval(TICK),
        }
    }

    /// Waits for the next refresh and shows the current progress.
    pub(crate) async fn tick(&mut self) {
        self.ticks.tick().await;
        self.show();
    }

    /// Prints a line, above the progress bars where there are any.
    pub(crate) fn say(&self, line: &str) {
        if self.bars.as_ref().is_none_or(|bars| bars.println(line).is_err()) {
            eprintln!("{line}");
        }
    }

    /// Shows the final progress.
    pub(crate) fn end(&mut self) {
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
            let seen = self.tables.entry(table.clone()).or_insert_with(|| TableSnapshot {
                bar: bars.as_ref().map(|bars| bars.add(bar(table))),
                started: now,
                printed: now,
            });
            let done = progress.done.load(Ordering::Relaxed);
            let broken = progress.broken.load(Ordering::Relaxed);
            let text = progress_text(progress, now - seen.started);
            match &seen.bar {
                Some(bar) if done && broken => bar.finish_with_message(format!("{text}, incomplete")),
                Some(bar) if done => bar.finish_with_message(text),
                Some(bar) => {
                    bar.set_message(text);
                    bar.tick();
                }
                None if done && broken => eprintln!("{}: {table}: incomplete, {text}", self.name),
                None if done => eprintln!("{}: {table}: read, {text}", self.name),
                None if !new && now - seen.printed >= LINE_EVERY => {
                    seen.printed = now;
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

fn progress_text(progress: &TableProgress, took: Duration) -> String {
    let rows = progress.rows.load(Ordering::Relaxed);
    let (requests, retries, _) = progress.counts();
    let rate = rows as f64 / took.as_secs_f64();
    let rate = if took >= MIN_RATE_TIME { format!(" {rate:.0} rows/s,") } else { String::new() };
    let retried = if retries > 0 { format!(" ({})", retries_text(retries)) } else { String::new() };
    let limited = if progress.limited.load(Ordering::Relaxed) { ", waiting for the rate limit" } else { "" };
    format!("{},{rate} {}{retried}{limited}", counted(rows, "row"), counted(requests, "request"))
}

pub(crate) fn retries_text(retries: u64) -> String {
    if retries == 1 { "1 retry".to_owned() } else { format!("{retries} retries") }
}

/// Formats the row counts as a table. A dry run counts only seen and rejected rows.
pub(crate) fn tallies(tallies: &BTreeMap<String, Tally>, dry_run: bool) -> String {
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

    #[test]
    fn the_rate_is_shown_only_after_a_second() {
        let progress = TableProgress::default();
        progress.rows.store(30, Ordering::Relaxed);
        progress.requests.store(1, Ordering::Relaxed);
        assert_eq!(progress_text(&progress, Duration::from_millis(3)), "30 rows, 1 request");
        assert_eq!(progress_text(&progress, Duration::from_secs(2)), "30 rows, 15 rows/s, 1 request");
    }
}
