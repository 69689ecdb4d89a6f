//! Watermarks: a position in a growing order of rows, parsed from the source's value, saved, and written into
//! a request; and what the rows of one reading prove about their order.
//!
//! Values are compared by meaning (instants, days, numbers), never as text: `9` is not after `10`. Other text
//! has no known order, so it stops no reading. Start at [`Position::of`] and [`RowOrder`].

use std::cmp::Ordering;
use std::time::Duration;

use jiff::fmt::{rfc2822, strtime};
use jiff::{SignedDuration, Timestamp, civil::Date, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::paging::RawValue;
use crate::domain::syncing::definition::connector::{ColumnKind, CursorFormat, CursorOrder};

/// Days start up to this much earlier in other time zones, so tomorrow's date is valid.
const DAY_AHEAD: SignedDuration = SignedDuration::from_hours(14);

/// A position in the order. Positions of different kinds do not compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// An instant.
    Time(Timestamp),
    /// A calendar day.
    Day(Date),
    /// A number.
    Int(i64),
    /// A number that is not a 64-bit integer, as the source wrote it.
    Decimal(String),
    /// Other text. It has no order.
    Text(String),
}

/// The saved state of a cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorState {
    /// All rows up to this position are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
    /// The same as the source wrote it: JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The configured start; an earlier start causes a full refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
    /// When the partition was last read completely; partitions that have waited longest are read first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
}

/// How the source writes a column, according to the definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    pub kind: Option<ColumnKind>,
    /// The `strftime` format, if the cursor's format has one.
    pub letters: Option<String>,
}

impl CursorState {
    /// The state after rows up to a position were stored. The source's own text is saved only if requests
    /// repeat it.
    #[must_use]
    pub fn moved_to(&self, place: Option<&CursorPlace>, format: &CursorFormat) -> CursorState {
        let mut moved = self.clone();
        if let Some((new, raw)) = place {
            let at = match self.at.clone() {
                Some(at) => at.later(new.clone()),
                None => new.clone(),
            };
            if at == *new {
                moved.raw = (*format == CursorFormat::Plain).then(|| raw.as_json_text().to_owned());
            }
            moved.at = Some(at);
        }
        moved
    }
}

