//! The user's selection of tables and columns.

use std::collections::BTreeMap;

use super::generated::{Selection, TableSelection, selection};
use crate::domain::syncing::definition::config::ConfigValues;
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::syncing::op::TableShape;

/// The selected tables and columns of a connector.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) tables: Vec<String>,
    columns: BTreeMap<String, Columns>,
    /// Warnings for the user.
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
struct Columns {
    named: BTreeMap<String, bool>,
    others: bool,
}

/// The selection contains schemas.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the selection names schemas, and this connector has none: send `without_schema`")]
pub(super) struct HasNoSchemas;

impl Choice {
    /// Every enabled table that is not deselected.
    pub(super) fn of(
        definition: &Definition,
        config: &ConfigValues,
        selection: Option<Selection>,
    ) -> Result<Choice, HasNoSchemas> {
        let enabled = definition.tables.iter().filter(|table| config.enables(&table.enabled));
        let enabled = enabled.map(|table| table.name.clone());
        let selected = match selection.and_then(|selection| selection.selection) {
            None => return Ok(Choice { tables: enabled.collect(), ..Choice::default() }),
            Some(selection::Selection::WithSchema(_)) => return Err(HasNoSchemas),
            Some(selection::Selection::WithoutSchema(selected)) => selected,
        };
        let named: BTreeMap<&str, &TableSelection> =
            selected.tables.iter().map(|table| (table.table_name.as_str(), table)).collect();
        let is_selected = |name: &String| {
            named.get(name.as_str()).map_or(selected.include_new_tables, |table| table.included)
        };
        let tables: Vec<String> = enabled.filter(is_selected).collect();
        let included = named.values().filter(|table| table.included);
        let unavailable = included.filter(|table| !tables.contains(&table.table_name));
        let known: Vec<&str> = definition.tables.iter().map(|table| table.name.as_str()).collect();
        let note = |table: &&TableSelection| unavailable_note(&table.table_name, definition, &known);
        let notes = unavailable.map(note).collect();
        let columns = selected.tables.into_iter().map(|table| {
            // A selection without columns includes all of them.
            let others = table.include_new_columns || table.columns.is_empty();
            (table.table_name, Columns { named: table.columns, others })
        });
        Ok(Choice { tables, columns: columns.collect(), notes })
    }

    /// Whether a column is selected. Key columns always are.
    pub(super) fn wants(&self, shape: &TableShape, column: &str) -> bool {
        let Some(columns) = self.columns.get(&shape.table) else { return true };
        shape.key.iter().any(|key| key == column)
            || columns.named.get(column).copied().unwrap_or(columns.others)
    }
}

fn unavailable_note(name: &str, definition: &Definition, known: &[&str]) -> String {
    if known.contains(&name) {
        format!("the table {name} is selected but disabled by the configuration: it is not read")
    } else {
        let connector = &definition.name;
        format!(
            "the table {name} is selected, but {connector} has no such table (it has {}): reload the schema and select again",
            known.join(", ")
        )
    }
}
