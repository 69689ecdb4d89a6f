//! Writes cells as rows of JSON text.

use serde_json::value::RawValue;

use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::TableShape;
use crate::protocol::fitted::{Fitted, fit};

/// The prefix `"name":` of each column of a shape.
pub(super) struct RowMembers {
    names: Vec<Option<(String, ColumnType)>>,
}

impl RowMembers {
    /// All columns except those with only nulls so far.
    pub(super) fn of(shape: &TableShape) -> RowMembers {
        let name = |column: &crate::domain::syncing::op::Column| {
            let known = column.kind != ColumnType::Unknown || shape.key.contains(&column.name);
            known.then(|| (format!("{}:", quoted(&column.name)), column.kind))
        };
        RowMembers { names: shape.columns.iter().map(name).collect() }
    }

    /// Appends one row as an object.
    pub(super) fn write(&self, row: &[Cell], out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for ((name, kind), cell) in
            self.names.iter().zip(row).filter_map(|(name, cell)| Some((name.as_ref()?, cell)))
        {
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(name.as_bytes());
            value(&fit(cell, *kind), out);
        }
        out.push(b'}');
    }
}

fn value(fitted: &Fitted<'_>, out: &mut Vec<u8>) {
    match fitted {
        Fitted::Null => out.extend_from_slice(b"null"),
        Fitted::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Fitted::Int(value) => json(value, out),
        // JSON has no NaN and no infinity.
        Fitted::Double(value) if !value.is_finite() => json(&value.to_string(), out),
        Fitted::Double(value) => json(value, out),
        Fitted::Decimal(digits) => out.extend_from_slice(digits.as_bytes()),
        Fitted::Date(day) => json(&day.to_string(), out),
        Fitted::Midnight(day) => json(&format!("{day}T00:00:00Z"), out),
        Fitted::Timestamp(instant) => json(&instant.to_string(), out),
        // Invalid JSON here would make the whole answer invalid.
        Fitted::Json(text) if serde_json::from_str::<&RawValue>(text).is_ok() => {
            out.extend_from_slice(text.as_bytes())
        }
        Fitted::Json(text) => json(text, out),
        Fitted::Text(text) => json(text, out),
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Serializing numbers and texts into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::syncing::op::{Column, Write};

    /// Numbers keep every digit, instants are RFC 3339, nested values are JSON values, and columns of nulls are omitted.
    #[test]
    fn rows_are_exact_json() {
        let kinds = [
            ("id", ColumnType::Bigint),
            ("ratio", ColumnType::Double),
            ("amount", ColumnType::Decimal),
            ("day", ColumnType::Date),
            ("at", ColumnType::Timestamp),
            ("tags", ColumnType::Json),
            ("na\"me", ColumnType::Text),
            ("on", ColumnType::Boolean),
            ("never", ColumnType::Unknown),
        ];
        let columns = kinds.map(|(name, kind)| Column { name: name.into(), kind });
        let shape = TableShape {
            table: "t".into(),
            columns: columns.into(),
            key: vec!["id".into()],
            write: Write::Upsert,
            deleted_if: None,
        };
        let row = [
            Cell::Int(i64::MAX),
            Cell::Double(0.1),
            Cell::Decimal("12345678901234567890.123456789".into()),
            Cell::Date("2026-05-02".parse().unwrap()),
            Cell::Timestamp("2026-05-02T09:00:00.25Z".parse().unwrap()),
            Cell::Json(r#"{"a":[1,null]}"#.into()),
            Cell::Text("line\n\"two\" é".into()),
            Cell::Null,
            Cell::Null,
        ];
        let mut out = Vec::new();
        RowMembers::of(&shape).write(&row, &mut out);
        insta::assert_snapshot!(
            String::from_utf8(out).unwrap(),
            @r#"{"id":9223372036854775807,"ratio":0.1,"amount":12345678901234567890.123456789,"day":"2026-05-02","at":"2026-05-02T09:00:00.25Z","tags":{"a":[1,null]},"na\"me":"line\n\"two\" é","on":null}"#
        );
    }
}
