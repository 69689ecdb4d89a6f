//! What a front gives its caller to keep, and gets back with the next call: the connector's state, and what only a
//! front without a destination has to remember.
//!
//! A state may hold a cursor for each of a million children. So its cursors stay text, and what a call changes lies over it.
//!
//! Start at [`Saved::read`]. What was written by a newer program or for another connector is refused, with words on
//! what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::cell::ColumnType;
use crate::domain::connector::Definition;
use crate::domain::op::{Checkpoint, Column, State, TableShape};
use crate::domain::state_text::{TextCursors, TextPart};

/// The state between two calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saved {
    /// As [`State::format`], which this is an extension of.
    format: u32,
    /// As [`State::connector`].
    connector: String,
    /// As [`State::tables`].
    tables: Cursors,
    /// The columns seen so far, so that a type never narrows from call to call.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shapes: BTreeMap<String, Vec<(String, ColumnType)>>,
    /// Tables that the caller has been told to empty before their first rows.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    met: BTreeSet<String>,
    /// Tables read to their end, while a sync goes on over several calls.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    done: BTreeSet<String>,
    /// When the sync began that goes on over several calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Keys of rows in tables from which rows can vanish; each the JSON array of its parts as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, BTreeSet<String>>,
}

/// A state as it is read; its members are those of [`Saved`].
#[derive(Deserialize)]
struct Members<'t> {
    connector: String,
    #[serde(borrow, default)]
    tables: Option<&'t RawValue>,
    #[serde(default)]
    shapes: BTreeMap<String, Vec<(String, ColumnType)>>,
    #[serde(default)]
    met: BTreeSet<String>,
    #[serde(default)]
    done: BTreeSet<String>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    keys: BTreeMap<String, BTreeSet<String>>,
}

/// Whose state it is.
#[derive(Deserialize)]
struct Origin {
    #[serde(default)]
    format: Value,
    #[serde(default)]
    connector: Value,
}

/// The cursors that came, and over them what has changed since; `None`: removed.
#[derive(Debug, Clone, Default)]
struct Cursors {
    came: TextCursors,
    changed: BTreeMap<String, BTreeMap<String, Option<Value>>>,
}

/// Why a state cannot be gone on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// No JSON, or no object.
    #[error(
        "the state is not a JSON object ({0}); give back what the last call returned, or {{}} to read everything anew"
    )]
    NotAnObject(String),
    /// Somebody else's.
    #[error(
        "the state was not written by this program (it has no `format`); give {{}} to read everything anew"
    )]
    Foreign,
    /// Written by a later program.
    #[error(
        "the state has format {found}, and this program reads format {known}: update the program, or give {{}} to \
         read everything anew"
    )]
    Format {
        /// Its format.
        found: u64,
        /// Ours.
        known: u32,
    },
    /// Written for another connector.
    #[error(
        "the state belongs to the connector {found:?}, not to {wanted:?}; give that connector's state, or {{}} to read everything anew"
    )]
    OtherConnector {
        /// Whose it is.
        found: String,
        /// Who was asked.
        wanted: String,
    },
    /// Right at the top, wrong within.
    #[error(
        "the state is damaged ({0}); give back what the last call returned, or {{}} to read everything anew"
    )]
    Damaged(String),
}

impl Saved {
    /// Before anything was read.
    pub fn new(connector: &str) -> Saved {
        Saved {
            format: State::FORMAT,
            connector: connector.to_owned(),
            tables: Cursors::default(),
            shapes: BTreeMap::new(),
            met: BTreeSet::new(),
            done: BTreeSet::new(),
            since: None,
            keys: BTreeMap::new(),
        }
    }

    /// What the caller kept; nothing, null and `{}` are the beginning.
    ///
    /// # Errors
    /// When it cannot be gone on from.
    pub fn read(kept: &TextPart, connector: &str) -> Result<Saved, SavedError> {
        let text = kept.as_str().trim();
        if text.is_empty() {
            return Ok(Saved::new(connector));
        }
        let sound = serde_json::from_str::<IgnoredAny>(text);
        sound.map_err(|e| SavedError::NotAnObject(e.to_string()))?;
        if text == "null" {
            return Ok(Saved::new(connector));
        }
        if !text.starts_with('{') {
            return Err(SavedError::NotAnObject(kind_of(text).to_owned()));
        }
        if text.trim_matches(['{', '}']).trim().is_empty() {
            return Ok(Saved::new(connector));
        }
        let damaged = |e: serde_json::Error| SavedError::Damaged(e.to_string());
        let origin: Origin = serde_json::from_str(text).map_err(damaged)?;
        match origin.format.as_u64() {
            None => return Err(SavedError::Foreign),
            Some(format) if format != u64::from(State::FORMAT) => {
                return Err(SavedError::Format { found: format, known: State::FORMAT });
            }
            Some(_) => {}
        }
        if let Some(found) = origin.connector.as_str().filter(|found| *found != connector) {
            return Err(SavedError::OtherConnector { found: found.to_owned(), wanted: connector.to_owned() });
        }
        let members: Members<'_> = serde_json::from_str(text).map_err(damaged)?;
        let came =
            members.tables.map(|tables| TextCursors::read(kept, tables)).transpose().map_err(damaged)?;
        Ok(Saved {
            format: State::FORMAT,
            connector: members.connector,
            tables: Cursors { came: came.unwrap_or_default(), changed: BTreeMap::new() },
            shapes: members.shapes,
            met: members.met,
            done: members.done,
            since: members.since,
            keys: members.keys,
        })
    }

