//! Rows that are gone at the source, told to callers that keep the rows where we cannot compare.
//!
//! For tables from which rows can vanish the keys are remembered in the caller's state, if they are few. After a
//! complete pass, what was known and did not come is gone. A large table's rows stay where they are: its keys would
//! make a state that nobody wants to carry. A row that comes and says that it is deleted is told as it comes: it is no
//! longer one of those that can be gone without a word.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::saved::Saved;
use crate::domain::cell::{Cell, ColumnType};
use crate::domain::op::{Rows, Sweep, TableShape};

/// Keys of one table that are remembered: some hundred kilobytes of state.
const MAX_KEYS: usize = 10_000;
/// Bytes of the keys of all tables together: the state goes into one checkpoint of less than 4 MB, beside its cursors.
const MAX_KEY_BYTES: usize = 1 << 20;

/// What came of tables from which rows can vanish, in this run.
pub(super) struct Passes {
    seen: BTreeMap<String, Pass>,
}

#[derive(Default)]
struct Pass {
    /// Rows that are there.
    keys: BTreeSet<String>,
    /// Rows that the source calls deleted.
    told: BTreeSet<String>,
    /// Too many to remember.
    overflown: bool,
}

/// What a complete pass found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Gone {
    /// Keys of rows that are gone: the cells of the key's columns.
    pub(super) keys: Vec<Box<[Cell]>>,
    /// What a person should know.
    pub(super) note: Option<String>,
}

impl Passes {
    /// Watches these tables.
    pub(super) fn new(tables: impl IntoIterator<Item = String>) -> Passes {
        Passes { seen: tables.into_iter().map(|table| (table, Pass::default())).collect() }
    }

    /// Remembers the keys of rows.
    pub(super) fn rows(&mut self, rows: &Rows, saved: &mut Saved) {
        let shape = &rows.shape;
        let Some(pass) = self.seen.get_mut(&shape.table).filter(|pass| !pass.overflown) else { return };
        let (places, deleted) = (key_places(shape), shape.deleted_place());
        for row in &rows.rows {
            let key = key_text(&places, row);
            if is_deleted(deleted, row) {
                pass.keys.remove(&key);
                pass.told.insert(key);
            } else {
                saved.keys(&shape.table).insert(key.clone());
                pass.told.remove(&key);
                pass.keys.insert(key);
            }
        }
        let known = saved.keys(&shape.table).len();
        if known + pass.told.len() > MAX_KEYS || saved.key_bytes() > MAX_KEY_BYTES {
            saved.forget_keys(&shape.table);
            *pass = Pass { overflown: true, ..Pass::default() };
        }
    }

    /// A table was read to its end. `sweep` is missing when something was not seen.
    pub(super) fn finish(&mut self, shape: &TableShape, sweep: Option<Sweep>, saved: &mut Saved) -> Gone {
        let table = &shape.table;
        let (Some(pass), Some(sweep)) = (self.seen.remove(table), sweep) else { return Gone::default() };
        if pass.overflown {
            let note = format!(
                "{table}: too many rows to remember their keys (more than {MAX_KEYS}, or {} MB of keys of all tables); rows \
                 deleted at the source stay until a full re-sync",
                MAX_KEY_BYTES >> 20
            );
            return Gone { keys: Vec::new(), note: Some(note) };
        }
        let known = saved.keys(table);
        known.retain(|key| !pass.told.contains(key));
        let gone: Vec<String> = known.difference(&pass.keys).cloned().collect();
        if share(gone.len(), known.len()) > sweep.max_share {
            let note = format!(
                "{table}: {} of {} rows did not come; that is too large a share to mark them deleted: if they are really \
                 gone, a full re-sync takes them away",
                gone.len(),
                known.len()
            );
            return Gone { keys: Vec::new(), note: Some(note) };
        }
        *known = pass.keys;
        if known.is_empty() {
            saved.forget_keys(table);
        }
        let places = key_places(shape);
        let keys = gone.iter().filter_map(|key| key_cells(key, &places, shape)).collect();
        Gone { keys, note: None }
    }
}

