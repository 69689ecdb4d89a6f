//! Reads the fields of one record into the cells of a row.
//!
//! Start at [`Object`]. Each value is read as source text, because only the text distinguishes an exact number from a
//! rounded one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::page::PageError;
use super::plan::DecodePlan;
use super::value::{self, TextScan};
use crate::domain::syncing::cell::Cell;
use crate::domain::syncing::definition::connector::{Arrays, ColumnKind, Nested};

/// An object of the source: the record or a flattened one.
pub(super) struct Object<'s> {
    pub(super) plan: &'s mut DecodePlan,
    pub(super) nested: Nested,
    pub(super) arrays: Arrays,
    pub(super) node: usize,
    pub(super) row: &'s mut Vec<Cell>,
    /// The JSON text of the columns in [`Layout::raw`](super::Layout::raw).
    pub(super) raws: &'s mut [Option<Box<str>>],
    pub(super) unfit: &'s mut Option<String>,
    pub(super) error: &'s mut Option<PageError>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        loop {
            let name = FieldName { plan: &mut *self.plan, node: self.node, expected };
            let field = match map.next_key_seed(name)? {
                None => return Ok(()),
                Some(Ok(field)) => field,
                Some(Err(error)) => {
                    *self.error = Some(error);
                    return Err(A::Error::custom("stopped"));
                }
            };
            expected = field + 1;
            let this = self.plan.field(self.node, field);
            if this.drop && this.fills.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &'de RawValue = map.next_value()?;
            if let Err(error) = self.store(field, raw.get()) {
                *self.error = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
    }
}

impl Object<'_> {
    fn store(&mut self, field: usize, raw: &str) -> Result<(), PageError> {
        let scan = value::scan(raw);
        if scan == TextScan::Null {
            return Ok(());
        }
        let this = self.plan.field(self.node, field);
        let (drop, coerce) = (this.drop, this.coerce);
        if !this.fills.is_empty() {
            for (slot, coerce) in this.fills.clone() {
                if self.row.get(slot).is_none_or(|cell| *cell == Cell::Null) {
                    self.put(slot, raw, coerce);
                }
            }
        }
        if drop {
            return Ok(());
        }
        let whole =
            self.nested == Nested::Json || matches!(coerce, Some(ColumnKind::Json | ColumnKind::Text));
        if scan == TextScan::Object
            && !whole
            && let Some(node) = self.plan.child(self.node, field)
        {
            return self.flatten(node, raw);
        }
        let slot = self.plan.column_for(self.node, field)?;
        self.put(slot, raw, coerce);
        Ok(())
    }

    fn put(&mut self, slot: usize, raw: &str, coerce: Option<ColumnKind>) {
        let cell = match coerce {
            Some(coerce) => value::coerced(raw, self.arrays, coerce),
            None => value::natural(raw, self.arrays),
        };
        match cell {
            Ok(cell) => {
                if let Some(place) = self.plan.raw(slot).and_then(|at| self.raws.get_mut(at)) {
                    *place = Some(raw.into());
                }
                if slot >= self.row.len() {
                    self.row.resize(slot + 1, Cell::Null);
                }
                if let Some(place) = self.row.get_mut(slot) {
                    *place = cell;
                }
            }
            Err(reason) => *self.unfit = Some(format!("{} has {reason}", self.plan.name(slot))),
        }
    }

    fn flatten(&mut self, node: usize, raw: &str) -> Result<(), PageError> {
        let object = Object {
            plan: &mut *self.plan,
            row: &mut *self.row,
            raws: &mut *self.raws,
            unfit: &mut *self.unfit,
            error: &mut *self.error,
            nested: self.nested,
            arrays: self.arrays,
            node,
        };
        let read = serde_json::Deserializer::from_str(raw).deserialize_map(object);
        match (self.error.take(), read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => {
                *self.unfit = Some(error.to_string());
                Ok(())
            }
            (None, Ok(())) => Ok(()),
        }
    }
}

/// A key, read as the index of its field in the object.
struct FieldName<'s> {
    plan: &'s mut DecodePlan,
    node: usize,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = Result<usize, PageError>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = Result<usize, PageError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match self.plan.find(self.node, self.expected, name) {
            Some(field) => Ok(field),
            None => self.plan.add_field(self.node, name),
        })
    }
}
