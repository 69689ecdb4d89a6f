//! What a front gives its caller to keep, and gets back with the next call: the connector's state, and what only a
//! front without a destination has to remember.
//!
//! Start at [`Saved::read`]. What was written by a newer program or for another connector is refused, with words on
//! what to do.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::cell::ColumnType;
use crate::domain::connector::Definition;
use crate::domain::op::{Checkpoint, Column, State, TableShape};

/// The state between two calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// As [`State::format`], which this is an extension of.
    format: u32,
    /// As [`State::connector`].
    connector: String,
    /// As [`State::tables`].
    #[serde(default)]
    tables: BTreeMap<String, BTreeMap<String, Value>>,
    /// The columns seen so far, so that a type never narrows from call to call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shapes: BTreeMap<String, Vec<(String, ColumnType)>>,
    /// Tables that the caller has been told to empty before their first rows.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    met: BTreeSet<String>,
    /// Tables read to their end, while a sync goes on over several calls.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    done: BTreeSet<String>,
    /// When the sync began that goes on over several calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Keys of rows in tables from which rows can vanish; each the JSON array of its parts as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, BTreeSet<String>>,
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
            tables: BTreeMap::new(),
            shapes: BTreeMap::new(),
            met: BTreeSet::new(),
            done: BTreeSet::new(),
            since: None,
            keys: BTreeMap::new(),
        }
    }

    /// What the caller kept; `None`, null and `{}` are the beginning.
    ///
    /// # Errors
    /// When it cannot be gone on from.
    pub fn read(kept: Option<Value>, connector: &str) -> Result<Saved, SavedError> {
        let object = match kept {
            None | Some(Value::Null) => return Ok(Saved::new(connector)),
            Some(Value::Object(object)) if object.is_empty() => return Ok(Saved::new(connector)),
            Some(Value::Object(object)) => object,
            Some(other) => return Err(SavedError::NotAnObject(kind_of(&other).to_owned())),
        };
        match object.get("format").and_then(Value::as_u64) {
            None => return Err(SavedError::Foreign),
            Some(format) if format != u64::from(State::FORMAT) => {
                return Err(SavedError::Format { found: format, known: State::FORMAT });
            }
            Some(_) => {}
        }
        match object.get("connector").and_then(Value::as_str) {
            Some(found) if found != connector => {
                Err(SavedError::OtherConnector { found: found.to_owned(), wanted: connector.to_owned() })
            }
            _ => {
                serde_json::from_value(Value::Object(object)).map_err(|e| SavedError::Damaged(e.to_string()))
            }
        }
    }

    /// As [`Saved::read`], from text; empty text is the beginning.
    ///
    /// # Errors
    /// When it cannot be gone on from.
    pub fn read_text(kept: &str, connector: &str) -> Result<Saved, SavedError> {
        if kept.trim().is_empty() {
            return Ok(Saved::new(connector));
        }
        let value = serde_json::from_str(kept).map_err(|e| SavedError::NotAnObject(e.to_string()))?;
        Saved::read(Some(value), connector)
    }

    /// The text for the caller to keep.
    pub fn to_json(&self) -> String {
        // Texts, numbers and maps with text keys: there is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What the connector needs of it.
    pub fn state(&self) -> State {
        State { format: self.format, connector: self.connector.clone(), tables: self.tables.clone() }
    }

    /// Moves on.
    pub fn apply(&mut self, checkpoint: Checkpoint) {
        for (table, partition, cursor) in checkpoint.entries {
            match cursor {
                Some(cursor) => drop(self.tables.entry(table).or_default().insert(partition, cursor)),
                None => {
                    if let Some(partitions) = self.tables.get_mut(&table) {
                        partitions.remove(&partition);
                        if partitions.is_empty() {
                            self.tables.remove(&table);
                        }
                    }
                }
            }
        }
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

    /// Forgets the keys of a table.
    pub(super) fn forget_keys(&mut self, table: &str) {
        self.keys.remove(table);
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "it is a boolean",
        Value::Number(_) => "it is a number",
        Value::String(_) => "it is a text",
        Value::Array(_) => "it is an array",
        Value::Object(_) => "it is an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Nothing, null and `{}` begin anew; what this program cannot go on from is refused with what to do.
    #[test]
    fn states_are_read_or_refused() {
        for beginning in [None, Some(Value::Null), Some(json!({}))] {
            assert_eq!(Saved::read(beginning, "acme"), Ok(Saved::new("acme")));
        }
        assert_eq!(Saved::read_text(" \n", "acme"), Ok(Saved::new("acme")));
        let refused = |text: &str| Saved::read_text(text, "acme").unwrap_err().to_string();
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
        assert_eq!(Saved::read_text(&saved.to_json(), "acme"), Ok(saved.clone()));
        saved.apply(Checkpoint { entries: vec![set("a", None), set("b", None), set("c", None)] });
        assert_eq!(saved.state().tables, BTreeMap::new());
    }
}
