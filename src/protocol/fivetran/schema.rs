//! Tables and columns in Fivetran's format.

use super::generated::{Column, DataType, Table, TableList};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::definition::config::ConfigValues;
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::syncing::op::TableShape;

/// The tables that this configuration enables, with the columns that are known before the first row.
pub(super) fn tables(definition: &Definition, config: &ConfigValues) -> TableList {
    let enabled = definition.tables.iter().filter(|table| config.enables(&table.enabled));
    TableList { tables: enabled.map(|of| table(&of.declared_shape(), |_| true)).collect() }
}

/// A table with its selected columns.
pub(super) fn table(shape: &TableShape, is_selected: impl Fn(&str) -> bool) -> Table {
    let columns = shape.columns.iter().filter(|column| is_selected(&column.name));
    let column = |column: &crate::domain::syncing::op::Column| Column {
        name: column.name.clone(),
        r#type: data_type(column.kind).into(),
        primary_key: shape.key.contains(&column.name),
        // Without parameters, the destination uses its widest decimal.
        params: None,
    };
    Table { name: shape.table.clone(), columns: columns.map(column).collect() }
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Unknown => DataType::Unspecified,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Bigint => DataType::Long,
        ColumnType::Double => DataType::Double,
        ColumnType::Decimal => DataType::Decimal,
        ColumnType::Date => DataType::NaiveDate,
        ColumnType::Timestamp => DataType::UtcDatetime,
        ColumnType::Json => DataType::Json,
        ColumnType::Text => DataType::String,
    }
}
