//! The rows of one answer while they are gathered, up to the last point where reading can resume.
//!
//! An answer does not define an order of its insertions and deletions, so that no key is in both: if the source sends
//! deletions, the last row of a key decides.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::rows::{RowMembers, quoted};
use crate::domain::syncing::cell::Cell;
use crate::domain::syncing::op::{Rows, TableShape};
use crate::protocol::sweep::{is_deleted, key_places, key_text};

/// Limit of rows in one answer, for the caller's platform.
const MAX_ROWS: usize = 10_000;
/// Limit of row bytes in one answer: the smallest platform with this protocol accepts 6 MB in total.
const MAX_BYTES: usize = 5_000_000;
/// Limit of an answer for a table that can only be read whole, to protect the machine's memory.
const MAX_WHOLE_BYTES: usize = 256 << 20;

/// The rows, as JSON text.
#[derive(Default)]
pub(super) struct ReplyBuffer {
    inserts: BTreeMap<String, TableText>,
    deletes: BTreeMap<String, TableText>,
    /// Rows of tables whose source sends deletions, until [`ReplyBuffer::finish`].
    mixed: BTreeMap<String, ToldDeletions>,
    rows: usize,
    bytes: usize,
    /// Rows up to the last mark.
    marked: usize,
}

#[derive(Default)]
struct TableText {
    key: Vec<String>,
    json: Vec<u8>,
    /// Bytes up to the last mark.
    marked: usize,
    writer: Option<(Arc<TableShape>, RowMembers)>,
}

/// Live and deleted rows of one table, in their order.
#[derive(Default)]
struct ToldDeletions {
    key: Vec<String>,
    rows: Vec<PageRow>,
    /// Rows up to the last mark.
    marked: usize,
}

/// A live or deleted row.
struct PageRow {
    key: String,
    deleted: bool,
    json: Vec<u8>,
}

/// Whether the answer can take more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is space.
    Left,
    /// The limit is exceeded, and there is a mark to cut at: [`ReplyBuffer::cut`].
    Full,
    /// The limit is exceeded, but there is no mark yet.
    Over,
    /// The memory limit is exceeded, and there is no mark.
    Burst,
}

impl ReplyBuffer {
    /// Adds rows.
    pub(super) fn insert(&mut self, rows: &Rows) {
        if let Some(place) = rows.shape.deleted_place() {
            return self.insert_with_deletions(rows, place);
        }
        let part = self.inserts.entry(rows.shape.table.clone()).or_default();
        let before = part.json.len();
        part.write(&rows.shape, rows.rows.iter().map(|row| &row[..]));
        self.bytes += part.json.len() - before;
        self.rows += rows.rows.len();
    }

    /// Adds rows of a table with a `deleted_if` column.
    fn insert_with_deletions(&mut self, rows: &Rows, place: usize) {
        let (shape, places) = (&rows.shape, key_places(&rows.shape));
        let (whole, keys) = (RowMembers::of(shape), RowMembers::of(&only_key(shape)));
        let mixed = self.mixed.entry(shape.table.clone()).or_default();
        mixed.key.clone_from(&shape.key);
        for row in &rows.rows {
            let (deleted, mut json) = (is_deleted(Some(place), row), Vec::new());
            if deleted {
                let key: Vec<Cell> = places.iter().filter_map(|at| row.get(*at)).cloned().collect();
                keys.write(&key, &mut json);
            } else {
                whole.write(row, &mut json);
            }
            self.bytes += json.len() + 1;
            mixed.rows.push(PageRow { key: key_text(&places, row), deleted, json });
        }
        self.rows += rows.rows.len();
    }

    /// Adds deleted rows, by the cells of their keys.
    pub(super) fn delete(&mut self, shape: &TableShape, keys: &[Box<[Cell]>]) {
        if keys.is_empty() {
            return;
        }
        let shape = Arc::new(only_key(shape));
        let part = self.deletes.entry(shape.table.clone()).or_default();
        let before = part.json.len();
        part.write(&shape, keys.iter().map(|key| &key[..]));
        self.bytes += part.json.len() - before;
        self.rows += keys.len();
    }

