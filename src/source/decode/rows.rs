//! Streams the records of a page into rows.
//!
//! Start at [`read`]: it finds the records, [`RowSink::accept`] checks each row, and [`RowSink::flush`] emits batches. A
//! record that cannot be stored does not end the page: its index is kept, and a second pass, which only pages with
//! rejected records need, reads its text.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::locate::{contradicts_empty_list, locate, no_records};
use super::page::{self, PageError};
use super::plan::DecodePlan;
use super::record::Object;
use super::value::{self, TextScan};
use super::{Layout, PageRead, Raws};
use crate::domain::syncing::cell::{Cell, ColumnType, Sourced};
use crate::domain::syncing::op::{Op, Rejected, Rows, TableShape};
use crate::source::text::unmarked;

/// Rows in one batch: small enough to keep memory flat, large enough to make the cost per batch negligible.
const BATCH: usize = 1_000;

/// Text in one batch, in bytes: the limit for large rows.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Stored text of a rejected row, in bytes.
const MAX_RAW_BYTES: usize = 64 * 1024;

pub(super) fn read(
    layout: &Layout,
    plan: &mut DecodePlan,
    announced: &mut Option<Arc<TableShape>>,
    body: &[u8],
    inherited: &[Sourced],
    emit: &mut dyn FnMut(Op),
) -> Result<PageRead, PageError> {
    if inherited.len() != layout.inherited.len() {
        let (wanted, given) = (layout.inherited.len(), inherited.len());
        return Err(PageError::Inherited { table: layout.table.clone(), wanted, given });
    }
    let text = page::utf8(body)?;
    let (path, raw) = locate(layout, text)?;
    let mut sink = RowSink {
        key: key_slots(layout, plan),
        layout,
        plan,
        announced,
        inherited,
        emit,
        pending: Vec::new(),
        pending_bytes: 0,
        rejected: Vec::new(),
        read: PageRead::default(),
        found: false,
        null: false,
        error: None,
    };
    let streamed = match raw {
        Some(raw) => stream(raw, Records { sink: &mut sink, path }),
        None if path == "." => stream(text, Records { sink: &mut sink, path }),
        None => stream(text, Descent { sink: &mut sink, path, rest: path }),
    };
    if let Err(e) = streamed {
        return Err(sink.error.take().unwrap_or_else(|| page::judge(text, &e)));
    }
    if !sink.found {
        return Err(no_records(layout, text));
    }
    if let Some(why) = sink.null.then(|| contradicts_empty_list(layout, text)).flatten() {
        return Err(PageError::NullRecords { table: layout.table.clone(), path: path.to_owned(), why });
    }
    sink.flush()?;
    sink.emit_rejected(text, path)?;
    let mut read = sink.read;
    read.notes = plan.take_notes();
    Ok(read)
}

fn stream<'de, S: DeserializeSeed<'de, Value = ()>>(
    text: &'de str,
    seed: S,
) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut json)?;
    json.end()
}

/// One part of the key, with its columns.
struct KeySlot {
    slot: usize,
    show: Option<usize>,
    /// The first part that does not come from the parent's row: it must not be null.
    required: bool,
}

fn key_slots(layout: &Layout, plan: &DecodePlan) -> Vec<KeySlot> {
    let own = layout.key.iter().position(|key| !layout.inherited.contains(&key.column));
    let parts = layout.key.iter().enumerate().filter_map(|(i, key)| {
        let show = key.show.as_deref().and_then(|column| plan.place(column));
        Some(KeySlot { slot: plan.place(&key.column)?, show, required: own == Some(i) })
    });
    parts.collect()
}

struct RowSink<'r> {
    layout: &'r Layout,
    plan: &'r mut DecodePlan,
    announced: &'r mut Option<Arc<TableShape>>,
    inherited: &'r [Sourced],
    emit: &'r mut dyn FnMut(Op),
    key: Vec<KeySlot>,
    pending: Vec<Vec<Cell>>,
    pending_bytes: usize,
    rejected: Vec<(u64, String)>,
    read: PageRead,
    found: bool,
    /// The records are null.
    null: bool,
    error: Option<PageError>,
}

