//! The schema of a connector: creates and migrates it, and locks it for one run at a time.
//!
//! The lock is a row in `_lock` with a lease and a fencing token that grows with every run; each transaction of a run
//! checks the token. So a run that was paused or disconnected for longer than its lease stores nothing once another has
//! started, also through a pooler. In addition, a run holds an advisory lock of its session, if it has one: if that is
//! free, the holder has ended, and the next run need not wait until the lease expires. Start at [`exists`], [`migrate`]
//! and [`take`].

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use super::failure::PostgresFailure;
use super::names::{Names, literal, quoted};
use super::session::Session;
use crate::database::steps::{SchemaSteps, StepsError};
use crate::destinations::DestinationError;

/// Our tables, one step for each version of their format. A released step never changes.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long the lock is valid without renewal: longer than usual pauses and network delays.
pub(super) const LEASE_SECONDS: u64 = 60;

/// Greater than any earlier token, including those missing on a replica that was promoted without the last commits.
const NEXT_TOKEN: &str = "greatest(token + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

/// Whether the schema contains our tables. Refuses a schema of another program or without our permissions.
pub(crate) async fn exists(
    client: &impl GenericClient,
    names: &Names,
    place: &str,
) -> Result<bool, PostgresFailure> {
    let rows = client
        .query_typed(
            "SELECT pg_get_userbyid(n.nspowner)::text, has_schema_privilege(n.oid, 'CREATE'),
                    has_schema_privilege(n.oid, 'USAGE'),
                    EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = '_format'),
                    (SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c
                     WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')),
                    quote_ident(current_user)
             FROM pg_namespace n WHERE n.nspname = $1",
            &[(&names.schema, Type::TEXT)],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let (owner, may_create, may_use, ours): (String, bool, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let refuse = |reason: String| Err(DestinationError::cannot_open(place, reason).into());
    let (schema, quoted_schema) = (&names.schema, quoted(&names.schema));
    let user: String = row.get(5);
    let grant = format!("as {owner} run GRANT USAGE, CREATE ON SCHEMA {quoted_schema} TO {user}");
    if !may_use {
        return refuse(format!("schema {schema} belongs to role {owner} and we may not use it: {grant}"));
    }
    if ours {
        return Ok(true);
    }
    if let Some(others) = row.get::<_, Option<String>>(4) {
        return refuse(format!(
            "schema {schema} belongs to role {owner} and holds tables that are not ours ({}): rename it, or use another database",
            shortened(&others)
        ));
    }
    if !may_create {
        return refuse(format!(
            "schema {schema} belongs to role {owner} and we may not create tables in it: {grant}"
        ));
    }
    Ok(false)
}

fn shortened(names: &str) -> String {
    const MAX_BYTES: usize = 60;
    if names.len() <= MAX_BYTES {
        names.to_owned()
    } else {
        format!("{}…", &names[..names.floor_char_boundary(MAX_BYTES)])
    }
}

/// Creates or migrates the schema and our tables.
pub(super) async fn migrate(
    session: &mut Session,
    names: &Names,
    place: &str,
) -> Result<(), DestinationError> {
    let steps = SchemaSteps {
        schema: quoted(&names.schema),
        lock: lock_text(names, "migrations"),
        version_table: "_format",
        version: "version",
        prelude: "",
        record: "UPDATE _format SET version = $1",
        steps: MIGRATIONS.map(str::to_owned).to_vec(),
    };
    match steps.migrate(session.connected()).await {
        Ok(()) => Ok(()),
        Err(StepsError::Newer { found, known }) => Err(DestinationError::newer(place, found, known)),
        Err(StepsError::Database(error)) => Err(error.into()),
    }
}

/// The text whose hash is the number of an advisory lock.
fn lock_text(names: &Names, what: &str) -> String {
    format!("data-sources-monitor {what} of {}", names.schema)
}

/// SQL: the number of the advisory lock that a run holds in its session.
fn run_lock(names: &Names) -> String {
    format!("hashtextextended({}, 0)", literal(&lock_text(names, "run")))
}

/// Takes the lock of the schema for a run. Returns its fencing token; `None` while another run has the lock.
pub(crate) async fn take(
    db: &Transaction<'_>,
    names: &Names,
    place: &str,
    session: bool,
) -> Result<Option<i64>, PostgresFailure> {
    let lock = names.of("_lock");
    // If the holder is in a transaction, it has locked the row; do not wait for it.
    let sql = format!("SELECT expires_at > clock_timestamp(), in_session FROM {lock} FOR UPDATE SKIP LOCKED");
    let rows = db.query_typed(&sql, &[]).await?;
    let Some(row) = rows.first() else {
        if !db.query_typed(&format!("SELECT 1 FROM {lock}"), &[]).await?.is_empty() {
            return Ok(None);
        }
        let reason = format!(
            "table _lock is empty; repair it with: INSERT INTO {lock} (token, in_session, expires_at) VALUES (0, false, '-infinity')"
        );
        return Err(DestinationError::cannot_open(place, reason).into());
    };
    let (held, in_session): (bool, bool) = (row.get(0), row.get(1));
    let key = run_lock(names);
    let is_true = async |sql: String| -> Result<bool, PostgresFailure> {
        Ok(db.query_typed(&sql, &[]).await?.first().is_some_and(|row| row.get(0)))
    };
    let alone = is_true(format!("SELECT pg_try_advisory_xact_lock({key})")).await?;
    if held && !(in_session && alone) {
        return Ok(None);
    }
    let in_session = session && alone && is_true(format!("SELECT pg_try_advisory_lock({key})")).await?;
    let rows = db
        .query_typed(
            &format!(
                "UPDATE {lock} SET token = {NEXT_TOKEN}, in_session = $1, taken_at = clock_timestamp(),
                        holder = concat_ws(' ', current_user, inet_client_addr(), pg_backend_pid()),
                        expires_at = clock_timestamp() + interval '{LEASE_SECONDS} s' RETURNING token"
            ),
            &[(&in_session, Type::BOOL)],
        )
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Renews the lease, and fails if another run has the lock. Returns the process id of the server session.
pub(crate) async fn hold(
    db: &impl GenericClient,
    names: &Names,
    token: i64,
    place: &str,
) -> Result<i32, PostgresFailure> {
    let sql = format!(
        "UPDATE {} SET expires_at = clock_timestamp() + interval '{LEASE_SECONDS} s' WHERE token = $1
         RETURNING pg_backend_pid()",
        names.of("_lock")
    );
    let rows = db.query_typed(&sql, &[(&token, Type::INT8)]).await?;
    match rows.first() {
        Some(row) => Ok(row.get(0)),
        None => Err(overtaken(place).into()),
    }
}

/// Releases the lock; the last statement of the run's last transaction.
pub(crate) async fn release(db: &Transaction<'_>, names: &Names, token: i64) -> Result<(), PostgresFailure> {
    let sql = format!(
        "UPDATE {} SET expires_at = '-infinity', holder = NULL, in_session = false WHERE token = $1",
        names.of("_lock")
    );
    db.execute_typed(&sql, &[(&token, Type::INT8)]).await?;
    Ok(())
}

/// Releases the advisory lock of the session.
pub(crate) async fn release_session(
    client: &impl GenericClient,
    names: &Names,
) -> Result<(), PostgresFailure> {
    client.query_typed(&format!("SELECT pg_advisory_unlock({})", run_lock(names)), &[]).await?;
    Ok(())
}

fn overtaken(place: &str) -> DestinationError {
    DestinationError::new(format!(
        "{place}: another sync took over, because this one did not renew its lease in time (it was paused or disconnected); \
         nothing more of it was stored"
    ))
}
