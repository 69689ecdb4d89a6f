//! The state that the caller of an entry point stores and sends with the next call: the connector's state, and what an
//! entry point without a destination needs in addition.
//!
//! A state may have a cursor for each of a million children. So the cursors of the request stay text, and changes are
//! kept separately.
//!
//! Start at [`SavedState::read`]. A state of a newer program or of another connector is refused, with advice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::syncing::op::{Checkpoint, Column, State, TableShape};
use crate::domain::syncing::state_text::{TextCursors, TextPart};

/// The state between two calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SavedState {
    /// As [`State::format`], which this format extends.
    format: u32,
    connector: String,
    tables: Cursors,
    /// The columns so far, so that a type never narrows from call to call.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shapes: BTreeMap<String, Vec<(String, ColumnType)>>,
    /// Tables that the caller was told to truncate before their first rows.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    met: BTreeSet<String>,
    /// Tables that were read to their end, in a sync of several calls.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    done: BTreeSet<String>,
    /// Start of a sync of several calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Keys of the rows of tables whose deletions are detected; each is a JSON array of its parts as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, BTreeSet<String>>,
}

/// A state while it is read; its members are those of [`SavedState`].
#[derive(Deserialize)]
struct SavedMembers<'t> {
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

/// The format and the connector of a state.
#[derive(Deserialize)]
struct SavedOrigin {
    #[serde(default)]
    format: Value,
    #[serde(default)]
    connector: Value,
}

/// The cursors of the request, and the changes since; `None` for a removed one.
#[derive(Debug, Clone, Default)]
struct Cursors {
    received: TextCursors,
    changed: BTreeMap<String, BTreeMap<String, Option<Value>>>,
}

/// Why a sync cannot resume from a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    #[error(
        "the state is not a JSON object ({0}); send what the last call returned, or {{}} to read everything again"
    )]
    NotAnObject(String),
    /// Written by another program.
    #[error(
        "the state was not written by this program (it has no `format`); send {{}} to read everything again"
    )]
    Foreign,
    /// Written by a later program.
    #[error(
        "the state has format {found}, but this program reads format {known}: update the program, or send {{}} to \
         read everything again"
    )]
    Format { found: u64, known: u32 },
    /// Written for another connector.
    #[error(
        "the state belongs to the connector {found:?}, not to {wanted:?}; send that connector's state, or {{}} to read everything again"
    )]
    OtherConnector { found: String, wanted: String },
    /// A member is invalid.
    #[error("the state is damaged ({0}); send what the last call returned, or {{}} to read everything again")]
    Damaged(String),
}

