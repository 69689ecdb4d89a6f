//! Names for PostgreSQL: quoted, within 63 bytes, and in the connector's schema.

use std::borrow::Cow;

use crate::domain::naming;

/// An identifier as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", fitted(name).replace('"', "\"\""))
}

/// The name the server keeps. It would cut off a longer one silently, and two might then be one.
pub(crate) fn fitted(name: &str) -> Cow<'_, str> {
    naming::fitted(name)
}

/// Names, quoted and separated by commas.
pub(crate) fn list<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    names.into_iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A text as SQL takes it.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

/// The schema of a connector, and the names in it.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// As the server keeps it.
    pub(crate) schema: String,
}

impl Names {
    pub(crate) fn new(connector: &str) -> Self {
        Self { schema: fitted(connector).into_owned() }
    }

    /// A table, ready for SQL.
    pub(crate) fn of(&self, table: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(table))
    }

    /// The table that holds the keys of the rows that a run sent.
    pub(crate) fn seen(&self, table: &str) -> String {
        self.of(&format!("{SEEN}{table}"))
    }

    /// The table for the rows that will replace a table's.
    pub(crate) fn staging(&self, table: &str) -> String {
        self.of(&format!("{STAGING}{table}"))
    }
}

/// The prefixes of tables that live no longer than a run.
pub(crate) const SEEN: &str = "_seen_";
/// See [`SEEN`].
pub(crate) const STAGING: &str = "_staging_";
