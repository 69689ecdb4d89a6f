//! Detects rows that were deleted at the source, for callers whose stored rows we cannot read.
//!
//! The caller's state contains the keys of tables whose rows can disappear, if they are few. After a complete pass, stored
//! keys that were not read are deletions. Deletions from a large table are not detected: its keys would make the state too
//! large. A row whose `deleted_if` column is true is sent as a deletion at once, and its key is removed from the state.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::saved::SavedState;
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::{Rows, Sweep, TableShape};

/// Limit of stored keys per table: some hundred kilobytes of state.
const MAX_KEYS: usize = 10_000;
/// Limit of the keys of all tables in bytes: with its cursors, the state must fit into one checkpoint of less than 4 MB.
const MAX_KEY_BYTES: usize = 1 << 20;

/// The keys that this run has read from tables whose rows can disappear.
pub(super) struct Passes {
    seen: BTreeMap<String, Pass>,
}

#[derive(Default)]
struct Pass {
    /// Live rows.
    keys: BTreeSet<String>,
    /// Rows whose `deleted_if` column is true.
    deleted_keys: BTreeSet<String>,
    /// Whether there are too many keys to store.
    overflowed: bool,
}

/// The deletions that a complete pass detected.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DeletedKeys {
    /// The cells of the key columns of each deleted row.
    pub(super) keys: Vec<Box<[Cell]>>,
    /// A warning for people.
    pub(super) note: Option<String>,
}

impl Passes {
    /// Detects deletions from these tables.
    pub(super) fn new(tables: impl IntoIterator<Item = String>) -> Passes {
        Passes { seen: tables.into_iter().map(|table| (table, Pass::default())).collect() }
    }

    /// Records the keys of rows.
    pub(super) fn rows(&mut self, rows: &Rows, saved: &mut SavedState) {
        let shape = &rows.shape;
        let Some(pass) = self.seen.get_mut(&shape.table).filter(|pass| !pass.overflowed) else { return };
        let (places, deleted) = (key_places(shape), shape.deleted_place());
        for row in &rows.rows {
            let key = key_text(&places, row);
            if is_deleted(deleted, row) {
                pass.keys.remove(&key);
                pass.deleted_keys.insert(key);
            } else {
                saved.keys(&shape.table).insert(key.clone());
                pass.deleted_keys.remove(&key);
                pass.keys.insert(key);
            }
        }
        let known = saved.keys(&shape.table).len();
        if known + pass.deleted_keys.len() > MAX_KEYS || saved.key_bytes() > MAX_KEY_BYTES {
            saved.remove_keys(&shape.table);
            *pass = Pass { overflowed: true, ..Pass::default() };
        }
    }

    /// Detects deletions after a table was read to its end. Without `sweep`, the reading was incomplete.
    pub(super) fn finish(
        &mut self,
        shape: &TableShape,
        sweep: Option<Sweep>,
        saved: &mut SavedState,
    ) -> DeletedKeys {
        let table = &shape.table;
        let (Some(pass), Some(sweep)) = (self.seen.remove(table), sweep) else {
            return DeletedKeys::default();
        };
        if pass.overflowed {
            let note = format!(
                "{table}: too many rows to store their keys (more than {MAX_KEYS}, or {} MB of keys of all tables); rows \
                 deleted at the source stay until a full re-sync",
                MAX_KEY_BYTES >> 20
            );
            return DeletedKeys { keys: Vec::new(), note: Some(note) };
        }
        let known = saved.keys(table);
        known.retain(|key| !pass.deleted_keys.contains(key));
        let gone: Vec<String> = known.difference(&pass.keys).cloned().collect();
        if share(gone.len(), known.len()) > sweep.max_share {
            let note = format!(
                "{table}: {} of {} rows were not read; that share is too large to mark them deleted: if they were really \
                 deleted, a full re-sync removes them",
                gone.len(),
                known.len()
            );
            return DeletedKeys { keys: Vec::new(), note: Some(note) };
        }
        *known = pass.keys;
        if known.is_empty() {
            saved.remove_keys(table);
        }
        let places = key_places(shape);
        let keys = gone.iter().filter_map(|key| key_cells(key, &places, shape)).collect();
        DeletedKeys { keys, note: None }
    }
}

/// Whether the `deleted_if` column of a row is true; `place` is that of [`TableShape::deleted_place`].
pub(super) fn is_deleted(place: Option<usize>, row: &[Cell]) -> bool {
    place.and_then(|at| row.get(at)).is_some_and(Cell::is_true)
}

