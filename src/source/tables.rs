//! Reads the tables of a run: whole, by windows of days, by a cursor, or parent by parent; and emits a checkpoint where it
//! is safe.
//!
//! Start at [`TableRun::table`].

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::partition::{PartitionReading, Scope, TableRun, Unwatched, Watch};
use super::requests::bound;
use super::run::Stop;
use crate::domain::syncing::cell::Sourced;
use crate::domain::syncing::cursor::{CursorPlace, CursorState, Position};
use crate::domain::syncing::definition::config;
use crate::domain::syncing::definition::connector::{Cursor, CursorFormat, Parent, Window};
use crate::domain::syncing::op::{Checkpoint, Op, State, Sweep};
use crate::domain::syncing::paging::{PageSizes, RawValue};
use crate::domain::syncing::window;
use crate::domain::syncing::window::{DayRange, WindowState};
use crate::domain::text::counted;

/// The result of a table that was read to its end.
#[derive(Debug, Default)]
pub(super) struct TableEnd {
    /// Why the reading may be incomplete.
    pub(super) doubts: Vec<String>,
    pub(super) parents: Parents,
}

/// The rows of a parent table.
#[derive(Debug, Default, Clone)]
pub(super) struct Parents {
    pub(super) rows: Vec<Vec<Sourced>>,
    /// Whether these are all rows of the source.
    pub(super) all: bool,
}

/// The key in a table's state for the page sizes that the source accepts.
const PAGE_SIZES: &str = "page_sizes";

/// After so many failed children of one table, the rest is left for another run: one permanently broken child must not
/// block the others, and a source that is down must not get a request for each of them.
const MAX_FAILED: usize = 5;

