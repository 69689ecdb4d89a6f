//! Converts cells to Fivetran's values.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::generated::{ValueType, value_type::Inner};
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::protocol::fitted::{Fitted, fit, seconds_to};

/// Maximum digits of a decimal, and how many of them may follow the decimal point.
const MAX_PRECISION: usize = 38;
const MAX_SCALE: usize = 37;

/// Years that google.protobuf.Timestamp supports.
const YEARS: RangeInclusive<i16> = 1..=9999;

/// The value of a cell in a column of this type.
pub(super) fn value(cell: &Cell, kind: ColumnType) -> ValueType {
    let inner = match fit(cell, kind) {
        Fitted::Null => Inner::Null(true),
        Fitted::Bool(value) => Inner::Bool(value),
        Fitted::Int(value) => Inner::Long(value),
        Fitted::Double(value) => Inner::Double(value),
        Fitted::Decimal(digits) => match plain(&digits).filter(|digits| fits_decimal(digits)) {
            Some(digits) => Inner::Decimal(digits.into_owned()),
            None => Inner::String(digits.into_owned()),
        },
        // Instants beyond the range of the format are sent as text, so that no value becomes null.
        Fitted::Date(day) if !YEARS.contains(&day.year()) => Inner::String(day.to_string()),
        Fitted::Midnight(day) if !YEARS.contains(&day.year()) => Inner::String(format!("{day}T00:00:00Z")),
        Fitted::Timestamp(at) if !YEARS.contains(&TimeZone::UTC.to_datetime(at).year()) => {
            Inner::String(at.to_string())
        }
        Fitted::Date(day) => Inner::NaiveDate(start_of(day)),
        Fitted::Midnight(day) => Inner::UtcDatetime(start_of(day)),
        Fitted::Timestamp(at) => Inner::UtcDatetime(timestamp(at)),
        Fitted::Json(text) => Inner::Json(text.to_owned()),
        Fitted::Text(text) => Inner::String(text.into_owned()),
    };
    ValueType { inner: Some(inner) }
}

fn start_of(day: Date) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: seconds_to(day), nanos: 0 }
}

/// Nanoseconds are always positive, also before 1970.
fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

/// A number without an exponent; `None` if it would be longer than any decimal.
fn plain(number: &str) -> Option<Cow<'_, str>> {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return Some(Cow::Borrowed(number));
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: isize = exponent.parse().ok()?;
    if exponent.unsigned_abs() > MAX_PRECISION + MAX_SCALE {
        return None;
    }
    // The position of the decimal point, from the left.
    let point = isize::try_from(whole.len()).ok()? + exponent;
    let zeros = |count: isize| "0".repeat(usize::try_from(count).unwrap_or(0));
    let count = isize::try_from(whole.len() + fraction.len()).ok()?;
    let digits = format!("{}{whole}{fraction}{}", zeros(1 - point), zeros(point - count));
    let (whole, fraction) = digits.split_at(usize::try_from(point.max(1)).ok()?);
    let whole = if whole.trim_start_matches('0').is_empty() { "0" } else { whole.trim_start_matches('0') };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(Cow::Owned(format!("{sign}{whole}{point}{fraction}")))
}

/// Whether a number fits Fivetran's decimals; a longer one is sent as text.
fn fits_decimal(number: &str) -> bool {
    let (whole, fraction) = number.trim_start_matches('-').split_once('.').unwrap_or((number, ""));
    let whole = whole.trim_start_matches(['-', '0']).len();
    fraction.len() <= MAX_SCALE && whole + fraction.len() <= MAX_PRECISION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_types_and_large_decimals_become_text() {
        let at = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
        let long = "1".repeat(39);
        let exact = format!("{}.{}", "9".repeat(30), "9".repeat(8));
        let cases = [
            (Cell::Null, ColumnType::Bigint, Inner::Null(true)),
            (Cell::Bool(false), ColumnType::Boolean, Inner::Bool(false)),
            (Cell::Int(-1), ColumnType::Bigint, Inner::Long(-1)),
            (Cell::Int(3), ColumnType::Double, Inner::Double(3.0)),
            (Cell::Int(3), ColumnType::Decimal, Inner::Decimal("3".into())),
            (Cell::Decimal(exact.as_str().into()), ColumnType::Decimal, Inner::Decimal(exact.clone())),
            (Cell::Decimal(long.as_str().into()), ColumnType::Decimal, Inner::String(long.clone())),
            (Cell::Decimal("1e400".into()), ColumnType::Decimal, Inner::String("1e400".into())),
            (Cell::Decimal("1.50e2".into()), ColumnType::Decimal, Inner::Decimal("150".into())),
            (Cell::Decimal("-1.5E+3".into()), ColumnType::Decimal, Inner::Decimal("-1500".into())),
            (Cell::Decimal("12.5e-3".into()), ColumnType::Decimal, Inner::Decimal("0.0125".into())),
            (
                Cell::Decimal("1e-37".into()),
                ColumnType::Decimal,
                Inner::Decimal(format!("0.{}1", "0".repeat(36))),
            ),
            (Cell::Decimal("1e-38".into()), ColumnType::Decimal, Inner::String("1e-38".into())),
            (Cell::Decimal("12.5e1".into()), ColumnType::Decimal, Inner::Decimal("125".into())),
            (Cell::Decimal("0.5e1".into()), ColumnType::Decimal, Inner::Decimal("5".into())),
            (Cell::Date("1969-12-31".parse().unwrap()), ColumnType::Date, Inner::NaiveDate(at(-86400, 0))),
            (
                Cell::Date("9999-12-31".parse().unwrap()),
                ColumnType::Date,
                Inner::NaiveDate(at(253_402_214_400, 0)),
            ),
            (
                Cell::Date("9999-12-31".parse().unwrap()),
                ColumnType::Timestamp,
                Inner::UtcDatetime(at(253_402_214_400, 0)),
            ),
            (
                Cell::Date("0001-01-01".parse().unwrap()),
                ColumnType::Date,
                Inner::NaiveDate(at(-62_135_596_800, 0)),
            ),
            (Cell::Date("0000-12-31".parse().unwrap()), ColumnType::Date, Inner::String("0000-12-31".into())),
            (
                Cell::Timestamp("2026-05-02T09:00:00.5Z".parse().unwrap()),
                ColumnType::Timestamp,
                Inner::UtcDatetime(at(1_777_712_400, 500_000_000)),
            ),
            (
                Cell::Timestamp("1969-12-31T23:59:59.25Z".parse().unwrap()),
                ColumnType::Timestamp,
                Inner::UtcDatetime(at(-1, 250_000_000)),
            ),
            (Cell::Json("{}".into()), ColumnType::Json, Inner::Json("{}".into())),
            (Cell::Text("x".into()), ColumnType::Text, Inner::String("x".into())),
        ];
        for (cell, kind, want) in cases {
            assert_eq!(value(&cell, kind).inner, Some(want), "{cell:?}");
        }
    }
}
