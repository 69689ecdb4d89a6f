//! `/api/v1/runs` and `/api/v1/transitions`: the past, newest first, page by page.
//!
//! A page ends between two moments, never within one, so that `before` loses nothing and repeats nothing; it may
//! therefore hold a few more than asked for. Start at [`page`].

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde::Serialize;

use super::in_time;
use super::problem::Problem;
use super::query::Asked;
use super::words::{Moment, moment};
use crate::domain::assess;
use crate::domain::history::Span;
use crate::domain::ledger::{self, Entry};
use crate::domain::op::{End, Tally};
use crate::web::Shown;
use crate::web::records::{Records, Unreadable};

/// Runs of a connector that can be paged through; older ones are in the table `_runs`.
const LEDGER: usize = 2000;

/// Changes of what is believed.
#[derive(Debug, Serialize)]
pub(super) struct Transitions {
    transitions: Vec<Transition>,
    /// For the next page; `None` at the end.
    next_before: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Transition {
    at: Moment,
    monitor: String,
    from: &'static str,
    to: &'static str,
    description: String,
}

/// Runs of connectors.
#[derive(Debug, Serialize)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// For the next page; `None` at the end.
    next_before: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Run {
    connector: String,
    number: i64,
    started_at: Moment,
    /// `None` while it runs, or if nobody was left to write it.
    ended_at: Option<Moment>,
    #[serde(flatten)]
    account: Account,
    tables: BTreeMap<String, Account>,
}

/// `rows.seen` is the sum of all but `deleted`.
#[derive(Debug, Serialize)]
struct Account {
    /// `None` as long as it runs.
    end: Option<&'static str>,
    reason: Option<String>,
    place: Option<String>,
    requests: u64,
    retries: u64,
    waited_ms: u64,
    rows: Tally,
}

pub(super) async fn transitions(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
) -> Result<Json<Transitions>, Problem> {
    let asked = Asked::parse(query.as_deref(), "monitor")?;
    let (monitor, records) = (asked.name.clone(), Arc::clone(&shown.records));
    let span = Span {
        monitor: asked.name,
        from: asked.from.unwrap_or(Timestamp::UNIX_EPOCH),
        to: asked.to.unwrap_or(Timestamp::MAX),
        limit: asked.limit,
    };
    let (found, next_before) = in_time(async move {
        let mut span = span;
        loop {
            span.limit += 1;
            let found = records.transitions(span.clone()).await?;
            let all = found.len() < span.limit;
            if let Some(page) = page(found, asked.limit, all, |transition| transition.at) {
                return Ok(page);
            }
            span.limit *= 2;
        }
    })
    .await?;
    let known = |name: &String| shown.board.read(|board| board.monitors.contains_key(name));
    match monitor.filter(|name| found.is_empty() && !known(name)) {
        // Monitors that were taken away have a past; without one the name is a mistake.
        Some(name) => Err(Problem::unknown("monitor", &name, "/api/v1/monitors")),
        None => Ok(Json(Transitions {
            transitions: found.into_iter().map(Transition::from).collect(),
            next_before,
        })),
    }
}

pub(super) async fn runs(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
) -> Result<Json<Runs>, Problem> {
    let asked = Asked::parse(query.as_deref(), "connector")?;
    let all: Vec<String> = shown.board.read(|board| board.syncs.keys().cloned().collect());
    let of = match &asked.name {
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => return Err(Problem::unknown("connector", name, "/api/v1/connectors")),
        None => all,
    };
    let records = Arc::clone(&shown.records);
    let (found, next_before) = in_time(async move {
        let (found, all) = ledgers(&*records, of, &asked).await?;
        // Two runs of one connector never begin at once, so that a tie holds at most one of each.
        Ok(page(found, asked.limit, all, |(_, run)| run.started).unwrap_or_default())
    })
    .await?;
    let runs = found.into_iter().map(|(connector, run)| Run::of(connector, run)).collect();
    Ok(Json(Runs { runs, next_before }))
}

/// The newest runs of these connectors in the span that is asked for, and whether these are all.
async fn ledgers(
    records: &dyn Records,
    connectors: Vec<String>,
    asked: &Asked,
) -> Result<(Vec<(String, ledger::Run)>, bool), Unreadable> {
    let most = if asked.to.is_some() { LEDGER } else { asked.limit + 1 };
    let inside = |run: &ledger::Run| {
        asked.from.is_none_or(|from| run.started >= from) && asked.to.is_none_or(|to| run.started < to)
    };
    let (mut found, mut all) = (Vec::new(), true);
    for connector in connectors {
        let runs = records.runs(&connector, most).await?;
        all &= runs.len() < most || most == LEDGER;
        found.extend(runs.into_iter().filter(inside).map(|run| (connector.clone(), run)));
    }
    found.sort_by(|(a, first), (b, second)| second.started.cmp(&first.started).then_with(|| a.cmp(b)));
    Ok((found, all))
}

/// Cuts what was found (newest first) after about `limit`, between two moments. `all`: there is nothing older. Nothing,
/// if the place of the cut cannot be told from what was found.
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

impl From<assess::Transition> for Transition {
    fn from(transition: assess::Transition) -> Transition {
        Transition {
            at: Moment(transition.at),
            monitor: transition.monitor,
            from: transition.from.as_str(),
            to: transition.to.as_str(),
            description: transition.description,
        }
    }
}

impl Run {
    fn of(connector: String, run: ledger::Run) -> Run {
        Run {
            connector,
            number: run.number,
            started_at: Moment(run.started),
            ended_at: moment(run.ended),
            account: Account::from(run.entry),
            tables: run.tables.into_iter().map(|(table, entry)| (table, Account::from(entry))).collect(),
        }
    }
}

impl From<Entry> for Account {
    fn from(entry: Entry) -> Account {
        Account {
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
        /// However moments repeat and wherever pages end: page after page gives each record once, in order.
        #[test]
        fn pages_lose_nothing(mut moments in prop::collection::vec(0i64..12, 0..40), limit in 1usize..9) {
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
