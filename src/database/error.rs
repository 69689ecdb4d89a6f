//! What can go wrong with PostgreSQL, as a message for the operator. It never holds a password.

use std::error::Error as _;
use std::fmt::Display;

use tokio_postgres::error::DbError;

use super::Address;
use crate::resolver::LookupError;

/// Why the database did not do what it should. Clonable, because one failure answers every later call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    kind: DatabaseErrorKind,
    message: String,
}

/// What callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// A new connection may succeed a little later: a restart, a network outage, no connection left.
    Unavailable,
    /// Only another configuration can help. All else may be over by itself: also a role or database may be missing
    /// because the server is being set up.
    Configuration,
    /// A replica, or a server set to read-only.
    ReadOnly,
    /// A deadlock or serialization failure: the same transaction may succeed when it is repeated.
    Conflict,
    /// Somebody holds a lock, or a statement took too long.
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

    /// `DATABASE_URL` cannot be used. The URL is not shown, since it may hold a password.
    pub(super) fn url(reason: &str) -> Self {
        Self::new(DatabaseErrorKind::Configuration, format!("DATABASE_URL {reason}"))
    }

    /// Certificate authorities cannot be read.
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

    /// The connection ended.
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
    if let Some(said) = error.as_db_error() {
        return by_code(address, doing, said);
    }
    let place = address.name.as_str();
    let cause = error.source().map(ToString::to_string);
    let words = error.to_string();
    if words.contains("TLS") {
        return DatabaseError::tls(place, cause.unwrap_or(words));
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
    if passwordless || words.contains("authentication") {
        let reason = if passwordless { NO_PASSWORD.into() } else { cause.unwrap_or(words) };
        return DatabaseError::rejected(address, reason);
    }
    if let Some(io) = io {
        let reason = io.to_string();
        return if words.contains("connecting") {
            DatabaseError::unreachable(place, &reason)
        } else {
            DatabaseError::lost(place, reason)
        };
    }
    let reason = cause.map_or(words.clone(), |cause| format!("{words}: {cause}"));
    DatabaseError::failed(place, doing, reason)
}

const NO_PASSWORD: &str = "a password is required: set DATABASE_PASSWORD";

fn by_code(address: &Address, doing: &str, said: &DbError) -> DatabaseError {
    let place = address.name.as_str();
    let code = said.code();
    let mut reason = said.message().to_owned();
    // Details about rejected data hold values, and those do not belong into logs.
    let of_data = ["22", "23"].iter().any(|class| code.code().starts_with(class));
    for more in [said.detail().filter(|_| !of_data), said.hint()].into_iter().flatten() {
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
        // A server that starts or stops, and one that was told to end this session.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => DatabaseError::lost(place, reason),
        class if class.starts_with("08") => DatabaseError::lost(place, reason),
        _ => {
            let relation = match (said.schema(), said.table()) {
                (Some(schema), Some(table)) => format!(" ({schema}.{table})"),
                _ => String::new(),
            };
            DatabaseError::failed(place, doing, format!("{reason}{relation}"))
        }
    }
}
