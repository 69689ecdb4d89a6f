//! Cards of connectors: how old the data is, how the last run went, and how runs went over time.

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use super::charts::{self, Bar};
use super::history::History;
use super::layout::unreadable;
use super::records::Unreadable;
use super::words::{LINE, ago, ahead, between, brief, clean, count, mark, path, some, utc};
use crate::domain::ledger::Run;
use crate::domain::op::End;
use crate::runtime::board::SyncView;

/// A connector: what the board knows, and its ledger.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) view: SyncView,
    pub(super) runs: Result<Arc<Vec<Run>>, Unreadable>,
}

impl Card {
    pub(super) async fn load(history: &History, name: String, view: SyncView) -> Card {
        let until = view.last_run.as_ref().map(|run| run.ended_at);
        let runs = history.runs(&name, until).await;
        Card { name, view, runs }
    }

    pub(super) fn article(&self, now: Timestamp) -> Markup {
        let (class, words) = self.end();
        html! {
            article class={ "card connector " (class) } {
                h3 { a href=(path("connectors", &self.name)) { (clean(&self.name, LINE)) } }
                p class={ "badge " (class) } { (mark(class)) (words) }
                p class="age" {
                    @match self.view.last_success {
                        Some(at) => { "Data as of " (ago(now, at)) },
                        None => "No complete run yet",
                    }
                }
                (self.charts())
                (self.facts(now))
                @if let Some(reason) = self.reason() { p class="say" { (clean(&reason, LINE)) } }
            }
        }
    }

    /// The mark and the words for the last run.
    pub(super) fn end(&self) -> (&'static str, &'static str) {
        if self.view.running {
            return ("maintenance", "Running");
        }
        match self.view.last_run.as_ref().map(|run| run.end).or_else(|| Some(end(self.last()?))) {
            Some("complete") => ("none", "Complete"),
            Some("partial") => ("minor", "Partial"),
            Some("deferred") => ("maintenance", "Deferred"),
            Some("failed") => ("critical", "Failed"),
            Some(_) => ("unknown", "Cut off"),
            None => ("unknown", "No run yet"),
        }
    }

    fn last(&self) -> Option<&Run> {
        self.runs.as_ref().ok()?.iter().find(|run| run.entry.end.is_some())
    }

    fn reason(&self) -> Option<String> {
        match &self.view.last_run {
            Some(run) => run.reason.clone(),
            None => self.last()?.entry.reason.clone(),
        }
    }

    pub(super) fn facts(&self, now: Timestamp) -> Markup {
        let run = self.view.last_run.as_ref();
        let kept = self.last();
        let rows = run.map(|run| run.rows.values().sum()).or_else(|| kept.map(rows));
        let took = run.map(|run| run.took).or_else(|| kept.and_then(took));
        let waited = run
            .map(|run| run.waited)
            .or_else(|| kept.map(|run| std::time::Duration::from_millis(run.entry.waited_ms)));
        html! {
            dl class="facts" {
                div { dt { "Rows" } dd { (rows.map_or("–".into(), count)) } }
                div { dt { "Took" } dd { (took.map_or("–".into(), brief)) } }
                div { dt { "Waited (limits, retries)" } dd { (waited.filter(|waited| !waited.is_zero()).map_or("no".into(), brief)) } }
                div { dt { "Next run" } dd {
                    @match self.view.next_at {
                        Some(at) => (ahead(now, at)),
                        None if self.view.running => "after this one",
                        None => "–",
                    }
                } }
            }
        }
    }

    /// Rows and duration of the last runs.
    pub(super) fn charts(&self) -> Markup {
        let runs = match &self.runs {
            Ok(runs) => runs,
            Err(e) => return unreadable("The ledger", e),
        };
        let ended: Vec<&Run> = runs.iter().rev().filter(|run| run.entry.end.is_some()).collect();
        if ended.is_empty() {
            return html! { p class="empty" { "Charts begin with the first run." } };
        }
        let bar = |run: &&Run, value, told: String| Bar {
            value,
            class: end(run),
            title: format!("{}: {told}, {}", utc(run.started), end(run)),
        };
        let by_rows: Vec<Bar> =
            ended.iter().map(|run| bar(run, rows(run), some(rows(run), "row", "rows"))).collect();
        let by_time: Vec<Bar> = ended
            .iter()
            .map(|run| {
                let took = took(run).unwrap_or_default();
                bar(run, u64::try_from(took.as_millis()).unwrap_or(u64::MAX), brief(took))
            })
            .collect();
        let many = some(ended.len() as u64, "run", "runs");
        let most = |bars: &[Bar]| bars.iter().map(|bar| bar.value).max().unwrap_or_default();
        let longest = brief(std::time::Duration::from_millis(most(&by_time)));
        html! {
            div class="charts" {
                figure {
                    (charts::trend(&format!("Rows of the last {many}, up to {}", count(most(&by_rows))), &by_rows))
                    figcaption { "Rows, " (many) ", up to " (count(most(&by_rows))) }
                }
                figure {
                    (charts::trend(&format!("Duration of the last {many}, up to {longest}"), &by_time))
                    figcaption { "Duration, up to " (longest) }
                }
            }
        }
    }
}

/// The word for a run's end; charts and cards are of runs that have one.
fn end(run: &Run) -> &'static str {
    run.entry.end.map_or("cut off", End::as_str)
}

/// Rows that the source sent, of all tables.
pub(super) fn rows(run: &Run) -> u64 {
    run.tables.values().map(|entry| entry.tally.seen).sum()
}

pub(super) fn took(run: &Run) -> Option<std::time::Duration> {
    run.ended.map(|ended| between(run.started, ended))
}
