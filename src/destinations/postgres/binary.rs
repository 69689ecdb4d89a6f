//! Cells in PostgreSQL's binary format: the same bytes go into COPY and into arrays.
//!
//! No value is rounded or truncated. A value that a column's type cannot represent exactly is a [`Misfit`], which is
//! detected before it is sent: an instant finer than a microsecond, a number beyond `numeric`, text with a NUL. Start at
//! [`append`].

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio_postgres::types::Type;

use super::numeric;
use crate::domain::syncing::cell::{Cell, ColumnType, exact_double};

/// PostgreSQL counts days and microseconds from 2000-01-01.
const EPOCH: Date = jiff::civil::date(2000, 1, 1);
const EPOCH_MICROS: i128 = 946_684_800_000_000;

/// PostgreSQL's first date is in 4714 BC; this is the first complete year.
const FIRST_YEAR: i16 = -4712;

/// Depth of nesting that the server's JSON parser always accepts.
const JSON_DEPTH: usize = 1_000;

/// Digits of a number within JSON that always fit the server's `numeric`, in which `jsonb` stores numbers.
const JSON_DIGITS: usize = 10_000;

/// The limit of its exponent.
const JSON_EXPONENT: i32 = 5_000;

/// The start of a binary COPY: signature, flags, no extension.
pub(crate) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The end of a binary COPY: -1 as the count of fields.
pub(crate) const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Why a value cannot be stored in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The column must become text.
    Widen,
    /// No column of PostgreSQL can store it.
    Reject(&'static str),
    /// The value's type does not belong to the column's type: a bug of the connector.
    Type,
}

pub(crate) fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "boolean",
        ColumnType::Bigint => "bigint",
        ColumnType::Double => "double precision",
        ColumnType::Decimal => "numeric",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp with time zone",
        ColumnType::Json => "jsonb",
        ColumnType::Text | ColumnType::Unknown => "text",
    }
}

/// The type of an array of values, and of a single value.
pub(crate) fn array_type(kind: ColumnType) -> (Type, Type) {
    match kind {
        ColumnType::Boolean => (Type::BOOL_ARRAY, Type::BOOL),
        ColumnType::Bigint => (Type::INT8_ARRAY, Type::INT8),
        ColumnType::Double => (Type::FLOAT8_ARRAY, Type::FLOAT8),
        ColumnType::Decimal => (Type::NUMERIC_ARRAY, Type::NUMERIC),
        ColumnType::Date => (Type::DATE_ARRAY, Type::DATE),
        ColumnType::Timestamp => (Type::TIMESTAMPTZ_ARRAY, Type::TIMESTAMPTZ),
        ColumnType::Json => (Type::JSONB_ARRAY, Type::JSONB),
        ColumnType::Text | ColumnType::Unknown => (Type::TEXT_ARRAY, Type::TEXT),
    }
}

