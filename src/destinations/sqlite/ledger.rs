//! The tables that begin with `_`: where reading goes on, how runs went, and what was rejected.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil, tz::TimeZone};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::destinations::account::{
    INTERRUPTED, KEPT_REJECTED, KEPT_RUNS, RUNNING, WHOLE_RUN, counts, end_of, number,
};
use crate::destinations::{Ending, Entry, RejectedRow, Run};
use crate::domain::cell::Cell;
use crate::domain::op::{Checkpoint, End, Rejected, State, Tally};

pub(super) fn text_of(moment: Timestamp) -> String {
    Cell::Timestamp(moment).to_text().unwrap_or_default().into_owned()
}

fn moment_of(text: &str) -> Option<Timestamp> {
    let civil: civil::DateTime = text.parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The whole state. `Err` holds the format of an entry that is newer than ours.
pub(super) fn state(db: &Connection, connector: &str) -> Result<Result<State, i64>, rusqlite::Error> {
    let mut state = State { format: State::FORMAT, connector: connector.to_owned(), ..State::default() };
    let mut query = db.prepare("SELECT table_name, partition, format, cursor FROM _state")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let format: i64 = row.get(2)?;
        if format > i64::from(State::FORMAT) {
            return Ok(Err(format));
        }
        let text: String = row.get(3)?;
        let cursor = serde_json::from_str(&text).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(e))
        })?;
        state.tables.entry(row.get(0)?).or_default().insert(row.get(1)?, cursor);
    }
    Ok(Ok(state))
}

pub(super) fn save(db: &Connection, checkpoint: &Checkpoint) -> Result<(), rusqlite::Error> {
    for (table, partition, cursor) in &checkpoint.entries {
        match cursor {
            Some(cursor) => db
                .prepare_cached("INSERT OR REPLACE INTO _state (table_name, partition, format, cursor) VALUES (?, ?, ?, ?)")?
                .execute(params![table, partition, State::FORMAT, cursor.to_string()])?,
            None => db
                .prepare_cached("DELETE FROM _state WHERE table_name = ? AND partition = ?")?
                .execute(params![table, partition])?,
        };
    }
    Ok(())
}

pub(super) fn forget(db: &Connection, table: &str) -> Result<(), rusqlite::Error> {
    db.execute("DELETE FROM _state WHERE table_name = ?", [table]).map(drop)
}

/// Closes what a crash left open, and enters a new run.
pub(super) fn open_run(db: &Connection, started: Timestamp) -> Result<i64, rusqlite::Error> {
    let started = text_of(started);
    db.execute(
        "UPDATE _runs SET outcome = ?, ended_at = NULL, reason = coalesce(reason, ?)
         WHERE outcome = ?",
        params![End::Failed.as_str(), INTERRUPTED, RUNNING],
    )?;
    let last: Option<i64> =
        db.query_row("SELECT max(run) FROM _runs", [], |row| row.get(0)).optional()?.flatten();
    let run = last.unwrap_or(0) + 1;
    db.execute(
        "INSERT INTO _runs (run, table_name, started_at, outcome) VALUES (?, ?, ?, ?)",
        params![run, WHOLE_RUN, started, RUNNING],
    )?;
    db.execute("DELETE FROM _runs WHERE run <= ?", [run - KEPT_RUNS])?;
    Ok(run)
}

/// Brings a table's counts up to what this transaction will have stored.
pub(super) fn count(
    db: &Connection,
    run: i64,
    started: Timestamp,
    table: &str,
    tally: &Tally,
) -> Result<(), rusqlite::Error> {
    let mut statement = db.prepare_cached(
        "INSERT INTO _runs (run, table_name, started_at, outcome, seen, inserted, updated, unchanged, duplicate,
                            rejected, deleted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (run, table_name) DO UPDATE SET seen = ?5, inserted = ?6, updated = ?7, unchanged = ?8,
            duplicate = ?9, rejected = ?10, deleted = ?11",
    )?;
    let [seen, inserted, updated, unchanged, duplicate, rejected, deleted] = counts(tally);
    statement
        .execute(params![
            run,
            table,
            text_of(started),
            RUNNING,
            seen,
            inserted,
            updated,
            unchanged,
            duplicate,
            rejected,
            deleted
        ])
        .map(drop)
}

