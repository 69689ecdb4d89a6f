//! The cursors of a state as text with an index: a tree of values would need ten times the memory.
//!
//! Start at [`TextCursors::read`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A part of a JSON document that is not copied.
#[derive(Debug, Clone)]
pub struct TextPart {
    text: Arc<String>,
    place: Range<usize>,
}

impl TextPart {
    pub fn new(text: Arc<String>, place: Range<usize>) -> TextPart {
        TextPart { text, place }
    }

    pub fn as_str(&self) -> &str {
        self.text.get(self.place.clone()).unwrap_or_default()
    }

    fn within(&self, part: &str) -> TextPart {
        TextPart { text: Arc::clone(&self.text), place: place(&self.text, part) }
    }
}

impl From<String> for TextPart {
    fn from(text: String) -> TextPart {
        let place = 0..text.len();
        TextPart { text: Arc::new(text), place }
    }
}

/// The position of `part` in the text that it borrows from.
pub fn place(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

/// Cursors by table and partition, read from the text when needed. Clones share the text.
#[derive(Clone, Default)]
pub struct TextCursors(Option<Arc<Index>>);

struct Index {
    text: TextPart,
    /// By table; ordered by partition.
    tables: BTreeMap<String, Box<[StateEntry]>>,
}

/// Byte ranges of a partition's name and its cursor in the text.
#[derive(Clone, Copy)]
struct StateEntry {
    name: (u32, u32),
    cursor: (u32, u32),
}

impl TextCursors {
    /// Parses the member `tables` of a state.
    ///
    /// # Errors
    /// If it is not an object of objects, or larger than 4 GB.
    pub fn read(state: &TextPart, tables: &RawValue) -> Result<TextCursors, serde_json::Error> {
        let text = state.within(tables.get());
        let mut json = serde_json::Deserializer::from_str(text.as_str());
        let tables = json.deserialize_map(Tables(text.as_str()))?;
        Ok(TextCursors(Some(Arc::new(Index { text, tables }))))
    }

    /// The cursor of a partition, as JSON.
    pub fn get(&self, table: &str, partition: &str) -> Option<&str> {
        let index = self.0.as_ref()?;
        let entries = index.tables.get(table)?;
        let found = entries.binary_search_by(|entry| index.name(entry).as_ref().cmp(partition)).ok()?;
        entries.get(found).map(|entry| index.part(entry.cursor))
    }

    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|index| index.tables.keys().map(String::as_str))
    }

    /// Partitions of a table with their cursors, as JSON.
    pub fn partitions(&self, table: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        let index = self.0.as_ref();
        let entries = index.and_then(|index| index.tables.get(table)).into_iter().flatten();
        index
            .into_iter()
            .flat_map(move |index| entries.clone().map(|entry| (index.name(entry), index.part(entry.cursor))))
    }
}

impl Index {
    fn part(&self, (start, end): (u32, u32)) -> &str {
        self.text.as_str().get(start as usize..end as usize).unwrap_or_default()
    }

    fn name(&self, entry: &StateEntry) -> Cow<'_, str> {
        unquoted(self.part(entry.name))
    }
}

/// The value of a JSON string.
fn unquoted(json: &str) -> Cow<'_, str> {
    let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default();
    if inner.contains('\\') {
        // It was parsed as JSON before.
        Cow::Owned(serde_json::from_str(json).unwrap_or_default())
    } else {
        Cow::Borrowed(inner)
    }
}

struct Tables<'t>(&'t str);

impl<'de> Visitor<'de> for Tables<'de> {
    type Value = BTreeMap<String, Box<[StateEntry]>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tables = BTreeMap::new();
        while let Some((name, partitions)) = map.next_entry::<String, &'de RawValue>()? {
            let mut json = serde_json::Deserializer::from_str(partitions.get());
            let entries = json.deserialize_map(PartitionTexts(self.0)).map_err(A::Error::custom)?;
            tables.insert(name, entries);
        }
        Ok(tables)
    }
}

struct PartitionTexts<'t>(&'t str);

impl<'de> Visitor<'de> for PartitionTexts<'de> {
    type Value = Box<[StateEntry]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of cursors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = |part: &RawValue| {
            let place = place(self.0, part.get());
            let at = |byte| u32::try_from(byte).map_err(|_| A::Error::custom("it is larger than 4 GB"));
            Ok::<_, A::Error>((at(place.start)?, at(place.end)?))
        };
        let name = |entry: &StateEntry| {
            let (start, end) = entry.name;
            unquoted(self.0.get(start as usize..end as usize).unwrap_or_default())
        };
        let mut entries = Vec::new();
        while let Some((name, cursor)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
            entries.push(StateEntry { name: place(name)?, cursor: place(cursor)? });
        }
        // Of duplicate names the last one wins.
        entries.reverse();
        entries.sort_by(|a, b| name(a).cmp(&name(b)));
        entries.dedup_by(|a, b| name(a) == name(b));
        Ok(entries.into_boxed_slice())
    }
}

impl PartialEq for TextCursors {
    fn eq(&self, other: &TextCursors) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => true,
            _ => {
                let all = |cursors: &TextCursors| -> Vec<(String, String, String)> {
                    let of = |table: &str| -> Vec<(String, String, String)> {
                        let each = cursors.partitions(table);
                        each.map(|(name, cursor)| (table.to_owned(), name.into_owned(), cursor.to_owned()))
                            .collect()
                    };
                    cursors.tables().flat_map(of).collect()
                };
                all(self) == all(other)
            }
        }
    }
}

impl fmt::Debug for TextCursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.tables().map(|table| (table, self.partitions(table).count()));
        f.debug_map().entries(counts).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<TextCursors, serde_json::Error> {
        let part = TextPart::from(text.to_owned());
        let raw: &RawValue = serde_json::from_str(part.as_str())?;
        TextCursors::read(&part, raw)
    }

    /// Other JSON is rejected; of duplicate names the last one wins.
    #[test]
    fn reads_objects_of_objects() {
        for wrong in ["5", "[]", r#"{"t":5}"#, r#"{"t":[]}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let cursors = read(r#" {"t": {"b": 1, "a\u0022" : {"x":[2]}, "b": 3}, "u": {}} "#).unwrap();
        assert_eq!(cursors.get("t", "b"), Some("3"));
        assert_eq!(cursors.get("t", "a\""), Some(r#"{"x":[2]}"#));
        assert_eq!((cursors.get("t", "a"), cursors.get("v", "b")), (None, None));
        assert_eq!(
            cursors.partitions("t").map(|(name, _)| name.into_owned()).collect::<Vec<_>>(),
            ["a\"", "b"]
        );
        assert_eq!(cursors.tables().collect::<Vec<_>>(), ["t", "u"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// For any names.
        #[test]
        fn finds_what_a_tree_finds(tables in btree_map(".{0,9}", btree_map(".{0,9}", any::<i64>(), 0..9), 0..4)) {
            let cursors = read(&json!(tables).to_string()).unwrap();
            for (table, partitions) in &tables {
                prop_assert_eq!(cursors.partitions(table).count(), partitions.len());
                for (partition, cursor) in partitions {
                    let found: Option<Value> = cursors.get(table, partition).map(|json| serde_json::from_str(json).unwrap());
                    prop_assert_eq!(found, Some(json!(cursor)));
                }
            }
        }
    }
}
