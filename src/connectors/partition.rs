//! Page after page of one partition: a whole table, one window of it, or the children of one parent.
//!
//! While a page is decoded on the run's thread for it, the next is fetched if its address is known; the rows go on through
//! a bounded channel, so nothing runs ahead of the destination by more than a few pages. Start at [`TableRun::read`]; the
//! requests are put together in `requests`.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use futures_util::future::{Either, select};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::DATE;
use tokio::sync::Mutex;

use super::decode::{PageError, PageRead, Raws, RowReader};
use super::fetch::{Answer, Fetched, Fetcher};
use super::layout;
use super::lens::Lens;
use super::query::Wanted;
use super::run::{Run, Stop, TableProgress};
use crate::domain::cell::Sourced;
use crate::domain::connector::{ColumnRule, Kind, Table};
use crate::domain::cursor::{Format, Place, Position, RowOrder, Spelling};
use crate::domain::naming;
use crate::domain::op::{Op, Rows, Sweep, Write};
use crate::domain::paging::{Habits, PageContent, PageKind, Pager, RawValue, Step};

/// A source whose clock is further ahead than this is wrong, and its rows from the future are no place to go on from.
const MAX_SKEW: SignedDuration = SignedDuration::from_hours(48);

/// One table while it is read.
pub(super) struct TableRun<'r> {
    pub(super) run: &'r Run,
    pub(super) table: &'r Table,
    pub(super) reader: Arc<Mutex<RowReader>>,
    pub(super) progress: Arc<TableProgress>,
    /// Read only for its children: its own rows are not wanted.
    pub(super) silent: bool,
    /// Columns that children inherit.
    pub(super) wanted: Vec<String>,
    /// What may be marked deleted after a complete reading.
    pub(super) sweep: Option<Sweep>,
    /// See [`RunPlan::since`](super::RunPlan::since).
    pub(super) since: Option<Timestamp>,
    /// What was learned of the service's pages.
    pub(super) habits: StdMutex<Habits>,
}

/// What is asked for in one partition, beside its pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The parent's row: column → value, as the source writes it.
    pub(super) row: BTreeMap<String, String>,
    /// The same values, in the order in which the table inherits them.
    pub(super) inherited: Vec<Sourced>,
    /// Further parameters: bounds of a window, a cursor.
    pub(super) params: Vec<(String, RawValue)>,
    /// Rows up to here are stored already.
    pub(super) known: Option<Position>,
    /// Rows older than this are not wanted again: reading may stop (newest first only).
    pub(super) stop_before: Option<Position>,
    /// Less can be asked for at once, should the source find this too much.
    pub(super) halves: bool,
}

/// How the reading of a partition ended.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The parent is gone.
    pub(super) gone: bool,
    /// The source finds the window too wide.
    pub(super) too_wide: bool,
    /// Why it is not certain that everything was read.
    pub(super) doubts: Vec<String>,
    /// The place to go on from.
    pub(super) newest: Option<Place>,
    /// Rows kept aside.
    pub(super) rejected: u64,
    /// What children need of each row.
    pub(super) parents: Vec<Vec<Sourced>>,
}

/// Told after each page of a partition that is read oldest first.
pub(super) trait Watch {
    /// Everything up to a place has been handed on.
    async fn page_done(&self, place: &Place) -> Result<(), Stop>;

    /// Rows turned out not to come oldest first: what was said before does not hold.
    async fn retract(&self) -> Result<(), Stop>;
}

/// Nobody wants to know.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    async fn page_done(&self, _: &Place) -> Result<(), Stop> {
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
    /// A last page may have no list: it said that it has nothing.
    pub(super) fn nothing_is_no_fault(&mut self) {
        if let Err(
            PageError::NoRecords { .. } | PageError::NotRecords { .. } | PageError::NullRecords { .. },
        ) = self.read
        {
            self.read = Ok(PageRead::default());
        }
    }
}

/// What came of an answer.
enum Turn {
    Page(Box<Fetched>),
    Step(Step),
    Gone,
    TooWide,
}

