//! Inspects rows on their way to the destination: their keys, the values that children need, and the source text of some
//! columns.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::decode::Raws;
use crate::domain::syncing::cell::{Cell, Sourced};
use crate::domain::syncing::definition::connector::Table;
use crate::domain::syncing::op::{Op, Rows};
use crate::domain::syncing::paging::PagingProgress;

/// What to collect from the rows of one page, and the result.
#[derive(Debug, Default)]
pub(super) struct Lens {
    key: Vec<String>,
    /// Columns that children inherit.
    child_columns: Vec<String>,
    /// Detects rows of earlier pages.
    pub(super) progress: PagingProgress,
    /// Hash of the key that the page should start with.
    expected: Option<u64>,
    pub(super) expected_at: Option<u64>,
    pub(super) last_key: Option<u64>,
    pub(super) parents: Vec<Vec<Sourced>>,
    pub(super) passed: u64,
    pub(super) rejected: u64,
}

impl Lens {
    pub(super) fn new(
        table: &Table,
        child_columns: Vec<String>,
        expected: Option<u64>,
        progress: PagingProgress,
    ) -> Lens {
        let key = table.key.iter().map(|key| key.column.clone()).collect();
        Lens { key, child_columns, expected, progress, ..Lens::default() }
    }

    /// Inspects an op, and removes the row that overlaps with the previous page.
    pub(super) fn inspect(&mut self, op: &mut Op) {
        match op {
            Op::Rows(rows) => self.inspect_rows(rows),
            Op::Rejected(rejected) => {
                self.rejected += rejected.len() as u64;
                for row in rejected {
                    let mut hasher = DefaultHasher::new();
                    row.raw.hash(&mut hasher);
                    let hash = hasher.finish();
                    if !self.progress.row(hash) {
                        self.progress.contents(hash);
                    }
                }
            }
            Op::Shape(_) | Op::Checkpoint(_) | Op::Finish { .. } => {}
        }
    }

    fn inspect_rows(&mut self, rows: &mut Rows) {
        let place = |name: &String| rows.shape.columns.iter().position(|column| column.name == *name);
        let key: Vec<usize> = self.key.iter().filter_map(place).collect();
        if !self.child_columns.is_empty() {
            let places: Vec<Option<usize>> = self.child_columns.iter().map(place).collect();
            let value = |row: &[Cell], at: Option<usize>| {
                Sourced::from(at.and_then(|at| row.get(at)).cloned().unwrap_or(Cell::Null))
            };
            self.parents
                .extend(rows.rows.iter().map(|row| places.iter().map(|at| value(row, *at)).collect()));
        }
        for (at, row) in rows.rows.iter().enumerate() {
            let hash = if key.is_empty() {
                hash_of(row.iter())
            } else {
                hash_of(key.iter().filter_map(|at| row.get(*at)))
            };
            if !self.progress.row(hash) && self.progress.wants_contents() {
                self.progress.contents(if key.is_empty() { hash } else { hash_of(row.iter()) });
            }
            if self.expected == Some(hash) && self.expected_at.is_none() && !key.is_empty() {
                self.expected_at = Some(self.passed + at as u64);
            }
            self.last_key = (!key.is_empty()).then_some(hash);
        }
        self.passed += rows.rows.len() as u64;
        if self.expected_at == Some(0) && self.passed == rows.rows.len() as u64 {
            rows.rows.remove(0);
        }
    }

    /// Adds the source text to the values for children. `names` are the columns of `raws`.
    pub(super) fn add_raws(&mut self, names: &[String], raws: &[Raws]) {
        let places: Vec<Option<usize>> =
            self.child_columns.iter().map(|column| names.iter().position(|name| name == column)).collect();
        for (row, raws) in self.parents.iter_mut().zip(raws) {
            for (value, at) in row.iter_mut().zip(&places) {
                value.set_raw(at.and_then(|at| raws.get(at)?.as_deref()));
            }
        }
    }
}

fn hash_of<'c>(cells: impl Iterator<Item = &'c Cell>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for cell in cells {
        std::mem::discriminant(cell).hash(&mut hasher);
        match cell {
            Cell::Null => {}
            Cell::Bool(value) => value.hash(&mut hasher),
            Cell::Int(value) => value.hash(&mut hasher),
            Cell::Double(value) => value.to_bits().hash(&mut hasher),
            Cell::Date(value) => value.hash(&mut hasher),
            Cell::Timestamp(value) => value.hash(&mut hasher),
            Cell::Decimal(value) | Cell::Text(value) | Cell::Json(value) => value.hash(&mut hasher),
        }
    }
    hasher.finish()
}
