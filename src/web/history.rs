//! What pages show of the past, read once for everybody and kept for a while.
//!
//! Whoever asks first loads; whoever asks meanwhile waits for the same answer. Days of the past do not change, so that
//! after the first time only the last two are read again. A failure is kept for a moment, too: nobody queues up behind
//! a disk that hangs.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::days::STRIP;
use super::records::{Records, Unreadable};
use super::words::before;
use crate::domain::assess::Transition;
use crate::domain::history::{Day, MonitorDay, Span, date_of, days_before};
use crate::domain::ledger::Run;

/// How old what is shown of days and runs may get.
const FRESH: Duration = Duration::from_secs(60);
/// Changes are few and cheap to read, and people look for them.
const FRESH_CHANGES: Duration = Duration::from_secs(2);
/// A failure is not tried again before this.
const FRESH_FAILURE: Duration = Duration::from_secs(5);
/// A page waits this long for a part of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Runs in a card's charts.
pub(super) const TREND: usize = 30;
/// Changes on the overview, and how far back.
const CHANGES: usize = 30;
const CHANGES_HOURS: i64 = 24 * 30;

/// By monitor, in order of date.
pub(super) type ByMonitor = BTreeMap<String, Vec<(Date, Day)>>;

/// The shared copies.
pub(super) struct History {
    records: Arc<dyn Records>,
    days: Mutex<Kept<Dated>>,
    changes: Mutex<Kept<Vec<Transition>>>,
    runs: Mutex<BTreeMap<String, Ledger>>,
}

/// The last answer and when it came.
type Kept<T> = Option<(Instant, Result<Arc<T>, Unreadable>)>;

struct Dated {
    /// The day they were read in full.
    on: Date,
    days: Arc<ByMonitor>,
}

#[derive(Default)]
struct Ledger {
    /// The end of the last run then: a later one makes it old.
    until: Option<Timestamp>,
    kept: Arc<Mutex<Kept<Vec<Run>>>>,
}

impl History {
    pub(super) fn new(records: Arc<dyn Records>) -> History {
        History { records, days: Mutex::default(), changes: Mutex::default(), runs: Mutex::default() }
    }

    /// The days of all monitors for the strips.
    pub(super) async fn days(&self, now: Timestamp) -> Result<Arc<ByMonitor>, Unreadable> {
        let today = date_of(now);
        let mut kept = self.days.lock().await;
        let earlier = match &*kept {
            Some((at, Ok(dated))) if fresh(*at, FRESH) && dated.on == today => return Ok(dated.days.clone()),
            Some((at, Err(e))) if fresh(*at, FRESH_FAILURE) => return Err(e.clone()),
            Some((_, Ok(dated))) if dated.on == today => Some(dated.days.clone()),
            Some(_) | None => None,
        };
        // What was counted around midnight may have been kept after it.
        let since = if earlier.is_some() { days_before(today, 1) } else { days_before(today, STRIP) };
        let loaded = in_time(self.records.days(since)).await.map(|days| {
            let mut by_monitor = earlier.map_or_else(ByMonitor::new, |earlier| (*earlier).clone());
            merge(&mut by_monitor, days, since);
            Arc::new(Dated { on: today, days: Arc::new(by_monitor) })
        });
        *kept = Some((Instant::now(), loaded.clone()));
        loaded.map(|dated| dated.days.clone())
    }

    /// The last changes of all monitors, newest first.
    pub(super) async fn changes(&self, now: Timestamp) -> Result<Arc<Vec<Transition>>, Unreadable> {
        let span =
            Span { monitor: None, from: before(now, CHANGES_HOURS), to: Timestamp::MAX, limit: CHANGES };
        shared(&mut *self.changes.lock().await, FRESH_CHANGES, self.records.transitions(span)).await
    }

    /// A connector's last runs, newest first; `until` is the end of the last run that the board knows.
    pub(super) async fn runs(
        &self,
        connector: &str,
        until: Option<Timestamp>,
    ) -> Result<Arc<Vec<Run>>, Unreadable> {
        let ledger = {
            let mut all = self.runs.lock().await;
            let ledger = all.entry(connector.to_owned()).or_default();
            if ledger.until != until {
                *ledger = Ledger { until, ..Ledger::default() };
            }
            ledger.kept.clone()
        };
        let mut kept = ledger.lock().await;
        shared(&mut *kept, FRESH, self.records.runs(connector, TREND)).await
    }
}

/// What is kept, if it is fresh; else what is loaded now.
async fn shared<T>(
    kept: &mut Kept<T>,
    longest: Duration,
    load: impl Future<Output = Result<T, Unreadable>>,
) -> Result<Arc<T>, Unreadable> {
    match kept {
        Some((at, Ok(found))) if fresh(*at, longest) => Ok(found.clone()),
        Some((at, Err(e))) if fresh(*at, FRESH_FAILURE) => Err(e.clone()),
        Some(_) | None => {
            let loaded = in_time(load).await.map(Arc::new);
            *kept = Some((Instant::now(), loaded.clone()));
            loaded
        }
    }
}

fn fresh(at: Instant, longest: Duration) -> bool {
    at.elapsed() < longest
}

/// A part of a page never holds up the rest for long.
pub(super) async fn in_time<T>(load: impl Future<Output = Result<T, Unreadable>>) -> Result<T, Unreadable> {
    let late = |_| Unreadable(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, load).await.map_err(late)?
}

/// Puts newly read days in the place of those since that date.
fn merge(by_monitor: &mut ByMonitor, days: Vec<MonitorDay>, since: Date) {
    for kept in by_monitor.values_mut() {
        kept.truncate(kept.partition_point(|(date, _)| *date < since));
    }
    for (monitor, date, day) in days {
        match by_monitor.get_mut(&monitor) {
            Some(kept) => kept.push((date, day)),
            None => drop(by_monitor.insert(monitor, vec![(date, day)])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second reading takes the place of the days it covers and leaves the others.
    #[test]
    fn merges_days() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        let day = |ms| Day { at: [ms, 0, 0, 0, 0] };
        let mut all = ByMonitor::new();
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
