//! The rows of one answer while they are gathered, up to the last place from which reading can go on.
//!
//! An answer does not say in what order its insertions and deletions are to be done, so no key is among both: where the
//! source tells deletions, what came last of a key is what the answer says of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::rows::{Members, quoted};
use crate::domain::cell::Cell;
use crate::domain::op::{Rows, TableShape};
use crate::protocol::sweep::{is_deleted, key_places, key_text};

/// Rows of one answer: what the caller's platform digests at once.
const MAX_ROWS: usize = 10_000;
/// Bytes of rows of one answer: the smallest of the platforms that call like this takes 6 MB, all told.
const MAX_BYTES: usize = 5_000_000;
/// A table that can only be read whole makes one answer, however large, but not so large that it endangers the
/// machine.
const MAX_WHOLE_BYTES: usize = 256 << 20;

/// The rows, as JSON text.
#[derive(Default)]
pub(super) struct Page {
    inserts: BTreeMap<String, Part>,
    deletes: BTreeMap<String, Part>,
    /// Rows of tables whose source tells deletions, until [`Page::settle`].
    told: BTreeMap<String, Told>,
    rows: usize,
    bytes: usize,
    /// Rows up to the last mark.
    marked: usize,
}

#[derive(Default)]
struct Part {
    key: Vec<String>,
    json: Vec<u8>,
    /// Bytes up to the last mark.
    marked: usize,
    writer: Option<(Arc<TableShape>, Members)>,
}

/// Rows of one table, live and deleted ones, in the order they came.
#[derive(Default)]
struct Told {
    key: Vec<String>,
    rows: Vec<Said>,
    /// Rows up to the last mark.
    marked: usize,
}

/// What was said of one key.
struct Said {
    key: String,
    deleted: bool,
    json: Vec<u8>,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Go on.
    Left,
    /// Enough, and there is a place before to go on from: [`Page::cut`].
    Full,
    /// Enough as soon as there is a place to go on from, which there is not yet.
    Over,
    /// More than can be held, without such a place.
    Burst,
}

impl Page {
    /// Adds rows to write.
    pub(super) fn insert(&mut self, rows: &Rows) {
        if let Some(place) = rows.shape.deleted_place() {
            return self.tell(rows, place);
        }
        let part = self.inserts.entry(rows.shape.table.clone()).or_default();
        let before = part.json.len();
        part.write(&rows.shape, rows.rows.iter().map(|row| &row[..]));
        self.bytes += part.json.len() - before;
        self.rows += rows.rows.len();
    }

    /// Adds rows of which some may be deleted.
    fn tell(&mut self, rows: &Rows, place: usize) {
        let (shape, places) = (&rows.shape, key_places(&rows.shape));
        let (whole, keys) = (Members::of(shape), Members::of(&only_key(shape)));
        let told = self.told.entry(shape.table.clone()).or_default();
        told.key.clone_from(&shape.key);
        for row in &rows.rows {
            let (deleted, mut json) = (is_deleted(Some(place), row), Vec::new());
            if deleted {
                let key: Vec<Cell> = places.iter().filter_map(|at| row.get(*at)).cloned().collect();
                keys.write(&key, &mut json);
            } else {
                whole.write(row, &mut json);
            }
            self.bytes += json.len() + 1;
            told.rows.push(Said { key: key_text(&places, row), deleted, json });
        }
        self.rows += rows.rows.len();
    }

    /// Adds rows that are gone, by the cells of their keys.
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

    /// Reading can go on from here.
    pub(super) fn mark(&mut self) {
        self.marked = self.rows;
        for part in self.inserts.values_mut().chain(self.deletes.values_mut()) {
            part.marked = part.json.len();
        }
        for told in self.told.values_mut() {
            told.marked = told.rows.len();
        }
    }

    /// Drops what came after the last mark.
    pub(super) fn cut(&mut self) {
        for parts in [&mut self.inserts, &mut self.deletes] {
            parts.retain(|_, part| {
                part.json.truncate(part.marked);
                !part.json.is_empty()
            });
        }
        for told in self.told.values_mut() {
            told.rows.truncate(told.marked);
        }
        self.rows = self.marked;
    }

    /// Says of each key what was said of it last. Nothing can be added or cut afterwards.
    pub(super) fn settle(&mut self) {
        for (table, told) in std::mem::take(&mut self.told) {
            let last: HashMap<&str, usize> =
                told.rows.iter().map(|said| said.key.as_str()).zip(0..).collect();
            for (at, said) in told.rows.iter().enumerate() {
                if last.get(said.key.as_str()) == Some(&at) {
                    let parts = if said.deleted { &mut self.deletes } else { &mut self.inserts };
                    let part = parts.entry(table.clone()).or_default();
                    part.key.clone_from(&told.key);
                    separate(&mut part.json);
                    part.json.extend_from_slice(&said.json);
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

    /// Rows held, deleted ones included.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// The members `insert`, `delete`, `schema` and, where something is deleted, `softDelete`.
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

impl Part {
    fn write<'r>(&mut self, shape: &Arc<TableShape>, rows: impl Iterator<Item = &'r [Cell]>) {
        if self.writer.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, shape)) {
            self.key.clone_from(&shape.key);
            self.writer = Some((Arc::clone(shape), Members::of(shape)));
        }
        let Some((_, members)) = &self.writer else { return };
        for row in rows {
            separate(&mut self.json);
            members.write(row, &mut self.json);
        }
    }
}

/// What stands between two rows.
fn separate(rows: &mut Vec<u8>) {
    if !rows.is_empty() {
        rows.push(b',');
    }
}

/// The shape of what is told of a deleted row.
fn only_key(shape: &TableShape) -> TableShape {
    let columns = key_places(shape).into_iter().map(|at| shape.columns[at].clone()).collect();
    TableShape { columns, ..shape.clone() }
}

fn write_parts(parts: &BTreeMap<String, Part>, out: &mut Vec<u8>) {
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
