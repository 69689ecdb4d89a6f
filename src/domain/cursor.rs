//! A place in a growing order of rows: read from what the source wrote, remembered, written into a request; and what the
//! rows of a reading prove of their order.
//!
//! Values are compared as what they are (instants, days, numbers), never as text: `9` is not after `10`. Of a text that is
//! none of these the order is unknown, so it stops no reading. Start at [`Position::of`] and [`RowOrder`].

use std::cmp::Ordering;
use std::time::Duration;

use jiff::fmt::{rfc2822, strtime};
use jiff::{SignedDuration, Timestamp, civil::Date, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::connector::{Kind, Order};
use super::paging::RawValue;

/// Days begin this much earlier elsewhere, so a day of tomorrow is no mistake.
const DAY_AHEAD: SignedDuration = SignedDuration::from_hours(14);

/// How a place is written into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// `2026-05-02T09:10:00.123Z`, with every digit that the source sent.
    Rfc3339,
    /// Unix seconds.
    EpochSeconds,
    /// Unix milliseconds.
    EpochMillis,
    /// `2026-05-02`.
    Date,
    /// As it came.
    Plain,
    /// `strftime` letters, UTC.
    Strftime(String),
}

/// A place in the order. Places of different kinds do not compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// An instant.
    Time(Timestamp),
    /// A calendar day.
    Day(Date),
    /// A number.
    Int(i64),
    /// A number that is no such integer, as the source wrote it.
    Decimal(String),
    /// Text that is none of these. It has no order.
    Text(String),
}

/// What is remembered of a cursor between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorState {
    /// Everything up to here is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
    /// The same as the source wrote it: JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Where the configuration began; an earlier beginning means reading anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
    /// When the partition was last read to its end; partitions that waited longest come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
}

/// How the source writes a column: what a definition says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    /// The declared type.
    pub kind: Option<Kind>,
    /// `strftime` letters, where the cursor's format has some.
    pub letters: Option<String>,
}

impl CursorState {
    /// The same after rows up to a place were stored. How the source wrote it is kept where requests repeat it.
    #[must_use]
    pub fn moved_to(&self, place: Option<&Place>, format: &Format) -> CursorState {
        let mut moved = self.clone();
        if let Some((new, raw)) = place {
            let at = match self.at.clone() {
                Some(at) => at.later(new.clone()),
                None => new.clone(),
            };
            if at == *new {
                moved.raw = (*format == Format::Plain).then(|| raw.as_json_text().to_owned());
            }
            moved.at = Some(at);
        }
        moved
    }
}

impl Position {
    /// The place of a row by what the source sent (JSON text); `None` for null, for empty text and for what has no order.
    pub fn of(raw: &str, spelling: &Spelling) -> Option<Position> {
        if raw.starts_with('"') {
            let text: String = serde_json::from_str(raw).ok()?;
            let text = text.trim();
            // Some services write an absent value so.
            return (!text.is_empty()).then(|| Position::spelled(text, spelling));
        }
        raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| Position::spelled(raw, spelling))
    }

    fn spelled(text: &str, spelling: &Spelling) -> Position {
        let millis = match spelling.kind {
            Some(Kind::EpochSeconds) => Some(1_000.0),
            Some(Kind::EpochMillis) => Some(1.0),
            _ => None,
        };
        if let Some(at) = millis.and_then(|scale| epoch(text, scale)) {
            return Position::Time(at);
        }
        let letters = spelling.letters.as_deref();
        letters.and_then(|letters| by_letters(letters, text)).unwrap_or_else(|| Position::read(text))
    }

    /// Reads text as an instant or a day if it is one (without an offset: UTC), as a number, else as itself.
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

    /// The order of two places; `None` when they are of different kinds that do not compare, and for texts that differ.
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

    /// The later of two. Of two that do not compare, the new one, unless it is a text beside something better: one odd
    /// value among instants must not become the place to go on from.
    #[must_use]
    pub fn later(self, new: Position) -> Position {
        match new.compare(&self) {
            Some(Ordering::Less) => self,
            None if matches!(new, Position::Text(_)) && !matches!(self, Position::Text(_)) => self,
            _ => new,
        }
    }

    /// Whether this place lies after a moment. Only instants, days and, by the format, Unix times can.
    pub fn is_after(&self, moment: Timestamp, format: &Format) -> bool {
        match (self, format) {
            (Position::Day(_), _) => {
                let end = moment.checked_add(DAY_AHEAD).unwrap_or(Timestamp::MAX);
                self.instant().is_some_and(|at| at > end)
            }
            (Position::Int(n), Format::EpochSeconds) => *n > moment.as_second(),
            (Position::Int(n), Format::EpochMillis) => *n > moment.as_millisecond(),
            _ => self.instant().is_some_and(|at| at > moment),
        }
    }

    /// This place moved back. Text does not move.
    #[must_use]
    pub fn back(&self, by: Duration, format: &Format) -> Position {
        let signed = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        match self {
            Position::Time(at) => Position::Time(at.checked_sub(signed).unwrap_or(Timestamp::MIN)),
            Position::Day(day) => Position::Day(day.checked_sub(signed).unwrap_or(Date::MIN)),
            Position::Int(n) => {
                let by = match format {
                    Format::EpochMillis => signed.as_millis(),
                    _ => i128::from(signed.as_secs()),
                };
                Position::Int(n.saturating_sub(i64::try_from(by).unwrap_or(i64::MAX)))
            }
            Position::Decimal(_) | Position::Text(_) => self.clone(),
        }
    }

    /// As a request writes it.
    pub fn written(&self, format: &Format) -> String {
        let Some(at) = self.instant().filter(|_| *format != Format::Plain) else { return self.plain() };
        match format {
            Format::Rfc3339 => at.to_string(),
            Format::EpochSeconds => at.as_second().to_string(),
            Format::EpochMillis => at.as_millisecond().to_string(),
            Format::Date => at.to_zoned(TimeZone::UTC).date().to_string(),
            Format::Strftime(letters) => at.strftime(letters).to_string(),
            Format::Plain => self.plain(),
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

/// Unix time with a fraction; `scale` is the milliseconds of its unit.
#[allow(clippy::cast_possible_truncation)]
fn epoch(text: &str, scale: f64) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        return Timestamp::from_millisecond(whole.checked_mul(scale as i64)?).ok();
    }
    let micros = text.parse::<f64>().ok()? * scale * 1_000.0;
    (micros.is_finite() && micros.abs() < 1e18).then(|| Timestamp::from_microsecond(micros as i64).ok())?
}

