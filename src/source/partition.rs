//! Reads the pages of one partition: a whole table, one window of it, or the children of one parent.
//!
//! While a page is decoded on the decoder thread, the next page is fetched if its URL is known. A bounded channel for the
//! rows keeps reading at most a few pages ahead of the destination. Start at [`TableRun::read`]; `requests` builds the
//! requests.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::DATE;
use tokio::sync::Mutex;

use super::decode::{PageError, PageRead, Raws, RowReader};
use super::layout;
use super::lens::Lens;
use super::run::{RunContext, Stop, TableProgress};
use crate::domain::syncing::cell::Sourced;
use crate::domain::syncing::cursor::{CursorPlace, Position, RowOrder, Spelling};
use crate::domain::syncing::definition::connector::{ColumnKind, ColumnRule, CursorFormat, Table};
use crate::domain::syncing::naming;
use crate::domain::syncing::op::{Op, Rows, Sweep, Write};
use crate::domain::syncing::paging::{
    Habits, PageContent, PageKind, PageRequest, Pager, PagingStep, RawValue,
};
use crate::source::exchange::fetch::{Answer, Fetched, Fetcher};
use crate::source::exchange::query::RequestSpec;

/// If a source's clock is ahead by more than this, it is wrong, and a cursor must not move to its future rows.
const MAX_SKEW: SignedDuration = SignedDuration::from_hours(48);

/// One table while it is read.
pub(super) struct TableRun<'r> {
    pub(super) run: &'r RunContext,
    pub(super) table: &'r Table,
    pub(super) reader: Arc<Mutex<RowReader>>,
    pub(super) progress: Arc<TableProgress>,
    /// Read only for its children: its own rows are not emitted.
    pub(super) silent: bool,
    /// Columns that children inherit.
    pub(super) child_columns: Vec<String>,
    /// Which rows may be soft-deleted after a complete reading.
    pub(super) sweep: Option<Sweep>,
    /// See [`RunPlan::since`](super::RunPlan::since).
    pub(super) since: Option<Timestamp>,
    /// Observations about the service's paging.
    pub(super) habits: StdMutex<Habits>,
}

/// What the requests of one partition have in common.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The parent's row: column → value in the source's spelling.
    pub(super) row: BTreeMap<String, String>,
    /// The same values, in the order of the table's inherited columns.
    pub(super) inherited: Vec<Sourced>,
    /// Further parameters: the bounds of a window, a cursor.
    pub(super) params: Vec<(String, RawValue)>,
    /// Rows up to this position are stored.
    pub(super) known: Option<Position>,
    /// Reading may stop at rows older than this (newest first only).
    pub(super) stop_before: Option<Position>,
    /// Whether a smaller window is possible if the source refuses this one.
    pub(super) halves: bool,
}

/// The result of reading a partition.
#[derive(Debug, Default)]
pub(super) struct PartitionReading {
    /// The parent does not exist any more.
    pub(super) gone: bool,
    /// The source refuses the window as too wide.
    pub(super) too_wide: bool,
    /// Why the reading may be incomplete.
    pub(super) doubts: Vec<String>,
    /// The position from which the next run resumes.
    pub(super) newest: Option<CursorPlace>,
    pub(super) rejected: u64,
    /// The inherited columns of each row.
    pub(super) parents: Vec<Vec<Sourced>>,
}

/// Observes the pages of a partition that is read oldest first.
pub(super) trait Watch {
    /// All rows up to this position were emitted.
    async fn page_done(&self, place: &CursorPlace) -> Result<(), Stop>;

    /// Rows did not arrive oldest first, so that positions reported before are invalid.
    async fn retract(&self) -> Result<(), Stop>;
}

/// Ignores the pages.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    async fn page_done(&self, _: &CursorPlace) -> Result<(), Stop> {
        Ok(())
    }

    async fn retract(&self) -> Result<(), Stop> {
        Ok(())
    }
}

/// A page after decoding.
pub(super) struct Decoded {
    lens: Lens,
    read: Result<PageRead, PageError>,
    closed: bool,
}

impl Decoded {
    /// Treats missing records as an empty page: a page that a rule marks as the last one may have no list.
    pub(super) fn allow_missing_records(&mut self) {
        if let Err(
            PageError::NoRecords { .. } | PageError::NotRecords { .. } | PageError::NullRecords { .. },
        ) = self.read
        {
            self.read = Ok(PageRead::default());
        }
    }
}

/// How to proceed after an answer.
enum AnswerTurn {
    Page(Box<Fetched>),
    Step(PagingStep),
    NotFound,
    TooWide,
}

