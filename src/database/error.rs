//! Errors of PostgreSQL, as messages for the operator. They never contain a password.

use std::error::Error as _;
use std::fmt::Display;

use tokio_postgres::error::DbError;

use super::Address;
use crate::domain::network;
use crate::resolver::LookupError;

/// A failed operation. Clonable, because one failure is returned by every later call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    kind: DatabaseErrorKind,
    message: String,
}

/// The cases that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// A new connection may succeed soon: a restart, a network outage, no free connection.
    Unavailable,
    /// The configuration must change. All other errors may be temporary: even a missing role or database, while the
    /// server is being set up.
    Configuration,
    /// A replica, or a server set to read-only.
    ReadOnly,
    /// A deadlock or serialization failure: a retry of the transaction may succeed.
    Conflict,
    /// Another session holds a lock, or a statement took too long.
    Timeout,
    Other,
}

impl DatabaseError {
    pub fn kind(&self) -> DatabaseErrorKind {
        self.kind
    }

    /// See [`DatabaseErrorKind::Configuration`].
    pub fn is_configuration(&self) -> bool {
        self.kind == DatabaseErrorKind::Configuration
    }

    /// See [`DatabaseErrorKind::Conflict`].
    pub fn is_retriable(&self) -> bool {
        self.kind == DatabaseErrorKind::Conflict
    }

    /// See [`DatabaseErrorKind::Unavailable`].
    pub fn is_transient(&self) -> bool {
        self.kind == DatabaseErrorKind::Unavailable
    }

    fn new(kind: DatabaseErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    fn other(message: String) -> Self {
        Self::new(DatabaseErrorKind::Other, message)
    }

    /// `DATABASE_URL` cannot be used. The message does not contain the URL, since it may contain a password.
    pub(super) fn url(reason: &str) -> Self {
        Self::new(DatabaseErrorKind::Configuration, format!("DATABASE_URL {reason}"))
    }

    /// The certificate authorities cannot be read.
    pub(super) fn trust(place: impl Display, reason: impl Display) -> Self {
        Self::new(DatabaseErrorKind::Configuration, format!("{place}: {reason}"))
    }

    pub(super) fn unreachable(place: &str, reason: &str) -> Self {
        let unknown_host = LookupError::NotFound.to_string();
        let kind =
            if reason == unknown_host { DatabaseErrorKind::Other } else { DatabaseErrorKind::Unavailable };
        Self::new(kind, format!("cannot reach PostgreSQL at {place}: {reason}"))
    }

    pub(super) fn read_only(place: &str) -> Self {
        let message = format!(
            "PostgreSQL at {place} is read-only: it is a replica, or set to read-only; name the primary in DATABASE_URL"
        );
        Self::new(DatabaseErrorKind::ReadOnly, message)
    }

    pub(crate) fn lost(place: &str, reason: impl Display) -> Self {
        let message = format!(
            "lost the connection to PostgreSQL at {place}: {reason}; the next run resumes from the last checkpoint"
        );
        Self::new(DatabaseErrorKind::Unavailable, message)
    }

    pub(crate) fn timeout(place: &str, doing: &str, reason: impl Display) -> Self {
        let message = format!("PostgreSQL at {place}, {doing}: timed out: {reason}");
        Self::new(DatabaseErrorKind::Timeout, message)
    }

    pub(crate) fn failed(place: &str, doing: &str, reason: impl Display) -> Self {
        Self::other(format!("PostgreSQL at {place}, {doing}: {reason}"))
    }

    fn rejected(address: &Address, reason: impl Display) -> Self {
        let Address { name, user, .. } = address;
        Self::other(format!("PostgreSQL at {name} rejected user {user}: {reason}"))
    }

    fn tls(place: &str, reason: impl Display) -> Self {
        Self::other(format!(
            "TLS to PostgreSQL at {place} failed: {reason}; trust its authority with EXTRA_CA_FILE, or add sslmode=disable to DATABASE_URL where the network is trusted"
        ))
    }
}

pub(super) fn unresolved(address: &Address, error: &LookupError) -> DatabaseError {
    DatabaseError::unreachable(&address.name, &error.to_string())
}

pub(super) fn judge(address: &Address, doing: &str, error: &tokio_postgres::Error) -> DatabaseError {
    if let Some(db_error) = error.as_db_error() {
        return by_code(address, doing, db_error);
    }
    let place = address.name.as_str();
    let cause = error.source().map(ToString::to_string);
    let text = error.to_string();
    if text.contains("TLS") {
        return DatabaseError::tls(place, cause.unwrap_or(text));
    }
    let io = error.source().and_then(|e| e.downcast_ref::<std::io::Error>());
    if let Some(io) = io
        && let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return DatabaseError::tls(place, tls);
    }
    if error.is_closed() {
        return DatabaseError::lost(place, "the server closed it");
    }
    let passwordless = cause.as_deref() == Some("password missing");
    if passwordless || text.contains("authentication") {
        let reason = if passwordless { NO_PASSWORD.into() } else { cause.unwrap_or(text) };
        return DatabaseError::rejected(address, reason);
    }
    if let Some(io) = io {
        let reason = network::reason(io.kind()).map_or_else(|| io.to_string(), str::to_owned);
        return if text.contains("connecting") {
            DatabaseError::unreachable(place, &reason)
        } else {
            DatabaseError::lost(place, reason)
        };
    }
    let reason = cause.map_or(text.clone(), |cause| format!("{text}: {cause}"));
    DatabaseError::failed(place, doing, reason)
}

