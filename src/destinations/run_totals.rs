//! What a run counts from one commit to the next, the same for every kind of database: tallies, checkpoints, rejected
//! rows, notes. It holds no rows.
//!
//! A commit works on [`CommitTotals`], a copy, so that one that failed leaves no trace and can be repeated.

use std::collections::BTreeMap;
use std::time::Instant;

use super::run_history::RunClosing;
use super::{DestinationError, Ending, RunOutcome, RunReport};
use crate::domain::op::{Checkpoint, End, Rejected, TableShape, Tally, Write};

#[derive(Default)]
pub(super) struct RunTotals {
    /// The tables as they are stored.
    pub(super) stored: BTreeMap<String, TableShape>,
    /// When the oldest op arrived that is not yet committed.
    pub(super) waiting_since: Option<Instant>,
    /// Appended rows arrived that no checkpoint covers yet.
    pub(super) uncovered: bool,
    /// Rejected rows that are not yet stored.
    pub(super) rejected: Vec<Rejected>,
    tallies: BTreeMap<String, Tally>,
    committed: BTreeMap<String, Tally>,
    /// Checkpoints that are not yet stored.
    checkpoints: Vec<Checkpoint>,
    /// Checkpoints of replaced tables: they are stored when the table was read to its end.
    held: BTreeMap<String, Checkpoint>,
    /// Why the run is not complete though nothing failed.
    doubts: Vec<String>,
    notes: Vec<String>,
}

/// The totals as they will be once a commit succeeded.
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
        self.doubt(table, "its keys were not remembered, so nothing was marked deleted");
    }
}

impl RunTotals {
    pub(super) fn new(stored: BTreeMap<String, TableShape>) -> Self {
        Self { stored, ..Self::default() }
    }

    pub(super) fn tally(&mut self, table: &str) -> &mut Tally {
        self.tallies.entry(table.to_owned()).or_default()
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

    /// The checkpoints to store, in their order; with those of a table that was read to its end.
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

    /// Stored rows were soft-deleted because the definition now names the column that says so.
    pub(super) fn note_deleted(&mut self, shape: &TableShape, rows: u64) {
        if let (Some(column), 1..) = (&shape.deleted_if, rows) {
            let table = &shape.table;
            self.tally(table).deleted += rows;
            self.note(format!(
                "{rows} rows of table {table} were stored as live although {column} is true: they are now marked deleted"
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
        self.settle();
    }

    /// Drops what arrived since the last commit.
    pub(super) fn discard(&mut self) {
        self.tallies.clone_from(&self.committed);
        self.settle();
        self.note("rows that no checkpoint covers were not appended: the next run reads them again");
    }

    fn settle(&mut self) {
        self.rejected.clear();
        self.checkpoints.clear();
        self.uncovered = false;
        self.committed.clone_from(&self.tallies);
        self.waiting_since = None;
    }

    /// Closes the run. `unfinished` names replaced tables that were not read to their end. After a failure only what
    /// was committed counts.
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
        let rejections = |rows: u64| (rows > 0).then(|| format!("{rows} rows were rejected, see _rejected"));
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

/// What lacks rows is not complete.
fn downgrade(ending: &mut Ending, reason: &str) {
    if ending.end == End::Complete {
        ending.end = End::Partial;
    }
    ending.reason = Some(match ending.reason.take() {
        Some(first) => format!("{first}; {reason}"),
        None => reason.to_owned(),
    });
}