/// Whether the source calls a row deleted; `place` is that of [`TableShape::deleted_place`].
pub(super) fn is_deleted(place: Option<usize>, row: &[Cell]) -> bool {
    place.and_then(|at| row.get(at)).is_some_and(Cell::is_true)
}

/// Where the key's columns are in a row, in the key's order.
pub(super) fn key_places(shape: &TableShape) -> Vec<usize> {
    shape.key.iter().filter_map(|name| shape.columns.iter().position(|column| column.name == *name)).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// As text, so that a key stays the same when its column widens.
pub(super) fn key_text(places: &[usize], row: &[Cell]) -> String {
    let parts: Vec<_> = places.iter().map(|&at| row.get(at).and_then(Cell::to_text)).collect();
    serde_json::to_string(&parts).unwrap_or_default()
}

fn key_cells(text: &str, places: &[usize], shape: &TableShape) -> Option<Box<[Cell]>> {
    let parts: Vec<Option<String>> = serde_json::from_str(text).ok()?;
    // A key of other columns than today's is nobody's key any more.
    (parts.len() == places.len()).then(|| {
        let cell = |(part, &at): (Option<String>, &usize)| {
            part.map_or(Cell::Null, |text| cell(text, shape.columns[at].kind))
        };
        parts.into_iter().zip(places).map(cell).collect()
    })
}

/// The cell that has this text, in a column of this type.
fn cell(text: String, kind: ColumnType) -> Cell {
    let read = match kind {
        ColumnType::Boolean => text.parse().ok().map(Cell::Bool),
        ColumnType::Bigint => text.parse().ok().map(Cell::Int),
        ColumnType::Double => text.parse().ok().map(Cell::Double),
        ColumnType::Decimal => Some(Cell::Decimal(text.clone().into())),
        ColumnType::Date => text.parse().ok().map(Cell::Date),
        ColumnType::Timestamp => instant(&text).map(Cell::Timestamp),
        ColumnType::Json => Some(Cell::Json(text.clone().into())),
        ColumnType::Text | ColumnType::Unknown => None,
    };
    read.unwrap_or_else(|| Cell::Text(text.into()))
}

fn instant(text: &str) -> Option<jiff::Timestamp> {
    let civil: DateTime = text.parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::op::{Column, Write};

    fn shape(kind: ColumnType) -> Arc<TableShape> {
        let column = |name: &str, kind| Column { name: name.into(), kind };
        Arc::new(TableShape {
            table: "t".into(),
            columns: vec![column("name", ColumnType::Text), column("id", kind)],
            key: vec!["id".into()],
            write: Write::Upsert,
            deleted_if: None,
        })
    }

    fn rows(kind: ColumnType, ids: impl IntoIterator<Item = Cell>) -> Rows {
        let rows = ids.into_iter().map(|id| [Cell::Text("x".into()), id].into()).collect();
        Rows { shape: shape(kind), rows }
    }

    fn ints(ids: std::ops::Range<i64>) -> Rows {
        rows(ColumnType::Bigint, ids.map(Cell::Int))
    }

    const HALF: Option<Sweep> = Some(Sweep { max_share: 0.5 });

    /// What was known and did not come in a complete pass is gone, once; an incomplete pass says nothing.
    #[test]
    fn what_does_not_come_is_gone() {
        let mut saved = Saved::new("acme");
        let mut pass = |of: &Rows, sweep| {
            let mut passes = Passes::new(["t".to_owned()]);
            passes.rows(of, &mut saved);
            passes.finish(&of.shape, sweep, &mut saved)
        };
        assert_eq!(pass(&ints(0..4), HALF), Gone::default());
        assert_eq!(pass(&ints(2..4), None), Gone::default());
        let want: Vec<Box<[Cell]>> = vec![[Cell::Int(0)].into(), [Cell::Int(1)].into()];
        assert_eq!(pass(&ints(2..4), HALF), Gone { keys: want, note: None });
        assert_eq!(pass(&ints(2..4), HALF), Gone::default());
        // The column has become text meanwhile: the same keys.
        let texts = rows(ColumnType::Text, [Cell::Text("2".into()), Cell::Text("3".into())]);
        assert_eq!(pass(&texts, HALF), Gone::default());
    }

    /// A pass that would delete too much deletes nothing and says so; and what it did not see is still known.
    #[test]
    fn a_mass_deletion_is_refused() {
        let mut saved = Saved::new("acme");
        for (of, gone, noted) in [(0..4, 0, false), (0..1, 0, true), (0..3, 1, false)] {
            let mut passes = Passes::new(["t".to_owned()]);
            let of = ints(of);
            passes.rows(&of, &mut saved);
            let found = passes.finish(&of.shape, HALF, &mut saved);
            assert_eq!((found.keys.len(), found.note.is_some()), (gone, noted), "{found:?}");
        }
    }

    /// A row that comes and says that it is deleted is not gone without a word, nor counted among those that could be;
    /// live again, it can be gone again.
    #[test]
    fn what_is_told_is_not_gone() {
        let telling = TableShape { deleted_if: Some("name".into()), ..(*shape(ColumnType::Bigint)).clone() };
        let telling = Arc::new(telling);
        let mut saved = Saved::new("acme");
        let mut pass = |live: std::ops::Range<i64>, told: std::ops::Range<i64>| {
            let row = |says: &str, id| [Cell::Text(says.into()), Cell::Int(id)].into();
            let rows = live.map(|id| row("no", id)).chain(told.map(|id| row("true", id))).collect();
            let mut passes = Passes::new(["t".to_owned()]);
            passes.rows(&Rows { shape: Arc::clone(&telling), rows }, &mut saved);
            let gone = passes.finish(&telling, Some(Sweep { max_share: 0.3 }), &mut saved);
            (gone.keys.len(), gone.note.is_some())
        };
        assert_eq!(pass(0..6, 6..9), (0, false));
        assert_eq!(pass(0..2, 2..6), (0, false), "four of six are told");
        assert_eq!(pass(0..4, 0..0), (0, false), "two are back, and what was told does not come any more");
        assert_eq!(pass(1..4, 0..0), (1, false));
        assert_eq!(pass(1..4, 2..3), (0, false), "of two rows of one key the later counts");
    }

    /// The keys of a large table are not carried, and nothing is said to be gone from it.
    #[test]
    fn large_tables_are_left_alone() {
        let mut saved = Saved::new("acme");
        let mut passes = Passes::new(["t".to_owned()]);
        for page in 0..11 {
            passes.rows(&ints(page * 1000..(page + 1) * 1000), &mut saved);
        }
        let found = passes.finish(&shape(ColumnType::Bigint), HALF, &mut saved);
        assert!(found.keys.is_empty() && found.note.is_some_and(|note| note.contains("more than 10000")));
        assert_eq!(saved, Saved::new("acme"));
    }

    /// Few keys that are long, in however many tables, do not fill a checkpoint either.
    #[test]
    fn long_keys_are_left_alone() {
        let mut saved = Saved::new("acme");
        let tables = ["a", "b", "c"];
        let mut passes = Passes::new(tables.map(str::to_owned));
        let mut noted = 0;
        for table in tables {
            let shape = Arc::new(TableShape { table: table.into(), ..(*shape(ColumnType::Text)).clone() });
            for page in 0..8 {
                let ids = (0..100).map(|id| Cell::Text(format!("{page}-{id}-{}", "x".repeat(800)).into()));
                let rows = ids.map(|id| [Cell::Null, id].into()).collect();
                passes.rows(&Rows { shape: Arc::clone(&shape), rows }, &mut saved);
            }
            noted += usize::from(passes.finish(&shape, HALF, &mut saved).note.is_some());
        }
        assert!(saved.to_json().len() < 3 << 19, "{} bytes", saved.to_json().len());
        assert_eq!(noted, 2, "the first is remembered");
    }
}
