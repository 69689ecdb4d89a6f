//! The rows of an export: their columns, and a group of rows by column.
//!
//! Rows are gathered by column because that is how a Parquet file stores them. Start at [`TableLayout::of`] and
//! [`RowGroup`].

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::destinations::sqlite::table::{DELETED, SYNCED};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::TableShape;

/// Values of a row group in bytes. A reader needs one group in memory; so do we, twice.
const GROUP_BYTES: usize = 6 << 20;

/// A value without its text, with what says whether it is null.
const VALUE_BYTES: usize = 10;

/// What a column contains in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputKind {
    Boolean,
    Bigint,
    Double,
    /// Exact numbers with so many digits after the decimal point.
    Decimal {
        scale: u8,
    },
    /// Days since 1970.
    Date,
    /// Microseconds since 1970.
    Timestamp,
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutputColumn {
    pub(super) name: String,
    /// In the database.
    pub(super) stored: ColumnType,
    pub(super) kind: OutputKind,
}

/// The columns of a file and which rows it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableLayout {
    pub(super) table: String,
    /// The order of the rows; empty for the order in which they were written.
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<OutputColumn>,
    /// Whether soft-deleted rows are exported, with the time of their deletion.
    pub(super) deleted: bool,
}

impl TableLayout {
    pub(super) fn of(shape: &TableShape, deleted: bool) -> TableLayout {
        let marks = [SYNCED, DELETED].into_iter().take(if deleted { 2 } else { 1 });
        let known = shape.known_columns().map(|column| (column.name.as_str(), column.kind));
        let columns = known.chain(marks.map(|name| (name, ColumnType::Timestamp)));
        let column = |(name, stored): (&str, ColumnType)| OutputColumn {
            name: name.to_owned(),
            stored,
            kind: kind(stored),
        };
        let (table, key) = (shape.table.clone(), shape.key.clone());
        TableLayout { table, key, columns: columns.map(column).collect(), deleted }
    }

    /// Whether the times of a column are ours: they are cut to microseconds.
    pub(super) fn is_mark(&self, place: usize) -> bool {
        place + if self.deleted { 2 } else { 1 } >= self.columns.len()
    }

    /// Distinguishes files of another layout. It does not depend on the rows.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = DefaultHasher::new();
        (&self.table, &self.key, self.deleted).hash(&mut hash);
        for column in &self.columns {
            (&column.name, column.stored).hash(&mut hash);
        }
        format!("{:016x}", hash.finish())
    }

    /// Exports a column as text, since some of its values have no exact form otherwise.
    pub(super) fn as_text(&mut self, place: usize) {
        if let Some(column) = self.columns.get_mut(place) {
            column.kind = OutputKind::Text;
        }
    }
}

fn kind(stored: ColumnType) -> OutputKind {
    match stored {
        ColumnType::Boolean => OutputKind::Boolean,
        ColumnType::Bigint => OutputKind::Bigint,
        ColumnType::Double => OutputKind::Double,
        ColumnType::Decimal => OutputKind::Decimal { scale: 0 },
        ColumnType::Date => OutputKind::Date,
        ColumnType::Timestamp => OutputKind::Timestamp,
        ColumnType::Json | ColumnType::Text | ColumnType::Unknown => OutputKind::Text,
    }
}

/// The values of a column that are not null.
#[derive(Debug)]
pub(super) enum ColumnValues {
    Boolean(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    /// The bytes of all texts, and where each ends.
    Text(Vec<u8>, Vec<usize>),
}

/// A column of a row group.
#[derive(Debug)]
pub(super) struct GroupColumn {
    pub(super) values: ColumnValues,
    /// 1 for a value, 0 for null.
    pub(super) levels: Vec<i16>,
}

/// Consecutive rows of a table.
#[derive(Debug)]
pub(super) struct RowGroup {
    pub(super) columns: Vec<GroupColumn>,
    pub(super) rows: usize,
    bytes: usize,
}

impl GroupColumn {
    fn new(kind: OutputKind) -> GroupColumn {
        let values = match kind {
            OutputKind::Boolean => ColumnValues::Boolean(Vec::new()),
            OutputKind::Date => ColumnValues::Int32(Vec::new()),
            OutputKind::Bigint | OutputKind::Timestamp => ColumnValues::Int64(Vec::new()),
            OutputKind::Double => ColumnValues::Double(Vec::new()),
            OutputKind::Decimal { .. } => ColumnValues::Decimal(Vec::new()),
            OutputKind::Text => ColumnValues::Text(Vec::new(), Vec::new()),
        };
        GroupColumn { values, levels: Vec::new() }
    }

