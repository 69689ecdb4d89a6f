//! The totals of a run for any kind of database: tallies, checkpoints, rejected rows, notes.
//!
//! A commit works on a copy, [`CommitTotals`], so that it can be retried after a failure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::run_history::RunClosing;
use super::{DestinationError, Ending, RunOutcome, RunReport};
use crate::domain::syncing::cell::{Cell, ColumnType, exact_double};
use crate::domain::syncing::op::{Checkpoint, End, Rejected, Rows, TableShape, Tally, Write};
use crate::domain::text::counted;

#[derive(Default)]
pub(super) struct RunTotals {
    /// The stored tables.
    pub(super) stored: BTreeMap<String, TableShape>,
    /// Arrival of the oldest op that is not committed.
    pub(super) waiting_since: Option<Instant>,
    /// Whether there are appended rows that no checkpoint covers yet.
    pub(super) uncovered: bool,
    /// Rejected rows that are not stored yet.
    pub(super) rejected: Vec<Rejected>,
    /// Columns by table with an integer of this run that a double cannot represent. The rows may not be in the table yet.
    beyond_double: BTreeMap<String, BTreeSet<String>>,
    tallies: BTreeMap<String, Tally>,
    committed: BTreeMap<String, Tally>,
    /// Checkpoints that are not stored yet.
    checkpoints: Vec<Checkpoint>,
    /// Checkpoints of replaced tables, which are stored when the table was read to its end.
    held: BTreeMap<String, Checkpoint>,
    /// Why the run is partial although nothing failed.
    doubts: Vec<String>,
    notes: Vec<String>,
}

/// The totals after a successful commit.
pub(super) struct CommitTotals {
    tallies: BTreeMap<String, Tally>,
    doubts: Vec<String>,
}

impl CommitTotals {
    pub(super) fn tally(&mut self, table: &str) -> &mut Tally {
        self.tallies.entry(table.to_owned()).or_default()
    }

    pub(super) fn doubt(&mut self, table: &str, reason: &str) {
        self.doubts.push(format!("table {table}: {reason}"));
    }

    pub(super) fn keys_unknown(&mut self, table: &str) {
        self.doubt(table, "its keys were not recorded, so nothing was marked deleted");
    }
}

impl RunTotals {
    pub(super) fn new(stored: BTreeMap<String, TableShape>) -> Self {
        Self { stored, ..Self::default() }
    }

    pub(super) fn tally(&mut self, table: &str) -> &mut Tally {
        self.tallies.entry(table.to_owned()).or_default()
    }

    pub(super) fn observe_integers(&mut self, rows: &Rows) {
        let integers = rows.shape.columns.iter().enumerate().filter(|(_, c)| c.kind == ColumnType::Bigint);
        for (place, column) in integers {
            let known = |columns: &BTreeSet<String>| columns.contains(&column.name);
            let large = |cells: &[Cell]| matches!(cells.get(place), Some(Cell::Int(value)) if exact_double(*value).is_none());
            let table = &rows.shape.table;
            if !self.beyond_double.get(table).is_some_and(known) && rows.rows.iter().any(|row| large(row)) {
                self.beyond_double.entry(table.clone()).or_default().insert(column.name.clone());
            }
        }
    }

    /// Columns of a table with an integer of this run that a double cannot represent.
    pub(super) fn beyond_double(&self, table: &str) -> Vec<String> {
        self.beyond_double.get(table).into_iter().flatten().cloned().collect()
    }

    pub(super) fn reject(&mut self, rows: Vec<Rejected>) {
        for row in &rows {
            let tally = self.tally(&row.table);
            tally.seen += 1;
            tally.rejected += 1;
        }
        self.rejected.extend(rows);
    }

