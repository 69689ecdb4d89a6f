//! A place in a growing order of rows: read from a cell, remembered, written into a request.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::Date, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::cell::Cell;

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
    /// Text that is none of these, in the order of its bytes.
    Text(String),
}

/// What is remembered of a cursor between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorState {
    /// Everything up to here is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
    /// Where the configuration began; an earlier beginning means reading anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
    /// When the partition was last read to its end; partitions that waited longest come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
}

impl Position {
    /// The place of a row; `None` for null and for what has no order.
    pub fn of(cell: &Cell) -> Option<Position> {
        match cell {
            Cell::Int(n) => Some(Position::Int(*n)),
            Cell::Date(day) => Some(Position::Day(*day)),
            Cell::Timestamp(at) => Some(Position::Time(*at)),
            // Some services write an absent value so.
            Cell::Text(text) if text.trim().is_empty() => None,
            Cell::Text(text) => Some(Position::read(text)),
            Cell::Decimal(text) => text.parse().ok().map(Position::Int),
            Cell::Null | Cell::Bool(_) | Cell::Double(_) | Cell::Json(_) => None,
        }
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
        text.parse().map(Position::Int).unwrap_or_else(|_| Position::Text(text.to_owned()))
    }

    /// The order of two places; `None` when they are of different kinds that do not compare.
    pub fn compare(&self, other: &Position) -> Option<Ordering> {
        match (self, other) {
            (Position::Int(a), Position::Int(b)) => Some(a.cmp(b)),
            (Position::Text(a), Position::Text(b)) => Some(a.cmp(b)),
            (Position::Day(a), Position::Day(b)) => Some(a.cmp(b)),
            _ => Some(self.instant()?.cmp(&other.instant()?)),
        }
    }

    /// The later of two. Of two that do not compare, the new one, unless it is a text beside something better: one odd
    /// value among instants must not become the place to go on from.
    #[must_use]
    pub fn later(self, new: Position) -> Position {
        match new.compare(&self) {
            Some(Ordering::Less) => self,
            None if matches!(new, Position::Text(_)) => self,
            _ => new,
        }
    }

    /// Whether this place lies after a moment. Only instants and days can.
    pub fn is_after(&self, moment: Timestamp) -> bool {
        self.instant().is_some_and(|at| at > moment)
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
            Position::Text(text) => Position::Text(text.clone()),
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
            Position::Text(text) => text.clone(),
        }
    }

    fn instant(&self) -> Option<Timestamp> {
        match self {
            Position::Time(at) => Some(*at),
            Position::Day(day) => day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
            Position::Int(_) | Position::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text is read for what it is; without an offset it is UTC, never the host's zone.
    #[test]
    fn reads_places() {
        let nine: Timestamp = "2026-05-02T09:10:00Z".parse().unwrap();
        for text in [
            "2026-05-02T09:10:00Z",
            "2026-05-02T11:10:00+02:00",
            "2026-05-02T09:10:00",
            "2026-05-02 09:10:00",
        ] {
            assert_eq!(Position::read(text), Position::Time(nine), "{text}");
        }
        assert_eq!(Position::read("2026-05-02").written(&Format::Date), "2026-05-02");
        assert_eq!(Position::read("17"), Position::Int(17));
        assert_eq!(Position::read("b"), Position::Text("b".into()));
    }

    /// A value that is no instant, among instants, is never the place to go on from; an empty one is none at all.
    #[test]
    fn odd_values_are_no_place_to_go_on_from() {
        let (nine, odd) = (Position::read("2026-05-02T09:10:00Z"), Position::Text("n/a".into()));
        assert_eq!(nine.clone().later(odd.clone()), nine);
        assert_eq!(odd.clone().later(nine.clone()), nine);
        assert_eq!(Position::read("a").later(Position::read("b")), Position::read("b"));
        assert_eq!(Position::of(&Cell::Text("".into())), None);
        assert!(nine.is_after("2026-05-02T09:09:59Z".parse().unwrap()));
        assert!(!nine.is_after("2026-05-02T09:10:00Z".parse().unwrap()) && !odd.is_after(Timestamp::MIN));
    }

    /// No digit of an instant is lost on its way into a request, and days compare with instants.
    #[test]
    fn keeps_digits_and_order() {
        let place = Position::read("2026-05-02T09:10:00.123456789Z");
        assert_eq!(place.written(&Format::Rfc3339), "2026-05-02T09:10:00.123456789Z");
        assert_eq!(place.written(&Format::EpochMillis), "1777713000123");
        let stored = serde_json::to_string(&place).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&stored).unwrap(), place);
        assert_eq!(place.compare(&Position::read("2026-05-02")), Some(Ordering::Greater));
        assert_eq!(place.compare(&Position::Int(5)), None);
        let back = place.back(Duration::from_secs(1), &Format::Rfc3339);
        assert_eq!(back, Position::read("2026-05-02T09:09:59.123456789Z"));
        let millis = Position::Int(5_000).back(Duration::from_secs(1), &Format::EpochMillis);
        assert_eq!(millis, Position::Int(4_000));
    }
}