/// Appends a value with its length. After a misfit, `out` is unchanged.
pub(crate) fn append(cell: &Cell, kind: ColumnType, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let at = out.len();
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    if matches!(cell, Cell::Null) {
        return Ok(());
    }
    if let Err(misfit) = value(cell, kind, out) {
        out.truncate(at);
        return Err(misfit);
    }
    let length = out.len() - at - 4;
    let Ok(length) = i32::try_from(length) else {
        out.truncate(at);
        return Err(Misfit::Reject("a value is larger than PostgreSQL can hold"));
    };
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn value(cell: &Cell, kind: ColumnType, out: &mut Vec<u8>) -> Result<(), Misfit> {
    use ColumnType as T;
    match (kind, cell) {
        (T::Text | T::Unknown, Cell::Text(value) | Cell::Json(value) | Cell::Decimal(value)) => {
            text(value, out)
        }
        (T::Text | T::Unknown, cell) => text(&cell.to_text().unwrap_or_default(), out),
        (T::Boolean, Cell::Bool(value)) => {
            out.push((*value).into());
            Ok(())
        }
        (T::Bigint, Cell::Bool(value)) => fixed(&i64::from(*value).to_be_bytes(), out),
        (T::Bigint, Cell::Int(value)) => fixed(&value.to_be_bytes(), out),
        (T::Double, Cell::Bool(value)) => fixed(&f64::from(u8::from(*value)).to_be_bytes(), out),
        (T::Double, Cell::Int(value)) => fixed(&exact_double(*value).ok_or(Misfit::Type)?.to_be_bytes(), out),
        // Without negative zero, as in SQLite.
        (T::Double, Cell::Double(value)) => fixed(&(value + 0.0).to_be_bytes(), out),
        (T::Decimal, Cell::Bool(value)) => number(if *value { "1" } else { "0" }, out),
        (T::Decimal, Cell::Double(value)) => number(&value.to_string(), out),
        (T::Decimal, Cell::Int(value)) => number(&value.to_string(), out),
        (T::Decimal, Cell::Decimal(value)) => number(value, out),
        (T::Date, Cell::Date(day)) if day.year() >= FIRST_YEAR => fixed(&days(*day)?.to_be_bytes(), out),
        (T::Timestamp, Cell::Timestamp(moment)) => {
            let nanos = moment.as_nanosecond();
            let early = TimeZone::UTC.to_datetime(*moment).year() < FIRST_YEAR;
            if early || nanos % 1_000 != 0 {
                return Err(Misfit::Widen);
            }
            let micros = i64::try_from(nanos / 1_000 - EPOCH_MICROS).map_err(|_| Misfit::Widen)?;
            fixed(&micros.to_be_bytes(), out)
        }
        (T::Timestamp, Cell::Date(day)) if day.year() >= FIRST_YEAR => {
            fixed(&(i64::from(days(*day)?) * 86_400_000_000).to_be_bytes(), out)
        }
        (T::Date | T::Timestamp, Cell::Date(_)) => Err(Misfit::Widen),
        (T::Json, Cell::Json(value)) => {
            json(value)?;
            // The version of the binary format.
            out.push(1);
            out.extend_from_slice(value.as_bytes());
            Ok(())
        }
        _ => Err(Misfit::Type),
    }
}

fn fixed(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn text(value: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if value.as_bytes().contains(&0) {
        return Err(Misfit::Reject("a text holds a NUL character, which PostgreSQL cannot store"));
    }
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

fn number(text: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    numeric::append(text, out).ok_or(Misfit::Widen)
}

fn days(day: Date) -> Result<i32, Misfit> {
    let since = day.since((jiff::Unit::Day, EPOCH)).map_err(|_| Misfit::Widen)?;
    Ok(since.get_days())
}

/// Checks that `jsonb` accepts a document: it cannot store NUL, unpaired surrogates, and some numbers.
fn json(text: &str) -> Result<(), Misfit> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string(bytes, at + 1)?;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > JSON_DEPTH {
                    return Err(Misfit::Reject("a JSON value is nested deeper than PostgreSQL allows"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let end =
                    rest.iter().position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                let number = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                if !modest(number) {
                    return Err(Misfit::Reject("a number within a JSON value is too large for PostgreSQL"));
                }
                at += number.len();
                continue;
            }
            0 => {
                return Err(Misfit::Reject(
                    "a JSON value holds a NUL character, which PostgreSQL cannot store",
                ));
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The end of a string whose opening quote is before `at`.
fn string(bytes: &[u8], mut at: usize) -> Result<usize, Misfit> {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 4).and_then(|digits| std::str::from_utf8(digits).ok())?;
        u16::from_str_radix(digits, 16).ok()
    };
    while let Some(&byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'"', _) => return Ok(at + 1),
            (b'\\', Some(b'u')) => {
                at += match unit(at + 2) {
                    Some(0) => {
                        return Err(Misfit::Reject(
                            "a JSON value holds a NUL character, which PostgreSQL cannot store",
                        ));
                    }
                    Some(0xd800..=0xdbff)
                        if bytes.get(at + 6..at + 8) == Some(b"\\u")
                            && matches!(unit(at + 8), Some(0xdc00..=0xdfff)) =>
                    {
                        12
                    }
                    Some(0xd800..=0xdfff) | None => {
                        return Err(Misfit::Reject("a JSON value holds an unpaired surrogate"));
                    }
                    Some(_) => 6,
                }
            }
            (b'\\', _) => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

fn modest(number: &[u8]) -> bool {
    let exponent = number.iter().position(|b| matches!(b, b'e' | b'E'));
    let digits = number.get(exponent.map_or(0, |at| at + 1)..).unwrap_or_default();
    let power = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i32>().ok());
    let small = exponent.is_none() || power.is_some_and(|power| power.abs() < JSON_EXPONENT);
    number.len() <= JSON_DIGITS && small
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(cell: &Cell, kind: ColumnType) -> String {
        let mut out = vec![7];
        match append(cell, kind, &mut out) {
            Ok(()) => out[1..].iter().map(|byte| format!("{byte:02x}")).collect(),
            Err(misfit) => {
                assert_eq!(out, [7], "the output is unchanged");
                format!("{misfit:?}")
            }
        }
    }

    #[test]
    fn values_are_encoded_exactly_or_are_misfits() {
        use ColumnType::{Bigint, Boolean, Decimal, Double, Json, Text, Timestamp};
        let moment = |text: &str| Cell::Timestamp(text.parse().unwrap());
        let doc = |text: &str| Cell::Json(text.into());
        let widen = "Widen";
        let nul = "Reject(\"a JSON value holds a NUL character, which PostgreSQL cannot store\")";
        let half = "Reject(\"a JSON value holds an unpaired surrogate\")";
        let huge = "Reject(\"a number within a JSON value is too large for PostgreSQL\")";
        for (cell, kind, want) in [
            (Cell::Null, Boolean, "ffffffff"),
            (Cell::Bool(true), Bigint, "000000080000000000000001"),
            (Cell::Double(-0.0), Double, "000000080000000000000000"),
            (Cell::Int(1 << 54), Double, "Type"),
            (Cell::Text("x".into()), Bigint, "Type"),
            (moment("2000-01-01T00:00:00.000001Z"), Timestamp, "000000080000000000000001"),
            (moment("2000-01-01T00:00:00.000000001Z"), Timestamp, widen),
            (moment("-005000-01-01T00:00:00Z"), Timestamp, widen),
            (Cell::Date("2000-01-03".parse().unwrap()), ColumnType::Date, "0000000400000002"),
            (Cell::Date("1999-12-31".parse().unwrap()), ColumnType::Date, "00000004ffffffff"),
            (Cell::Date("-005000-01-01".parse().unwrap()), ColumnType::Date, widen),
            (Cell::Decimal("1e200000".into()), Decimal, widen),
            (
                Cell::Text("a\0b".into()),
                Text,
                "Reject(\"a text holds a NUL character, which PostgreSQL cannot store\")",
            ),
            (doc(r#"{"a":"\u0000"}"#), Json, nul),
            (doc(r#""\\u0000""#), Json, "0000000a01225c5c753030303022"),
            (doc(r#""\ud83d""#), Json, half),
            (doc(r#""\ud83d\ude00""#), Json, "0000000f01225c75643833645c756465303022"),
            (doc("[1e999999]"), Json, huge),
            (doc("1"), Json, "000000020131"),
        ] {
            assert_eq!(encoded(&cell, kind), want, "{cell:?} in {kind:?}");
        }
    }
}
