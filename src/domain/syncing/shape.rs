//! The shape of a table, and the merge of a stored shape with an announced one.
//!
//! This module does not know the contents of a database. Where stored values decide, the caller looks them up
//! first ([`TableShape::integers_to_check`]). Start at [`TableShape::merge`].

use super::cell::ColumnType;

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Column {
    /// Lower snake case; unique in its table.
    pub name: String,
    /// Only ever widened.
    pub kind: ColumnType,
}

/// How rows of a table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Write {
    /// By key: insert, or replace every column.
    Upsert,
    /// Always insert; for a table without a key.
    Append,
    /// The run's rows replace all rows of the table once the table was read completely.
    Replace,
}

impl Write {
    /// The word in definitions.
    pub fn as_str(self) -> &'static str {
        match self {
            Write::Upsert => "upsert",
            Write::Append => "append",
            Write::Replace => "replace",
        }
    }
}

/// The shape of a table at this point of the stream. The order of columns does not change; new ones are
/// appended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableShape {
    /// Lower snake case.
    pub table: String,
    /// The columns of the rows that follow, in this order.
    pub columns: Vec<Column>,
    /// Names of the key's columns; empty only with [`Write::Append`] or [`Write::Replace`].
    pub key: Vec<String>,
    pub write: Write,
    /// The column in which the source marks a row as deleted. If it is true, the row is soft-deleted instead
    /// of stored as live. Only with [`Write::Upsert`] and a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_if: Option<String>,
}

/// The merge of a stored and an announced shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMerge {
    /// The shape to store; its types may be wider than the announced ones.
    pub shape: TableShape,
    /// Columns whose stored values must be converted.
    pub widened: Vec<Widening>,
    /// The deletion column changed, so stored rows must be checked against the new one.
    pub recheck_deleted: bool,
}

/// A column that gets a wider type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widening {
    pub column: String,
    pub from: ColumnType,
    pub to: ColumnType,
}

/// The definition has another key or write mode than the stored table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "stored with key ({stored_key}) and write = \"{}\", but the definition has key ({announced_key}) and write = \"{}\": \
     drop or rename the table and sync again",
    stored_write.as_str(),
    announced_write.as_str()
)]
pub struct SchemaConflict {
    stored_key: String,
    stored_write: Write,
    announced_key: String,
    announced_write: Write,
}

impl TableShape {
    /// The columns with a known type; the others do not exist in the database yet.
    pub fn known_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.kind != ColumnType::Unknown)
    }

    /// The type of a column; [`ColumnType::Unknown`] if it does not exist.
    pub fn column_type(&self, name: &str) -> ColumnType {
        self.columns
            .iter()
            .find(|column| column.name == name)
            .map_or(ColumnType::Unknown, |column| column.kind)
    }

    /// Whether a table can be created: it has a column, and the type of each key column is known.
    pub fn is_creatable(&self) -> bool {
        self.known_columns().next().is_some()
            && self.key.iter().all(|key| self.column_type(key) != ColumnType::Unknown)
    }

    /// The index of the cell that says whether a row is deleted; `None` if no row can say so.
    pub fn deleted_place(&self) -> Option<usize> {
        let name =
            self.deleted_if.as_ref().filter(|_| self.write == Write::Upsert && !self.key.is_empty())?;
        self.columns.iter().position(|column| column.name == *name && column.kind != ColumnType::Unknown)
    }

    /// The column at [`deleted_place`](Self::deleted_place).
    pub fn deleted_column(&self) -> Option<&str> {
        self.deleted_place().and_then(|place| self.columns.get(place)).map(|column| column.name.as_str())
    }

    /// Columns whose stored integers decide the merge: stored as bigint, announced as double. Those with an
    /// integer beyond [`EXACT_IN_DOUBLE`](super::cell::EXACT_IN_DOUBLE) must be passed to
    /// [`merge`](Self::merge).
    pub fn integers_to_check<'a>(&'a self, announced: &'a TableShape) -> impl Iterator<Item = &'a str> {
        self.columns
            .iter()
            .filter(|column| {
                column.kind == ColumnType::Bigint && announced.column_type(&column.name) == ColumnType::Double
            })
            .map(|column| column.name.as_str())
    }

    /// Merges with the shape of rows to come. `beyond_double` names the columns of
    /// [`integers_to_check`](Self::integers_to_check) with an integer that a double cannot represent.
    ///
    /// # Errors
    /// If the key or the write mode differs: stored rows cannot be converted then.
    pub fn merge(
        &self,
        announced: &TableShape,
        beyond_double: &[String],
    ) -> Result<SchemaMerge, SchemaConflict> {
        if self.key != announced.key || self.write != announced.write {
            return Err(SchemaConflict {
                stored_key: self.key.join(", "),
                stored_write: self.write,
                announced_key: announced.key.join(", "),
                announced_write: announced.write,
            });
        }
        let mut shape = TableShape { deleted_if: announced.deleted_if.clone(), ..self.clone() };
        let mut widened = Vec::new();
        for column in &announced.columns {
            let Some(stored) = shape.columns.iter_mut().find(|stored| stored.name == column.name) else {
                shape.columns.push(column.clone());
                continue;
            };
            let from = stored.kind;
            stored.kind = common_type(from, column.kind, beyond_double.contains(&column.name));
            if from != ColumnType::Unknown && from != stored.kind {
                widened.push(Widening { column: column.name.clone(), from, to: stored.kind });
            }
        }
        let recheck_deleted = self.deleted_if != shape.deleted_if;
        Ok(SchemaMerge { shape, widened, recheck_deleted })
    }
}