/// The indexes of the key columns, in the order of the key.
pub(super) fn key_places(shape: &TableShape) -> Vec<usize> {
    shape.key.iter().filter_map(|name| shape.columns.iter().position(|column| column.name == *name)).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A key as text, so that it does not change when its column widens.
pub(super) fn key_text(places: &[usize], row: &[Cell]) -> String {
    let parts: Vec<_> = places.iter().map(|&at| row.get(at).and_then(Cell::to_text)).collect();
    serde_json::to_string(&parts).unwrap_or_default()
}

fn key_cells(text: &str, places: &[usize], shape: &TableShape) -> Option<Box<[Cell]>> {
    let parts: Vec<Option<String>> = serde_json::from_str(text).ok()?;
    // A key of other columns than the current ones is obsolete.
    (parts.len() == places.len()).then(|| {
        let cell = |(part, &at): (Option<String>, &usize)| {
            part.map_or(Cell::Null, |text| cell(text, shape.columns[at].kind))
        };
        parts.into_iter().zip(places).map(cell).collect()
    })
}

/// The cell of a text in a column of this type.
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
    use crate::domain::syncing::op::{Column, Write};

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

    /// Each is reported once; an incomplete pass reports nothing.
    #[test]
    fn stored_keys_that_a_complete_pass_does_not_read_are_deletions() {
        let mut saved = SavedState::new("acme");
        let mut pass = |of: &Rows, sweep| {
            let mut passes = Passes::new(["t".to_owned()]);
            passes.rows(of, &mut saved);
            passes.finish(&of.shape, sweep, &mut saved)
        };
        assert_eq!(pass(&ints(0..4), HALF), DeletedKeys::default());
        assert_eq!(pass(&ints(2..4), None), DeletedKeys::default());
        let want: Vec<Box<[Cell]>> = vec![[Cell::Int(0)].into(), [Cell::Int(1)].into()];
        assert_eq!(pass(&ints(2..4), HALF), DeletedKeys { keys: want, note: None });
        assert_eq!(pass(&ints(2..4), HALF), DeletedKeys::default());
        // The column was widened to text: the same keys.
        let texts = rows(ColumnType::Text, [Cell::Text("2".into()), Cell::Text("3".into())]);
        assert_eq!(pass(&texts, HALF), DeletedKeys::default());
    }

    /// The keys stay stored.
    #[test]
    fn a_mass_deletion_is_refused() {
        let mut saved = SavedState::new("acme");
        for (of, gone, noted) in [(0..4, 0, false), (0..1, 0, true), (0..3, 1, false)] {
            let mut passes = Passes::new(["t".to_owned()]);
            let of = ints(of);
            passes.rows(&of, &mut saved);
            let found = passes.finish(&of.shape, HALF, &mut saved);
            assert_eq!((found.keys.len(), found.note.is_some()), (gone, noted), "{found:?}");
        }
    }

    /// They do not count towards the share either. A row that is live again can be detected again.
    #[test]
    fn rows_that_the_source_marks_deleted_are_not_detected_deletions() {
        let telling = TableShape { deleted_if: Some("name".into()), ..(*shape(ColumnType::Bigint)).clone() };
        let telling = Arc::new(telling);
        let mut saved = SavedState::new("acme");
        let mut pass = |live: std::ops::Range<i64>, deleted_keys: std::ops::Range<i64>| {
            let row = |says: &str, id| [Cell::Text(says.into()), Cell::Int(id)].into();
            let rows = live.map(|id| row("no", id)).chain(deleted_keys.map(|id| row("true", id))).collect();
            let mut passes = Passes::new(["t".to_owned()]);
            passes.rows(&Rows { shape: Arc::clone(&telling), rows }, &mut saved);
            let gone = passes.finish(&telling, Some(Sweep { max_share: 0.3 }), &mut saved);
            (gone.keys.len(), gone.note.is_some())
        };
        assert_eq!(pass(0..6, 6..9), (0, false));
        assert_eq!(pass(0..2, 2..6), (0, false), "four of six are marked deleted");
        assert_eq!(pass(0..4, 0..0), (0, false), "two are live again, and marked rows are no longer sent");
        assert_eq!(pass(1..4, 0..0), (1, false));
        assert_eq!(pass(1..4, 2..3), (0, false), "the later of two rows with one key wins");
    }

    #[test]
    fn deletions_from_large_tables_are_not_detected() {
        let mut saved = SavedState::new("acme");
        let mut passes = Passes::new(["t".to_owned()]);
        for page in 0..11 {
            passes.rows(&ints(page * 1000..(page + 1) * 1000), &mut saved);
        }
        let found = passes.finish(&shape(ColumnType::Bigint), HALF, &mut saved);
        assert!(found.keys.is_empty() && found.note.is_some_and(|note| note.contains("more than 10000")));
        assert_eq!(saved, SavedState::new("acme"));
    }

    #[test]
    fn the_size_of_stored_keys_is_limited_over_all_tables() {
        let mut saved = SavedState::new("acme");
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
        assert_eq!(noted, 2, "the first is stored");
    }
}
