//! A destination that stores nothing: it counts, so that a person sees what a sync would bring.
//!
//! It cannot know which rows are new, so its tallies only say how many were seen and rejected.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Begin, Destination, DestinationError, Outcome, RejectedRow, Report, Run, TableFacts};
use crate::domain::op::{Op, State, TableShape, Tally};

/// Counts what it is given.
#[derive(Debug, Default)]
pub struct DryRun {
    state: State,
    shapes: BTreeMap<String, TableShape>,
    tallies: Mutex<BTreeMap<String, Tally>>,
}

impl DryRun {
    /// A dry run from the given state and tables: those of the real destination, or empty ones.
    pub fn new(state: State, shapes: BTreeMap<String, TableShape>) -> Self {
        Self { state, shapes, tallies: Mutex::default() }
    }

    fn count(&self, table: &str, change: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        change(tallies.entry(table.to_owned()).or_default());
    }
}

#[async_trait]
impl Destination for DryRun {
    async fn state(&self) -> Result<State, DestinationError> {
        Ok(self.state.clone())
    }

    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        Ok(self.shapes.clone())
    }

    async fn begin(&self, _: Begin) -> Result<i64, DestinationError> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(0)
    }

    async fn write(&self, op: Op) -> Result<(), DestinationError> {
        match op {
            Op::Rows(rows) => self.count(&rows.shape.table, |tally| tally.seen += rows.rows.len() as u64),
            Op::Rejected(rejected) => {
                for row in rejected {
                    self.count(&row.table, |tally| {
                        tally.seen += 1;
                        tally.rejected += 1;
                    });
                }
            }
            Op::Shape(_) | Op::Checkpoint(_) | Op::Finish { .. } => {}
        }
        Ok(())
    }

    async fn end(&self, outcome: Outcome) -> Result<Report, DestinationError> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Report { end: outcome.run.end, reason: outcome.run.reason, tallies, notes: Vec::new() })
    }

    async fn runs(&self, _: usize) -> Result<Vec<Run>, DestinationError> {
        Ok(Vec::new())
    }

    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError> {
        Ok(Vec::new())
    }

    async fn rejected(&self, _: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        Ok(Vec::new())
    }

    async fn close(&self) -> Result<(), DestinationError> {
        Ok(())
    }
}
