//! `/api/v1/runs` and `/api/v1/transitions`: history, newest first, in pages.
//!
//! A page never ends between records of the same time, so that `before` neither loses nor repeats one; it may therefore hold
//! a few more than the limit. Start at [`page`].

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde::Serialize;

use super::problem::{ApiProblem, in_time};
use super::query::ListQuery;
use super::values::{ApiTime, optional_time};
use crate::domain::monitoring::assess;
use crate::domain::monitoring::history::Span;
use crate::domain::syncing::op::{End, Tally};
use crate::domain::syncing::run_history;
use crate::domain::syncing::run_history::Entry;
use crate::web::state::WebState;
use crate::web::view::records::{RecordError, RecordReader};

/// Runs of a connector that the API pages through; older ones are in the table `_runs`.
const MAX_RUNS: usize = 2000;

#[derive(Debug, Serialize)]
pub(super) struct TransitionsReply {
    transitions: Vec<TransitionEntry>,
    /// For the next page; `None` on the last.
    next_before: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct TransitionEntry {
    at: ApiTime,
    monitor: String,
    from: &'static str,
    to: &'static str,
    description: String,
}

#[derive(Debug, Serialize)]
pub(super) struct RunsReply {
    runs: Vec<RunEntry>,
    /// For the next page; `None` on the last.
    next_before: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct RunEntry {
    connector: String,
    number: i64,
    started_at: ApiTime,
    /// `None` while it runs, or if the daemon stopped during the run.
    ended_at: Option<ApiTime>,
    #[serde(flatten)]
    account: RunCounts,
    tables: BTreeMap<String, RunCounts>,
    /// What was done with its rows afterwards.
    follow_ups: BTreeMap<String, RunCounts>,
}

/// `rows.seen` is the sum of all but `deleted`.
#[derive(Debug, Serialize)]
struct RunCounts {
    /// `None` while it runs.
    end: Option<&'static str>,
    reason: Option<String>,
    place: Option<String>,
    requests: u64,
    retries: u64,
    waited_ms: u64,
    rows: Tally,
}

pub(super) async fn transitions(
    State(state): State<WebState>,
    RawQuery(raw): RawQuery,
) -> Result<Json<TransitionsReply>, ApiProblem> {
    let query = ListQuery::parse(raw.as_deref(), "monitor")?;
    let (monitor, records) = (query.name.clone(), Arc::clone(&state.records));
    let span = Span {
        monitor: query.name,
        from: query.from.unwrap_or(Timestamp::UNIX_EPOCH),
        to: query.to.unwrap_or(Timestamp::MAX),
        limit: query.limit,
    };
    let (found, next_before) = in_time(async move {
        let mut span = span;
        loop {
            span.limit += 1;
            let found = records.transitions(span.clone()).await?;
            let all = found.len() < span.limit;
            if let Some(page) = page(found, query.limit, all, |transition| transition.at) {
                return Ok(page);
            }
            span.limit *= 2;
        }
    })
    .await?;
    let known = |name: &String| state.board.read(|board| board.monitors.contains_key(name));
    match monitor.filter(|name| found.is_empty() && !known(name)) {
        // Removed monitors have a history; a name without one is an error.
        Some(name) => Err(ApiProblem::unknown("monitor", &name, "/api/v1/monitors")),
        None => Ok(Json(TransitionsReply {
            transitions: found.into_iter().map(TransitionEntry::from).collect(),
            next_before,
        })),
    }
}

pub(super) async fn runs(
    State(state): State<WebState>,
    RawQuery(raw): RawQuery,
) -> Result<Json<RunsReply>, ApiProblem> {
    let query = ListQuery::parse(raw.as_deref(), "connector")?;
    let all: Vec<String> = state.board.read(|board| board.syncs.keys().cloned().collect());
    let of = match &query.name {
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => return Err(ApiProblem::unknown("connector", name, "/api/v1/connectors")),
        None => all,
    };
    let records = Arc::clone(&state.records);
    let (found, next_before) = in_time(async move {
        let (found, all) = newest_runs(&*records, of, &query).await?;
        // Runs of one connector never start at the same time, so that a tie has at most one of each.
        Ok(page(found, query.limit, all, |(_, run)| run.started).unwrap_or_default())
    })
    .await?;
    let runs = found.into_iter().map(|(connector, run)| RunEntry::of(connector, run)).collect();
    Ok(Json(RunsReply { runs, next_before }))
}

/// The newest runs of these connectors in the requested span, and whether these are all.
async fn newest_runs(
    records: &dyn RecordReader,
    connectors: Vec<String>,
    query: &ListQuery,
) -> Result<(Vec<(String, run_history::Run)>, bool), RecordError> {
    let most = if query.to.is_some() { MAX_RUNS } else { query.limit + 1 };
    let inside = |run: &run_history::Run| {
        query.from.is_none_or(|from| run.started >= from) && query.to.is_none_or(|to| run.started < to)
    };
    let (mut found, mut all) = (Vec::new(), true);
    for connector in connectors {
        let runs = records.runs(&connector, most).await?;
        all &= runs.len() < most || most == MAX_RUNS;
        found.extend(runs.into_iter().filter(inside).map(|run| (connector.clone(), run)));
    }
    found.sort_by(|(a, first), (b, second)| second.started.cmp(&first.started).then_with(|| a.cmp(b)));
    Ok((found, all))
}

/// Cuts records (newest first) after about `limit`, between two different times. `all`: there are no older ones. `None` if
/// the place to cut lies beyond these records.
fn page<T>(
    mut found: Vec<T>,
    limit: usize,
    all: bool,
    at: impl Fn(&T) -> Timestamp,
) -> Option<(Vec<T>, Option<Timestamp>)> {
    let cut = (limit..found.len()).find(|index| at(&found[*index]) != at(&found[*index - 1]));
    match cut {
        Some(cut) => {
            found.truncate(cut);
            let last = found.last().map(at);
            Some((found, last))
        }
        None => all.then_some((found, None)),
    }
}

impl From<assess::Transition> for TransitionEntry {
    fn from(transition: assess::Transition) -> TransitionEntry {
        TransitionEntry {
            at: ApiTime(transition.at),
            monitor: transition.monitor,
            from: transition.from.as_str(),
            to: transition.to.as_str(),
            description: transition.description,
        }
    }
}

impl RunEntry {
    fn of(connector: String, run: run_history::Run) -> RunEntry {
        RunEntry {
            connector,
            number: run.number,
            started_at: ApiTime(run.started),
            ended_at: optional_time(run.ended),
            account: RunCounts::from(run.entry),
            tables: run.tables.into_iter().map(|(table, entry)| (table, RunCounts::from(entry))).collect(),
            follow_ups: run
                .follow_ups
                .into_iter()
                .map(|(name, entry)| (name, RunCounts::from(entry)))
                .collect(),
        }
    }
}

impl From<Entry> for RunCounts {
    fn from(entry: Entry) -> RunCounts {
        RunCounts {
            end: entry.end.map(End::as_str),
            reason: entry.reason,
            place: entry.place,
            requests: entry.requests,
            retries: entry.retries,
            waited_ms: entry.waited_ms,
            rows: entry.tally,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
            #[test]
        fn paging_returns_each_record_once_in_order(mut moments in prop::collection::vec(0i64..12, 0..40), limit in 1usize..9) {
            moments.sort_by(|a, b| b.cmp(a));
            let all: Vec<(usize, i64)> = moments.into_iter().enumerate().collect();
            let (mut before, mut seen) = (i64::MAX, Vec::new());
            loop {
                let mut ask = limit;
                let (found, next) = loop {
                    ask += 1;
                    let found: Vec<_> = all.iter().copied().filter(|(_, m)| *m < before).take(ask).collect();
                    let complete = found.len() < ask;
                    if let Some(page) = page(found, limit, complete, |(_, m)| at(*m)) {
                        break page;
                    }
                };
                seen.extend(found);
                match next {
                    Some(next) => before = next.as_second(),
                    None => break,
                }
            }
            prop_assert_eq!(seen, all);
        }
    }
}