impl SavedState {
    /// The state before the first sync.
    pub fn new(connector: &str) -> SavedState {
        SavedState {
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

    /// Reads the caller's state. An empty text, null and `{}` mean the state before the first sync.
    ///
    /// # Errors
    /// When a sync cannot resume from it.
    pub fn read(stored: &TextPart, connector: &str) -> Result<SavedState, SavedError> {
        let text = stored.as_str().trim();
        if text.is_empty() {
            return Ok(SavedState::new(connector));
        }
        let syntax = serde_json::from_str::<IgnoredAny>(text);
        syntax.map_err(|e| SavedError::NotAnObject(e.to_string()))?;
        if text == "null" {
            return Ok(SavedState::new(connector));
        }
        if !text.starts_with('{') {
            return Err(SavedError::NotAnObject(kind_of(text).to_owned()));
        }
        if text.trim_matches(['{', '}']).trim().is_empty() {
            return Ok(SavedState::new(connector));
        }
        let damaged = |e: serde_json::Error| SavedError::Damaged(e.to_string());
        let origin: SavedOrigin = serde_json::from_str(text).map_err(damaged)?;
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
        let members: SavedMembers<'_> = serde_json::from_str(text).map_err(damaged)?;
        let received =
            members.tables.map(|tables| TextCursors::read(stored, tables)).transpose().map_err(damaged)?;
        Ok(SavedState {
            format: State::FORMAT,
            connector: members.connector,
            tables: Cursors { received: received.unwrap_or_default(), changed: BTreeMap::new() },
            shapes: members.shapes,
            met: members.met,
            done: members.done,
            since: members.since,
            keys: members.keys,
        })
    }

    /// The text for the caller to store.
    pub fn to_json(&self) -> String {
        // Texts, numbers and maps with text keys: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The length of [`SavedState::to_json`], without building the text.
    pub fn json_len(&self) -> usize {
        let mut length = Length(0);
        // As above; counting cannot fail.
        let _ = serde_json::to_writer(&mut length, self);
        length.0
    }

    /// Appends [`SavedState::to_json`] to `out`.
    ///
    /// # Errors
    /// Those of the serializer; never in practice.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(out, self)
    }

    /// The connector's part of the state.
    pub fn state(&self) -> State {
        let text = self.tables.received.clone();
        let set = |(table, partitions): (&String, &BTreeMap<String, Option<Value>>)| {
            let set = partitions.iter().filter_map(|(name, cursor)| Some((name.clone(), cursor.clone()?)));
            (table.clone(), set.collect())
        };
        let tables = self.tables.changed.iter().map(set).collect();
        State { format: self.format, connector: self.connector.clone(), tables, text }
    }

    /// Applies a checkpoint. Returns whether it changed anything.
    pub fn apply(&mut self, checkpoint: Checkpoint) -> bool {
        let mut moved = false;
        for (table, partition, cursor) in checkpoint.entries {
            moved |= self.tables.set(table, partition, cursor);
        }
        moved
    }

    /// Adds the columns of a table. Returns whether any is new or wider.
    pub fn add_shape(&mut self, shape: &TableShape) -> bool {
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

    /// The tables with columns from earlier calls.
    pub fn shapes(&self, definition: &Definition) -> Vec<TableShape> {
        let known = |table: &crate::domain::syncing::definition::connector::Table| {
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

    /// Whether a table is sent for the first time. Returns true only once per table.
    pub(super) fn is_first(&mut self, table: &str) -> bool {
        !self.met.contains(table) && self.met.insert(table.to_owned())
    }

    /// Tables that earlier calls of this sync have read to their end.
    pub(super) fn done(&self) -> &BTreeSet<String> {
        &self.done
    }

    /// Records that a table was read to its end.
    pub(super) fn finish(&mut self, table: &str) {
        self.done.insert(table.to_owned());
    }

    /// Starts a call of a sync. Returns the start of the sync, which is that of its first call.
    pub(super) fn begin_sync(&mut self, now: Timestamp) -> Timestamp {
        *self.since.get_or_insert(now)
    }

    /// Ends the sync: the next one reads every table again.
    pub(super) fn end_sync(&mut self) {
        self.done.clear();
        self.since = None;
    }

    /// The stored keys of a table.
    pub(super) fn keys(&mut self, table: &str) -> &mut BTreeSet<String> {
        self.keys.entry(table.to_owned()).or_default()
    }

    /// The length of all stored keys.
    pub(super) fn key_bytes(&self) -> usize {
        self.keys.values().flatten().map(String::len).sum()
    }

    pub(super) fn remove_keys(&mut self, table: &str) {
        self.keys.remove(table);
    }
}

/// Counts written bytes.
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
            None => serde_json::from_str(self.received.get(table, partition)?).ok(),
        }
    }

    /// Returns whether this is a change.
    fn set(&mut self, table: String, partition: String, cursor: Option<Value>) -> bool {
        if self.get(&table, &partition) == cursor {
            return false;
        }
        self.changed.entry(table).or_default().insert(partition, cursor);
        true
    }

    fn tables(&self) -> BTreeSet<&str> {
        self.received.tables().chain(self.changed.keys().map(String::as_str)).collect()
    }
}

impl PartialEq for Cursors {
    fn eq(&self, other: &Cursors) -> bool {
        let names = |cursors: &Cursors| -> BTreeSet<(String, String)> {
            let each = cursors.changed.iter();
            each.flat_map(|(table, of)| of.keys().map(move |name| (table.clone(), name.clone()))).collect()
        };
        let (mine, theirs) = (names(self), names(other));
        self.received == other.received
            && mine.union(&theirs).all(|(table, name)| self.get(table, name) == other.get(table, name))
    }
}

impl Serialize for Cursors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for table in self.tables() {
            let partitions = SavedPartitions { cursors: self, table };
            if partitions.is_any() {
                map.serialize_entry(table, &partitions)?;
            }
        }
        map.end()
    }
}

