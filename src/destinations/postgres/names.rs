//! Names as PostgreSQL takes them: quoted, within 63 bytes, and in the connector's schema.

use std::borrow::Cow;

use crate::domain::naming;

/// An identifier as SQL takes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", fitted(name).replace('"', "\"\""))
}

/// The name the server keeps. It would cut off a longer one silently, and two might then be one.
pub(super) fn fitted(name: &str) -> Cow<'_, str> {
    naming::fitted(name)
}

/// Names, quoted and separated by commas.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// A text as SQL takes it.
pub(super) fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

/// The schema of a connector, and the names in it.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// As the server keeps it.
    pub(super) schema: String,
}

impl Names {
    pub(super) fn new(connector: &str) -> Self {
        Self { schema: fitted(connector).into_owned() }
    }

    /// A table, ready for SQL.
    pub(super) fn of(&self, table: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(table))
    }

    /// The table that holds the keys a run has seen.
    pub(super) fn seen(&self, table: &str) -> String {
        self.of(&format!("{SEEN}{table}"))
    }

    /// The table that gathers the rows which replace a table's.
    pub(super) fn staging(&self, table: &str) -> String {
        self.of(&format!("{STAGING}{table}"))
    }
}

/// How the names of the tables begin that live no longer than a run.
pub(super) const SEEN: &str = "_seen_";
/// See [`SEEN`].
pub(super) const STAGING: &str = "_staging_";
