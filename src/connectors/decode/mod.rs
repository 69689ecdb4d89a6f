//! A page of JSON becomes rows of a table.
//!
//! Each page is decoded streaming: no tree is built, values are read from their source text straight into cells,
//! and fields are found by the order in which the page before had them. What a page says beside its rows (a total,
//! a next link, an error) is read by [`RowReader::facts`], which also finds out whether the body is whole.
//!
//! It doesn't fetch, page, or keep a cursor, and it never guesses a type from what a text looks like.
//! Start at [`RowReader`]; a value's way is in `value`, the memory of fields and columns in `plan`.

mod locate;
mod page;
mod plan;
mod record;
mod rows;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use page::{Facts, PageError, Root};

use crate::domain::cell::{ColumnType, Sourced};
use crate::domain::op::{Op, TableShape, Write};

/// How the records of one table are laid out in a page, and what becomes of them.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The table's name, already as it is stored.
    pub table: String,
    /// Where the records are: dotted paths, the first that exists counts; `.` is the root. A list is a list of
    /// records, an object is one record.
    pub records: Vec<String>,
    /// Whether null in place of the records is an empty list; `None`: unless the answer says otherwise.
    pub null_is_empty: Option<bool>,
    /// Where the answer states how many rows there are.
    pub total: Option<String>,
    /// The key's columns, in order; empty for a table without a key.
    pub key: Vec<KeyColumn>,
    /// How rows meet those already stored.
    pub write: Write,
    /// What becomes of nested objects.
    pub nested: Nested,
    /// What becomes of arrays of scalars; arrays of anything nested are always JSON.
    pub arrays: Arrays,
    /// Rules by source name, or by dotted path for a nested field.
    pub columns: BTreeMap<String, ColumnRule>,
    /// Columns that the parent's row fills, first in the table.
    pub inherited: Vec<String>,
    /// Refuse new columns and wider types, once the table is known.
    pub freeze: bool,
    /// The column that says of a row that it is deleted at the source.
    pub deleted_if: Option<String>,
    /// Columns whose values are wanted as the source wrote them, too.
    pub raw: Vec<String>,
}

/// One column of a key.
///
/// The first part that isn't inherited must be there, or the row is rejected. A later part that is null holds the
/// empty string, if its column is text, because SQL would never find a NULL again.
#[derive(Debug, Clone, Default)]
pub struct KeyColumn {
    /// The column's name.
    pub column: String,
    /// What stands in for an absent value: the first of these (prefix, source field) that is there. None there: the row
    /// is rejected.
    pub fallbacks: Vec<(String, String)>,
    /// A further column that shows the true value, NULL where a fallback stands in.
    pub show: Option<String>,
}

impl KeyColumn {
    /// A part of a key without fallbacks.
    pub fn plain(column: impl Into<String>) -> Self {
        Self { column: column.into(), ..Self::default() }
    }
}

/// What becomes of nested objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// Columns `parent_child`.
    Flatten,
    /// One column of JSON text.
    Json,
}

/// What becomes of arrays of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrays {
    /// JSON text.
    Json,
    /// Text, separated by commas; ambiguous where a value holds one.
    Comma,
}

/// What a definition says of one source field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnRule {
    /// The field, with all that is nested in it, is left out.
    Drop,
    /// The field is stored, as follows.
    Rule {
        /// The column's name, if not the one that follows from the source's.
        name: Option<String>,
        /// The declared kind; a column with one exists from the start.
        kind: Option<Coerce>,
        /// Another source field that fills the column where this one is absent or null.
        from: Option<String>,
    },
}

/// The declared kind of a column. A value that does not fit is kept as it came and widens the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coerce {
    /// 64-bit integer, also from text.
    Integer,
    /// Double, also from text.
    Double,
    /// Exact decimal, also from text.
    Decimal,
    /// `true`/`false`, also as text or 1/0.
    Boolean,
    /// Text; a number keeps the source's digits.
    Text,
    /// A calendar day, or an instant at midnight UTC.
    Date,
    /// An instant: RFC 3339, or a civil date and time taken as UTC.
    Timestamp,
    /// An instant as milliseconds since 1970.
    EpochMs,
    /// An instant as seconds since 1970.
    EpochS,
    /// JSON text, also out of a text that holds an object or array.
    Json,
}

impl Coerce {
    /// The column type that holds every value that fits.
    pub fn column_type(self) -> ColumnType {
        match self {
            Coerce::Integer => ColumnType::Bigint,
            Coerce::Double => ColumnType::Double,
            Coerce::Decimal => ColumnType::Decimal,
            Coerce::Boolean => ColumnType::Boolean,
            Coerce::Text => ColumnType::Text,
            Coerce::Date => ColumnType::Date,
            Coerce::Timestamp | Coerce::EpochMs | Coerce::EpochS => ColumnType::Timestamp,
            Coerce::Json => ColumnType::Json,
        }
    }
}

/// What was read of one page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageRead {
    /// Records in the page, the rejected ones included.
    pub records: u64,
    /// Rows whose key holds an empty string or a fallback for a null.
    pub empty_keys: u64,
    /// What a person should know, once per column: a declared kind that a value did not fit.
    pub notes: Vec<String>,
    /// Of each row that was emitted, in order: the JSON text of the columns of [`Layout::raw`]. Empty where there are none.
    pub raws: Vec<Raws>,
}

/// The JSON text of some columns of a row; `None` for what is absent or null.
pub type Raws = Box<[Option<Box<str>>]>;

/// Reads the pages of one table, and remembers its fields and columns from page to page.
#[derive(Debug)]
pub struct RowReader {
    layout: Layout,
    plan: plan::Plan,
    /// The shape last told, if it is still true.
    told: Option<Arc<TableShape>>,
}

impl RowReader {
    /// A reader for one table. `known` is the shape the destination has, if the table is there.
    ///
    /// # Errors
    /// If the layout itself makes two names meet in one column.
    pub fn new(layout: Layout, known: Option<&TableShape>) -> Result<Self, PageError> {
        let plan = plan::Plan::new(&layout, known)?;
        Ok(Self { layout, plan, told: None })
    }

    /// A cheap pass over a whole body: the values at `paths` (dotted) and the top-level keys.
    ///
    /// # Errors
    /// If the body is empty, HTML, cut off, or otherwise not JSON.
    pub fn facts(body: &[u8], paths: &[&str]) -> Result<Facts, PageError> {
        Facts::of(body, paths)
    }

    /// Decodes the records of a page and calls `emit` in stream order: the shape before the first rows and
    /// whenever it changed, rows in batches of at most 1,000, then the rejected.
    ///
    /// Rows may have been emitted before an error is found; they are true rows all the same.
    ///
    /// # Errors
    /// If the body isn't whole JSON, has no records at any path, or its fields contradict the layout.
    pub fn read(
        &mut self,
        body: &[u8],
        inherited: &[Sourced],
        emit: &mut dyn FnMut(Op),
    ) -> Result<PageRead, PageError> {
        rows::read(&self.layout, &mut self.plan, &mut self.told, body, inherited, emit)
    }

    /// The table as known by now.
    pub fn shape(&self) -> Arc<TableShape> {
        match &self.told {
            Some(shape) if !self.plan.changed() => Arc::clone(shape),
            _ => Arc::new(self.plan.shape(&self.layout)),
        }
    }
}
