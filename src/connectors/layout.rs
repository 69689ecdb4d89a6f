//! What the decoder needs to know of a table, out of its definition.

use super::decode::{Arrays, Coerce, ColumnRule, KeyColumn, Layout, Nested};
use super::inherited_columns;
use crate::domain::connector::{self as defined, Definition, Kind, Table};
use crate::domain::paging::PageKind;

pub(super) fn of(definition: &Definition, table: &Table) -> Layout {
    let key = |key: &defined::Key| KeyColumn {
        column: key.column.clone(),
        fallbacks: key.fallbacks.clone(),
        show: key.show.clone(),
    };
    Layout {
        table: table.name.clone(),
        records: table.records.clone(),
        null_is_empty: table.null_is_empty,
        total: table.page.total.clone(),
        key: table.key.iter().map(key).collect(),
        write: table.write,
        nested: match table.nested {
            defined::Nested::Flatten => Nested::Flatten,
            defined::Nested::Json => Nested::Json,
        },
        arrays: match definition.arrays {
            defined::Arrays::Json => Arrays::Json,
            defined::Arrays::Comma => Arrays::Comma,
        },
        columns: table.columns.iter().map(|(source, rule)| (source.clone(), column(rule))).collect(),
        inherited: table.parent.iter().flat_map(|parent| parent.columns.keys().cloned()).collect(),
        freeze: table.freeze,
        deleted_if: table.deleted_if.clone(),
        raw: raw_columns(definition, table),
    }
}

fn column(rule: &defined::ColumnRule) -> ColumnRule {
    match rule {
        defined::ColumnRule::Drop => ColumnRule::Drop,
        defined::ColumnRule::Keep { name, kind, from } => {
            ColumnRule::Rule { name: name.clone(), kind: kind.map(coerce), from: from.clone() }
        }
    }
}

fn coerce(kind: Kind) -> Coerce {
    match kind {
        Kind::Boolean => Coerce::Boolean,
        Kind::Bigint => Coerce::Integer,
        Kind::Double => Coerce::Double,
        Kind::Decimal => Coerce::Decimal,
        Kind::Date => Coerce::Date,
        Kind::Timestamp => Coerce::Timestamp,
        Kind::EpochSeconds => Coerce::EpochS,
        Kind::EpochMillis => Coerce::EpochMs,
        Kind::Text => Coerce::Text,
        Kind::Json => Coerce::Json,
    }
}

/// Columns whose values go back to the source, as it wrote them: those that paging and the cursor go by, and those that
/// children are asked for by.
pub(super) fn raw_columns(definition: &Definition, table: &Table) -> Vec<String> {
    let keyset = match &table.page.kind {
        PageKind::Keyset { column, .. } => Some(column.clone()),
        _ => None,
    };
    let cursor = table.cursor.as_ref().map(|cursor| cursor.column.clone());
    let mut columns: Vec<String> = keyset.into_iter().chain(cursor).collect();
    columns.extend(inherited_columns(definition, table));
    columns.sort();
    columns.dedup();
    columns
}
