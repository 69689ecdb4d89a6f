//! A cache of the history that pages show, shared by all requests.
//!
//! The first request loads; concurrent ones wait for its result. Past days do not change, so after the first load only the
//! last two are read again. A failure is cached briefly too, so that requests do not queue up behind a hanging disk.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::days::STRIP;
use super::records::{RecordError, RecordReader};
use super::words::before;
use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::history::{Day, MonitorDay, Span, date_of, days_before};
use crate::domain::syncing::run_history::Run;

/// Maximum age of cached days and runs.
const FRESH: Duration = Duration::from_secs(60);
/// Status changes are few, cheap to read, and wanted promptly.
const FRESH_CHANGES: Duration = Duration::from_secs(2);
/// Time before a failed read is retried.
const FRESH_FAILURE: Duration = Duration::from_secs(5);
/// For reading one part of a page.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Runs in the charts of a connector.
pub(in crate::web) const TREND: usize = 30;
/// Status changes on the overview, and how far back.
const CHANGES: usize = 100;
const CHANGES_HOURS: i64 = 24 * 30;

/// Days of each monitor in order of date.
pub(in crate::web) type DaysByMonitor = BTreeMap<String, Vec<(Date, Day)>>;

pub(in crate::web) struct History {
    records: Arc<dyn RecordReader>,
    days: Mutex<CachedRead<DatedDays>>,
    changes: Mutex<CachedRead<Vec<Transition>>>,
    runs: Mutex<BTreeMap<String, CachedRuns>>,
}

/// The last result and when it was read.
type CachedRead<T> = Option<(Instant, Result<Arc<T>, RecordError>)>;

struct DatedDays {
    /// The day they were read in full.
    on: Date,
    days: Arc<DaysByMonitor>,
}

#[derive(Default)]
struct CachedRuns {
    /// The end of the last run at that time; a newer run invalidates the entry.
    until: Option<Timestamp>,
    runs: Arc<Mutex<CachedRead<Vec<Run>>>>,
}

impl History {
    pub(in crate::web) fn new(records: Arc<dyn RecordReader>) -> History {
        History { records, days: Mutex::default(), changes: Mutex::default(), runs: Mutex::default() }
    }

    /// The days of all monitors that the strips show.
    pub(in crate::web) async fn days(&self, now: Timestamp) -> Result<Arc<DaysByMonitor>, RecordError> {
        let today = date_of(now);
        let mut cache = self.days.lock().await;
        let earlier = match &*cache {
            Some((at, Ok(dated))) if fresh(*at, FRESH) && dated.on == today => return Ok(dated.days.clone()),
            Some((at, Err(e))) if fresh(*at, FRESH_FAILURE) => return Err(e.clone()),
            Some((_, Ok(dated))) if dated.on == today => Some(dated.days.clone()),
            Some(_) | None => None,
        };
        // Yesterday's last counts may have been stored after midnight.
        let since = if earlier.is_some() { days_before(today, 1) } else { days_before(today, STRIP) };
        let loaded = in_time(self.records.days(since)).await.map(|days| {
            let mut by_monitor = earlier.map_or_else(DaysByMonitor::new, |earlier| (*earlier).clone());
            merge(&mut by_monitor, days, since);
            Arc::new(DatedDays { on: today, days: Arc::new(by_monitor) })
        });
        *cache = Some((Instant::now(), loaded.clone()));
        loaded.map(|dated| dated.days.clone())
    }

    /// The last status changes of all monitors, newest first.
    pub(in crate::web) async fn changes(&self, now: Timestamp) -> Result<Arc<Vec<Transition>>, RecordError> {
        let span =
            Span { monitor: None, from: before(now, CHANGES_HOURS), to: Timestamp::MAX, limit: CHANGES };
        cached(&mut *self.changes.lock().await, FRESH_CHANGES, self.records.transitions(span)).await
    }

    /// A connector's last runs, newest first; `until` is the end of the last run that the board knows.
    pub(in crate::web) async fn runs(
        &self,
        connector: &str,
        until: Option<Timestamp>,
    ) -> Result<Arc<Vec<Run>>, RecordError> {
        let cache = {
            let mut all = self.runs.lock().await;
            let entry = all.entry(connector.to_owned()).or_default();
            if entry.until != until {
                *entry = CachedRuns { until, ..CachedRuns::default() };
            }
            entry.runs.clone()
        };
        let mut cache = cache.lock().await;
        cached(&mut *cache, FRESH, self.records.runs(connector, TREND)).await
    }
}

/// The cached result if it is fresh, else a newly loaded one.
async fn cached<T>(
    cache: &mut CachedRead<T>,
    longest: Duration,
    load: impl Future<Output = Result<T, RecordError>>,
) -> Result<Arc<T>, RecordError> {
    match cache {
        Some((at, Ok(found))) if fresh(*at, longest) => Ok(found.clone()),
        Some((at, Err(e))) if fresh(*at, FRESH_FAILURE) => Err(e.clone()),
        Some(_) | None => {
            let loaded = in_time(load).await.map(Arc::new);
            *cache = Some((Instant::now(), loaded.clone()));
            loaded
        }
    }
}

fn fresh(at: Instant, longest: Duration) -> bool {
    at.elapsed() < longest
}

/// Limits the time for reading one part of a page.
pub(in crate::web) async fn in_time<T>(
    load: impl Future<Output = Result<T, RecordError>>,
) -> Result<T, RecordError> {
    let late = |_| RecordError(format!("no answer within {} s", READ_TIMEOUT.as_secs()));
    timeout(READ_TIMEOUT, load).await.map_err(late)?
}

/// Replaces the days since that date with newly read ones.
fn merge(by_monitor: &mut DaysByMonitor, days: Vec<MonitorDay>, since: Date) {
    for days in by_monitor.values_mut() {
        days.truncate(days.partition_point(|(date, _)| *date < since));
    }
    for (monitor, date, day) in days {
        match by_monitor.get_mut(&monitor) {
            Some(days) => days.push((date, day)),
            None => drop(by_monitor.insert(monitor, vec![(date, day)])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_read_replaces_the_days_it_covers_and_no_others() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let day = |ms| Day { at: [ms, 0, 0, 0, 0] };
        let mut all = DaysByMonitor::new();
        let read = [("A", "2026-05-01", 1), ("A", "2026-05-02", 2), ("B", "2026-05-02", 3)];
        let days = |read: &[(&str, &str, u32)]| {
            read.iter().map(|(name, on, ms)| ((*name).to_owned(), date(on), day(*ms))).collect::<Vec<_>>()
        };
        merge(&mut all, days(&read), date("2026-05-01"));
        merge(&mut all, days(&[("A", "2026-05-02", 20), ("C", "2026-05-02", 9)]), date("2026-05-02"));
        assert_eq!(all["A"], [(date("2026-05-01"), day(1)), (date("2026-05-02"), day(20))]);
        assert_eq!((all["B"].len(), all["C"].len()), (0, 1));
    }
}
