//! Looks at rows as they pass by: their keys, what children need of them, and what the source wrote in some columns.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::decode::Raws;
use crate::domain::cell::{Cell, Sourced};
use crate::domain::connector::Table;
use crate::domain::op::{Op, Rows};
use crate::domain::paging::Progress;

/// What to look for in the rows of one page, and what was found.
#[derive(Debug, Default)]
pub(super) struct Lens {
    key: Vec<String>,
    /// Columns that children inherit.
    wanted: Vec<String>,
    /// Rows that were seen before.
    pub(super) progress: Progress,
    /// The key that the page should begin with, as a hash.
    expected: Option<u64>,
    pub(super) expected_at: Option<u64>,
    pub(super) last_key: Option<u64>,
    pub(super) parents: Vec<Vec<Sourced>>,
    pub(super) passed: u64,
    pub(super) rejected: u64,
}

impl Lens {
    pub(super) fn new(table: &Table, wanted: Vec<String>, expected: Option<u64>, progress: Progress) -> Lens {
        let key = table.key.iter().map(|key| key.column.clone()).collect();
        Lens { key, wanted, expected, progress, ..Lens::default() }
    }

    /// Looks at an op. The row that overlaps with the page before is taken out of it.
    pub(super) fn look(&mut self, op: &mut Op) {
        match op {
            Op::Rows(rows) => self.look_at_rows(rows),
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

    fn look_at_rows(&mut self, rows: &mut Rows) {
        let place = |name: &String| rows.shape.columns.iter().position(|column| column.name == *name);
        let key: Vec<usize> = self.key.iter().filter_map(place).collect();
        if !self.wanted.is_empty() {
            let wanted: Vec<Option<usize>> = self.wanted.iter().map(place).collect();
            let value = |row: &[Cell], at: Option<usize>| {
                Sourced::from(at.and_then(|at| row.get(at)).cloned().unwrap_or(Cell::Null))
            };
            self.parents
                .extend(rows.rows.iter().map(|row| wanted.iter().map(|at| value(row, *at)).collect()));
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

    /// Adds to the values for children what the source wrote. `names`: the columns of `raws`.
    pub(super) fn add_raws(&mut self, names: &[String], raws: &[Raws]) {
        let places: Vec<Option<usize>> =
            self.wanted.iter().map(|wanted| names.iter().position(|name| name == wanted)).collect();
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
