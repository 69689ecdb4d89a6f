//! The account of a run, the same for every destination: its words, and what the rows make of its end.
//!
//! Start at [`Finished::close`].

use std::collections::BTreeMap;

use super::{Account, DestinationError, Outcome, Report};
use crate::domain::op::{End, TableShape, Tally};

/// Runs kept: a quarter of a year at one every fifteen minutes.
pub(super) const KEPT_RUNS: i64 = 10_000;

/// Rejected rows kept, the newest: enough to see what is wrong, and bounded when everything is.
pub(super) const KEPT_REJECTED: i64 = 10_000;

/// The ledger's word for a run that has no end yet.
pub(super) const RUNNING: &str = "running";

/// The name under which the run itself stands among its tables.
pub(super) const WHOLE_RUN: &str = "";

/// What a run that nobody closed is closed with.
pub(super) const INTERRUPTED: &str = "it was interrupted: the process ended without closing it";

/// The ledger's word for an end.
pub(super) fn word(end: End) -> &'static str {
    match end {
        End::Complete => "complete",
        End::Partial => "partial",
        End::Deferred => "deferred",
        End::Failed => "failed",
    }
}

/// The end of a word.
pub(super) fn end_of(word: &str) -> Option<End> {
    [End::Complete, End::Partial, End::Deferred, End::Failed].into_iter().find(|end| self::word(*end) == word)
}

/// The counts in the order of the ledger's columns: seen, inserted, updated, unchanged, duplicate, rejected, deleted.
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
    .map(number)
}

/// What is said where a definition now names the column that tells of deletions, and stored rows had told of theirs.
pub(super) fn marked_now(shape: &TableShape, rows: u64) -> Option<String> {
    let column = shape.deleted_if.as_ref().filter(|_| rows > 0)?;
    let table = &shape.table;
    Some(format!(
        "{rows} rows of table {table} were stored as live although {column} is true: they are marked now"
    ))
}

/// A count as databases hold it.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What a destination has to say of a run at its end.
pub(super) struct Finished {
    /// What was committed.
    pub(super) tallies: BTreeMap<String, Tally>,
    /// Replaced tables that were not read to their end.
    pub(super) unfinished: Vec<String>,
    /// Why something is missing though nothing failed.
    pub(super) doubts: Vec<String>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// The end of a run, ready for the ledger.
pub(super) struct Closing {
    pub(super) report: Report,
    outcome: Outcome,
}

impl Finished {
    /// What the run comes to. After a failure only what was committed counts.
    pub(super) fn close(mut self, mut outcome: Outcome, failure: Option<&DestinationError>) -> Closing {
        for name in &self.unfinished {
            let rejected = self.tallies.get(name).map_or(0, |tally| tally.rejected);
            if let Some(tally) = self.tallies.get_mut(name) {
                *tally = Tally { seen: rejected, rejected, ..Tally::default() };
            }
            self.notes.push(format!("table {name} was not read to its end: its rows were not replaced"));
        }
        let rejected: u64 = self.tallies.values().map(|tally| tally.rejected).sum();
        let mut reasons = self.doubts;
        if rejected > 0 {
            reasons.push(format!("{rejected} rows were rejected, see _rejected"));
        }
        if let Some(failure) = failure {
            outcome.run.end = End::Failed;
            outcome.run.reason = Some(failure.to_string());
        } else if !reasons.is_empty() {
            worsen(&mut outcome.run, &reasons.join("; "));
        }
        for (name, account) in &mut outcome.tables {
            let doubt = reasons.iter().find(|reason| reason.starts_with(&format!("table {name}: ")));
            let rejected = self.tallies.get(name).map_or(0, |tally| tally.rejected);
            if failure.is_some() && account.end == End::Complete {
                worsen(account, "the run failed");
            } else if let Some(doubt) = doubt {
                worsen(account, doubt);
            } else if rejected > 0 {
                worsen(account, &format!("{rejected} rows were rejected, see _rejected"));
            }
        }
        let report = Report {
            end: outcome.run.end,
            reason: outcome.run.reason.clone(),
            tallies: self.tallies,
            notes: self.notes,
        };
        Closing { report, outcome }
    }
}

/// One line of the ledger, ready to be entered.
pub(super) struct Line<'a> {
    /// The table, or [`WHOLE_RUN`].
    pub(super) table: &'a str,
    pub(super) tally: Tally,
    pub(super) account: Account,
}

impl Closing {
    /// When the run ended.
    pub(super) fn ended(&self) -> jiff::Timestamp {
        self.outcome.ended
    }

    /// The run and each of its tables.
    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let tallies = &self.report.tallies;
        let mut whole = Tally::default();
        for tally in tallies.values() {
            add(&mut whole, tally);
        }
        let mut lines = vec![Line { table: WHOLE_RUN, tally: whole, account: self.outcome.run.clone() }];
        let unasked = tallies.keys().filter(|table| !self.outcome.tables.contains_key(*table));
        for table in self.outcome.tables.keys().chain(unasked) {
            let account = self.outcome.tables.get(table).cloned().unwrap_or_else(|| Account {
                requests: 0,
                retries: 0,
                waited_ms: 0,
                ..self.outcome.run.clone()
            });
            lines.push(Line { table, tally: tallies.get(table).copied().unwrap_or_default(), account });
        }
        lines
    }
}

/// Never greener than the rows allow.
fn worsen(account: &mut Account, reason: &str) {
    if account.end == End::Complete {
        account.end = End::Partial;
    }
    account.reason = Some(match account.reason.take() {
        Some(first) => format!("{first}; {reason}"),
        None => reason.to_owned(),
    });
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
