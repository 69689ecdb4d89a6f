//! What goes from one destination to another when tables move: rows with their marks, and a sum to compare them by.
//!
//! The sum is taken of what values mean, in one spelling for both sides, and does not depend on the order of rows.
//! Start at [`Sum::add`].

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use jiff::{Timestamp, TimestampRound, Unit};

use crate::domain::cell::{Cell, ColumnType};

/// A row as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// In the order of the shape's columns.
    pub cells: Box<[Cell]>,
    /// When it was last written; `None` in tables of ours, which do not say.
    pub synced: Option<Timestamp>,
    /// Since when it is gone at the source.
    pub deleted: Option<Timestamp>,
}

/// How many rows, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Their number.
    pub rows: u64,
    /// Of all of them.
    pub checksum: u64,
}

impl Sum {
    /// Counts a row whose columns were of these types where it came from.
    pub fn add(&mut self, row: &Stored, kinds: &[ColumnType]) {
        let mut hash = DefaultHasher::new();
        for (cell, kind) in row.cells.iter().zip(kinds) {
            add_cell(&mut hash, cell, *kind);
        }
        for mark in [row.synced, row.deleted] {
            hash.write_i128(mark.map_or(i128::MIN, |at| micros(at).as_nanosecond()));
        }
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(hash.finish());
    }
}

/// The moment, no finer than servers keep it.
pub fn micros(at: Timestamp) -> Timestamp {
    let round = TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Floor);
    at.round(round).unwrap_or(at)
}

fn add_cell(hash: &mut DefaultHasher, cell: &Cell, kind: ColumnType) {
    let Some(text) = cell.to_text() else { return hash.write_u8(0) };
    hash.write_u8(1);
    match kind {
        ColumnType::Decimal => hash.write(plain(&text).as_bytes()),
        ColumnType::Json => match serde_json::from_str(&text) {
            Ok(value) => add_json(hash, &value),
            // Nested deeper than is read here: that it is there must do.
            Err(_) => hash.write_u8(2),
        },
        // One zero.
        ColumnType::Double if text == "-0" => hash.write(b"0"),
        _ => hash.write(text.as_bytes()),
    }
    hash.write_u8(0xff);
}

/// Servers keep what a document means, not how it was written.
fn add_json(hash: &mut DefaultHasher, value: &serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Null => hash.write_u8(3),
        Value::Bool(value) => hash.write_u8(4 + u8::from(*value)),
        Value::Number(number) => hash.write_u64((number.as_f64().unwrap_or(f64::NAN) + 0.0).to_bits()),
        Value::String(text) => {
            hash.write(text.as_bytes());
            hash.write_u8(0xff);
        }
        Value::Array(items) => {
            hash.write_usize(items.len());
            items.iter().for_each(|item| add_json(hash, item));
        }
        Value::Object(fields) => {
            hash.write_usize(fields.len());
            for (name, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                hash.write(name.as_bytes());
                hash.write_u8(0xff);
                add_json(hash, value);
            }
        }
    }
}

/// A decimal number in one spelling: without exponent, and without zeros that say nothing.
fn plain(text: &str) -> String {
    let text = text.trim();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i64>() else { return text.to_owned() };
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa.trim_start_matches('+')),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    let point = i64::try_from(whole.len()).unwrap_or(0).saturating_add(exponent);
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    // 0.DIGITS times ten to the power.
    let power = point.saturating_sub(i64::try_from(leading).unwrap_or(0));
    format!("{sign}0.{digits}e{power}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number has one spelling, however it was written; different numbers have different ones.
    #[test]
    fn decimals_have_one_spelling() {
        for (one, other) in [
            ("1", "1.000"),
            ("1e5", "100000"),
            ("-1.50", "-15E-1"),
            ("0.00", "-0"),
            ("+7", "0007"),
            ("1e-3", "0.001"),
            ("123456789012345678901234567890.5", "1.234567890123456789012345678905e29"),
        ] {
            assert_eq!(plain(one), plain(other));
        }
        assert_ne!(plain("10"), plain("1"));
        assert_ne!(plain("-1"), plain("1"));
        assert_ne!(plain("0.1"), plain("0.01"));
    }

    /// The same rows in another order, or the same document in another spelling, have the same sum; another value,
    /// mark or number of rows has not.
    #[test]
    fn sums_tell_rows_apart() {
        let kinds = [ColumnType::Bigint, ColumnType::Json, ColumnType::Text];
        let at: Timestamp = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        let row = |id: i64, json: &str, text: Option<&str>| Stored {
            cells: vec![
                Cell::Int(id),
                Cell::Json(json.into()),
                text.map_or(Cell::Null, |text| Cell::Text(text.into())),
            ]
            .into(),
            synced: Some(at),
            deleted: None,
        };
        let sum = |rows: &[Stored]| {
            rows.iter().fold(Sum::default(), |mut sum, row| {
                sum.add(row, &kinds);
                sum
            })
        };
        let one = sum(&[row(1, r#"{"a":1.0,"b":[2]}"#, None), row(2, "null", Some(""))]);
        assert_eq!(one, sum(&[row(2, "null", Some("")), row(1, r#"{ "b": [2], "a": 1 }"#, None)]));
        for other in [
            vec![row(1, r#"{"a":1.0,"b":[2]}"#, None), row(2, "null", None)],
            vec![row(1, r#"{"a":1.0,"b":[3]}"#, None), row(2, "null", Some(""))],
            vec![row(1, r#"{"a":1.0,"b":[2]}"#, None)],
            vec![
                row(1, r#"{"a":1.0,"b":[2]}"#, None),
                Stored { deleted: Some(at), ..row(2, "null", Some("")) },
            ],
        ] {
            assert_ne!(one, sum(&other));
        }
    }
}
