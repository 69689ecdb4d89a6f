//! What is stored of the last days under one fencing token. A row holds a total, so that a repeated write adds nothing.

use jiff::civil::Date;

use super::super::Batch;
use crate::domain::monitoring::history;
use crate::domain::monitoring::history::DayTotals;
use crate::domain::monitoring::responses::ResponseTotals;

/// Totals of days that are older than the newest by more than this are no longer needed.
const DAYS: i64 = 3;

#[derive(Debug, Default)]
pub(super) struct BatchTotals {
    pub(super) days: DayTotals,
    pub(super) responses: ResponseTotals,
}

impl BatchTotals {
    /// The totals of the days of a batch, with those stored before.
    pub(super) fn of(stored: Option<&BatchTotals>, batch: &Batch) -> BatchTotals {
        let days = batch.days.iter().map(|(key, day)| {
            let mut total = stored.and_then(|stored| stored.days.get(key)).copied().unwrap_or_default();
            total.add(day);
            (key.clone(), total)
        });
        let responses = batch.responses.iter().map(|(key, day)| {
            let mut total = stored.and_then(|stored| stored.responses.get(key)).cloned().unwrap_or_default();
            total.add(day);
            (key.clone(), total)
        });
        BatchTotals { days: days.collect(), responses: responses.collect() }
    }

    /// Adds totals that were stored, and removes days that no batch will add to.
    pub(super) fn merge(&mut self, totals: BatchTotals) {
        self.days.extend(totals.days);
        self.responses.extend(totals.responses);
        let dates = self.days.keys().chain(self.responses.keys()).map(|(_, date): &(String, Date)| *date);
        if let Some(newest) = dates.max() {
            let oldest = history::days_before(newest, DAYS);
            self.days.retain(|(_, date), _| *date >= oldest);
            self.responses.retain(|(_, date), _| *date >= oldest);
        }
    }
}