/// Enters the end of a table, or of the run itself.
pub(super) fn close(
    db: &Connection,
    run: i64,
    table: &str,
    ended: Timestamp,
    account: &Ending,
) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "UPDATE _runs SET ended_at = ?, outcome = ?, reason = ?, place = ?, requests = ?, retries = ?, waited_ms = ?
         WHERE run = ? AND table_name = ?",
    )?
    .execute(params![
        text_of(ended),
        account.end.as_str(),
        account.reason,
        account.place,
        number(account.requests),
        number(account.retries),
        number(account.waited_ms),
        run,
        table
    ])
    .map(drop)
}

pub(super) fn reject(db: &Connection, run: i64, rejected: &[Rejected]) -> Result<(), rusqlite::Error> {
    if rejected.is_empty() {
        return Ok(());
    }
    let mut statement =
        db.prepare_cached("INSERT INTO _rejected (run, table_name, reason, raw) VALUES (?, ?, ?, ?)")?;
    for row in rejected {
        statement.execute(params![run, row.table, row.reason, row.raw])?;
    }
    db.execute("DELETE FROM _rejected WHERE id <= (SELECT max(id) FROM _rejected) - ?", [KEPT_REJECTED])
        .map(drop)
}

/// The last rejected rows, newest first.
pub(super) fn rejected(db: &Connection, limit: usize) -> Result<Vec<RejectedRow>, rusqlite::Error> {
    let mut query =
        db.prepare("SELECT run, table_name, reason, raw FROM _rejected ORDER BY id DESC LIMIT ?")?;
    let row = |row: &Row<'_>| {
        Ok(RejectedRow { run: row.get(0)?, table: row.get(1)?, reason: row.get(2)?, raw: row.get(3)? })
    };
    query.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], row)?.collect()
}

/// The last runs, newest first.
pub(super) fn runs(db: &Connection, limit: usize) -> Result<Vec<Run>, rusqlite::Error> {
    let mut query = db.prepare(
        "SELECT run, table_name, started_at, ended_at, outcome, reason, place, requests, retries, waited_ms,
                seen, inserted, updated, unchanged, duplicate, rejected, deleted
         FROM _runs WHERE run > (SELECT coalesce(max(run), 0) FROM _runs) - ?
         ORDER BY run DESC, table_name",
    )?;
    let mut rows = query.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut runs: Vec<Run> = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let table: String = row.get(1)?;
        let entry = entry(row)?;
        match runs.last_mut().filter(|run| run.number == number) {
            Some(run) => {
                run.tables.insert(table, entry);
            }
            None => runs.push(Run {
                number,
                started: moment_of(&row.get::<_, String>(2)?).unwrap_or_default(),
                ended: row.get::<_, Option<String>>(3)?.as_deref().and_then(moment_of),
                entry,
                tables: BTreeMap::new(),
            }),
        }
    }
    Ok(runs)
}

fn entry(row: &Row<'_>) -> Result<Entry, rusqlite::Error> {
    let number = |at: usize| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Entry {
        end: end_of(&row.get::<_, String>(4)?),
        reason: row.get(5)?,
        place: row.get(6)?,
        requests: number(7)?,
        retries: number(8)?,
        waited_ms: number(9)?,
        tally: Tally {
            seen: number(10)?,
            inserted: number(11)?,
            updated: number(12)?,
            unchanged: number(13)?,
            duplicate: number(14)?,
            rejected: number(15)?,
            deleted: number(16)?,
        },
    })
}