impl TableRun<'_> {
    /// Observations about the service's paging, shared by all partitions.
    pub(super) fn habits(&self) -> MutexGuard<'_, Habits> {
        self.habits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pager(&self) -> Pager {
        let habits = *self.habits();
        let verified = self.sweep.is_some() || self.table.write == Write::Replace;
        Pager::new(self.table.page.clone(), !self.table.key.is_empty()).with(habits).verified(verified)
    }

    /// A lens for the rows of the page that the pager has requested.
    pub(super) fn lens(&self, pager: &mut Pager) -> Lens {
        let expected = pager.expected();
        Lens::new(self.table, self.child_columns.clone(), expected, pager.take_progress())
    }

    fn row_order(&self, scope: &Scope) -> Option<RowOrder> {
        let cursor = self.table.cursor.as_ref()?;
        let bounds = (scope.known.clone(), scope.stop_before.clone());
        let spelling = self.spelling(&cursor.column, &cursor.format);
        Some(
            RowOrder::new(cursor.order, cursor.format.clone(), spelling, bounds, self.run.now())
                .once(self.table.key.is_empty()),
        )
    }

    /// The spelling of a column at the source.
    fn spelling(&self, column: &str, format: &CursorFormat) -> Spelling {
        let kind = self.table.columns.iter().find_map(|(source, rule)| match rule {
            ColumnRule::Keep { name, kind, .. } => {
                let named = name.clone().unwrap_or_else(|| naming::column_name(source));
                (named == column).then_some(*kind).flatten()
            }
            ColumnRule::Drop => None,
        });
        let kind = kind.or(match format {
            CursorFormat::EpochSeconds => Some(ColumnKind::EpochSeconds),
            CursorFormat::EpochMillis => Some(ColumnKind::EpochMillis),
            _ => None,
        });
        let letters = match format {
            CursorFormat::Strftime(letters) => Some(letters.clone()),
            _ => None,
        };
        Spelling { kind, letters }
    }

    /// Reads all pages of a partition.
    pub(super) async fn read(&self, scope: &Scope, watch: &impl Watch) -> Result<PartitionReading, Stop> {
        let fetcher = self.fetcher(scope);
        let (mut pager, mut order) = (self.pager(), self.row_order(scope));
        let mut reading = PartitionReading::default();
        let mut spec = self.request_spec(scope, &pager.first(), None, false)?;
        let (mut base, mut records_before, mut checkpointed) = (None, None, false);
        let mut ready: Option<Result<Answer, Stop>> = None;
        loop {
            let answer = match ready.take() {
                Some(answer) => answer,
                None => fetcher.get(&spec).await,
            };
            let step = match self.handle_answer(answer, &mut pager)? {
                AnswerTurn::Step(step) => step,
                AnswerTurn::TooWide => return Ok(PartitionReading { too_wide: true, ..reading }),
                AnswerTurn::NotFound => return self.not_found(&fetcher, scope, &pager, reading).await,
                AnswerTurn::Page(page) => {
                    let (url, place, last) = (page.url.clone(), page.place.clone(), page.last);
                    let mut content = self.facts(&page);
                    self.allow_skew(&page, order.as_mut());
                    pager.weigh(page.took, page.body.len());
                    let guess =
                        self.guess(&pager, &content, records_before, order.as_ref()).filter(|_| !last);
                    let spec_after =
                        |request| self.request_spec(scope, request, Some(&url), pager.is_grown());
                    // A link that is refused fails the run after the rows of this page.
                    let ahead = guess.as_ref().and_then(|request| spec_after(request).ok());
                    let (decoded, fetched) =
                        self.decode_and_fetch(&fetcher, page, scope, &mut pager, ahead.as_ref()).await;
                    let mut decoded = decoded?;
                    if last {
                        decoded.allow_missing_records();
                    }
                    let raws = self.accept(decoded, &place, &mut pager, &mut content, &mut reading)?;
                    records_before = Some(content.records).filter(|n| *n > 0);
                    let known = order.as_mut().is_some_and(|order| self.track_order(order, &raws, &content));
                    let step = if last || known { Ok(PagingStep::Done) } else { pager.next(&content) };
                    let step = step.map_err(|e| Stop::failed(e.to_string(), Some(place)))?;
                    if let Some(order) = &order {
                        self.watch(watch, order, &pager, &mut checkpointed).await?;
                    }
                    if matches!(&step, PagingStep::Next(request) if guess.as_ref() == Some(request)) {
                        ready = fetched;
                    }
                    base = Some(url);
                    step
                }
            };
            match step {
                PagingStep::Next(request) => {
                    spec = self.request_spec(scope, &request, base.as_ref(), pager.is_grown())?;
                }
                PagingStep::Done => break,
                PagingStep::Partial(doubt) => {
                    let doubt = format!("{}: {doubt}", self.table.name);
                    reading.doubts.push(self.run.account.shared().redact(&doubt));
                    break;
                }
            }
        }
        *self.habits() = pager.habits();
        self.note_order(order.as_ref());
        reading.newest = order.as_ref().and_then(RowOrder::end).cloned();
        Ok(reading)
    }

    /// The request that probably follows a page that is not decoded yet. `None` if the page may be the last one, because
    /// an unnecessary request counts against the source's limit.
    fn guess(
        &self,
        pager: &Pager,
        content: &PageContent,
        records_before: Option<u64>,
        order: Option<&RowOrder>,
    ) -> Option<PageRequest> {
        let may_stop = order.is_some_and(RowOrder::may_stop);
        if may_stop { None } else { pager.guess(content, records_before) }
    }

    /// Converts an answer to the pager's next step.
    fn handle_answer(&self, answer: Result<Answer, Stop>, pager: &mut Pager) -> Result<AnswerTurn, Stop> {
        match answer {
            Ok(Answer::Page(page)) => Ok(AnswerTurn::Page(page)),
            Ok(Answer::Empty) => {
                let step = pager.next(&PageContent::default());
                step.map(AnswerTurn::Step).map_err(|e| Stop::failed(e.to_string(), None))
            }
            Ok(Answer::End) => Ok(AnswerTurn::Step(PagingStep::Done)),
            Ok(Answer::NotFound) => Ok(pager.refused(404).map_or(AnswerTurn::NotFound, AnswerTurn::Step)),
            Ok(Answer::TooWide) => Ok(AnswerTurn::TooWide),
            Ok(Answer::TooLarge) => pager
                .shrink()
                .map(AnswerTurn::Step)
                .ok_or_else(|| Stop::failed("the answer timed out or is too large", None)),
            Err(stop) => match stop.status().and_then(|status| pager.refused(status)) {
                Some(step) => Ok(AnswerTurn::Step(step)),
                None => Err(stop),
            },
        }
    }

    /// Handles a missing page. After an earlier page was read, it requests the first page again: either the parent was
    /// deleted during the reading, or the service cannot find its own next page.
    async fn not_found(
        &self,
        fetcher: &Fetcher<'_>,
        scope: &Scope,
        pager: &Pager,
        reading: PartitionReading,
    ) -> Result<PartitionReading, Stop> {
        if pager.pages() == 0 {
            return Ok(PartitionReading { gone: true, ..reading });
        }
        let first = self.request_spec(scope, &self.pager().first(), None, false)?;
        match fetcher.get(&first).await? {
            Answer::NotFound => Ok(PartitionReading { gone: true, ..reading }),
            _ => {
                let reason = "the next page was not found (404), although the first one was";
                Err(Stop::failed(reason, Some(fetcher.place(&first.url))))
            }
        }
    }

    /// Allows rows from the future up to the source's clock, as stated in the `Date` header.
    fn allow_skew(&self, page: &Fetched, order: Option<&mut RowOrder>) {
        let Some(order) = order else { return };
        let now = self.run.now();
        let date = page.headers.get(DATE).and_then(|date| date.to_str().ok());
        let source_time = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        let latest = now.checked_add(MAX_SKEW).unwrap_or(Timestamp::MAX);
        order.allow_until(source_time.map_or(now, |source_time| source_time.clamp(now, latest)));
    }

    /// Passes the cursor values of a page to `order`. Returns whether a reading newest first may stop after this page.
    fn track_order(&self, order: &mut RowOrder, raws: &[Raws], content: &PageContent) -> bool {
        let names = layout::raw_columns(self.run.account.definition(), self.table);
        let at = self.table.cursor.as_ref().and_then(|cursor| names.iter().position(|n| *n == cursor.column));
        let of = |raws: &'_ Raws| at.and_then(|at| raws.get(at)).cloned().flatten();
        let texts: Vec<Option<Box<str>>> = raws.iter().map(of).collect();
        // The positions of rejected rows are unknown.
        let unknown = content.records > texts.len() as u64;
        order.page(texts.iter().map(Option::as_deref).chain(unknown.then_some(None)))
    }

    async fn watch(
        &self,
        watch: &impl Watch,
        order: &RowOrder,
        pager: &Pager,
        checkpointed: &mut bool,
    ) -> Result<(), Stop> {
        if order.is_broken() {
            // Positions reported before the first row out of order are invalid too.
            return if std::mem::take(checkpointed) { watch.retract().await } else { Ok(()) };
        }
        // Only the pager knows whether the page continues the previous one.
        match order.checkpoint().filter(|_| pager.undisturbed()) {
            Some(place) => {
                *checkpointed = true;
                watch.page_done(place).await
            }
            None => Ok(()),
        }
    }

    fn note_order(&self, order: Option<&RowOrder>) {
        if let (Some(cursor), Some(order)) = (&self.table.cursor, order)
            && cursor.param.is_none()
            && order.is_unordered()
        {
            self.run.note(format!(
                "{}: the values of {} are neither times nor numbers, so their order is not known and every run reads the whole list: give the column a type, or the cursor a `format` in strftime letters",
                self.table.name, cursor.column
            ));
        }
    }

    /// Decodes a page and at the same time fetches the one that probably follows. The answer to a wrong guess is dropped.
    async fn decode_and_fetch(
        &self,
        fetcher: &Fetcher<'_>,
        page: Box<Fetched>,
        scope: &Scope,
        pager: &mut Pager,
        ahead: Option<&RequestSpec>,
    ) -> (Result<Decoded, Stop>, Option<Result<Answer, Stop>>) {
        let lens = self.lens(pager);
        let decode = self.decode(page.body, scope, lens);
        let Some(ahead) = ahead else { return (decode.await, None) };
        match select(pin!(decode), pin!(fetcher.get(ahead))).await {
            Either::Left((decoded, fetch)) => {
                // Only the decoded page shows whether the guess was right.
                let full = decoded.as_ref().is_ok_and(|decoded| decoded.lens.expected_at.unwrap_or(0) == 0);
                (decoded, if full { Some(fetch.await) } else { None })
            }
            Either::Right((fetched, decode)) => (decode.await, Some(fetched)),
        }
    }

    pub(super) async fn decode(&self, body: Vec<u8>, scope: &Scope, mut lens: Lens) -> Result<Decoded, Stop> {
        // Locked while the rows are emitted, so that a shape precedes its rows.
        let mut reader = Arc::clone(&self.reader).lock_owned().await;
        let inherited = scope.inherited.clone();
        let (silent, ops) = (self.silent, self.run.ops());
        let decode = move || {
            let mut closed = false;
            let read = reader.read(&body, &inherited, &mut |mut op| {
                lens.inspect(&mut op);
                let empty = matches!(&op, Op::Rows(Rows { rows, .. }) if rows.is_empty());
                if !silent && !empty && !closed {
                    closed = ops.blocking_send(op).is_err();
                }
            });
            Decoded { lens, read, closed }
        };
        let decoded = self.run.decoder.run(decode).await;
        // The reader's state of the table may be inconsistent, so the run cannot continue.
        decoded.map_err(|e| Stop::broken(format!("the decoder failed: {e}"), None))
    }

    /// Adds a decoded page to the reading. Returns the source text of the columns of
    /// [`raw_columns`](layout::raw_columns).
    pub(super) fn accept(
        &self,
        decoded: Decoded,
        place: &str,
        pager: &mut Pager,
        content: &mut PageContent,
        reading: &mut PartitionReading,
    ) -> Result<Vec<Raws>, Stop> {
        let Decoded { mut lens, read, closed } = decoded;
        if closed {
            return Err(Stop::Closed);
        }
        let read = read.map_err(|e| {
            Stop::failed(self.run.account.shared().redact(&e.to_string()), Some(place.to_owned()))
        })?;
        for note in read.notes {
            self.run.note(note);
        }
        self.run.count_empty_keys(&self.table.name, read.empty_keys);
        self.progress.rows.fetch_add(if self.silent { 0 } else { lens.passed }, Ordering::Relaxed);
        content.records = read.records;
        content.novelty = lens.progress.end_page(read.records);
        content.expected_at = lens.expected_at;
        // A rejected row may be the last one of the page.
        content.last_key = lens.last_key.filter(|_| lens.rejected == 0);
        if !read.raws.is_empty() {
            let names = layout::raw_columns(self.run.account.definition(), self.table);
            lens.add_raws(&names, &read.raws);
            self.track_keyset(&names, &read.raws, content);
        }
        reading.rejected += lens.rejected;
        reading.parents.append(&mut lens.parents);
        pager.return_progress(lens.progress);
        Ok(read.raws)
    }

    /// Reads the last values of a page for keyset paging.
    fn track_keyset(&self, names: &[String], raws: &[Raws], content: &mut PageContent) {
        let PageKind::Keyset { column, .. } = &self.table.page.kind else { return };
        let Some(at) = names.iter().position(|name| name == column) else { return };
        let value = |row: &Raws| row.get(at).cloned().flatten();
        let Some(last) = raws.last().and_then(value) else { return };
        content.value_before =
            raws.iter().rev().filter_map(value).find(|before| *before != last).map(RawValue::new);
        content.tied = raws.len() > 1 && raws.get(raws.len() - 2).and_then(value).as_ref() == Some(&last);
        content.last_value = Some(RawValue::new(last));
        let spelling = self.spelling(column, &CursorFormat::Plain);
        let positions = raws.iter().filter_map(|row| Position::of(&value(row)?, &spelling));
        let positions: Vec<Position> = positions.collect();
        let has = |order| positions.windows(2).any(|pair| pair[0].compare(&pair[1]) == Some(order));
        content.disordered = has(std::cmp::Ordering::Less) && has(std::cmp::Ordering::Greater);
    }
}
