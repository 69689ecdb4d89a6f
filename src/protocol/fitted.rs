//! Converts a cell to the type of its column: values are widened with their column.
//!
//! No value is rounded. A value that does not fit, such as a 64-bit integer in a column of doubles, becomes an exact
//! decimal.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::syncing::cell::{Cell, ColumnType, EXACT_IN_DOUBLE};

/// A value of one type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fitted<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A JSON number of any length.
    Decimal(Cow<'a, str>),
    Date(Date),
    /// The start of a day, UTC.
    Midnight(Date),
    Timestamp(Timestamp),
    /// JSON text.
    Json(&'a str),
    Text(Cow<'a, str>),
}

/// Converts a cell to the type of its column.
pub(super) fn fit(cell: &Cell, kind: ColumnType) -> Fitted<'_> {
    match (cell, kind) {
        (Cell::Null, _) => Fitted::Null,
        (Cell::Bool(value), ColumnType::Boolean) => Fitted::Bool(*value),
        (Cell::Int(value), ColumnType::Bigint) => Fitted::Int(*value),
        (Cell::Int(value), ColumnType::Double) if value.unsigned_abs() <= EXACT_IN_DOUBLE.unsigned_abs() => {
            Fitted::Double(*value as f64)
        }
        (Cell::Int(value), ColumnType::Double | ColumnType::Decimal) => {
            Fitted::Decimal(value.to_string().into())
        }
        (Cell::Double(value), ColumnType::Double) => Fitted::Double(*value),
        (Cell::Double(value), ColumnType::Decimal) if value.is_finite() => {
            Fitted::Decimal(value.to_string().into())
        }
        (Cell::Decimal(value), ColumnType::Decimal | ColumnType::Double) if is_number(value) => {
            Fitted::Decimal(Cow::Borrowed(value))
        }
        (Cell::Date(value), ColumnType::Date) => Fitted::Date(*value),
        (Cell::Date(value), ColumnType::Timestamp) => Fitted::Midnight(*value),
        (Cell::Timestamp(value), ColumnType::Timestamp) => Fitted::Timestamp(*value),
        (Cell::Json(value), ColumnType::Json) => Fitted::Json(value),
        (other, _) => other.to_text().map_or(Fitted::Null, Fitted::Text),
    }
}

/// Seconds from 1970 to the start of a day, UTC; also for days beyond the range of [`Timestamp`].
pub(super) fn seconds_to(day: Date) -> i64 {
    const DAY: i64 = 86_400;
    let since = day.duration_since(jiff::civil::date(1970, 1, 1));
    since.as_secs() / DAY * DAY
}

/// Whether a text is a JSON number.
fn is_number(text: &str) -> bool {
    let starts = text.strip_prefix('-').unwrap_or(text).as_bytes().first().is_some_and(u8::is_ascii_digit);
    let ends = text.ends_with(|last: char| last.is_ascii_digit());
    starts && ends && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_a_midnight() {
        for (day, seconds) in [
            ("1970-01-01", 0),
            ("1969-12-31", -86_400),
            ("2026-05-02", 1_777_680_000),
            ("0001-01-01", -62_135_596_800),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(seconds_to(day.parse().unwrap()), seconds, "{day}");
        }
    }

    #[test]
    fn cells_widen_with_their_column_and_are_never_rounded() {
        use ColumnType::{Bigint, Boolean, Decimal, Double, Json, Text, Timestamp, Unknown};
        let day: Date = "2026-05-02".parse().unwrap();
        let instant: jiff::Timestamp = "2026-05-02T09:00:00.5Z".parse().unwrap();
        let huge = Cell::Decimal("123456789012345678901234567890.5".into());
        let cases = [
            (Cell::Null, Bigint, Fitted::Null),
            (Cell::Bool(true), Boolean, Fitted::Bool(true)),
            (Cell::Bool(true), Text, Fitted::Text("true".into())),
            (Cell::Int(i64::MAX), Bigint, Fitted::Int(i64::MAX)),
            (Cell::Int(-5), Double, Fitted::Double(-5.0)),
            (Cell::Int(i64::MAX), Double, Fitted::Decimal("9223372036854775807".into())),
            (Cell::Int(i64::MIN), Double, Fitted::Decimal("-9223372036854775808".into())),
            (Cell::Double(3.7), Decimal, Fitted::Decimal("3.7".into())),
            (Cell::Double(1e21), Decimal, Fitted::Decimal("1000000000000000000000".into())),
            (Cell::Double(f64::NAN), Decimal, Fitted::Text("NaN".into())),
            (huge.clone(), Decimal, Fitted::Decimal("123456789012345678901234567890.5".into())),
            (Cell::Decimal("+1".into()), Decimal, Fitted::Text("+1".into())),
            (Cell::Decimal("1 ".into()), Decimal, Fitted::Text("1 ".into())),
            (huge, Text, Fitted::Text("123456789012345678901234567890.5".into())),
            (Cell::Date(day), ColumnType::Date, Fitted::Date(day)),
            (Cell::Date(day), Timestamp, Fitted::Midnight(day)),
            (Cell::Timestamp(instant), Text, Fitted::Text("2026-05-02 09:00:00.5".into())),
            (Cell::Json("[1]".into()), Json, Fitted::Json("[1]")),
            (Cell::Json("[1]".into()), Text, Fitted::Text("[1]".into())),
            (Cell::Int(5), Unknown, Fitted::Text("5".into())),
        ];
        for (cell, kind, want) in cases {
            assert_eq!(fit(&cell, kind), want, "{cell:?} in {kind:?}");
        }
    }
}