impl Position {
    /// The position of a row from its JSON text; `None` for null, for empty text and for values without an
    /// order.
    pub fn of(raw: &str, spelling: &Spelling) -> Option<Position> {
        if raw.starts_with('"') {
            let text: String = serde_json::from_str(raw).ok()?;
            let text = text.trim();
            // Some services write an absent value as empty text.
            return (!text.is_empty()).then(|| Position::spelled(text, spelling));
        }
        raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| Position::spelled(raw, spelling))
    }

    fn spelled(text: &str, spelling: &Spelling) -> Position {
        let millis = match spelling.kind {
            Some(ColumnKind::EpochSeconds) => Some(1_000.0),
            Some(ColumnKind::EpochMillis) => Some(1.0),
            _ => None,
        };
        if let Some(at) = millis.and_then(|scale| epoch(text, scale)) {
            return Position::Time(at);
        }
        let letters = spelling.letters.as_deref();
        letters.and_then(|letters| by_letters(letters, text)).unwrap_or_else(|| Position::read(text))
    }

    /// Parses text as an instant or a day (without an offset: UTC), or as a number; otherwise keeps it as
    /// text.
    pub fn read(text: &str) -> Position {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Position::Time(at);
        }
        if text.len() == 10
            && let Ok(day) = text.parse::<Date>()
        {
            return Position::Day(day);
        }
        if let Ok(naive) = text.parse::<DateTime>()
            && text.len() > 10
            && let Ok(at) = naive.to_zoned(TimeZone::UTC)
        {
            return Position::Time(at.timestamp());
        }
        if let Some(at) = rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()).or_else(|| microsoft(text))
        {
            return Position::Time(at);
        }
        if let Ok(number) = text.parse() {
            return Position::Int(number);
        }
        if is_decimal(text) { Position::Decimal(text.to_owned()) } else { Position::Text(text.to_owned()) }
    }

    /// The order of two positions; `None` for kinds that do not compare, and for different texts.
    pub fn compare(&self, other: &Position) -> Option<Ordering> {
        match (self, other) {
            (Position::Int(a), Position::Int(b)) => Some(a.cmp(b)),
            (Position::Text(a), Position::Text(b)) => (a == b).then_some(Ordering::Equal),
            (Position::Day(a), Position::Day(b)) => Some(a.cmp(b)),
            (Position::Int(_) | Position::Decimal(_), Position::Int(_) | Position::Decimal(_)) => {
                Some(compare_decimals(&self.plain(), &other.plain()))
            }
            _ => Some(self.instant()?.cmp(&other.instant()?)),
        }
    }

    /// The later of two positions. If they do not compare, the new one, except for text after an ordered
    /// value: one odd value among instants must not become the watermark.
    #[must_use]
    pub fn later(self, new: Position) -> Position {
        match new.compare(&self) {
            Some(Ordering::Less) => self,
            None if matches!(new, Position::Text(_)) && !matches!(self, Position::Text(_)) => self,
            _ => new,
        }
    }

    /// Whether this position is after a moment. Only instants, days and, depending on the format, Unix times
    /// can be.
    pub fn is_after(&self, moment: Timestamp, format: &CursorFormat) -> bool {
        match (self, format) {
            (Position::Day(_), _) => {
                let end = moment.checked_add(DAY_AHEAD).unwrap_or(Timestamp::MAX);
                self.instant().is_some_and(|at| at > end)
            }
            (Position::Int(n), CursorFormat::EpochSeconds) => *n > moment.as_second(),
            (Position::Int(n), CursorFormat::EpochMillis) => *n > moment.as_millisecond(),
            _ => self.instant().is_some_and(|at| at > moment),
        }
    }

    /// This position moved back. Text does not move.
    #[must_use]
    pub fn back(&self, by: Duration, format: &CursorFormat) -> Position {
        let signed = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        match self {
            Position::Time(at) => Position::Time(at.checked_sub(signed).unwrap_or(Timestamp::MIN)),
            Position::Day(day) => Position::Day(day.checked_sub(signed).unwrap_or(Date::MIN)),
            Position::Int(n) => {
                let by = match format {
                    CursorFormat::EpochMillis => signed.as_millis(),
                    _ => i128::from(signed.as_secs()),
                };
                Position::Int(n.saturating_sub(i64::try_from(by).unwrap_or(i64::MAX)))
            }
            Position::Decimal(_) | Position::Text(_) => self.clone(),
        }
    }

    /// The position in a request's format.
    pub fn written(&self, format: &CursorFormat) -> String {
        let Some(at) = self.instant().filter(|_| *format != CursorFormat::Plain) else { return self.plain() };
        match format {
            CursorFormat::Rfc3339 => at.to_string(),
            CursorFormat::EpochSeconds => at.as_second().to_string(),
            CursorFormat::EpochMillis => at.as_millisecond().to_string(),
            CursorFormat::Date => at.to_zoned(TimeZone::UTC).date().to_string(),
            CursorFormat::Strftime(letters) => at.strftime(letters).to_string(),
            CursorFormat::Plain => self.plain(),
        }
    }

    fn plain(&self) -> String {
        match self {
            Position::Time(at) => at.to_string(),
            Position::Day(day) => day.to_string(),
            Position::Int(n) => n.to_string(),
            Position::Decimal(text) | Position::Text(text) => text.clone(),
        }
    }

    fn instant(&self) -> Option<Timestamp> {
        match self {
            Position::Time(at) => Some(*at),
            Position::Day(day) => day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
            Position::Int(_) | Position::Decimal(_) | Position::Text(_) => None,
        }
    }
}

