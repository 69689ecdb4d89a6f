//! The run history (table `_runs`) in any kind of database: its values, its rows, and their limits.
//!
//! Start at [`RunClosing::rows`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{DestinationError, Ending, Entry, Run, RunOutcome, RunReport};
use crate::domain::syncing::op::{End, State, Tally};

/// Limit of stored runs: three months at one run every fifteen minutes.
pub(super) const KEPT_RUNS: i64 = 10_000;

/// Limit of stored rejected rows: enough to find the cause, even if every row is rejected.
pub(super) const KEPT_REJECTED: i64 = 10_000;

/// The outcome of an active run.
pub(super) const RUNNING: &str = "running";

/// The table name in the row for the whole run.
pub(super) const WHOLE_RUN: &str = "";

/// The start of the table name in rows for what follows a run; names of tables begin with a letter.
const FOLLOW_UP: &str = "_";

/// The table name in the row for what follows a run.
pub(super) fn follow_up_row(name: &str) -> String {
    format!("{FOLLOW_UP}{name}")
}

/// The reason of a run that was not closed.
pub(super) const INTERRUPTED: &str = "interrupted: the process exited before the run finished";

pub(super) fn parse_end(text: &str) -> Option<End> {
    End::ALL.into_iter().find(|end| end.as_str() == text)
}

/// The counts in the order of the columns: seen, inserted, updated, unchanged, duplicate, rejected, deleted.
pub(super) fn counts(tally: &Tally) -> [i64; 7] {
    [
        tally.seen,
        tally.inserted,
        tally.updated,
        tally.unchanged,
        tally.duplicate,
        tally.rejected,
        tally.deleted,
    ]
    .map(to_sql_integer)
}

/// The inverse of [`counts`].
pub(super) fn tally([seen, inserted, updated, unchanged, duplicate, rejected, deleted]: [u64; 7]) -> Tally {
    Tally { seen, inserted, updated, unchanged, duplicate, rejected, deleted }
}

/// SQL has no unsigned integers.
pub(super) fn to_sql_integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The end of a run to be stored.
pub(super) struct RunClosing {
    pub(super) report: RunReport,
    pub(super) outcome: RunOutcome,
}

/// One row of the history.
pub(super) struct HistoryRow<'a> {
    /// The table, or [`WHOLE_RUN`].
    pub(super) table: &'a str,
    pub(super) tally: Tally,
    pub(super) ending: Ending,
}

impl RunClosing {
    /// The whole run, then each of its tables.
    pub(super) fn rows(&self) -> Vec<HistoryRow<'_>> {
        let tallies = &self.report.tallies;
        let mut sum = Tally::default();
        for tally in tallies.values() {
            add(&mut sum, tally);
        }
        let mut rows = vec![HistoryRow { table: WHOLE_RUN, tally: sum, ending: self.outcome.run.clone() }];
        let unselected = tallies.keys().filter(|table| !self.outcome.tables.contains_key(*table));
        for table in self.outcome.tables.keys().chain(unselected) {
            let ending = self.outcome.tables.get(table).cloned().unwrap_or_else(|| Ending {
                requests: 0,
                retries: 0,
                waited_ms: 0,
                ..self.outcome.run.clone()
            });
            rows.push(HistoryRow { table, tally: tallies.get(table).copied().unwrap_or_default(), ending });
        }
        rows
    }
}

fn add(sum: &mut Tally, tally: &Tally) {
    sum.seen += tally.seen;
    sum.inserted += tally.inserted;
    sum.updated += tally.updated;
    sum.unchanged += tally.unchanged;
    sum.duplicate += tally.duplicate;
    sum.rejected += tally.rejected;
    sum.deleted += tally.deleted;
}

/// A row of the history that was read.
pub(super) struct StoredRow {
    pub(super) run: i64,
    /// The table, or [`WHOLE_RUN`].
    pub(super) table: String,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) entry: Entry,
}

/// Groups rows by run. They are ordered by run, each starting with [`WHOLE_RUN`].
pub(super) fn group_by_run(rows: Vec<StoredRow>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for StoredRow { run: number, table, started, ended, entry } in rows {
        match runs.last_mut().filter(|run| run.number == number) {
            Some(run) => {
                let follow_up = table.strip_prefix(FOLLOW_UP).map(str::to_owned);
                let (entries, name) = match follow_up {
                    Some(name) => (&mut run.follow_ups, name),
                    None => (&mut run.tables, table),
                };
                entries.insert(name, entry);
            }
            None => {
                let (tables, follow_ups) = (BTreeMap::new(), BTreeMap::new());
                runs.push(Run { number, started, ended, entry, tables, follow_ups });
            }
        }
    }
    runs
}

/// Parses the rows of `_state`: table, partition, format, cursor.
pub(super) fn parse_state(
    connector: &str,
    place: &str,
    rows: Vec<(String, String, i64, String)>,
) -> Result<State, DestinationError> {
    let mut state = State { format: State::FORMAT, connector: connector.to_owned(), ..State::default() };
    for (table, partition, format, cursor) in rows {
        if format > i64::from(State::FORMAT) {
            return Err(DestinationError::newer(place, format, State::FORMAT));
        }
        let cursor = serde_json::from_str(&cursor).map_err(|e| {
            DestinationError::corrupt(place, format!("the state of table {table} is not JSON: {e}"))
        })?;
        state.tables.entry(table).or_default().insert(partition, cursor);
    }
    Ok(state)
}
