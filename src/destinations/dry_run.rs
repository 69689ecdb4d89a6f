//! A destination that stores nothing and counts the rows of a sync.
//!
//! It cannot know which rows are new, so that its tallies contain only seen and rejected rows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Destination, DestinationError, RejectedRow, Run, RunOutcome, RunReport, RunStart, TableFacts};
use crate::domain::syncing::op::{Op, State, TableShape, Tally};

#[derive(Debug, Default)]
pub struct CountingDestination {
    state: State,
    shapes: BTreeMap<String, TableShape>,
    tallies: Mutex<BTreeMap<String, Tally>>,
}

impl CountingDestination {
    /// Starts from the given state and tables: those of the real destination, or empty ones.
    pub fn new(state: State, shapes: BTreeMap<String, TableShape>) -> Self {
        Self { state, shapes, tallies: Mutex::default() }
    }

    fn count(&self, table: &str, change: impl FnOnce(&mut Tally)) {
        change(self.tallies().entry(table.to_owned()).or_default());
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<String, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Destination for CountingDestination {
    async fn state(&self) -> Result<State, DestinationError> {
        Ok(self.state.clone())
    }

    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        Ok(self.shapes.clone())
    }

    async fn begin(&self, _: RunStart) -> Result<i64, DestinationError> {
        self.tallies().clear();
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

    async fn end(&self, outcome: RunOutcome) -> Result<RunReport, DestinationError> {
        let tallies = self.tallies().clone();
        Ok(RunReport { end: outcome.run.end, reason: outcome.run.reason, tallies, notes: Vec::new() })
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
