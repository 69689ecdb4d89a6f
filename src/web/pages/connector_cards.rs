//! A card per connector: age of the data, outcome of the last run, and charts of recent runs.

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use super::layout::unreadable;
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history::Run;
use crate::runtime::board::SyncView;
use crate::web::view::charts::{self, ChartBar};
use crate::web::view::deliveries::{Delivered, as_of};
use crate::web::view::history::History;
use crate::web::view::records::RecordError;
use crate::web::view::words::{LINE, ago, ahead, between, brief, clean, count, mark, path, some, utc};

/// A connector: its state on the board and its recent runs.
pub(super) struct ConnectorCard {
    pub(super) name: String,
    pub(super) view: SyncView,
    pub(super) runs: Result<Arc<Vec<Run>>, RecordError>,
    /// The tenants that get its data.
    pub(super) delivered: Vec<Delivered>,
}

impl ConnectorCard {
    pub(super) async fn load(
        history: &History,
        name: String,
        (view, delivered): (SyncView, Vec<Delivered>),
    ) -> ConnectorCard {
        let until = view.last_run.as_ref().map(|run| run.ended_at);
        let runs = history.runs(&name, until).await;
        ConnectorCard { name, view, runs, delivered }
    }

    pub(super) fn article(&self, now: Timestamp) -> Markup {
        let (class, words) = self.outcome();
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
                (self.failures())
            }
        }
    }

    /// CSS class and label of the last run's outcome.
    pub(super) fn outcome(&self) -> (&'static str, &'static str) {
        if self.view.running {
            return ("maintenance", "Running");
        }
        match self.view.last_run.as_ref().map(|run| run.end).or_else(|| Some(outcome(self.last()?))) {
            Some("complete") => ("none", "Complete"),
            Some("partial") => ("minor", "Partial"),
            Some("deferred") => ("maintenance", "Deferred"),
            Some("failed") => ("critical", "Failed"),
            Some(_) => ("unknown", "Interrupted"),
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

    /// Why the last export or an upload failed; the tables are not affected.
    pub(super) fn failures(&self) -> Markup {
        let export = self.view.exports.last.as_ref().and_then(|last| last.failure.as_ref());
        let uploads = self.delivered.iter().filter_map(|one| Some((one, one.report.trouble.as_ref()?)));
        html! {
            @if let Some(why) = export { p class="say" { "Export failed: " (clean(why, LINE)) } }
            @for (one, why) in uploads {
                p class="say" { "Data in Qlik (" (clean(&one.tenant, LINE)) ") " (one.words()) ": " (clean(why, LINE)) }
            }
        }
    }

    pub(super) fn facts(&self, now: Timestamp) -> Markup {
        let run = self.view.last_run.as_ref();
        let stored = self.last();
        let rows = run.map(|run| run.rows.values().sum()).or_else(|| stored.map(rows));
        let took = run.map(|run| run.took).or_else(|| stored.and_then(took));
        let waited = run
            .map(|run| run.waited)
            .or_else(|| stored.map(|run| std::time::Duration::from_millis(run.entry.waited_ms)));
        html! {
            dl class="facts" {
                div { dt { "Rows" } dd { (rows.map_or("–".into(), count)) } }
                div { dt { "Took" } dd { (took.map_or("–".into(), brief)) } }
                div { dt title="For rate limits and retries" { "Waited" } dd { (waited.filter(|waited| !waited.is_zero()).map_or("no".into(), brief)) } }
                div { dt { "Next run" } dd {
                    @match self.view.next_at {
                        Some(at) => (ahead(now, at)),
                        None if self.view.running => "after this one",
                        None => "–",
                    }
                } }
                @if let Some(last) = &self.view.exports.last {
                    div { dt { "Export" } dd {
                        @match &last.failure {
                            Some(_) => { "failed " (ago(now, last.at)) },
                            None => (ago(now, last.at)),
                        }
                    } }
                }
                @if !self.delivered.is_empty() {
                    div { dt { "Data in Qlik" } dd { @match as_of(&self.delivered) {
                        Some(at) => { "as of " (ago(now, at)) },
                        None => "none yet",
                    } } }
                }
            }
        }
    }

    pub(super) fn charts(&self) -> Markup {
        let runs = match &self.runs {
            Ok(runs) => runs,
            Err(e) => return unreadable("Run history", e),
        };
        let ended: Vec<&Run> = runs.iter().rev().filter(|run| run.entry.end.is_some()).collect();
        if ended.is_empty() {
            return html! { p class="empty" { "Charts appear after the first run." } };
        }
        let bar = |run: &&Run, value, detail: String| ChartBar {
            value,
            class: outcome(run),
            title: format!("{}: {detail}, {}", utc(run.started), outcome(run)),
        };
        let by_rows: Vec<ChartBar> =
            ended.iter().map(|run| bar(run, rows(run), some(rows(run), "row", "rows"))).collect();
        let by_time: Vec<ChartBar> = ended
            .iter()
            .map(|run| {
                let took = took(run).unwrap_or_default();
                bar(run, u64::try_from(took.as_millis()).unwrap_or(u64::MAX), brief(took))
            })
            .collect();
        let many = some(ended.len() as u64, "run", "runs");
        let most = |bars: &[ChartBar]| bars.iter().map(|bar| bar.value).max().unwrap_or_default();
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

fn outcome(run: &Run) -> &'static str {
    run.entry.end.map_or("interrupted", End::as_str)
}

/// Rows that the source sent, over all tables.
pub(super) fn rows(run: &Run) -> u64 {
    run.tables.values().map(|entry| entry.tally.seen).sum()
}

pub(super) fn took(run: &Run) -> Option<std::time::Duration> {
    run.ended.map(|ended| between(run.started, ended))
}