/// The cursors of one table.
struct SavedPartitions<'c> {
    cursors: &'c Cursors,
    table: &'c str,
}

impl SavedPartitions<'_> {
    fn received(&self) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, &str)> {
        let changed = self.cursors.changed.get(self.table);
        let is_unchanged = move |name: &str| changed.is_none_or(|changed| !changed.contains_key(name));
        self.cursors.received.partitions(self.table).filter(move |(name, _)| is_unchanged(name))
    }

    fn set(&self) -> impl Iterator<Item = (&String, &Value)> {
        let changed = self.cursors.changed.get(self.table).into_iter().flatten();
        changed.filter_map(|(name, cursor)| Some((name, cursor.as_ref()?)))
    }

    fn is_any(&self) -> bool {
        self.received().next().is_some() || self.set().next().is_some()
    }
}

impl Serialize for SavedPartitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, cursor) in self.received() {
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

    /// The errors contain advice.
    #[test]
    fn an_empty_state_starts_again_and_an_unusable_one_is_refused() {
        let read = |text: &str| SavedState::read(&TextPart::from(text.to_owned()), "acme");
        for beginning in ["", " \n", "null", "{}", " { } "] {
            assert_eq!(read(beginning), Ok(SavedState::new("acme")));
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
        for (message, want) in cases {
            assert!(
                message.contains(want) && message.contains("{} to read everything again"),
                "{want} not in {message}"
            );
        }
    }

    /// Checkpoints set and remove entries.
    #[test]
    fn a_state_survives_writing_and_reading() {
        let mut saved = SavedState::new("acme");
        let set = |partition: &str, cursor| ("t".to_owned(), partition.to_owned(), cursor);
        saved
            .apply(Checkpoint { entries: vec![set("a", Some(json!(1))), set("b", Some(json!({"x": [2]})))] });
        saved.is_first("t");
        saved.finish("u");
        saved.keys("t").insert("[\"1\"]".into());
        saved.add_shape(&TableShape {
            table: "t".into(),
            columns: vec![
                Column { name: "id".into(), kind: ColumnType::Bigint },
                Column { name: "empty".into(), kind: ColumnType::Unknown },
            ],
            key: vec!["id".into()],
            write: crate::domain::syncing::op::Write::Upsert,
            deleted_if: None,
        });
        insta::assert_snapshot!(
            saved.to_json(),
            @r#"{"format":1,"connector":"acme","tables":{"t":{"a":1,"b":{"x":[2]}}},"shapes":{"t":[["id","bigint"]]},"met":["t"],"done":["u"],"keys":{"t":["[\"1\"]"]}}"#
        );
        let read = SavedState::read(&TextPart::from(saved.to_json()), "acme");
        let mut read = read.unwrap();
        assert_eq!(read.to_json(), saved.to_json());
        assert_eq!(read.state().cursor("t", "b").unwrap().into_owned(), json!({"x": [2]}));
        let received = read.clone();
        assert!(!read.apply(Checkpoint { entries: vec![set("a", Some(json!(1))), set("c", None)] }));
        assert!(read == received);
        assert!(read.apply(Checkpoint { entries: vec![set("a", Some(json!(2))), set("b", None)] }));
        assert!(
            read != received && read.to_json().contains(r#""tables":{"t":{"a":2}}"#),
            "{}",
            read.to_json()
        );
        read.apply(Checkpoint { entries: vec![set("a", None)] });
        assert!(read.to_json().contains(r#""tables":{}"#), "{}", read.to_json());
    }
}
