//! Tables and columns as Fivetran describes them.

use super::generated::{Column, DataType, Table, TableList};
use crate::domain::cell::ColumnType;
use crate::domain::config::ConfigValues;
use crate::domain::connector::Definition;
use crate::domain::op::TableShape;

/// The tables that are read with this configuration, as far as they are known before a row was seen.
pub(super) fn tables(definition: &Definition, config: &ConfigValues) -> TableList {
    let enabled = definition.tables.iter().filter(|table| config.enables(&table.enabled));
    TableList { tables: enabled.map(|of| table(&of.declared_shape(), |_| true)).collect() }
}

/// A table with those columns that are wanted.
pub(super) fn table(shape: &TableShape, wanted: impl Fn(&str) -> bool) -> Table {
    let columns = shape.columns.iter().filter(|column| wanted(&column.name));
    let column = |column: &crate::domain::op::Column| Column {
        name: column.name.clone(),
        r#type: data_type(column.kind).into(),
        primary_key: shape.key.contains(&column.name),
        // Without parameters a decimal gets the widest that the destination has.
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