impl TableRun<'_> {
    /// A pager for one partition.
    fn pager(&self) -> Pager {
        let habits = *self.habits.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = self.sweep.is_some() || self.table.write == Write::Replace;
        Pager::new(self.table.page.clone(), !self.table.key.is_empty()).with(habits).verified(verified)
    }

    /// Looks at the rows of the page that a pager has asked for.
    pub(super) fn lens(&self, pager: &mut Pager) -> Lens {
        let expected = pager.expected();
        Lens::new(self.table, self.wanted.clone(), expected, pager.take_progress())
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

    /// How the source writes a column.
    fn spelling(&self, column: &str, format: &Format) -> Spelling {
        let kind = self.table.columns.iter().find_map(|(source, rule)| match rule {
            ColumnRule::Keep { name, kind, .. } => {
                let named = name.clone().unwrap_or_else(|| naming::column_name(source));
                (named == column).then_some(*kind).flatten()
            }
            ColumnRule::Drop => None,
        });
        let kind = kind.or(match format {
            Format::EpochSeconds => Some(Kind::EpochSeconds),
            Format::EpochMillis => Some(Kind::EpochMillis),
            _ => None,
        });
        let letters = match format {
            Format::Strftime(letters) => Some(letters.clone()),
            _ => None,
        };
        Spelling { kind, letters }
    }

    /// Reads a partition to its end.
    pub(super) async fn read(&self, scope: &Scope, watch: &impl Watch) -> Result<Reading, Stop> {
        let fetcher = self.fetcher(scope);
        let (mut pager, mut order) = (self.pager(), self.row_order(scope));
        let mut reading = Reading::default();
        let mut wanted = self.wanted_by(scope, &pager.first(), None)?;
        let (mut base, mut came_before, mut checkpointed) = (None, None, false);
        let mut ready: Option<Result<Answer, Stop>> = None;
        loop {
            let answer = match ready.take() {
                Some(answer) => answer,
                None => fetcher.get(&wanted).await,
            };
            let step = match self.turn(answer, &mut pager)? {
                Turn::Step(step) => step,
                Turn::TooWide => return Ok(Reading { too_wide: true, ..reading }),
                Turn::Gone => return self.gone(&fetcher, scope, &pager, reading).await,
                Turn::Page(page) => {
                    let (url, place, last) = (page.url.clone(), page.place.clone(), page.last);
                    let mut content = self.facts(&page);
                    self.allow_skew(&page, order.as_mut());
                    let guess = pager.guess(content.total, came_before).filter(|_| !last);
                    let ahead =
                        guess.as_ref().map(|ask| self.wanted_by(scope, ask, Some(&url))).transpose()?;
                    let (decoded, fetched) =
                        self.decode_and_fetch(&fetcher, page, scope, &mut pager, ahead.as_ref()).await;
                    let mut decoded = decoded?;
                    if last {
                        decoded.nothing_is_no_fault();
                    }
                    let raws = self.accept(decoded, &place, &mut pager, &mut content, &mut reading)?;
                    came_before = Some(content.records).filter(|n| *n > 0);
                    let known = order.as_mut().is_some_and(|order| self.look_at(order, &raws, &content));
                    let step = if last || known { Ok(Step::Done) } else { pager.next(&content) };
                    let step = step.map_err(|e| Stop::failed(e.to_string(), Some(place)))?;
                    if let Some(order) = &order {
                        self.watch(watch, order, &pager, &mut checkpointed).await?;
                    }
                    if matches!(&step, Step::Next(ask) if guess.as_ref() == Some(ask)) {
                        ready = fetched;
                    }
                    base = Some(url);
                    step
                }
            };
            match step {
                Step::Next(ask) => wanted = self.wanted_by(scope, &ask, base.as_ref())?,
                Step::Done => break,
                Step::Partial(doubt) => {
                    let doubt = format!("{}: {doubt}", self.table.name);
                    reading.doubts.push(self.run.account.shared().redact(&doubt));
                    break;
                }
            }
        }
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner) = pager.habits();
        self.note_order(order.as_ref());
        reading.newest = order.as_ref().and_then(RowOrder::end).cloned();
        Ok(reading)
    }

    /// What an answer is to the pager.
    fn turn(&self, answer: Result<Answer, Stop>, pager: &mut Pager) -> Result<Turn, Stop> {
        match answer {
            Ok(Answer::Page(page)) => Ok(Turn::Page(page)),
            Ok(Answer::Empty) => {
                let step = pager.next(&PageContent::default());
                step.map(Turn::Step).map_err(|e| Stop::failed(e.to_string(), None))
            }
            Ok(Answer::End) => Ok(Turn::Step(Step::Done)),
            Ok(Answer::Gone) => Ok(pager.refused(404).map_or(Turn::Gone, Turn::Step)),
            Ok(Answer::TooWide) => Ok(Turn::TooWide),
            Err(stop) => match stop.status().and_then(|status| pager.refused(status)) {
                Some(step) => Ok(Turn::Step(step)),
                None => Err(stop),
            },
        }
    }

    /// What is asked for is not there. Behind a page that was, this says nothing yet: the parent may have gone meanwhile,
    /// or the service has lost its own next page.
    async fn gone(
        &self,
        fetcher: &Fetcher<'_>,
        scope: &Scope,
        pager: &Pager,
        reading: Reading,
    ) -> Result<Reading, Stop> {
        if pager.pages() == 0 {
            return Ok(Reading { gone: true, ..reading });
        }
        let first = self.wanted_by(scope, &self.pager().first(), None)?;
        match fetcher.get(&first).await? {
            Answer::Gone => Ok(Reading { gone: true, ..reading }),
            _ => {
                let reason = "the next page is not there (404), though the first one is";
                Err(Stop::failed(reason, Some(fetcher.place(&first.url))))
            }
        }
    }

    /// Rows may come from the future by as much as the source's clock is ahead of ours.
    fn allow_skew(&self, page: &Fetched, order: Option<&mut RowOrder>) {
        let Some(order) = order else { return };
        let now = self.run.now();
        let date = page.headers.get(DATE).and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        let latest = now.checked_add(MAX_SKEW).unwrap_or(Timestamp::MAX);
        order.allow_until(theirs.map_or(now, |theirs| theirs.clamp(now, latest)));
    }

    /// Looks at the places of a page's rows. Returns whether a reading newest first may stop behind it.
    fn look_at(&self, order: &mut RowOrder, raws: &[Raws], content: &PageContent) -> bool {
        let names = layout::raw_columns(self.run.account.definition(), self.table);
        let at = self.table.cursor.as_ref().and_then(|cursor| names.iter().position(|n| *n == cursor.column));
        let of = |raws: &'_ Raws| at.and_then(|at| raws.get(at)).cloned().flatten();
        let texts: Vec<Option<Box<str>>> = raws.iter().map(of).collect();
        // Rows that were rejected have a place that nobody knows.
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
            // What was said before the first row out of order is not true either.
            return if std::mem::take(checkpointed) { watch.retract().await } else { Ok(()) };
        }
        // Only the pager knows whether the page follows on from the one before.
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

    /// Decodes a page and meanwhile fetches the one that probably follows. A guess that turns out wrong is dropped with
    /// whatever came of it.
    async fn decode_and_fetch(
        &self,
        fetcher: &Fetcher<'_>,
        page: Box<Fetched>,
        scope: &Scope,
        pager: &mut Pager,
        ahead: Option<&Wanted>,
    ) -> (Result<Decoded, Stop>, Option<Result<Answer, Stop>>) {
        let lens = self.lens(pager);
        let decode = self.decode(page.body, scope, lens);
        let Some(ahead) = ahead else { return (decode.await, None) };
        match select(pin!(decode), pin!(fetcher.get(ahead))).await {
            Either::Left((decoded, fetch)) => {
                // Whether the guess was right shows only now; a full page says that it was.
                let full = decoded.as_ref().is_ok_and(|decoded| decoded.lens.expected_at.unwrap_or(0) == 0);
                (decoded, if full { Some(fetch.await) } else { None })
            }
            Either::Right((fetched, decode)) => (decode.await, Some(fetched)),
        }
    }

    pub(super) async fn decode(&self, body: Vec<u8>, scope: &Scope, mut lens: Lens) -> Result<Decoded, Stop> {
        // Held while its rows are handed on: a shape is told before the rows that have it.
        let mut reader = Arc::clone(&self.reader).lock_owned().await;
        let inherited = scope.inherited.clone();
        let (silent, ops) = (self.silent, self.run.ops());
        let decode = move || {
            let mut closed = false;
            let read = reader.read(&body, &inherited, &mut |mut op| {
                lens.look(&mut op);
                let empty = matches!(&op, Op::Rows(Rows { rows, .. }) if rows.is_empty());
                if !silent && !empty && !closed {
                    closed = ops.blocking_send(op).is_err();
                }
            });
            Decoded { lens, read, closed }
        };
        let decoded = self.run.decoder.run(decode).await;
        // Whatever it remembers of the table may be half.
        decoded.map_err(|e| Stop::broken(format!("the decoder gave up: {e}"), None))
    }

    /// Takes in what a decoded page held. Returns what the source wrote in the columns of which that is wanted.
    pub(super) fn accept(
        &self,
        decoded: Decoded,
        place: &str,
        pager: &mut Pager,
        content: &mut PageContent,
        reading: &mut Reading,
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
        // Beside a rejected row nothing is certain about where a page ends.
        content.last_key = lens.last_key.filter(|_| lens.rejected == 0);
        if !read.raws.is_empty() {
            let names = layout::raw_columns(self.run.account.definition(), self.table);
            lens.add_raws(&names, &read.raws);
            self.look_at_keyset(&names, &read.raws, content);
        }
        reading.rejected += lens.rejected;
        reading.parents.append(&mut lens.parents);
        pager.return_progress(lens.progress);
        Ok(read.raws)
    }

    /// Where a page of a keyset ends.
    fn look_at_keyset(&self, names: &[String], raws: &[Raws], content: &mut PageContent) {
        let PageKind::Keyset { column, .. } = &self.table.page.kind else { return };
        let Some(at) = names.iter().position(|name| name == column) else { return };
        let value = |row: &Raws| row.get(at).cloned().flatten();
        let Some(last) = raws.last().and_then(value) else { return };
        content.value_before =
            raws.iter().rev().filter_map(value).find(|before| *before != last).map(RawValue::new);
        content.tied = raws.len() > 1 && raws.get(raws.len() - 2).and_then(value).as_ref() == Some(&last);
        content.last_value = Some(RawValue::new(last));
        let spelling = self.spelling(column, &Format::Plain);
        let places = raws.iter().filter_map(|row| Position::of(&value(row)?, &spelling));
        let places: Vec<Position> = places.collect();
        let goes = |way| places.windows(2).any(|pair| pair[0].compare(&pair[1]) == Some(way));
        content.disordered = goes(std::cmp::Ordering::Less) && goes(std::cmp::Ordering::Greater);
    }
}