    pub(super) fn rejected_bytes(&self) -> usize {
        self.rejected.iter().map(|row| row.raw.len()).sum()
    }

    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) {
        let (held, now): (Vec<_>, Vec<_>) = checkpoint.entries.into_iter().partition(|(table, ..)| {
            self.stored.get(table).is_some_and(|shape| shape.write == Write::Replace)
        });
        for entry in held {
            self.held.entry(entry.0.clone()).or_default().entries.push(entry);
        }
        self.checkpoints.push(Checkpoint { entries: now });
    }

    /// The checkpoints to store in their order, with those of a table that was read to its end.
    pub(super) fn checkpoints(&self, finished: Option<&str>) -> Vec<Checkpoint> {
        let held = finished.and_then(|table| self.held.get(table));
        self.checkpoints.iter().chain(held).cloned().collect()
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(super) fn note_widened(&mut self, table: &str, column: &str) {
        self.note(format!("column {column} of table {table} was widened: its stored values were converted"));
    }

    /// Counts stored rows that were soft-deleted because the definition now has `deleted_if`.
    pub(super) fn note_deleted(&mut self, shape: &TableShape, rows: u64) {
        if let (Some(column), 1..) = (&shape.deleted_if, rows) {
            let table = &shape.table;
            self.tally(table).deleted += rows;
            self.note(format!(
                "table {table}: {} stored as live although {column} is true, now marked deleted",
                counted(rows, "row")
            ));
        }
    }

    pub(super) fn start_commit(&self) -> CommitTotals {
        CommitTotals { tallies: self.tallies.clone(), doubts: Vec::new() }
    }

    /// The tallies that a commit changes.
    pub(super) fn changes<'a>(
        &'a self,
        totals: &'a CommitTotals,
    ) -> impl Iterator<Item = (&'a str, &'a Tally)> {
        let changed = |(table, tally): &(&String, &Tally)| self.committed.get(*table) != Some(*tally);
        totals.tallies.iter().filter(changed).map(|(table, tally)| (table.as_str(), tally))
    }

    pub(super) fn committed(&mut self, totals: CommitTotals, finished: Option<&str>) {
        self.tallies = totals.tallies;
        self.doubts.extend(totals.doubts);
        if let Some(table) = finished {
            self.held.remove(table);
        }
        self.reset();
    }

    /// Discards everything since the last commit.
    pub(super) fn discard(&mut self) {
        self.tallies.clone_from(&self.committed);
        self.reset();
        self.note("rows that no checkpoint covers were not appended: the next run reads them again");
    }

    fn reset(&mut self) {
        self.rejected.clear();
        self.checkpoints.clear();
        self.uncovered = false;
        self.committed.clone_from(&self.tallies);
        self.waiting_since = None;
    }

    /// Closes the run. `unfinished` are replaced tables that were not read to their end. After a failure, only committed
    /// rows are counted.
    pub(super) fn close(
        &mut self,
        unfinished: &[&str],
        mut outcome: RunOutcome,
        failure: Option<&DestinationError>,
    ) -> RunClosing {
        let mut tallies = std::mem::take(&mut self.committed);
        let mut notes = std::mem::take(&mut self.notes);
        for name in unfinished {
            if let Some(tally) = tallies.get_mut(*name) {
                *tally = Tally { seen: tally.rejected, rejected: tally.rejected, ..Tally::default() };
            }
            notes.push(format!("table {name} was not read to its end: its rows were not replaced"));
        }
        let rejections =
            |rows: u64| (rows > 0).then(|| format!("{} rejected, see _rejected", counted(rows, "row")));
        let mut reasons = std::mem::take(&mut self.doubts);
        reasons.extend(rejections(tallies.values().map(|tally| tally.rejected).sum()));
        if let Some(failure) = failure {
            outcome.run.end = End::Failed;
            outcome.run.reason = Some(failure.to_string());
        } else if !reasons.is_empty() {
            downgrade(&mut outcome.run, &reasons.join("; "));
        }
        for (name, ending) in &mut outcome.tables {
            let doubt = reasons.iter().find(|reason| reason.starts_with(&format!("table {name}: ")));
            if failure.is_some() && ending.end == End::Complete {
                downgrade(ending, "the run failed");
            } else if let Some(doubt) = doubt {
                downgrade(ending, doubt);
            } else if let Some(reason) = rejections(tallies.get(name).map_or(0, |tally| tally.rejected)) {
                downgrade(ending, &reason);
            }
        }
        let Ending { end, reason, .. } = outcome.run.clone();
        RunClosing { report: RunReport { end, reason, tallies, notes }, outcome }
    }
}

/// Makes a complete run or table partial, and adds the reason.
fn downgrade(ending: &mut Ending, reason: &str) {
    if ending.end == End::Complete {
        ending.end = End::Partial;
    }
    ending.reason = Some(match ending.reason.take() {
        Some(first) => format!("{first}; {reason}"),
        None => reason.to_owned(),
    });
}