impl RowSink<'_> {
    fn new_row(&self) -> Vec<Cell> {
        let mut row = vec![Cell::Null; self.plan.width()];
        for (column, cell) in self.layout.inherited.iter().zip(self.inherited) {
            if let Some(place) = self.plan.place(column).and_then(|slot| row.get_mut(slot)) {
                *place = cell.cell.clone();
            }
        }
        row
    }

    /// The JSON text of the inherited columns of a new row.
    fn new_raws(&self) -> Raws {
        let inherited = |column: &String| {
            let at = self.layout.inherited.iter().position(|inherited| inherited == column)?;
            self.inherited.get(at)?.raw.clone()
        };
        self.layout.raw.iter().map(inherited).collect()
    }

    fn reject(&mut self, reason: impl Into<String>) {
        self.rejected.push((self.read.records, reason.into()));
        self.read.records += 1;
    }

    fn accept(&mut self, mut row: Vec<Cell>, raws: Raws) -> Result<(), PageError> {
        match self.complete_key(&mut row) {
            Ok(false) => {}
            Ok(true) => self.read.empty_keys += 1,
            Err(reason) => {
                self.reject(reason);
                return Ok(());
            }
        }
        for (slot, cell) in row.iter_mut().enumerate() {
            self.pending_bytes += cell.text_len();
            let kind = cell.column_type();
            if kind != ColumnType::Unknown && kind != self.plan.kind(slot) {
                let pending = self.pending.iter().filter_map(|row| row.get(slot));
                self.plan.widen(slot, cell, pending)?;
            }
        }
        self.read.records += 1;
        if !raws.is_empty() {
            self.read.raws.push(raws);
        }
        self.pending.push(row);
        let full = self.pending.len() == BATCH || self.pending_bytes >= BATCH_BYTES;
        if full { self.flush() } else { Ok(()) }
    }

    /// Replaces nulls in the key by fallbacks. Returns whether there were any; `Err` if the row has no key.
    fn complete_key(&self, row: &mut [Cell]) -> Result<bool, String> {
        let mut has_fallback = false;
        for (key, place) in self.layout.key.iter().zip(&self.key) {
            let value = row.get(place.slot).cloned().unwrap_or(Cell::Null);
            // With fallbacks, an empty text counts as missing: otherwise all rows with one would share a key.
            let absent = value == Cell::Null || !key.fallbacks.is_empty() && is_empty(&value);
            if let Some(shown) = place.show.and_then(|show| row.get_mut(show)) {
                *shown = value;
            }
            if !absent {
                continue;
            }
            let text = if !key.fallbacks.is_empty() {
                self.fallback(&key.fallbacks, row)
                    .ok_or_else(|| format!("key column {} is null, and so are its fallbacks", key.column))?
            } else if place.required {
                return Err(format!("key column {} is absent or null", key.column));
            } else if matches!(self.plan.kind(place.slot), ColumnType::Unknown | ColumnType::Text) {
                String::new()
            } else {
                return Err(format!("key column {} is absent or null, and is not a text column", key.column));
            };
            has_fallback = true;
            if let Some(cell) = row.get_mut(place.slot) {
                *cell = Cell::Text(text.into());
            }
        }
        Ok(has_fallback)
    }

    fn fallback(&self, fallbacks: &[(String, String)], row: &[Cell]) -> Option<String> {
        fallbacks.iter().find_map(|(prefix, field)| {
            let cell = row.get(self.plan.place(&self.plan.column_of(field))?)?;
            let text = cell.to_text().filter(|_| !is_empty(cell))?;
            Some(format!("{prefix}{text}"))
        })
    }

    fn flush(&mut self) -> Result<(), PageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let shape = match &*self.announced {
            Some(shape) if !self.plan.changed() => Arc::clone(shape),
            _ => {
                self.plan.complete_shape(self.layout)?;
                let shape = Arc::new(self.plan.shape(self.layout));
                (self.emit)(Op::Shape(Arc::clone(&shape)));
                *self.announced = Some(Arc::clone(&shape));
                shape
            }
        };
        self.pending_bytes = 0;
        let width = shape.columns.len();
        let rows = self.pending.drain(..).map(|mut row| {
            row.resize(width, Cell::Null);
            row.into_boxed_slice()
        });
        let rows = rows.collect();
        (self.emit)(Op::Rows(Rows { shape, rows }));
        Ok(())
    }

    /// Reads the text of the rejected records and emits them.
    fn emit_rejected(&mut self, text: &str, path: &str) -> Result<(), PageError> {
        if self.rejected.is_empty() {
            return Ok(());
        }
        let raw = match path {
            "." => text.trim(),
            path => page::raw_at(text, &[path])?.into_iter().flatten().next().unwrap_or_default(),
        };
        let records: Vec<&str> = if raw.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|e| page::judge(text, &e))?;
            items.into_iter().map(RawValue::get).collect()
        } else {
            vec![raw]
        };
        let mut rejected = self.rejected.drain(..).map(|(at, reason)| Rejected {
            table: self.layout.table.clone(),
            raw: usize::try_from(at)
                .ok()
                .and_then(|at| records.get(at))
                .map_or_else(String::new, |r| stored_raw(r)),
            reason,
        });
        loop {
            let batch: Vec<_> = rejected.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            (self.emit)(Op::Rejected(batch));
        }
    }
}

