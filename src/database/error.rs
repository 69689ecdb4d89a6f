//! What can go wrong with PostgreSQL, in words for the person who runs us. Nothing here holds a password.

use std::error::Error as _;

use tokio_postgres::error::{DbError, SqlState};

use super::Address;
use crate::resolver::LookupError;

/// Why the database did not do what it should. Clonable, because one failure answers every later call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// `DATABASE_URL` cannot be used. The URL is not shown, since it may hold a password.
    #[error("DATABASE_URL {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate authorities cannot be read.
    #[error("{place}: {reason}")]
    Trust {
        /// The file or store.
        place: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot reach PostgreSQL at {place}: {reason}")]
    Unreachable {
        /// The server.
        place: String,
        /// Why.
        reason: String,
    },
    /// The server does not let us in.
    #[error("PostgreSQL at {place} refuses user {user}: {reason}")]
    Refused {
        /// The server.
        place: String,
        /// As whom.
        user: String,
        /// Why, and what to do.
        reason: String,
    },
    /// There is no such database.
    #[error("PostgreSQL at {place} has no database {database:?}: create it, or correct DATABASE_URL")]
    NoDatabase {
        /// The server.
        place: String,
        /// Its name.
        database: String,
    },
    /// The handshake failed, most often at the certificate.
    #[error(
        "TLS to PostgreSQL at {place} failed: {reason}; trust its authority with EXTRA_CA_FILE, or add sslmode=disable to DATABASE_URL where the network is trusted"
    )]
    Tls {
        /// The server.
        place: String,
        /// Why.
        reason: String,
    },
    /// A replica, or a server set to read-only.
    #[error(
        "PostgreSQL at {place} takes no writes: it is a replica or set read-only; name the primary in DATABASE_URL"
    )]
    ReadOnly {
        /// The server.
        place: String,
    },
    /// A privilege is missing.
    #[error("PostgreSQL at {place}, {doing}: {reason}; README's section on PostgreSQL lists the grants")]
    Grant {
        /// The server.
        place: String,
        /// What was being done.
        doing: String,
        /// What the server said: it names the object.
        reason: String,
    },
    /// No room left on the server's disk.
    #[error(
        "no space left at PostgreSQL {place}: nothing of the last transaction was stored; make room, the next run goes on from here"
    )]
    Full {
        /// The server.
        place: String,
    },
    /// No connection left.
    #[error("PostgreSQL at {place} has no connection left: {reason}; raise max_connections, or use a pooler")]
    TooMany {
        /// The server.
        place: String,
        /// What it said.
        reason: String,
    },
    /// Somebody else's work collided with ours; the same transaction may succeed when tried again.
    #[error("PostgreSQL at {place}, {doing}: {reason}")]
    Conflict {
        /// The server.
        place: String,
        /// What was being done.
        doing: String,
        /// What it said.
        reason: String,
    },
    /// Somebody holds a lock, or a statement took too long.
    #[error("PostgreSQL at {place}, {doing}: gave up waiting: {reason}")]
    Slow {
        /// The server.
        place: String,
        /// What was being done.
        doing: String,
        /// What it said.
        reason: String,
    },
    /// The connection is gone: a restart, a network, a person.
    #[error("lost the connection to PostgreSQL at {place}: {reason}; the next run goes on from here")]
    Lost {
        /// The server.
        place: String,
        /// What was heard last.
        reason: String,
    },
    /// Anything else the server says.
    #[error("PostgreSQL at {place}, {doing}: {reason}")]
    Failed {
        /// The server.
        place: String,
        /// What was being done.
        doing: String,
        /// Its SQLSTATE, if the server said it.
        code: Option<String>,
        /// What it said.
        reason: String,
    },
}

impl DatabaseError {
    /// Whether the same transaction may succeed when it is simply tried again: a deadlock or serialization failure.
    pub fn is_retriable(&self) -> bool {
        matches!(self, DatabaseError::Conflict { .. })
    }

    /// Whether only another configuration can help. All else may be over by itself: also a role or database may be
    /// missing because the server is being set up.
    pub fn is_configuration(&self) -> bool {
        matches!(self, DatabaseError::Url { .. } | DatabaseError::Trust { .. })
    }