/// The type that holds both stored and announced values. An integer that a double cannot represent keeps its
/// digits.
fn common_type(stored: ColumnType, announced: ColumnType, beyond_double: bool) -> ColumnType {
    match (stored, announced) {
        // Any integer may follow, and the connector does not know that doubles are stored here.
        (ColumnType::Double, ColumnType::Bigint) => ColumnType::Decimal,
        (ColumnType::Bigint, ColumnType::Double) if beyond_double => ColumnType::Decimal,
        (stored, announced) => stored.join(announced),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ColumnType::{Bigint, Boolean, Date, Decimal, Double, Json, Text, Timestamp, Unknown};

    fn shape(columns: &[(&str, ColumnType)]) -> TableShape {
        let columns =
            columns.iter().map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect();
        TableShape {
            table: "t".into(),
            columns,
            key: vec!["id".into()],
            write: Write::Upsert,
            deleted_if: None,
        }
    }

    #[test]
    fn shapes_without_a_deletion_column_are_stored_as_before() {
        let stored = r#"{"table":"t","columns":[{"name":"id","kind":"bigint"},{"name":"gone","kind":"boolean"}],"key":["id"],"write":"upsert"}"#;
        let shape: TableShape = serde_json::from_str(stored).unwrap();
        assert_eq!(
            (shape.deleted_place(), serde_json::to_string(&shape).unwrap()),
            (None, stored.to_owned())
        );
        let with_column = TableShape { deleted_if: Some("gone".into()), ..shape };
        assert_eq!((with_column.deleted_place(), with_column.deleted_column()), (Some(1), Some("gone")));
        let read: TableShape = serde_json::from_str(&serde_json::to_string(&with_column).unwrap()).unwrap();
        assert_eq!(read, with_column);
        let unable = [
            TableShape { write: Write::Replace, ..with_column.clone() },
            TableShape { key: Vec::new(), ..with_column.clone() },
            TableShape { deleted_if: Some("other".into()), ..with_column },
        ];
        assert!(unable.iter().all(|shape| shape.deleted_place().is_none()));
    }

    /// stored + announced → merged, with (`*`) and without an integer beyond 2^53 in the stored column.
    #[test]
    fn stored_and_announced_types_merge() {
        for (stored, announced, large, merged) in [
            (Unknown, Bigint, false, Bigint),
            (Bigint, Unknown, false, Bigint),
            (Bigint, Double, false, Double),
            (Bigint, Double, true, Decimal),
            (Bigint, Decimal, true, Decimal),
            (Double, Bigint, false, Decimal),
            (Double, Double, false, Double),
            (Boolean, Bigint, false, Text),
            (Date, Timestamp, false, Timestamp),
            (Timestamp, Date, false, Timestamp),
            (Json, Text, false, Text),
            (Text, Bigint, false, Text),
        ] {
            let old = shape(&[("id", Text), ("v", stored)]);
            let new = shape(&[("id", Text), ("w", Date), ("v", announced)]);
            let beyond = if large { vec!["v".to_owned()] } else { Vec::new() };
            let merge = old.merge(&new, &beyond).unwrap();
            let context = format!("{stored:?} + {announced:?}");
            assert_eq!(merge.shape, shape(&[("id", Text), ("v", merged), ("w", Date)]), "{context}");
            let widening = Widening { column: "v".into(), from: stored, to: merged };
            let converts = stored != Unknown && stored != merged;
            assert_eq!(merge.widened, Vec::from_iter(converts.then_some(widening)), "{context}");
            let to_check: Vec<&str> = old.integers_to_check(&new).collect();
            assert_eq!(to_check == ["v"], (stored, announced) == (Bigint, Double), "{context}");
        }
    }

    #[test]
    fn another_key_or_write_mode_is_a_conflict() {
        let stored = shape(&[("id", Bigint), ("v", Text)]);
        let other_key = TableShape { key: vec!["v".into()], ..stored.clone() };
        let error = stored.merge(&other_key, &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "stored with key (id) and write = \"upsert\", but the definition has key (v) and write = \"upsert\": \
             drop or rename the table and sync again"
        );
        let replaced = TableShape { write: Write::Replace, ..stored.clone() };
        let error = stored.merge(&replaced, &[]).unwrap_err().to_string();
        assert!(error.contains("write = \"replace\""), "{error}");
    }

    #[test]
    fn another_deletion_column_requires_a_check_of_stored_rows() {
        let stored = shape(&[("id", Bigint), ("gone", Boolean)]);
        let announced = TableShape { deleted_if: Some("gone".into()), ..stored.clone() };
        let merge = stored.merge(&announced, &[]).unwrap();
        assert!(merge.recheck_deleted && merge.widened.is_empty());
        assert!(!merge.shape.merge(&announced, &[]).unwrap().recheck_deleted);
    }

    #[test]
    fn a_table_needs_its_key_to_be_created() {
        assert!(shape(&[("id", Bigint)]).is_creatable());
        assert!(!shape(&[("id", Unknown), ("v", Text)]).is_creatable());
        assert!(!shape(&[("v", Text)]).is_creatable());
        let keyless = TableShape { key: Vec::new(), ..shape(&[("v", Unknown)]) };
        assert!(!keyless.is_creatable());
        assert!(TableShape { key: Vec::new(), ..shape(&[("v", Text)]) }.is_creatable());
    }

    fn kinds() -> impl Strategy<Value = ColumnType> {
        prop::sample::select(vec![Unknown, Boolean, Bigint, Double, Decimal, Date, Timestamp, Json, Text])
    }

    fn shapes() -> impl Strategy<Value = TableShape> {
        let columns = prop::collection::btree_map("[a-f]", kinds(), 0..6);
        columns.prop_map(|columns| {
            let columns: Vec<(&str, ColumnType)> =
                columns.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
            shape(&columns)
        })
    }

    proptest! {
        /// A merge neither drops, moves nor narrows a column; every stored or announced value fits; and
        /// merging the same announcement again changes nothing.
        #[test]
        fn merges_only_widen(stored in shapes(), announced in shapes(), large in any::<bool>()) {
            let beyond: Vec<String> = match large {
                true => stored.integers_to_check(&announced).map(str::to_owned).collect(),
                false => Vec::new(),
            };
            let SchemaMerge { shape, widened, .. } = stored.merge(&announced, &beyond).unwrap();
            for (old, new) in stored.columns.iter().zip(&shape.columns) {
                prop_assert_eq!(&old.name, &new.name);
                prop_assert_eq!(old.kind.join(new.kind), new.kind);
                let converts = old.kind != Unknown && old.kind != new.kind;
                prop_assert_eq!(widened.iter().any(|widening| widening.column == new.name), converts);
            }
            for column in &announced.columns {
                let kind = shape.column_type(&column.name);
                prop_assert_eq!(column.kind.join(kind), kind);
            }
            let new = announced.columns.iter().filter(|c| stored.columns.iter().all(|s| s.name != c.name));
            prop_assert_eq!(shape.columns.len(), stored.columns.len() + new.count());
            prop_assert_eq!(shape.merge(&announced, &[]).unwrap().widened, vec![]);
        }
    }
}
