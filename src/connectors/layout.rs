//! What the decoder needs to know of a table, out of its definition.

use super::decode::{Arrays, Coerce, ColumnRule, KeyColumn, Layout, Nested};
use crate::domain::connector::{self as defined, Definition, Kind, Table};
use crate::domain::paging::PageKind;

/// `inherited`: the columns that children inherit.
pub(super) fn of(definition: &Definition, table: &Table, inherited: &[String]) -> Layout {
    let key = |key: &defined::Key| KeyColumn {
        column: key.column.clone(),
        fallbacks: key.fallbacks.clone(),
        show: key.show.clone(),
    };
    let keyset = match &table.page.kind {
        PageKind::Keyset { column, .. } => Some(column),
        _ => None,
    };
    Layout {
        table: table.name.clone(),
        records: table.records.clone(),
        null_is_empty: table.null_is_empty,
        total: table.page.total.clone(),
        sourced: inherited.iter().chain(keyset).cloned().collect(),
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