    /// Marks a point where reading can resume.
    pub(super) fn mark(&mut self) {
        self.marked = self.rows;
        for part in self.inserts.values_mut().chain(self.deletes.values_mut()) {
            part.marked = part.json.len();
        }
        for mixed in self.mixed.values_mut() {
            mixed.marked = mixed.rows.len();
        }
    }

    /// Drops all rows after the last mark.
    pub(super) fn cut(&mut self) {
        for parts in [&mut self.inserts, &mut self.deletes] {
            parts.retain(|_, part| {
                part.json.truncate(part.marked);
                !part.json.is_empty()
            });
        }
        for mixed in self.mixed.values_mut() {
            mixed.rows.truncate(mixed.marked);
        }
        self.rows = self.marked;
    }

    /// Keeps the last row of each key. No rows can be added or cut afterwards.
    pub(super) fn finish(&mut self) {
        for (table, mixed) in std::mem::take(&mut self.mixed) {
            let last: HashMap<&str, usize> = mixed.rows.iter().map(|row| row.key.as_str()).zip(0..).collect();
            for (at, row) in mixed.rows.iter().enumerate() {
                if last.get(row.key.as_str()) == Some(&at) {
                    let parts = if row.deleted { &mut self.deletes } else { &mut self.inserts };
                    let part = parts.entry(table.clone()).or_default();
                    part.key.clone_from(&mixed.key);
                    separate(&mut part.json);
                    part.json.extend_from_slice(&row.json);
                }
            }
        }
    }

    pub(super) fn room(&self) -> Room {
        if self.rows <= MAX_ROWS && self.bytes <= MAX_BYTES {
            Room::Left
        } else if self.marked > 0 {
            Room::Full
        } else if self.bytes <= MAX_WHOLE_BYTES {
            Room::Over
        } else {
            Room::Burst
        }
    }

    /// The number of rows, including deleted ones.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// The members `insert`, `delete`, `schema` and, with deletions, `softDelete`.
    pub(super) fn members(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes + 1024);
        out.extend_from_slice(b"\"insert\":");
        write_parts(&self.inserts, &mut out);
        out.extend_from_slice(b",\"delete\":");
        write_parts(&self.deletes, &mut out);
        let keyed = self.inserts.iter().chain(&self.deletes).filter(|(_, part)| !part.key.is_empty());
        let schema: BTreeMap<&str, serde_json::Value> = keyed
            .map(|(table, part)| (table.as_str(), serde_json::json!({ "primary_key": part.key })))
            .collect();
        let schema = serde_json::to_string(&schema).unwrap_or_else(|_| "{}".into());
        out.extend([",\"schema\":", &schema].map(str::as_bytes).concat());
        if !self.deletes.is_empty() {
            let tables: Vec<String> = self.deletes.keys().map(|table| quoted(table)).collect();
            out.extend(format!(",\"softDelete\":[{}]", tables.join(",")).as_bytes());
        }
        out
    }
}

impl TableText {
    fn write<'r>(&mut self, shape: &Arc<TableShape>, rows: impl Iterator<Item = &'r [Cell]>) {
        if self.writer.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, shape)) {
            self.key.clone_from(&shape.key);
            self.writer = Some((Arc::clone(shape), RowMembers::of(shape)));
        }
        let Some((_, members)) = &self.writer else { return };
        for row in rows {
            separate(&mut self.json);
            members.write(row, &mut self.json);
        }
    }
}

/// Adds a comma between two rows.
fn separate(rows: &mut Vec<u8>) {
    if !rows.is_empty() {
        rows.push(b',');
    }
}

/// The shape of a deleted row, with only its key columns.
fn only_key(shape: &TableShape) -> TableShape {
    let columns = key_places(shape).into_iter().map(|at| shape.columns[at].clone()).collect();
    TableShape { columns, ..shape.clone() }
}

fn write_parts(parts: &BTreeMap<String, TableText>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (table, part)) in parts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(quoted(table).as_bytes());
        out.extend_from_slice(b":[");
        out.extend_from_slice(&part.json);
        out.push(b']');
    }
    out.push(b'}');
}