impl TableRun<'_> {
    /// Reads the table as defined, starting from `state`.
    pub(super) async fn table(&self, state: &State, parents: Option<&Parents>) -> Result<TableEnd, Stop> {
        let sizes: PageSizes = self.stored(state, PAGE_SIZES).unwrap_or_default();
        self.habits().sizes = sizes;
        let mut end = match (&self.table.parent, &self.table.window, &self.table.cursor) {
            (Some(parent), _, _) => {
                let none = Parents::default();
                self.children(parent, state, parents.unwrap_or(&none)).await?
            }
            (None, Some(window), _) => self.windows(window, state).await?,
            (None, None, Some(cursor)) => self.by_cursor(cursor, state).await?,
            (None, None, None) => self.whole().await?,
        };
        dedup(&mut end.parents.rows);
        let habits = self.habits().sizes;
        // A child table has no free partition name: its parents define them.
        if habits != sizes && self.table.parent.is_none() {
            self.checkpoint(PAGE_SIZES, &habits).await?;
        }
        Ok(end)
    }

    async fn whole(&self) -> Result<TableEnd, Stop> {
        let reading = self.read(&Scope::default(), &Unwatched).await?;
        self.too_wide(&reading)?;
        let sweep = self.sweep.filter(|_| reading.rejected == 0);
        let all = reading.rejected == 0 && reading.doubts.is_empty();
        let mut end = self.end_of(reading);
        end.parents.all = all;
        self.finish(&end, sweep).await?;
        Ok(end)
    }

    /// The windows to read, by the days of the table's time zone.
    fn plan_windows(
        &self,
        window: &Window,
        state: &State,
    ) -> Result<(window::WindowPlan, TimeZone, Date), Stop> {
        let zone = TimeZone::get(&window.zone).unwrap_or(TimeZone::UTC);
        let today = self.run.started_at().to_zoned(zone.clone()).date();
        let start = self.run.account.config().first_day(&window.start, today);
        let start = start.ok().flatten().ok_or_else(|| self.missing_start())?;
        let known: Option<WindowState> = self.stored(state, "");
        Ok((window::plan(window, known.as_ref(), start, today), zone, today))
    }

    /// The scope of the first window.
    pub(super) fn first_window(&self, window: &Window, state: &State) -> Result<Scope, Stop> {
        let (plan, zone, today) = self.plan_windows(window, state)?;
        let days = plan.days.window(plan.days.first, plan.step_days).unwrap_or(plan.days);
        let params = self.window_params(window, &plan, days, &zone, today)?;
        Ok(Scope { params, halves: halves(window, days), ..Scope::default() })
    }

    async fn windows(&self, window: &Window, state: &State) -> Result<TableEnd, Stop> {
        let (plan, zone, today) = self.plan_windows(window, state)?;
        let mut end = TableEnd::default();
        self.read_windows(window, &plan, (&zone, today), &mut end).await?;
        let (days, step_days) = (plan.fresh, window.step_days);
        let fresh = window::WindowPlan { days, step_days, changed_since: None, ..plan.clone() };
        self.read_windows(window, &fresh, (&zone, today), &mut end).await?;
        if end.doubts.is_empty() && !plan.days.is_empty() {
            let done = WindowState {
                last_sync_date: Some(today),
                start: Some(plan.start),
                began: None,
                complete: window.changes.as_ref().map(|_| plan.began),
            };
            self.checkpoint("", &done).await?;
        }
        self.finish(&end, None).await?;
        Ok(end)
    }

    /// Reads the windows of a plan one after the other. A backfill emits a checkpoint after each.
    async fn read_windows(
        &self,
        window: &Window,
        plan: &window::WindowPlan,
        (zone, today): (&TimeZone, Date),
        end: &mut TableEnd,
    ) -> Result<(), Stop> {
        let (mut at, mut step) = (plan.days.first, plan.step_days);
        while let Some(days) = plan.days.window(at, step) {
            let params = self.window_params(window, plan, days, zone, today)?;
            let scope = Scope { params, halves: halves(window, days), ..Scope::default() };
            let reading = self.read(&scope, &Unwatched).await?;
            if reading.too_wide {
                step = (days.len() / 2).max(window.halve_to_days.unwrap_or(1));
                continue;
            }
            end.join(self.end_of(reading));
            at = days.end;
            if end.doubts.is_empty() && plan.remembers_windows() {
                let last = days.end.yesterday().unwrap_or(today).min(today);
                let last = WindowState {
                    last_sync_date: plan.reached.max(Some(last)),
                    start: Some(plan.start),
                    began: window.changes.as_ref().map(|_| plan.began),
                    complete: None,
                };
                self.checkpoint("", &last).await?;
            }
        }
        Ok(())
    }

    fn window_params(
        &self,
        window: &Window,
        plan: &window::WindowPlan,
        days: DayRange,
        zone: &TimeZone,
        today: Date,
    ) -> Result<Vec<(String, RawValue)>, Stop> {
        let from = bound(&self.format_day(window, days.first, zone)?);
        let to = bound(&self.format_day(window, days.written_end(window.end), zone)?);
        let mut params = vec![(window.from.clone(), from), (window.to.clone(), to)];
        if let (Some(since), Some(changes)) = (plan.changed_since, &window.changes) {
            params.push((changes.from.clone(), bound(&self.format_day(window, since, zone)?)));
            let until = today.tomorrow().unwrap_or(today);
            if let Some(to) = &changes.to {
                params.push((to.clone(), bound(&self.format_day(window, until, zone)?)));
            }
        }
        Ok(params)
    }

    fn format_day(&self, window: &Window, day: Date, zone: &TimeZone) -> Result<String, Stop> {
        let moment = day.to_zoned(zone.clone());
        let text = moment.and_then(|moment| jiff::fmt::strtime::format(&window.format, &moment));
        text.map_err(|e| Stop::failed(format!("table {}: {:?}: {e}", self.table.name, window.format), None))
    }

    async fn by_cursor(&self, cursor: &Cursor, state: &State) -> Result<TableEnd, Stop> {
        let known: Option<CursorState> = self.stored(state, "");
        let reading = self.partition_by_cursor(cursor, known, Scope::default(), "").await?;
        self.too_wide(&reading)?;
        let end = self.end_of(reading);
        self.finish(&end, None).await?;
        Ok(end)
    }

    /// Reads one partition from its cursor, and emits the new cursor.
    async fn partition_by_cursor(
        &self,
        cursor: &Cursor,
        known: Option<CursorState>,
        mut scope: Scope,
        partition: &str,
    ) -> Result<PartitionReading, Stop> {
        let before = known.clone();
        let known = self.start_from(cursor, known, &mut scope);
        let steps = Steps { run: self, partition, known: known.clone(), before, format: &cursor.format };
        let reading = self.read(&scope, &steps).await?;
        if !reading.gone && !reading.too_wide && reading.doubts.is_empty() {
            let mut state = known.moved_to(reading.newest.as_ref(), &cursor.format);
            state.read_at = Some(self.run.started_at());
            self.checkpoint(partition, &state).await?;
        }
        Ok(reading)
    }

    /// Sets the start of the reading in a scope. Returns the valid part of the partition's state.
    pub(super) fn start_from(
        &self,
        cursor: &Cursor,
        known: Option<CursorState>,
        scope: &mut Scope,
    ) -> CursorState {
        let start = self.cursor_start(cursor);
        // If the configured start is now earlier, the rows between the two were never read.
        let known = known.filter(|known| match (&start, &known.start) {
            (Some(now), Some(then)) => now.compare(then).is_none_or(|order| order.is_ge()),
            _ => true,
        });
        let mut known = known.unwrap_or_default();
        known.read_at = None;
        known.start = known.start.or_else(|| start.clone());
        let from = known.at.as_ref().map(|at| at.back(cursor.lookback, &cursor.format)).or(start);
        match (&cursor.param, from) {
            (Some(param), Some(from)) => {
                // In the source's own spelling, if the format is plain and there is no lookback.
                let raw = known
                    .raw
                    .clone()
                    .filter(|_| cursor.format == CursorFormat::Plain && cursor.lookback.is_zero());
                let value = raw.map_or_else(|| bound(&from.written(&cursor.format)), RawValue::new);
                scope.params.push((param.clone(), value));
            }
            (None, Some(from)) => {
                scope.known = known.at.clone();
                scope.stop_before = Some(from);
            }
            (_, None) => {}
        }
        known
    }

    fn cursor_start(&self, cursor: &Cursor) -> Option<Position> {
        let config = self.run.account.config();
        let text = cursor.start.iter().find_map(|template| config.fill(template, &BTreeMap::new()))?;
        let today = self.run.started_at().to_zoned(TimeZone::UTC).date();
        Some(
            config::day(&text, today)
                .filter(|_| text.len() <= 10)
                .map_or_else(|| Position::read(&text), Position::Day),
        )
    }

    async fn children(&self, parent: &Parent, state: &State, parents: &Parents) -> Result<TableEnd, Stop> {
        let mut families: Vec<Family> =
            parents.rows.iter().filter_map(|row| self.family(parent, row)).collect();
        let known = |family: &Family| self.stored::<CursorState>(state, &family.partition);
        // The least recently read come first, so that runs that end early do not starve the same ones each time.
        families.sort_by_cached_key(|family| known(family).and_then(|known| known.read_at));
        let concurrency = self.run.account.definition().http.concurrency;
        let mut waiting: Vec<(&Family, Option<CursorState>)> =
            families.iter().rev().map(|family| (family, known(family))).collect();
        if let Some(since) = self.since.filter(|_| self.child_columns.is_empty()) {
            // Already read by an earlier run of the same sync, and no child table needs their rows.
            waiting.retain(|(_, known)| {
                known.as_ref().and_then(|known| known.read_at).is_none_or(|at| at < since)
            });
        }
        let visited = waiting.len();
        let mut under_way: FuturesUnordered<Child<'_>> = FuturesUnordered::new();
        let (mut end, mut gone, mut rejected) = (TableEnd::default(), 0, 0);
        let mut failed: Vec<Stop> = Vec::new();
        loop {
            while under_way.len() < concurrency
                && let Some((family, known)) = waiting.pop()
            {
                under_way.push(self.child(family, known));
            }
            let Some(reading) = under_way.next().await else { break };
            let reading = match reading {
                Ok(reading) => reading,
                Err(stop) if stop.is_local() => {
                    failed.push(stop);
                    if failed.len() == MAX_FAILED {
                        break;
                    }
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            gone += u64::from(reading.gone);
            rejected += reading.rejected;
            end.join(self.end_of(reading));
        }
        drop(under_way);
        if let Some(first) = failed.into_iter().next() {
            return Err(first);
        }
        self.check_gone(gone, visited)?;
        if parents.all {
            self.prune_partitions(state, &families).await?;
        }
        let all_requested = parents.all && families.len() == parents.rows.len() && visited == families.len();
        let whole = all_requested && gone == 0 && rejected == 0;
        let sweep = self.sweep.filter(|_| whole);
        end.parents.all = whole && end.doubts.is_empty() && self.table.cursor.is_none();
        self.finish(&end, sweep).await?;
        Ok(end)
    }

    // Boxed: otherwise the type is too deep for the compiler to prove that it is `Send`.
    fn child<'a>(&'a self, family: &'a Family, known: Option<CursorState>) -> Child<'a> {
        Box::pin(async move {
            let scope = family.scope();
            let reading = match &self.table.cursor {
                Some(cursor) => self.partition_by_cursor(cursor, known, scope, &family.partition).await?,
                None => self.read(&scope, &Unwatched).await?,
            };
            self.too_wide(&reading)?;
            Ok(reading)
        })
    }

    /// The values of a parent row for the requests of its children; `None` if the row lacks one.
    pub(super) fn family(&self, parent: &Parent, row: &[Sourced]) -> Option<Family> {
        let texts: Option<Vec<String>> = row.iter().map(|value| Some(value.text()?.into_owned())).collect();
        let Some(texts) =
            texts.filter(|texts| texts.iter().all(|text| !matches!(text.as_str(), "" | "." | "..")))
        else {
            self.run.note(format!("{}: a row of {} has no value to ask by", self.table.name, parent.table));
            return None;
        };
        // Stored states name partitions by the stored values.
        let stored: Vec<_> = row.iter().filter_map(|value| value.cell.to_text()).collect();
        let partition = match stored.as_slice() {
            [one] => one.clone().into_owned(),
            several => serde_json::to_string(several).unwrap_or_default(),
        };
        let row_texts = parent.columns.keys().cloned().zip(texts).collect();
        Some(Family { partition, row: row_texts, inherited: row.to_vec() })
    }

    /// A few 404s are expected; 404 for every parent means that the path is wrong.
    fn check_gone(&self, gone: u64, of: usize) -> Result<(), Stop> {
        if gone == 0 {
            return Ok(());
        }
        if of > 1 && gone == of as u64 {
            let reason =
                format!("all {of} requests for {} were not found (404): check the path", self.table.name);
            return Err(Stop::failed(reason, Some(format!("table {}", self.table.name))));
        }
        let parents = counted(gone, "parent");
        self.run.note(format!("{}: {parents} deleted during the run and skipped", self.table.name));
        Ok(())
    }

    /// Removes the partitions of deleted parents, so that the state does not grow forever.
    async fn prune_partitions(&self, state: &State, families: &[Family]) -> Result<(), Stop> {
        let current: BTreeSet<&str> = families.iter().map(|family| family.partition.as_str()).collect();
        let known = state.partitions(&self.table.name);
        let removed = known.filter(|partition| !current.contains(partition.as_ref()));
        let entries: Vec<_> =
            removed.map(|partition| (self.table.name.clone(), partition.into_owned(), None)).collect();
        if entries.is_empty() || self.silent || current.is_empty() {
            return Ok(());
        }
        self.run.send(Op::Checkpoint(Checkpoint { entries })).await
    }

    fn end_of(&self, reading: PartitionReading) -> TableEnd {
        TableEnd { doubts: reading.doubts, parents: Parents { rows: reading.parents, all: false } }
    }

    /// Emits that the table was read to its end, unless there are doubts.
    async fn finish(&self, end: &TableEnd, sweep: Option<Sweep>) -> Result<(), Stop> {
        if self.silent || !end.doubts.is_empty() {
            return Ok(());
        }
        self.run.send(Op::Finish { table: self.table.name.clone(), sweep }).await
    }

    async fn checkpoint<T: serde::Serialize>(&self, partition: &str, state: &T) -> Result<(), Stop> {
        if self.silent {
            return Ok(());
        }
        let state = serde_json::to_value(state).unwrap_or(Value::Null);
        let entries = vec![(self.table.name.clone(), partition.to_owned(), Some(state))];
        self.run.send(Op::Checkpoint(Checkpoint { entries })).await
    }

    /// The state from an earlier run. An unreadable state is ignored, so that everything is read again.
    pub(super) fn stored<T: DeserializeOwned>(&self, state: &State, partition: &str) -> Option<T> {
        let value = state.cursor(&self.table.name, partition)?;
        let read = serde_json::from_value(value.into_owned());
        if read.is_err() {
            self.run.note(format!(
                "{}: the stored cursor is not readable, so the table is read from the start",
                self.table.name
            ));
        }
        read.ok()
    }

    fn too_wide(&self, reading: &PartitionReading) -> Result<(), Stop> {
        if reading.too_wide {
            let reason = "the source refuses the request as too wide, and the table has no window to halve";
            return Err(Stop::failed(reason, Some(format!("table {}", self.table.name))));
        }
        Ok(())
    }

    fn missing_start(&self) -> Stop {
        let reason = format!("table {}: the configuration has no start date", self.table.name);
        Stop::failed(reason, None)
    }
}

impl TableEnd {
    fn join(&mut self, other: TableEnd) {
        for doubt in other.doubts {
            if !self.doubts.contains(&doubt) {
                self.doubts.push(doubt);
            }
        }
        self.parents.rows.extend(other.parents.rows);
    }
}

/// Whether a window can still be halved.
fn halves(window: &Window, days: DayRange) -> bool {
    window.halve_to_days.is_some_and(|least| days.len() > least)
}

/// The reading of one parent's children.
type Child<'a> = Pin<Box<dyn Future<Output = Result<PartitionReading, Stop>> + Send + 'a>>;

/// One parent row, by which its children are requested.
pub(super) struct Family {
    pub(super) partition: String,
    row: BTreeMap<String, String>,
    inherited: Vec<Sourced>,
}

impl Family {
    pub(super) fn scope(&self) -> Scope {
        Scope { row: self.row.clone(), inherited: self.inherited.clone(), ..Scope::default() }
    }
}

/// Emits a checkpoint after each page, if rows arrive oldest first.
struct Steps<'a> {
    run: &'a TableRun<'a>,
    partition: &'a str,
    known: CursorState,
    /// The state before the reading.
    before: Option<CursorState>,
    format: &'a CursorFormat,
}

impl Watch for Steps<'_> {
    async fn page_done(&self, place: &CursorPlace) -> Result<(), Stop> {
        self.run.checkpoint(self.partition, &self.known.moved_to(Some(place), self.format)).await
    }

    async fn retract(&self) -> Result<(), Stop> {
        if self.run.silent {
            return Ok(());
        }
        let state = self.before.as_ref().and_then(|before| serde_json::to_value(before).ok());
        let entries = vec![(self.run.table.name.clone(), self.partition.to_owned(), state)];
        self.run.run.send(Op::Checkpoint(Checkpoint { entries })).await
    }
}

/// Removes repeated parents, so that their children are read once.
fn dedup(parents: &mut Vec<Vec<Sourced>>) {
    let mut seen = BTreeSet::new();
    parents.retain(|row| {
        seen.insert(
            row.iter()
                .map(|value| value.cell.to_text().map(std::borrow::Cow::into_owned))
                .collect::<Vec<_>>(),
        )
    });
}