/// Unix time with a fraction; `scale` is the number of milliseconds in its unit.
fn epoch(text: &str, scale: f64) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        return Timestamp::from_millisecond(whole.checked_mul(scale as i64)?).ok();
    }
    let micros = text.parse::<f64>().ok()? * scale * 1_000.0;
    (micros.is_finite() && micros.abs() < 1e18).then(|| Timestamp::from_microsecond(micros as i64).ok())?
}

/// `/Date(1777713000000)/`, with or without an offset; the offset does not change the instant.
fn microsoft(text: &str) -> Option<Timestamp> {
    let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let end =
        inner.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map_or(inner.len(), |(at, _)| at);
    Timestamp::from_millisecond(inner[..end].parse().ok()?).ok()
}

fn by_letters(letters: &str, text: &str) -> Option<Position> {
    let parsed = strtime::parse(letters, text).ok()?;
    if let Ok(at) = parsed.to_timestamp() {
        return Some(Position::Time(at));
    }
    match parsed.to_datetime() {
        Ok(civil) => civil.to_zoned(TimeZone::UTC).ok().map(|zoned| Position::Time(zoned.timestamp())),
        Err(_) => parsed.to_date().ok().map(Position::Day),
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

/// Compares two decimals of any length without an exponent.
fn compare_decimals(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = whole.trim_start_matches('0').to_owned();
        (text.starts_with('-'), whole, fraction.trim_end_matches('0').to_owned())
    };
    let ((a_negative, a_whole, a_fraction), (b_negative, b_whole, b_fraction)) = (parts(a), parts(b));
    let size =
        a_whole.len().cmp(&b_whole.len()).then(a_whole.cmp(&b_whole)).then(a_fraction.cmp(&b_fraction));
    let zero = |whole: &str, fraction: &str| whole.is_empty() && fraction.is_empty();
    match (a_negative && !zero(&a_whole, &a_fraction), b_negative && !zero(&b_whole, &b_fraction)) {
        (false, false) => size,
        (true, true) => size.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// A position, and the source's own text of it.
pub type CursorPlace = (Position, RawValue);

/// What the rows of one reading prove about their order.
#[derive(Debug, Clone)]
pub struct RowOrder {
    order: CursorOrder,
    format: CursorFormat,
    spelling: Spelling,
    /// Rows at or before the first are already stored; rows before the second need not be read again.
    known: Option<(Position, Position)>,
    /// Positions after this are not used as watermarks.
    until: Timestamp,
    first: Option<CursorPlace>,
    last: Option<CursorPlace>,
    newest: Option<CursorPlace>,
    /// The last position before the newest one: if rows come oldest first, all rows up to it have been read.
    settled: Option<CursorPlace>,
    ascending: bool,
    unordered: bool,
    /// Whether a page had a row that is needed, or the stored rows are unknown.
    reached: bool,
    pages: u32,
    /// See [`RowOrder::once`].
    once: bool,
}

impl RowOrder {
    /// The order before the first row. A newest-first reading may stop before `bound`; rows up to `at`, if
    /// known, are stored.
    pub fn new(
        order: CursorOrder,
        format: CursorFormat,
        spelling: Spelling,
        (at, bound): (Option<Position>, Option<Position>),
        until: Timestamp,
    ) -> RowOrder {
        let reached = at.is_none();
        let known = bound.map(|bound| (at.unwrap_or_else(|| bound.clone()), bound));
        RowOrder {
            order,
            format,
            spelling,
            known: known.filter(|(at, _)| !matches!(at, Position::Text(_))),
            until,
            first: None,
            last: None,
            newest: None,
            settled: None,
            ascending: true,
            unordered: false,
            reached,
            pages: 0,
            once: false,
        }
    }

    /// Rows without a key would be stored twice if they were read twice: a checkpoint then covers all rows
    /// read so far, and rows with one value are expected on one page.
    #[must_use]
    pub fn once(self, once: bool) -> RowOrder {
        RowOrder { once, ..self }
    }

    /// Accepts positions up to this moment, because the source's clock may be ahead of ours.
    pub fn allow_until(&mut self, moment: Timestamp) {
        self.until = self.until.max(moment);
    }

    /// Adds the rows of a page. Returns whether a newest-first reading may stop here: after a whole page of
    /// stored rows, in order, whose last row is before the look-back.
    pub fn page<'r>(&mut self, raws: impl Iterator<Item = Option<&'r str>>) -> bool {
        let (mut rows, mut known, mut behind, mut descending) = (0, true, false, true);
        for raw in raws {
            rows += 1;
            let place = raw.and_then(|raw| Some((Position::of(raw, &self.spelling)?, RawValue::new(raw))));
            let Some(place) = place else {
                known = false;
                continue;
            };
            if let Some((at, bound)) = &self.known {
                known &= matches!(place.0.compare(at), Some(Ordering::Less | Ordering::Equal));
                behind = place.0.compare(bound) == Some(Ordering::Less);
                self.reached |= !behind;
            }
            let last = self.last.as_ref().map(|(last, _)| place.0.compare(last));
            descending &= matches!(last, None | Some(Some(Ordering::Less | Ordering::Equal)));
            self.row(place);
        }
        self.pages += u32::from(rows > 0);
        // If the first row is already older than needed, the list may start elsewhere: one more page decides.
        let started = self.reached || self.pages > 1;
        self.may_stop() && rows > 0 && known && behind && descending && started
    }

    fn row(&mut self, place: CursorPlace) {
        if let Some((last, _)) = &self.last {
            match place.0.compare(last) {
                Some(Ordering::Less) => self.ascending = false,
                Some(_) => {}
                None => {
                    self.unordered |=
                        matches!(place.0, Position::Text(_)) && matches!(last, Position::Text(_))
                }
            }
        }
        // A single odd value among others has no position in their order.
        let odd = matches!((&self.last, &place.0), (Some((last, _)), Position::Text(_)) if !matches!(last, Position::Text(_)));
        if !odd && !place.0.is_after(self.until, &self.format) {
            match self.newest.as_ref().map(|(newest, _)| place.0.compare(newest)) {
                Some(Some(Ordering::Greater) | None) => self.settled = self.newest.replace(place.clone()),
                None => self.newest = Some(place.clone()),
                Some(Some(_)) => {}
            }
        }
        self.first.get_or_insert_with(|| place.clone());
        if !odd {
            self.last = Some(place);
        }
    }

    /// The watermark if the run stops now: all rows up to it have been read. Only if rows came oldest first,
    /// one by one, with more than one value.
    pub fn checkpoint(&self) -> Option<&CursorPlace> {
        let place = if self.once { &self.newest } else { &self.settled };
        place.as_ref().filter(|_| self.order == CursorOrder::Ascending && self.ascending && !self.unordered)
    }

    /// Whether any page may turn out to be the last one needed.
    pub fn may_stop(&self) -> bool {
        self.order == CursorOrder::Descending && self.known.is_some()
    }

    /// Whether rows were expected oldest first but came in another order.
    pub fn is_broken(&self) -> bool {
        self.order == CursorOrder::Ascending && !self.ascending
    }

    /// The watermark after a complete reading: the furthest position. If values have no order, every value is
    /// safe, since all rows were read; the definition's order selects one.
    pub fn end(&self) -> Option<&CursorPlace> {
        if !self.unordered {
            return self.newest.as_ref();
        }
        match self.order {
            CursorOrder::Ascending => self.last.as_ref(),
            CursorOrder::Descending | CursorOrder::Unknown => self.first.as_ref(),
        }
    }

    /// Whether no order of the values could be established.
    pub fn is_unordered(&self) -> bool {
        self.unordered || matches!(&self.newest, Some((Position::Text(_), _)))
    }
}

#[cfg(test)]
mod tests;