    /// The text for the caller to keep.
    pub fn to_json(&self) -> String {
        // Texts, numbers and maps with text keys: there is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The length of [`Saved::to_json`], without making it.
    pub fn json_len(&self) -> usize {
        let mut length = Length(0);
        // As above; and counting does not fail.
        let _ = serde_json::to_writer(&mut length, self);
        length.0
    }

    /// [`Saved::to_json`] at the end of `out`.
    ///
    /// # Errors
    /// Never in practice; the serializer's own.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(out, self)
    }

    /// What the connector needs of it.
    pub fn state(&self) -> State {
        let text = self.tables.came.clone();
        let set = |(table, partitions): (&String, &BTreeMap<String, Option<Value>>)| {
            let set = partitions.iter().filter_map(|(name, cursor)| Some((name.clone(), cursor.clone()?)));
            (table.clone(), set.collect())
        };
        let tables = self.tables.changed.iter().map(set).collect();
        State { format: self.format, connector: self.connector.clone(), tables, text }
    }

    /// Moves on. Says whether anything is other than before.
    pub fn apply(&mut self, checkpoint: Checkpoint) -> bool {
        let mut moved = false;
        for (table, partition, cursor) in checkpoint.entries {
            moved |= self.tables.set(table, partition, cursor);
        }
        moved
    }

    /// Remembers the columns of a table. Says whether any is new or wider.
    pub fn learn(&mut self, shape: &TableShape) -> bool {
        let known = self.shapes.entry(shape.table.clone()).or_default();
        let before = known.clone();
        for column in shape.columns.iter().filter(|column| column.kind != ColumnType::Unknown) {
            match known.iter_mut().find(|(name, _)| *name == column.name) {
                Some((_, kind)) => *kind = kind.join(column.kind),
                None => known.push((column.name.clone(), column.kind)),
            }
        }
        *known != before
    }

    /// The tables as they are known from earlier calls; none that nothing was seen of.
    pub fn shapes(&self, definition: &Definition) -> Vec<TableShape> {
        let known = |table: &crate::domain::connector::Table| {
            let seen = self.shapes.get(&table.name)?;
            let mut shape = table.declared_shape();
            for (name, kind) in seen {
                match shape.columns.iter_mut().find(|column| column.name == *name) {
                    Some(column) => column.kind = column.kind.join(*kind),
                    None => shape.columns.push(Column { name: name.clone(), kind: *kind }),
                }
            }
            Some(shape)
        };
        definition.tables.iter().filter_map(known).collect()
    }

    /// Whether this is the first time that rows of a table are sent.
    pub(super) fn meet(&mut self, table: &str) -> bool {
        !self.met.contains(table) && self.met.insert(table.to_owned())
    }

    /// Tables that earlier calls of the same sync have read to their end.
    pub(super) fn done(&self) -> &BTreeSet<String> {
        &self.done
    }

    /// A table was read to its end.
    pub(super) fn finish(&mut self, table: &str) {
        self.done.insert(table.to_owned());
    }

    /// A call of a sync begins. Says when the sync did: at its first call.
    pub(super) fn begin_sync(&mut self, now: Timestamp) -> Timestamp {
        *self.since.get_or_insert(now)
    }

    /// The sync is over: the next reads every table again.
    pub(super) fn end_sync(&mut self) {
        self.done.clear();
        self.since = None;
    }

    /// The remembered keys of a table.
    pub(super) fn keys(&mut self, table: &str) -> &mut BTreeSet<String> {
        self.keys.entry(table.to_owned()).or_default()
    }

    /// The length of all remembered keys.
    pub(super) fn key_bytes(&self) -> usize {
        self.keys.values().flatten().map(String::len).sum()
    }

    /// Forgets the keys of a table.
    pub(super) fn forget_keys(&mut self, table: &str) {
        self.keys.remove(table);
    }
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Cursors {
    fn get(&self, table: &str, partition: &str) -> Option<Value> {
        match self.changed.get(table).and_then(|changed| changed.get(partition)) {
            Some(changed) => changed.clone(),
            None => serde_json::from_str(self.came.get(table, partition)?).ok(),
        }
    }

    /// Says whether that is a change.
    fn set(&mut self, table: String, partition: String, cursor: Option<Value>) -> bool {
        if self.get(&table, &partition) == cursor {
            return false;
        }
        self.changed.entry(table).or_default().insert(partition, cursor);
        true
    }

    fn tables(&self) -> BTreeSet<&str> {
        self.came.tables().chain(self.changed.keys().map(String::as_str)).collect()
    }
}

impl PartialEq for Cursors {
    fn eq(&self, other: &Cursors) -> bool {
        let names = |cursors: &Cursors| -> BTreeSet<(String, String)> {
            let each = cursors.changed.iter();
            each.flat_map(|(table, of)| of.keys().map(move |name| (table.clone(), name.clone()))).collect()
        };
        let (mine, theirs) = (names(self), names(other));
        self.came == other.came
            && mine.union(&theirs).all(|(table, name)| self.get(table, name) == other.get(table, name))
    }
}

impl Serialize for Cursors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for table in self.tables() {
            let partitions = Partitions { cursors: self, table };
            if partitions.is_any() {
                map.serialize_entry(table, &partitions)?;
            }
        }
        map.end()
    }
}