    pub(super) fn push_null(&mut self) {
        self.levels.push(0);
    }

    /// Appends a boolean, and returns the bytes of its text: none. `None` if the column has another kind. So do the following.
    pub(super) fn push_bool(&mut self, value: bool) -> Option<usize> {
        let ColumnValues::Boolean(values) = &mut self.values else { return None };
        values.push(value);
        self.levels.push(1);
        Some(0)
    }

    pub(super) fn push_i32(&mut self, value: i32) -> Option<usize> {
        let ColumnValues::Int32(values) = &mut self.values else { return None };
        values.push(value);
        self.levels.push(1);
        Some(0)
    }

    pub(super) fn push_i64(&mut self, value: i64) -> Option<usize> {
        let ColumnValues::Int64(values) = &mut self.values else { return None };
        values.push(value);
        self.levels.push(1);
        Some(0)
    }

    pub(super) fn push_double(&mut self, value: f64) -> Option<usize> {
        let ColumnValues::Double(values) = &mut self.values else { return None };
        values.push(value);
        self.levels.push(1);
        Some(0)
    }

    pub(super) fn push_decimal(&mut self, value: i128) -> Option<usize> {
        let ColumnValues::Decimal(values) = &mut self.values else { return None };
        values.push(value);
        self.levels.push(1);
        Some(0)
    }

    /// Appends a text that `write` appends to the bytes of all texts. Returns its length.
    pub(super) fn push_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        let ColumnValues::Text(bytes, ends) = &mut self.values else { return None };
        let before = bytes.len();
        write(bytes);
        ends.push(bytes.len());
        self.levels.push(1);
        Some(bytes.len() - before)
    }

    fn clear(&mut self) {
        self.levels.clear();
        match &mut self.values {
            ColumnValues::Boolean(values) => values.clear(),
            ColumnValues::Int32(values) => values.clear(),
            ColumnValues::Int64(values) => values.clear(),
            ColumnValues::Double(values) => values.clear(),
            ColumnValues::Decimal(values) => values.clear(),
            ColumnValues::Text(bytes, ends) => {
                bytes.clear();
                ends.clear();
            }
        }
    }
}

impl RowGroup {
    pub(super) fn new(layout: &TableLayout) -> RowGroup {
        let columns = layout.columns.iter().map(|column| GroupColumn::new(column.kind)).collect();
        RowGroup { columns, rows: 0, bytes: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.columns.iter_mut().for_each(GroupColumn::clear);
        (self.rows, self.bytes) = (0, 0);
    }

    /// The first column with a text that is not UTF-8.
    pub(super) fn not_utf8(&self) -> Option<usize> {
        self.columns.iter().position(|column| {
            let ColumnValues::Text(bytes, ends) = &column.values else { return false };
            // Each text is valid if the whole is, and no character crosses an end.
            let Ok(whole) = std::str::from_utf8(bytes) else { return true };
            !ends.iter().all(|end| whole.is_char_boundary(*end))
        })
    }

    /// Adds the row whose values were appended, with so many bytes of texts. Returns whether it is time to write the group:
    /// that depends only on the rows, so that equal rows give equal files.
    pub(super) fn add_row(&mut self, text_bytes: usize) -> bool {
        self.rows += 1;
        self.bytes += text_bytes + self.columns.len() * VALUE_BYTES;
        self.bytes >= GROUP_BYTES
    }
}
