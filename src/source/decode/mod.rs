//! Decodes a page of JSON to rows of a table.
//!
//! Pages are decoded as a stream: no tree is built, values are read from their source text into cells, and fields are
//! found by their order on the previous page. [`RowReader::facts`] reads the values outside of the records (a total, a
//! next link, an error) and checks that the body is complete.
//!
//! This module does not fetch, does not page, has no cursor, and never guesses a type from the content of a text. Start
//! at [`RowReader`]; `value` decodes single values, `plan` maps fields to columns.

pub(in crate::source) mod decoder;
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

pub use page::{Facts, PageError};

use crate::domain::syncing::cell::Sourced;
use crate::domain::syncing::definition::connector::{Arrays, ColumnRule, Key, Nested};
use crate::domain::syncing::op::{Op, TableShape, Write};

/// How to read the records of one table from a page.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The stored name of the table.
    pub table: String,
    /// Dotted paths of the records; the first that exists is used, and `.` is the root. A list contains records, an
    /// object is a single record.
    pub records: Vec<String>,
    /// Whether null in place of the records means an empty list. With `None` it does, unless the page contradicts it.
    pub null_is_empty: Option<bool>,
    /// Path of the total number of rows.
    pub total: Option<String>,
    /// The key columns in order; empty for a table without a key.
    pub key: Vec<Key>,
    pub write: Write,
    pub nested: Nested,
    /// How arrays of scalars are stored; all other arrays are stored as JSON.
    pub arrays: Arrays,
    /// By source name, or by dotted path for a nested field.
    pub columns: BTreeMap<String, ColumnRule>,
    /// Columns that the parent's row fills; they are the first of the table.
    pub inherited: Vec<String>,
    /// Whether new columns and wider types are errors once the table exists.
    pub freeze: bool,
    /// The column that is true for a row that is deleted at the source.
    pub deleted_if: Option<String>,
    /// Columns whose JSON text is returned too.
    pub raw: Vec<String>,
}

/// The result of reading one page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageRead {
    /// Records of the page, including rejected ones.
    pub records: u64,
    /// Rows with an empty string or a fallback in place of a null in the key.
    pub empty_keys: u64,
    /// Once per column: a value that did not fit the declared type.
    pub notes: Vec<String>,
    /// The JSON text of the columns in [`Layout::raw`], for each emitted row in order. Empty if there are no such columns.
    pub raws: Vec<Raws>,
}

/// The JSON text of some columns of a row; `None` for a missing or null value.
pub type Raws = Box<[Option<Box<str>>]>;

/// Reads the pages of one table, and keeps its fields and columns from page to page.
#[derive(Debug)]
pub struct RowReader {
    layout: Layout,
    plan: plan::DecodePlan,
    /// The last emitted shape.
    announced: Option<Arc<TableShape>>,
}

impl RowReader {
    /// A reader for one table. `known` is its shape in the destination.
    ///
    /// # Errors
    /// When the layout maps two names to one column.
    pub fn new(layout: Layout, known: Option<&TableShape>) -> Result<Self, PageError> {
        let plan = plan::DecodePlan::new(&layout, known)?;
        Ok(Self { layout, plan, announced: None })
    }

    /// Reads the values at dotted `paths` and the top-level keys, without decoding the records.
    ///
    /// # Errors
    /// When the body is empty, HTML, truncated, or otherwise not JSON.
    pub fn facts(body: &[u8], paths: &[&str]) -> Result<Facts, PageError> {
        Facts::of(body, paths)
    }

    /// Decodes the records of a page and calls `emit` in stream order: the shape before the first rows and after each
    /// change, rows in batches of at most 1,000, then the rejected rows.
    ///
    /// Rows that were emitted before an error are valid.
    ///
    /// # Errors
    /// When the body is not complete JSON, has no records at any path, or its fields contradict the layout.
    pub fn read(
        &mut self,
        body: &[u8],
        inherited: &[Sourced],
        emit: &mut dyn FnMut(Op),
    ) -> Result<PageRead, PageError> {
        rows::read(&self.layout, &mut self.plan, &mut self.announced, body, inherited, emit)
    }

    /// The current shape of the table.
    pub fn shape(&self) -> Arc<TableShape> {
        match &self.announced {
            Some(shape) if !self.plan.changed() => Arc::clone(shape),
            _ => Arc::new(self.plan.shape(&self.layout)),
        }
    }
}
