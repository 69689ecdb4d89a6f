//! Rows as JSON text, written straight from their cells.

use serde_json::value::RawValue;

use crate::domain::cell::{Cell, ColumnType};
use crate::domain::op::TableShape;
use crate::protocol::fitted::{Fitted, fit};

/// How the rows of one shape begin each member: `"name":`, by column.
pub(super) struct Members {
    names: Vec<Option<(String, ColumnType)>>,
}

impl Members {
    /// Every column of which there is something to say: none of which only nulls are known.
    pub(super) fn of(shape: &TableShape) -> Members {
        let name = |column: &crate::domain::op::Column| {
            let known = column.kind != ColumnType::Unknown || shape.key.contains(&column.name);
            known.then(|| (format!("{}:", quoted(&column.name)), column.kind))
        };
        Members { names: shape.columns.iter().map(name).collect() }
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
        // JSON has no word for what is no number.
        Fitted::Double(value) if !value.is_finite() => json(&value.to_string(), out),
        Fitted::Double(value) => json(value, out),
        Fitted::Decimal(digits) => out.extend_from_slice(digits.as_bytes()),
        Fitted::Date(day) => json(&day.to_string(), out),
        Fitted::Midnight(day) => json(&format!("{day}T00:00:00Z"), out),
        Fitted::Timestamp(instant) => json(&instant.to_string(), out),
        // A broken text in here would break the whole answer.
        Fitted::Json(text) if serde_json::from_str::<&RawValue>(text).is_ok() => {
            out.extend_from_slice(text.as_bytes())
        }
        Fitted::Json(text) => json(text, out),
        Fitted::Text(text) => json(text, out),
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Numbers and texts into memory: nothing can go wrong.
    let _ = serde_json::to_writer(out, value);
}

/// A text as JSON writes it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::op::{Column, Write};

    /// Numbers keep every digit, instants are RFC 3339, nested values are values, columns of nulls are left out.
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
        Members::of(&shape).write(&row, &mut out);
        insta::assert_snapshot!(
            String::from_utf8(out).unwrap(),
            @r#"{"id":9223372036854775807,"ratio":0.1,"amount":12345678901234567890.123456789,"day":"2026-05-02","at":"2026-05-02T09:00:00.25Z","tags":{"a":[1,null]},"na\"me":"line\n\"two\" é","on":null}"#
        );
    }
}
