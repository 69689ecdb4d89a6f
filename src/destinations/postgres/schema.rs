//! The schema of a connector: found or made, brought to our format, and held by one run at a time.
//!
//! Who may write is a row in `_lock`, not a session: its token grows with every run, and each transaction of a run
//! checks that the token is still its own. So a run that was paused or cut off for longer than its lease can store
//! nothing once another has begun, and that holds through a pooler too. Beside it a run holds an advisory lock of its
//! session where it has one: if that is free, the holder is gone, and nobody needs to wait for its lease to end.
//! Start at [`find`], [`prepare`] and [`take`].

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use super::names::{Names, literal, quoted};
use super::trouble::Trouble;
use crate::destinations::DestinationError;

/// Our tables, one step for each version of their layout. A step that was released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long a run may be silent before another may begin: a pause or a slow network is shorter.
pub(super) const LEASE_SECONDS: u64 = 60;

/// Greater than any before, also than those that a replica lacks which is promoted without the last commits.
const NEXT_TOKEN: &str = "greatest(token + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

/// What is there before anything is made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No schema, or an empty one that we may use.
    Nothing {
        /// Whether the schema itself is missing.
        missing: bool,
    },
    /// Ours, in this format.
    Ours(i32),
}

/// Looks at the schema.
pub(super) async fn find(client: &impl GenericClient, names: &Names, place: &str) -> Result<Found, Trouble> {
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
    let Some(row) = rows.first() else { return Ok(Found::Nothing { missing: true }) };
    let (owner, create, usage, ours): (String, bool, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let refuse =
        |reason: String| Trouble::Ours(DestinationError::Unwritable { place: place.to_owned(), reason });
    let schema = &names.schema;
    let grant = format!(
        "let {owner} say GRANT USAGE, CREATE ON SCHEMA {} TO {}",
        quoted(schema),
        row.get::<_, String>(5)
    );
    if !usage {
        return Err(refuse(format!(
            "schema {schema} belongs to role {owner}, and we may not use it: {grant}"
        )));
    }
    if ours {
        let rows = client.query_typed(&format!("SELECT version FROM {}", names.of("_format")), &[]).await?;
        return Ok(Found::Ours(rows.first().map_or(0, |row| row.get(0))));
    }
    if let Some(others) = row.get::<_, Option<String>>(4) {
        return Err(refuse(format!(
            "schema {schema} belongs to role {owner} and holds tables that are not ours ({}): rename it, or use another database",
            shortened(&others)
        )));
    }
    if !create {
        return Err(refuse(format!(
            "schema {schema} belongs to role {owner}, and we may not create tables in it: {grant}"
        )));
    }
    Ok(Found::Nothing { missing: false })
}

fn shortened(names: &str) -> String {
    const MOST: usize = 60;
    if names.len() <= MOST {
        names.to_owned()
    } else {
        format!("{}…", &names[..names.floor_char_boundary(MOST)])
    }
}

/// Makes the schema and our tables, or brings them to this program's format. Several programs may do so at once.
pub(super) async fn prepare(db: &Transaction<'_>, names: &Names, place: &str) -> Result<(), Trouble> {
    db.batch_execute(&format!("SELECT pg_advisory_xact_lock({})", advisory(names, "migrations"))).await?;
    let found = match find(db, names, place).await? {
        Found::Ours(version) => version,
        Found::Nothing { missing } => {
            if missing {
                db.batch_execute(&format!("CREATE SCHEMA {}", quoted(&names.schema))).await?;
            }
            0
        }
    };
    check(found, place)?;
    let done = usize::try_from(found).unwrap_or(0);
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let set = format!(
            "SET LOCAL search_path TO {}; {sql}; UPDATE _format SET version = {}; SET LOCAL search_path TO DEFAULT",
            quoted(&names.schema),
            step + 1
        );
        db.batch_execute(&set).await?;
    }
    Ok(())
}

/// Refuses what a newer program has written.
pub(super) fn check(found: i32, place: &str) -> Result<(), DestinationError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = i64::from(found);
    if found > known {
        return Err(DestinationError::Newer { place: place.to_owned(), found, known });
    }
    Ok(())
}

/// Whether [`prepare`] has anything to do.
pub(super) fn is_current(found: &Found) -> bool {
    matches!(found, Found::Ours(version) if usize::try_from(*version) == Ok(MIGRATIONS.len()))
}

/// A number for advisory locks that only this schema has, as SQL.
fn advisory(names: &Names, what: &str) -> String {
    format!("hashtextextended({}, 0)", literal(&format!("data-sources-monitor {what} of {}", names.schema)))
}

/// Takes the lock of the schema for a run. Gives its token; `None` while another run has it.
pub(super) async fn take(
    db: &Transaction<'_>,
    names: &Names,
    place: &str,
    session: bool,
) -> Result<Option<i64>, Trouble> {
    let lock = names.of("_lock");
    // A holder that is storing has the row; nobody waits for that.
    let sql = format!("SELECT expires_at > clock_timestamp(), in_session FROM {lock} FOR UPDATE SKIP LOCKED");
    let rows = db.query_typed(&sql, &[]).await?;
    let Some(row) = rows.first() else {
        if !db.query_typed(&format!("SELECT 1 FROM {lock}"), &[]).await?.is_empty() {
            return Ok(None);
        }
        let reason = format!(
            "somebody emptied its table _lock: INSERT INTO {lock} (token, in_session, expires_at) VALUES (0, false, '-infinity')"
        );
        return Err(DestinationError::Unwritable { place: place.to_owned(), reason }.into());
    };
    let (held, in_session): (bool, bool) = (row.get(0), row.get(1));
    let key = advisory(names, "run");
    let ask = async |sql: String| -> Result<bool, Trouble> {
        Ok(db.query_typed(&sql, &[]).await?.first().is_some_and(|row| row.get(0)))
    };
    let alone = ask(format!("SELECT pg_try_advisory_xact_lock({key})")).await?;
    if held && !(in_session && alone) {
        return Ok(None);
    }
    let in_session = session && alone && ask(format!("SELECT pg_try_advisory_lock({key})")).await?;
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

/// Renews the lease and makes sure that the lock is still this run's: what follows in the transaction is stored only
/// then. Gives the server process that serves it.
pub(super) async fn hold(
    db: &impl GenericClient,
    names: &Names,
    token: i64,
    place: &str,
) -> Result<i32, Trouble> {
    let sql = format!(
        "UPDATE {} SET expires_at = clock_timestamp() + interval '{LEASE_SECONDS} s' WHERE token = $1
         RETURNING pg_backend_pid()",
        names.of("_lock")
    );
    let rows = db.query_typed(&sql, &[(&token, Type::INT8)]).await?;
    match rows.first() {
        Some(row) => Ok(row.get(0)),
        None => Err(Trouble::Ours(DestinationError::Overtaken { place: place.to_owned() })),
    }
}

/// Lets go of the lock, as the last thing in the run's last transaction.
pub(super) async fn release(db: &Transaction<'_>, names: &Names, token: i64) -> Result<(), Trouble> {
    let sql = format!(
        "UPDATE {} SET expires_at = '-infinity', holder = NULL, in_session = false WHERE token = $1",
        names.of("_lock")
    );
    db.execute_typed(&sql, &[(&token, Type::INT8)]).await?;
    Ok(())
}

/// Lets go of the session's lock.
pub(super) async fn release_session(client: &impl GenericClient, names: &Names) -> Result<(), Trouble> {
    client.query_typed(&format!("SELECT pg_advisory_unlock({})", advisory(names, "run")), &[]).await?;
    Ok(())
}
