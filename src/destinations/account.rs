//! The account of a run as every destination's ledger has it: its words, its lines and how much is kept.
//!
//! Start at [`Closing::lines`].

use super::{Ending, Outcome, Report};
use crate::domain::op::{End, Tally};

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

/// The end of a word.
pub(super) fn end_of(word: &str) -> Option<End> {
    [End::Complete, End::Partial, End::Deferred, End::Failed].into_iter().find(|end| end.as_str() == word)
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

/// A count as databases hold it.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The end of a run, ready for the ledger.
pub(super) struct Closing {
    pub(super) report: Report,
    pub(super) outcome: Outcome,
}

/// One line of the ledger, ready to be entered.
pub(super) struct Line<'a> {
    /// The table, or [`WHOLE_RUN`].
    pub(super) table: &'a str,
    pub(super) tally: Tally,
    pub(super) account: Ending,
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
            let account = self.outcome.tables.get(table).cloned().unwrap_or_else(|| Ending {
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

fn add(sum: &mut Tally, tally: &Tally) {
    sum.seen += tally.seen;
    sum.inserted += tally.inserted;
    sum.updated += tally.updated;
    sum.unchanged += tally.unchanged;
    sum.duplicate += tally.duplicate;
    sum.rejected += tally.rejected;
    sum.deleted += tally.deleted;
}
