//! PostgreSQL: one schema per connector, its tables under the names the definition gives them.
//!
//! The same tables, columns and accounts as in the SQLite files, with the server's own types. One thread owns the
//! connection. Rows go ahead by COPY into a table of the session and are merged by one statement, in one transaction with
//! the checkpoint that covers them; through a pooler they go within that statement. Only statements without a name are
//! used, except for COPY. Start at [`open`]; who may write is decided in `schema`, the thread's work is in `writer`,
//! the tables in `table` and `rows`.

mod complete;
mod import;
mod ledger;
mod names;
mod numeric;
mod rows;
mod run;
mod schema;
mod session;
mod table;
mod trouble;
mod wire;
mod writer;

use std::sync::Arc;

use tokio::sync::oneshot;

use super::DestinationError;
use super::threaded::{Failure, Threaded};
use crate::database::Database;
pub use import::{Copied, Import};
use names::Names;
use schema::Found;
use session::Session;
use trouble::Trouble;
use writer::Writer;

/// How often somebody else's migration may collide with ours.
const ATTEMPTS: u32 = 5;

/// Opens or creates the schema of a connector, and starts its thread. A server that restarts is waited for a moment.
///
/// # Errors
/// If the server cannot be reached or does not let us in, the schema is another's, or was written by a newer version.
pub async fn open(database: &Database, connector: &str) -> Result<Threaded, DestinationError> {
    let opened = start(database, connector, true).await?;
    opened.ok_or(DestinationError::OutOfOrder("the schema was not made"))
}

/// Opens the schema of a connector; `None` if it never wrote anything, and then nothing is made.
///
/// # Errors
/// As [`open`].
pub async fn find(database: &Database, connector: &str) -> Result<Option<Threaded>, DestinationError> {
    start(database, connector, false).await
}

async fn start(
    database: &Database,
    connector: &str,
    make: bool,
) -> Result<Option<Threaded>, DestinationError> {
    let names = Names::new(connector);
    let place = format!("{}, schema {}", database.name(), names.schema);
    let unwritable = |reason: std::io::Error| DestinationError::Unwritable {
        place: database.name().to_owned(),
        reason: reason.to_string(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unwritable)?;
    let (tell, told) = oneshot::channel();
    let (database, connector) = (database.clone(), connector.to_owned());
    let work = async move |inbox, failed: Arc<Failure>| match enter(&database, &names, &place, make).await {
        Ok(Some(session)) => {
            let _ = tell.send(Ok(true));
            Writer { database, names, place, connector, failed, session, seen: None, run: None }
                .run(inbox)
                .await;
        }
        Ok(None) => drop(tell.send(Ok(false))),
        Err(error) => drop(tell.send(Err(error))),
    };
    let name = "postgres".to_owned();
    let threaded = Threaded::start(name, move |inbox, failed| runtime.block_on(work(inbox, failed)))
        .map_err(unwritable)?;
    let there = told.await.unwrap_or(Err(DestinationError::OutOfOrder("the destination is closed")))?;
    Ok(there.then_some(threaded))
}

/// Connects, and makes sure that the schema is there and ours.
async fn enter(
    database: &Database,
    names: &Names,
    place: &str,
    make: bool,
) -> Result<Option<Session>, DestinationError> {
    let mut session = Session::open(database).await.map_err(DestinationError::Database)?;
    let judged = |trouble: Trouble| trouble.judged(database, &format!("opening schema {}", names.schema));
    let found = schema::find(session.client(), names, place).await.map_err(judged)?;
    match &found {
        Found::Ours(version) => schema::check(*version, place)?,
        Found::Nothing { .. } if !make => return Ok(None),
        Found::Nothing { .. } => {}
    }
    if schema::is_current(&found) {
        return Ok(Some(session));
    }
    for attempt in 1.. {
        let prepared = prepare(&mut session, names, place).await;
        match prepared
            .map_err(|trouble| trouble.told(database, &format!("preparing schema {}", names.schema)))
        {
            Ok(()) => break,
            Err(trouble) if trouble.is_retriable() && attempt < ATTEMPTS => {}
            Err(trouble) => return Err(judged(trouble)),
        }
    }
    Ok(Some(session))
}

async fn prepare(session: &mut Session, names: &Names, place: &str) -> Result<(), Trouble> {
    let db = session.transaction().await?;
    schema::prepare(&db, names, place).await?;
    db.commit().await?;
    Ok(())
}
