//! What a run keeps in mind from one commit to the next, the same for every destination: counts, checkpoints, rejected
//! rows and what there is to say.
//!
//! It holds no rows; how those wait and are written is each destination's own matter.

use std::collections::BTreeMap;
use std::time::Instant;

use super::account::Closing;
use super::{DestinationError, Ending, Outcome, Report};
use crate::domain::op::{Checkpoint, End, Rejected, TableShape, Tally, Write};

/// The book of one run.
pub(super) struct Book {
    /// The tables as they are stored.
    pub(super) stored: BTreeMap<String, TableShape>,
    /// When the oldest op that is not yet committed came.
    pub(super) waiting_since: Option<Instant>,
    /// Appended rows came that no checkpoint covers yet.
    pub(super) uncovered: bool,
    /// Rejected rows that are not yet stored.
    pub(super) rejected: Vec<Rejected>,
    /// Checkpoints that are not yet stored.
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Checkpoints of tables that are being replaced: nothing of them is stored before their end.
    pub(super) held: BTreeMap<String, Checkpoint>,
    /// What became of each table's rows.
    pub(super) tallies: BTreeMap<String, Tally>,
    /// The same as of the last commit.
    pub(super) committed: BTreeMap<String, Tally>,
    /// Why something is missing though nothing failed.
    pub(super) doubts: Vec<String>,
    notes: Vec<String>,
}

impl Book {
    pub(super) fn new(stored: BTreeMap<String, TableShape>) -> Self {
        Self {
            stored,
            waiting_since: None,
            uncovered: false,
            rejected: Vec::new(),
            checkpoints: Vec::new(),
            held: BTreeMap::new(),
            tallies: BTreeMap::new(),
            committed: BTreeMap::new(),
            doubts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What has been counted of a table.
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

    /// Takes a checkpoint. What it covers may be stored from now on, and not before if it was appended: rows of a
    /// table without a key that are read twice are stored twice.
    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) {
        let (held, now): (Vec<_>, Vec<_>) = checkpoint.entries.into_iter().partition(|(table, ..)| {
            self.stored.get(table).is_some_and(|shape| shape.write == Write::Replace)
        });
        for entry in held {
            self.held.entry(entry.0.clone()).or_default().entries.push(entry);
        }
        self.checkpoints.push(Checkpoint { entries: now });
    }

    /// A column became wider.
    pub(super) fn widened(&mut self, table: &str, column: &str) {
        self.note(format!("column {column} of table {table} became wider: its rows were converted"));
    }

    /// Stored rows were marked deleted because the definition now names the column that says so.
    pub(super) fn marked(&mut self, shape: &TableShape, rows: u64) {
        if let (Some(column), 1..) = (&shape.deleted_if, rows) {
            let table = &shape.table;
            self.tally(table).deleted += rows;
            self.note(format!(
                "{rows} rows of table {table} were stored as live although {column} is true: they are marked now"
            ));
        }
    }

    /// What a person should know.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The transaction is through.
    pub(super) fn settle(&mut self) {
        self.rejected.clear();
        self.checkpoints.clear();
        self.uncovered = false;
        self.committed.clone_from(&self.tallies);
        self.waiting_since = None;
    }

    /// Forgets what was taken since the last commit.
    pub(super) fn discard(&mut self) {
        self.tallies.clone_from(&self.committed);
        self.settle();
        self.note("rows that no checkpoint covers were not appended: the next run reads them again");
    }

    /// What the run comes to, where these tables were to be replaced and were not read to their end. After a failure
    /// only what was committed counts.
    pub(super) fn close(
        &mut self,
        unfinished: &[String],
        mut outcome: Outcome,
        failure: Option<&DestinationError>,
    ) -> Closing {
        let mut tallies = std::mem::take(&mut self.committed);
        let mut notes = std::mem::take(&mut self.notes);
        for name in unfinished {
            if let Some(tally) = tallies.get_mut(name) {
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
            worsen(&mut outcome.run, &reasons.join("; "));
        }
        for (name, ending) in &mut outcome.tables {
            let doubt = reasons.iter().find(|reason| reason.starts_with(&format!("table {name}: ")));
            if failure.is_some() && ending.end == End::Complete {
                worsen(ending, "the run failed");
            } else if let Some(doubt) = doubt {
                worsen(ending, doubt);
            } else if let Some(reason) = rejections(tallies.get(name).map_or(0, |tally| tally.rejected)) {
                worsen(ending, &reason);
            }
        }
        let Ending { end, reason, .. } = outcome.run.clone();
        Closing { report: Report { end, reason, tallies, notes }, outcome }
    }
}

/// Never greener than the rows allow.
fn worsen(ending: &mut Ending, reason: &str) {
    if ending.end == End::Complete {
        ending.end = End::Partial;
    }
    ending.reason = Some(match ending.reason.take() {
        Some(first) => format!("{first}; {reason}"),
        None => reason.to_owned(),
    });
}
