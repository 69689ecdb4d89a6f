//! Looks at rows as they pass by: their keys, their places in the order, what children need of them.

use std::hash::{DefaultHasher, Hash};

use jiff::{SignedDuration, Timestamp};

use super::decode::Sources;
use crate::domain::cell::{Cell, Sourced};
use crate::domain::connector::Table;
use crate::domain::cursor::Position;
use crate::domain::op::{Op, Rows};
use crate::domain::paging::PageKind;

/// Clocks differ, and days begin earlier elsewhere; but a row from later than this after the present is a mistake at the
/// source, and were it the place to go on from, nothing would be read until then.
const AHEAD: SignedDuration = SignedDuration::from_hours(48);

/// What to look for in the rows of one page, and what was found.
#[derive(Debug, Default)]
pub(super) struct Lens {
    key: Vec<String>,
    cursor: Option<String>,
    keyset: Option<String>,
    /// Columns that children inherit.
    wanted: Vec<String>,
    /// No place after this is the furthest.
    until: Timestamp,
    /// The key that the page should begin with.
    pub(super) expected: Option<String>,
    pub(super) expected_at: Option<u64>,
    pub(super) last_key: Option<String>,
    /// The last row's value of the keyset column as the source wrote it, and with its JSON type.
    pub(super) last_value: Option<String>,
    pub(super) last_json: Option<serde_json::Value>,
    pub(super) oldest: Option<Position>,
    pub(super) newest: Option<Position>,
    pub(super) parents: Vec<Vec<Sourced>>,
    /// What tells the page's rows from others; only of numbered rows without a key, which nothing else tells.
    pub(super) print: Option<DefaultHasher>,
    pub(super) passed: u64,
    pub(super) rejected: u64,
}

impl Lens {
    pub(super) fn new(table: &Table, wanted: Vec<String>, expected: Option<String>, now: Timestamp) -> Lens {
        // Only these are checked for rows that move, so only they pay for the keys.
        let checked = matches!(table.page.kind, PageKind::Offset { .. } | PageKind::Number { .. });
        let key: Vec<String> = table.key.iter().filter(|_| checked).map(|key| key.column.clone()).collect();
        let keyset = match &table.page.kind {
            PageKind::Keyset { column, .. } => Some(column.clone()),
            _ => None,
        };
        let print = (checked && key.is_empty()).then(DefaultHasher::new);
        let cursor = table.cursor.as_ref().map(|cursor| cursor.column.clone());
        let until = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        Lens { key, print, cursor, keyset, wanted, until, expected, ..Lens::default() }
    }

    /// Looks at an op. The row that overlaps with the page before is taken out of it.
    pub(super) fn look(&mut self, op: &mut Op) {
        match op {
            Op::Rows(rows) => self.look_at_rows(rows),
            Op::Rejected(rejected) => self.rejected += rejected.len() as u64,
            Op::Shape(_) | Op::Checkpoint(_) | Op::Finish { .. } => {}
        }
    }

    fn look_at_rows(&mut self, rows: &mut Rows) {
        let place = |name: &String| rows.shape.columns.iter().position(|column| column.name == *name);
        let key: Vec<usize> = self.key.iter().filter_map(place).collect();
        if let Some(at) = self.cursor.as_ref().and_then(place) {
            for position in rows.rows.iter().filter_map(|row| Position::of(row.get(at)?)) {
                self.note(position);
            }
        }
        if !key.is_empty() {
            self.find_expected(rows, &key);
            self.last_key = rows.rows.last().map(|row| key_of(row, key.iter().copied()));
        }
        if let Some(print) = &mut self.print {
            rows.rows.iter().for_each(|row| key_of(row, 0..row.len()).hash(print));
        }
        self.passed += rows.rows.len() as u64;
    }

    /// Looks at the values that go back to the source, of all rows of a page in its order.
    pub(super) fn look_at_sources(&mut self, sources: &Sources) {
        let place = |name: &String| sources.columns.iter().position(|column| column == name);
        let value = |row: &[Sourced], at: Option<usize>| {
            at.and_then(|at| row.get(at)).cloned().unwrap_or(Sourced::from(Cell::Null))
        };
        if let (Some(keyset), Some(last)) = (&self.keyset, sources.rows.last()) {
            let last = value(last, place(keyset));
            self.last_value = last.text().map(std::borrow::Cow::into_owned);
            self.last_json = Some(last.json());
        }
        if !self.wanted.is_empty() {
            let wanted: Vec<Option<usize>> = self.wanted.iter().map(place).collect();
            let rows = sources.rows.iter();
            self.parents.extend(rows.map(|row| wanted.iter().map(|at| value(row, *at)).collect::<Vec<_>>()));
        }
    }

    fn note(&mut self, position: Position) {
        let older = |than: &Position| position.compare(than) == Some(std::cmp::Ordering::Less);
        if self.oldest.as_ref().is_none_or(older) {
            self.oldest = Some(position.clone());
        }
        if position.is_after(self.until) {
            return;
        }
        self.newest = Some(match self.newest.take() {
            Some(newest) => newest.later(position),
            None => position,
        });
    }

    fn find_expected(&mut self, rows: &mut Rows, key: &[usize]) {
        let Some(expected) = self.expected.as_ref().filter(|_| self.expected_at.is_none()) else { return };
        let found = rows.rows.iter().position(|row| key_of(row, key.iter().copied()) == *expected);
        self.expected_at = found.map(|at| self.passed + at as u64);
        if self.expected_at == Some(0) {
            rows.rows.remove(0);
            // It counts as a row of the page all the same.
            self.passed += 1;
        }
    }
}

fn key_of(row: &[Cell], key: impl Iterator<Item = usize>) -> String {
    let mut out = String::new();
    for text in key.map(|at| row.get(at).and_then(Cell::to_text)) {
        // A unit separator: what no key holds keeps ("a", "bc") apart from ("ab", "c").
        out.push_str(text.as_deref().unwrap_or("\u{0}"));
        out.push('\u{1f}');
    }
    out
}