const NO_PASSWORD: &str = "a password is required: set DATABASE_PASSWORD";

fn by_code(address: &Address, doing: &str, db_error: &DbError) -> DatabaseError {
    let place = address.name.as_str();
    let code = db_error.code();
    let mut reason = db_error.message().to_owned();
    // Details about rejected data contain values, which must not be logged.
    let of_data = ["22", "23"].iter().any(|class| code.code().starts_with(class));
    for more in [db_error.detail().filter(|_| !of_data), db_error.hint()].into_iter().flatten() {
        reason = format!("{reason}; {}", more.trim_end_matches('.'));
    }
    let reason = reason.replace(['\r', '\n'], " ");
    match code.code() {
        "28P01" => DatabaseError::rejected(
            address,
            "wrong password, or no such user: correct DATABASE_URL or DATABASE_PASSWORD",
        ),
        "28000" => DatabaseError::rejected(address, reason),
        "3D000" => DatabaseError::other(format!(
            "PostgreSQL at {place} has no database {:?}: create it, or correct DATABASE_URL",
            address.database
        )),
        "25006" => DatabaseError::read_only(place),
        "42501" => {
            DatabaseError::failed(place, doing, format!("{reason}; docs/postgresql.md lists the grants"))
        }
        "53100" => DatabaseError::other(format!(
            "no space left at PostgreSQL {place}: the last transaction was rolled back; free some space, and the next run resumes from the last checkpoint"
        )),
        "53300" | "53400" => DatabaseError::new(
            DatabaseErrorKind::Unavailable,
            format!(
                "PostgreSQL at {place} has no connection left: {reason}; raise max_connections, or use a pooler"
            ),
        ),
        "40001" | "40P01" => {
            DatabaseError { kind: DatabaseErrorKind::Conflict, ..DatabaseError::failed(place, doing, reason) }
        }
        "55P03" | "57014" => DatabaseError::timeout(place, doing, reason),
        // A server that starts or stops, or that an administrator made end this session.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => DatabaseError::lost(place, reason),
        class if class.starts_with("08") => DatabaseError::lost(place, reason),
        _ => {
            let relation = match (db_error.schema(), db_error.table()) {
                (Some(schema), Some(table)) => format!(" ({schema}.{table})"),
                _ => String::new(),
            };
            DatabaseError::failed(place, doing, format!("{reason}{relation}"))
        }
    }
}
