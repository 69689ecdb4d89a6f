//! PostgreSQL: one schema per connector, its tables under the names the definition gives them.
//!
//! The tables and columns are the same as in the SQLite files, with the server's own types. Rows are sent ahead by COPY
//! into a temporary table and merged by one statement, in one transaction with the checkpoint that covers them; through a
//! pooler they are part of that statement. All statements except COPY are unnamed. Start at [`open`]; `schema` has the
//! lock, `backend` the work of the thread, `table` and `merge` the tables.

pub(crate) mod backend;
pub(crate) mod binary;
mod completion;
pub(crate) mod failure;
pub(crate) mod merge;
pub(crate) mod names;
mod numeric;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod system_tables;
pub(crate) mod table;

use tokio::sync::oneshot;

use super::writer::DestinationWriter;
use super::writer_thread::closed;
use super::{DestinationError, FollowUp, WriterThread};
use crate::database::Database;
use backend::PostgresBackend;
use names::Names;
use session::Session;

/// Opens or creates the schema of a connector, and starts its thread. A server that is restarting is retried for a few
/// seconds.
///
/// # Errors
/// When the server cannot be reached or rejects the credentials, or when the schema is used by another program or a
/// newer version.
pub async fn open(database: &Database, connector: &str) -> Result<WriterThread, DestinationError> {
    let opened = start(database, connector, true).await?;
    opened.ok_or_else(|| DestinationError::new("the schema was not created"))
}

/// Opens the schema of a connector. Returns `None`, and creates nothing, if the connector has never written.
///
/// # Errors
/// As [`open`].
pub async fn find(database: &Database, connector: &str) -> Result<Option<WriterThread>, DestinationError> {
    start(database, connector, false).await
}

async fn start(
    database: &Database,
    connector: &str,
    create: bool,
) -> Result<Option<WriterThread>, DestinationError> {
    let cannot_open = |reason: std::io::Error| DestinationError::cannot_open(database.name(), reason);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_open)?;
    let (opened, is_open) = oneshot::channel();
    let (to, connector) = (database.clone(), connector.to_owned());
    let work = async move |requests, failure| match connect(&to, &connector, create).await {
        Ok(Some(backend)) => {
            // The receiver may have been dropped; then the request channel is closed too.
            let _ = opened.send(Ok(true));
            DestinationWriter::new(backend, failure).serve(requests).await;
        }
        Ok(None) => drop(opened.send(Ok(false))),
        Err(error) => drop(opened.send(Err(error))),
    };
    let thread = WriterThread::start("postgres".to_owned(), move |requests, failure| {
        runtime.block_on(work(requests, failure));
    })
    .map_err(cannot_open)?;
    Ok(is_open.await.unwrap_or_else(|_| Err(closed()))?.then_some(thread))
}

/// Adds what follows a run to the history of a connector's schema.
///
/// # Errors
/// When the server cannot be reached or written.
pub(super) async fn record_follow_up(
    database: &Database,
    connector: &str,
    done: &FollowUp,
) -> Result<(), DestinationError> {
    let connected = database.connect_patiently().await?;
    let recorded = system_tables::record_follow_up(&connected.client, &Names::new(connector), done).await;
    recorded.map_err(|failure| failure.into_error(database, "writing the run history"))
}

/// Connects, checks that the schema is ours, and migrates it. `None` if it does not exist and `create` is false.
pub(crate) async fn connect(
    database: &Database,
    connector: &str,
    create: bool,
) -> Result<Option<PostgresBackend>, DestinationError> {
    let names = Names::new(connector);
    let place = format!("{}, schema {}", database.name(), names.schema);
    let mut session = Session::open(database).await?;
    let opening = format!("opening schema {}", names.schema);
    let exists = schema::exists(session.client(), &names, &place)
        .await
        .map_err(|failure| failure.into_error(database, &opening))?;
    if !exists && !create {
        return Ok(None);
    }
    schema::migrate(&mut session, &names, &place).await?;
    let (database, connector) = (database.clone(), connector.to_owned());
    Ok(Some(PostgresBackend { database, names, place, connector, session }))
}