/// The cursors of one table.
struct Partitions<'c> {
    cursors: &'c Cursors,
    table: &'c str,
}

impl Partitions<'_> {
    fn came(&self) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, &str)> {
        let changed = self.cursors.changed.get(self.table);
        let stays = move |name: &str| changed.is_none_or(|changed| !changed.contains_key(name));
        self.cursors.came.partitions(self.table).filter(move |(name, _)| stays(name))
    }

    fn set(&self) -> impl Iterator<Item = (&String, &Value)> {
        let changed = self.cursors.changed.get(self.table).into_iter().flatten();
        changed.filter_map(|(name, cursor)| Some((name, cursor.as_ref()?)))
    }

    fn is_any(&self) -> bool {
        self.came().next().is_some() || self.set().next().is_some()
    }
}

impl Serialize for Partitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, cursor) in self.came() {
            let cursor: &RawValue = serde_json::from_str(cursor).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(&name, cursor)?;
        }
        for (name, cursor) in self.set() {
            map.serialize_entry(name, cursor)?;
        }
        map.end()
    }
}

fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "it is a boolean",
        Some(b'"') => "it is a text",
        Some(b'[') => "it is an array",
        Some(b'{') => "it is an object",
        _ => "it is a number",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Nothing, null and `{}` begin anew; what this program cannot go on from is refused with what to do.
    #[test]
    fn states_are_read_or_refused() {
        let read = |text: &str| Saved::read(&TextPart::from(text.to_owned()), "acme");
        for beginning in ["", " \n", "null", "{}", " { } "] {
            assert_eq!(read(beginning), Ok(Saved::new("acme")));
        }
        let refused = |text: &str| read(text).unwrap_err().to_string();
        let cases = [
            (refused("[1]"), "it is an array"),
            (refused("{"), "not a JSON object"),
            (refused(r#"{"since": "2026-05-01"}"#), "not written by this program"),
            (refused(r#"{"format": 2, "connector": "acme"}"#), "update the program"),
            (
                refused(r#"{"format": 1, "connector": "beta"}"#),
                r#"belongs to the connector "beta", not to "acme""#,
            ),
            (refused(r#"{"format": 1, "connector": "acme", "tables": 5}"#), "damaged"),
            (refused(r#"{"format": 1}"#), "damaged"),
        ];
        for (said, want) in cases {
            assert!(
                said.contains(want) && said.contains("{} to read everything anew"),
                "{want} not in {said}"
            );
        }
    }

    /// What is written reads back the same, and checkpoints set and remove entries.
    #[test]
    fn states_come_back_as_they_went() {
        let mut saved = Saved::new("acme");
        let set = |partition: &str, cursor| ("t".to_owned(), partition.to_owned(), cursor);
        saved
            .apply(Checkpoint { entries: vec![set("a", Some(json!(1))), set("b", Some(json!({"x": [2]})))] });
        saved.meet("t");
        saved.finish("u");
        saved.keys("t").insert("[\"1\"]".into());
        saved.learn(&TableShape {
            table: "t".into(),
            columns: vec![
                Column { name: "id".into(), kind: ColumnType::Bigint },
                Column { name: "empty".into(), kind: ColumnType::Unknown },
            ],
            key: vec!["id".into()],
            write: crate::domain::op::Write::Upsert,
            deleted_if: None,
        });
        insta::assert_snapshot!(
            saved.to_json(),
            @r#"{"format":1,"connector":"acme","tables":{"t":{"a":1,"b":{"x":[2]}}},"shapes":{"t":[["id","bigint"]]},"met":["t"],"done":["u"],"keys":{"t":["[\"1\"]"]}}"#
        );
        let read = Saved::read(&TextPart::from(saved.to_json()), "acme");
        let mut read = read.unwrap();
        assert_eq!(read.to_json(), saved.to_json());
        assert_eq!(read.state().cursor("t", "b").unwrap().into_owned(), json!({"x": [2]}));
        let came = read.clone();
        assert!(!read.apply(Checkpoint { entries: vec![set("a", Some(json!(1))), set("c", None)] }));
        assert!(read == came);
        assert!(read.apply(Checkpoint { entries: vec![set("a", Some(json!(2))), set("b", None)] }));
        assert!(read != came && read.to_json().contains(r#""tables":{"t":{"a":2}}"#), "{}", read.to_json());
        read.apply(Checkpoint { entries: vec![set("a", None)] });
        assert!(read.to_json().contains(r#""tables":{}"#), "{}", read.to_json());
    }
}
