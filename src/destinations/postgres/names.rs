//! Names in PostgreSQL: quoted, at most 63 bytes, and in the connector's schema.

use std::borrow::Cow;

use crate::domain::syncing::naming;

/// A quoted SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", fitted(name).replace('"', "\"\""))
}

/// A name within the server's limit. The server would truncate longer ones silently, so that two could become equal.
pub(crate) fn fitted(name: &str) -> Cow<'_, str> {
    naming::fitted(name)
}

/// Names, quoted and separated by commas.
pub(crate) fn list<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    names.into_iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A quoted SQL string.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

/// The schema of a connector, and the names in it.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Within the server's limit.
    pub(crate) schema: String,
}

impl Names {
    pub(crate) fn new(connector: &str) -> Self {
        Self { schema: fitted(connector).into_owned() }
    }

    /// A table as a qualified, quoted name.
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

/// A prefix of tables that exist only during a run.
pub(crate) const SEEN: &str = "_seen_";
/// A prefix of tables that exist only during a run.
pub(crate) const STAGING: &str = "_staging_";
