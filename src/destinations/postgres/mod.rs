//! PostgreSQL: one schema per connector, its tables under the names the definition gives them.
//!
//! The same tables and columns as in the SQLite files, with the server's own types. Rows go ahead by COPY into a table
//! of the session and are merged by one statement, in one transaction with the checkpoint that covers them; through a
//! pooler they go within that statement. Only unnamed statements are used, except for COPY. Start at [`open`]; who may
//! write is decided in `schema`, the work of the thread is in `backend`, the tables in `table` and `merge`.

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

use super::writer::Writer;
use super::writer_thread::closed;
use super::{DestinationError, WriterThread};
use crate::database::Database;
use backend::PostgresBackend;
use names::Names;
use session::Session;

/// Opens or creates the schema of a connector, and starts its thread. A server that is restarting is retried for a few
/// seconds.
///
/// # Errors
/// If the server cannot be reached or rejects our credentials, the schema belongs to someone else, or was written by a
/// newer version.
pub async fn open(database: &Database, connector: &str) -> Result<WriterThread, DestinationError> {
    let opened = start(database, connector, true).await?;
    opened.ok_or_else(|| DestinationError::new("the schema was not created"))
}

/// Opens the schema of a connector; `None` if it never wrote anything, and then nothing is created.
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
            // The caller may have given up; then the channel is closed too.
            let _ = opened.send(Ok(true));
            Writer::new(backend, failure).serve(requests).await;
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

/// Connects, and makes sure that the schema exists, is ours and up to date. `None` if it does not exist and is not to be
/// created.
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
