//! Rows that move from one database to another, and a checksum to compare both sides.
//!
//! The checksum covers the meaning of values, in one spelling for both sides, and does not depend on the order of rows.
//! Start at [`TableChecksum::add`].

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use jiff::{Timestamp, TimestampRound, Unit};

use crate::domain::syncing::cell::{Cell, ColumnType};

/// A stored row.
#[derive(Debug, Clone)]
pub(super) struct MovedRow {
    /// In the order of the shape's columns.
    pub(super) cells: Box<[Cell]>,
    /// `_synced_at`; `None` in our own tables, which do not have the column.
    pub(super) synced: Option<Timestamp>,
    /// `_deleted_at`.
    pub(super) deleted: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TableChecksum {
    pub(super) rows: u64,
    pub(super) checksum: u64,
}

impl TableChecksum {
    /// Adds a row; `kinds` are the types of its columns in the source database.
    pub(super) fn add(&mut self, row: &MovedRow, kinds: &[ColumnType]) {
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

/// The instant, truncated to the precision of PostgreSQL.
pub(super) fn micros(at: Timestamp) -> Timestamp {
    let round = TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Floor);
    at.round(round).unwrap_or(at)
}

fn add_cell(hash: &mut DefaultHasher, cell: &Cell, kind: ColumnType) {
    let Some(text) = cell.to_text() else { return hash.write_u8(0) };
    hash.write_u8(1);
    match kind {
        ColumnType::Decimal => hash.write(canonical(&text).as_bytes()),
        ColumnType::Json => match serde_json::from_str(&text) {
            Ok(value) => add_json(hash, &value),
            // Nested deeper than the parser allows: compare only the presence of a value.
            Err(_) => hash.write_u8(2),
        },
        // PostgreSQL may drop the sign of zero.
        ColumnType::Double if text == "-0" => hash.write(b"0"),
        _ => hash.write(text.as_bytes()),
    }
    hash.write_u8(0xff);
}

/// PostgreSQL stores the meaning of a document, not its spelling.
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

/// A decimal number in one spelling, without leading and trailing zeros.
fn canonical(text: &str) -> String {
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
    // 0.DIGITS × 10^power.
    let power = point.saturating_sub(i64::try_from(leading).unwrap_or(0));
    format!("{sign}0.{digits}e{power}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_decimals_have_one_spelling_and_others_do_not() {
        for (one, other) in [
            ("1", "1.000"),
            ("1e5", "100000"),
            ("-1.50", "-15E-1"),
            ("0.00", "-0"),
            ("+7", "0007"),
            ("1e-3", "0.001"),
            ("123456789012345678901234567890.5", "1.234567890123456789012345678905e29"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        assert_ne!(canonical("10"), canonical("1"));
        assert_ne!(canonical("-1"), canonical("1"));
        assert_ne!(canonical("0.1"), canonical("0.01"));
    }

    /// The order of rows and the spelling of documents do not matter; values, marks and the number of rows do.
    #[test]
    fn checksums_differ_exactly_where_rows_differ() {
        let kinds = [ColumnType::Bigint, ColumnType::Json, ColumnType::Text];
        let at: Timestamp = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        let row = |id: i64, json: &str, text: Option<&str>| MovedRow {
            cells: vec![
                Cell::Int(id),
                Cell::Json(json.into()),
                text.map_or(Cell::Null, |text| Cell::Text(text.into())),
            ]
            .into(),
            synced: Some(at),
            deleted: None,
        };
        let sum = |rows: &[MovedRow]| {
            rows.iter().fold(TableChecksum::default(), |mut sum, row| {
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
                MovedRow { deleted: Some(at), ..row(2, "null", Some("")) },
            ],
        ] {
            assert_ne!(one, sum(&other));
        }
    }
}