fn is_empty(cell: &Cell) -> bool {
    matches!(cell, Cell::Text(text) if text.is_empty())
}

fn stored_raw(raw: &str) -> String {
    let raw = raw.get(..raw.floor_char_boundary(MAX_RAW_BYTES)).unwrap_or(raw);
    unmarked(raw).into_owned()
}

/// The visits of all values except objects, for a visitor that treats them alike.
macro_rules! anything_else {
    ($($visit:ident($($value:ty)?) $what:literal),* $(,)?) => {
        $(fn $visit<E: serde::de::Error>(self $(, _: $value)?) -> Result<(), E> {
            self.other($what)
        })*
    };
}

/// Follows a path to the records.
struct Descent<'s, 'r, 'p> {
    sink: &'s mut RowSink<'r>,
    path: &'p str,
    rest: &'p str,
}

impl<'de> DeserializeSeed<'de> for Descent<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Descent<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(below) = map.next_key_seed(Below(self.rest))? {
            match below {
                Some("") => map.next_value_seed(Records { sink: &mut *self.sink, path: self.path })?,
                Some(rest) => {
                    let raw: &'de RawValue = map.next_value()?;
                    if value::scan(raw.get()) == TextScan::Object {
                        let deeper = Descent { sink: &mut *self.sink, path: self.path, rest };
                        stream(raw.get(), deeper).map_err(A::Error::custom)?;
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A key, read as the rest of a path below it.
struct Below<'p>(&'p str);

impl<'de, 'p> DeserializeSeed<'de> for Below<'p> {
    type Value = Option<&'p str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Below<'p> {
    type Value = Option<&'p str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(page::below(self.0, key))
    }
}

/// The list of records, or a single record.
struct Records<'s, 'r, 'p> {
    sink: &'s mut RowSink<'r>,
    path: &'p str,
}

impl Records<'_, '_, '_> {
    fn other<E: serde::de::Error>(self, found: &'static str) -> Result<(), E> {
        let (table, path) = (self.sink.layout.table.clone(), self.path.to_owned());
        self.sink.error = Some(PageError::NotRecords { table, path, found });
        Err(E::custom("no records"))
    }
}

impl<'de> DeserializeSeed<'de> for Records<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Records<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.sink.found = true;
        while seq.next_element_seed(RecordVisitor { sink: &mut *self.sink })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.sink.found = true;
        RecordVisitor { sink: self.sink }.visit_map(map)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        (self.sink.found, self.sink.null) = (true, true);
        Ok(())
    }

    anything_else!(
        visit_bool(bool) "a boolean", visit_i64(i64) "a number", visit_u64(u64) "a number",
        visit_f64(f64) "a number", visit_str(&str) "a text",
    );
}

struct RecordVisitor<'s, 'r> {
    sink: &'s mut RowSink<'r>,
}

impl RecordVisitor<'_, '_> {
    fn other<E>(self, found: &str) -> Result<(), E> {
        self.sink.reject(format!("the record is {found}, not an object"));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for RecordVisitor<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RecordVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let mut row = self.sink.new_row();
        let mut raws = self.sink.new_raws();
        let mut unfit = None;
        let object = Object {
            plan: &mut *self.sink.plan,
            nested: self.sink.layout.nested,
            arrays: self.sink.layout.arrays,
            node: 0,
            row: &mut row,
            raws: &mut raws,
            unfit: &mut unfit,
            error: &mut self.sink.error,
        };
        object.visit_map(map)?;
        match unfit {
            Some(reason) => self.sink.reject(reason),
            None => {
                if let Err(error) = self.sink.accept(row, raws) {
                    self.sink.error = Some(error);
                    return Err(A::Error::custom("stopped"));
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.other("a list")
    }

    anything_else!(
        visit_unit() "null", visit_bool(bool) "a boolean", visit_i64(i64) "a number", visit_u64(u64) "a number",
        visit_f64(f64) "a number", visit_str(&str) "a text",
    );
}
