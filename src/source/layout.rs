//! Derives the decoder's layout of a table from its definition.

use super::decode::Layout;
use super::inherited_columns;
use crate::domain::syncing::definition::connector::{Definition, Table};
use crate::domain::syncing::paging::PageKind;

pub(super) fn of(definition: &Definition, table: &Table) -> Layout {
    Layout {
        table: table.name.clone(),
        records: table.records.clone(),
        null_is_empty: table.null_is_empty,
        total: table.page.total.clone(),
        key: table.key.clone(),
        write: table.write,
        nested: table.nested,
        arrays: definition.arrays,
        columns: table.columns.clone(),
        inherited: table.parent.iter().flat_map(|parent| parent.columns.keys().cloned()).collect(),
        freeze: table.freeze,
        deleted_if: table.deleted_if.clone(),
        raw: raw_columns(definition, table),
    }
}

/// Columns whose values are sent back to the source in its own spelling: those that paging and the cursor follow, and
/// those that requests for children use.
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