/// `/Date(1777713000000)/`, with or without an offset, which changes nothing.
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

/// The order of two decimals of any length without an exponent.
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

/// A place, and how the source wrote it.
pub type Place = (Position, RawValue);

/// What the rows of one reading prove of their order.
#[derive(Debug, Clone)]
pub struct RowOrder {
    order: Order,
    format: Format,
    spelling: Spelling,
    /// Rows at or before the first are stored already; before the second they are not wanted again.
    known: Option<(Position, Position)>,
    /// No place after this is one to go on from.
    until: Timestamp,
    first: Option<Place>,
    last: Option<Place>,
    newest: Option<Place>,
    /// The furthest place before the newest: all rows up to it have come, if they come oldest first.
    settled: Option<Place>,
    ascending: bool,
    unordered: bool,
    /// Whether a page had a row that is wanted, or what was stored is not known.
    reached: bool,
    pages: u32,
    /// See [`RowOrder::once`].
    once: bool,
}

impl RowOrder {
    /// Nothing seen yet. A reading newest first may stop before `bound`; up to `at`, if it is known, rows are stored.
    pub fn new(
        order: Order,
        format: Format,
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

    /// Rows without a key would be stored twice if they were read twice: a checkpoint then covers all that came, and rows
    /// with one value are expected on one page.
    #[must_use]
    pub fn once(self, once: bool) -> RowOrder {
        RowOrder { once, ..self }
    }

    /// The source's clock is ahead of ours by so much: its rows may be, too.
    pub fn allow_until(&mut self, moment: Timestamp) {
        self.until = self.until.max(moment);
    }

    /// Takes in the rows of a page, by what the source sent. Returns whether a reading newest first may stop here: behind
    /// a whole page of rows that are stored, in order, the last of them behind the look-back.
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
        // Where even the first row is older than all that is wanted, the list may begin elsewhere: one page more tells.
        let begun = self.reached || self.pages > 1;
        self.order == Order::Descending
            && self.known.is_some()
            && rows > 0
            && known
            && behind
            && descending
            && begun
    }

    fn row(&mut self, place: Place) {
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
        // One odd value among others is no place in their order.
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

    /// Where the next run may begin if this one breaks off now: up to there all rows have come. Only where they came
    /// oldest first, row by row, and more than one value was seen.
    pub fn checkpoint(&self) -> Option<&Place> {
        let place = if self.once { &self.newest } else { &self.settled };
        place.as_ref().filter(|_| self.order == Order::Ascending && self.ascending && !self.unordered)
    }

    /// Whether rows that should have come oldest first did not.
    pub fn is_broken(&self) -> bool {
        self.order == Order::Ascending && !self.ascending
    }

    /// The place to go on from after a reading that is whole: the furthest one, and where values have no order any that
    /// was read, since all rows were; the one that the definition's order makes the furthest.
    pub fn end(&self) -> Option<&Place> {
        if !self.unordered {
            return self.newest.as_ref();
        }
        match self.order {
            Order::Ascending => self.last.as_ref(),
            Order::Descending | Order::Unknown => self.first.as_ref(),
        }
    }

    /// Whether the values have no order that could be established.
    pub fn is_unordered(&self) -> bool {
        self.unordered || matches!(&self.newest, Some((Position::Text(_), _)))
    }
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