    /// Whether a new connection may succeed a little later: a restart, a moment without a network or without room.
    pub fn is_transient(&self) -> bool {
        match self {
            DatabaseError::Lost { .. } | DatabaseError::TooMany { .. } => true,
            DatabaseError::Unreachable { reason, .. } => *reason != LookupError::NotFound.to_string(),
            _ => false,
        }
    }
}

pub(super) fn unresolved(address: &Address, error: &LookupError) -> DatabaseError {
    DatabaseError::Unreachable { place: address.name.clone(), reason: error.to_string() }
}

pub(super) fn judge(address: &Address, doing: &str, error: &tokio_postgres::Error) -> DatabaseError {
    if let Some(said) = error.as_db_error() {
        return by_code(address, doing, said);
    }
    let place = address.name.clone();
    let cause = error.source().map(ToString::to_string);
    let words = error.to_string();
    if words.contains("TLS") {
        return DatabaseError::Tls { place, reason: cause.unwrap_or(words) };
    }
    let io = error.source().and_then(|e| e.downcast_ref::<std::io::Error>());
    if let Some(io) = io
        && let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return DatabaseError::Tls { place, reason: tls.to_string() };
    }
    if error.is_closed() {
        return DatabaseError::Lost { place, reason: "the server closed it".into() };
    }
    let passwordless = cause.as_deref() == Some("password missing");
    if passwordless || words.contains("authentication") {
        let reason = if passwordless { NO_PASSWORD.into() } else { cause.unwrap_or(words) };
        return DatabaseError::Refused { place, user: address.user.clone(), reason };
    }
    if let Some(io) = io {
        let reason = io.to_string();
        return if words.contains("connecting") {
            DatabaseError::Unreachable { place, reason }
        } else {
            DatabaseError::Lost { place, reason }
        };
    }
    let reason = cause.map_or(words.clone(), |cause| format!("{words}: {cause}"));
    DatabaseError::Failed { place, doing: doing.to_owned(), code: None, reason }
}

const NO_PASSWORD: &str = "it wants a password: set DATABASE_PASSWORD";

fn by_code(address: &Address, doing: &str, said: &DbError) -> DatabaseError {
    let place = address.name.clone();
    let doing = doing.to_owned();
    let code = said.code();
    let mut reason = said.message().to_owned();
    // Of data that it refuses the server shows the values, and what people have in them is not for logs.
    let of_data = ["22", "23"].iter().any(|class| code.code().starts_with(class));
    for more in [said.detail().filter(|_| !of_data), said.hint()].into_iter().flatten() {
        reason = format!("{reason}; {}", more.trim_end_matches('.'));
    }
    let reason = reason.replace(['\r', '\n'], " ");
    match code.code() {
        "28P01" => DatabaseError::Refused {
            place,
            user: address.user.clone(),
            reason: "wrong password, or no such user: correct DATABASE_URL or DATABASE_PASSWORD".into(),
        },
        "28000" => DatabaseError::Refused { place, user: address.user.clone(), reason },
        "3D000" => DatabaseError::NoDatabase { place, database: address.database.clone() },
        "25006" => DatabaseError::ReadOnly { place },
        "42501" => DatabaseError::Grant { place, doing, reason },
        "53100" => DatabaseError::Full { place },
        "53300" | "53400" => DatabaseError::TooMany { place, reason },
        "40001" | "40P01" => DatabaseError::Conflict { place, doing, reason },
        "55P03" | "57014" => DatabaseError::Slow { place, doing, reason },
        // A server that starts or stops, and one that was told to end this session.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => DatabaseError::Lost { place, reason },
        class if class.starts_with("08") => DatabaseError::Lost { place, reason },
        _ => {
            let relation = match (said.schema(), said.table()) {
                (Some(schema), Some(table)) => format!(" ({schema}.{table})"),
                _ => String::new(),
            };
            let known = (*code != SqlState::SUCCESSFUL_COMPLETION).then(|| code.code().to_owned());
            DatabaseError::Failed { place, doing, code: known, reason: format!("{reason}{relation}") }
        }
    }
}
