//! The tables whose names start with `_`: checkpoints, the run history, and rejected rows.

use jiff::{Timestamp, civil, tz::TimeZone};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::file::DatabaseFile;
use crate::destinations::run_history::{
    HistoryRow, INTERRUPTED, KEPT_REJECTED, KEPT_RUNS, RUNNING, StoredRow, WHOLE_RUN, counts, follow_up_row,
    group_by_run, parse_end, parse_state, tally, to_sql_integer,
};
use crate::destinations::{DestinationError, Entry, FollowUp, NewestRun, RejectedRow, Run};
use crate::domain::syncing::cell::Cell;
use crate::domain::syncing::op::{Checkpoint, End, Rejected, State, Tally};

pub(super) fn to_text(moment: Timestamp) -> String {
    Cell::Timestamp(moment).to_text().unwrap_or_default().into_owned()
}

fn from_text(text: &str) -> Option<Timestamp> {
    let civil: civil::DateTime = text.parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The checkpoints of all tables.
pub(crate) fn state(
    db: &Connection,
    connector: &str,
    file: &DatabaseFile,
) -> Result<State, DestinationError> {
    let entries = || -> Result<Vec<(String, String, i64, String)>, rusqlite::Error> {
        let mut query = db.prepare("SELECT table_name, partition, format, cursor FROM _state")?;
        let entry = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        query.query_map([], entry)?.collect()
    };
    let entries = entries().map_err(|e| file.error("reading the state", &e))?;
    parse_state(connector, &file.name(), entries)
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

pub(super) fn remove_state(db: &Connection, table: &str) -> Result<(), rusqlite::Error> {
    db.execute("DELETE FROM _state WHERE table_name = ?", [table]).map(drop)
}

/// Closes runs that a crash left open, and adds a new run.
pub(super) fn open_run(db: &Connection, started: Timestamp) -> Result<i64, rusqlite::Error> {
    let started = to_text(started);
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

/// Updates the counts of a table to those after this transaction.
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
            to_text(started),
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

/// Stores the end of a table or of the run.
pub(super) fn close(
    db: &Connection,
    run: i64,
    ended: Timestamp,
    row: &HistoryRow<'_>,
) -> Result<(), rusqlite::Error> {
    let ending = &row.ending;
    db.prepare_cached(
        "UPDATE _runs SET ended_at = ?, outcome = ?, reason = ?, place = ?, requests = ?, retries = ?, waited_ms = ?
         WHERE run = ? AND table_name = ?",
    )?
    .execute(params![
        to_text(ended),
        ending.end.as_str(),
        ending.reason,
        ending.place,
        to_sql_integer(ending.requests),
        to_sql_integer(ending.retries),
        to_sql_integer(ending.waited_ms),
        run,
        row.table
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
    let row = |row: &Row<'_>| {
        let ended: Option<String> = row.get(3)?;
        let started = from_text(&row.get::<_, String>(2)?).unwrap_or_default();
        let ended = ended.as_deref().and_then(from_text);
        Ok(StoredRow { run: row.get(0)?, table: row.get(1)?, started, ended, entry: entry(row)? })
    };
    let rows: Result<Vec<_>, _> = query.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], row)?.collect();
    Ok(group_by_run(rows?))
}

pub(crate) fn newest_run(db: &Connection) -> Result<Option<NewestRun>, rusqlite::Error> {
    let sql = "SELECT run, ended_at, outcome FROM _runs WHERE table_name = ? ORDER BY run DESC LIMIT 1";
    db.query_row(sql, [WHOLE_RUN], |row| {
        let ended: Option<String> = row.get(1)?;
        let (ended, end) = (ended.as_deref().and_then(from_text), parse_end(&row.get::<_, String>(2)?));
        Ok(NewestRun { number: row.get(0)?, ended, end })
    })
    .optional()
}

/// For each table the number and the start of the newest run that changed it.
pub(crate) fn last_changes(db: &Connection) -> Result<Vec<(String, i64, Timestamp)>, rusqlite::Error> {
    let mut query = db.prepare(
        "SELECT table_name, max(run), started_at FROM _runs
         WHERE table_name <> ? AND inserted + updated + deleted > 0 GROUP BY table_name",
    )?;
    let row = |row: &Row<'_>| {
        let started: String = row.get(2)?;
        Ok((row.get(0)?, row.get(1)?, from_text(&started).unwrap_or_default()))
    };
    query.query_map([WHOLE_RUN], row)?.collect()
}

/// Adds what follows a run to the history, or replaces it.
pub(crate) fn record_follow_up(db: &Connection, done: &FollowUp) -> Result<(), rusqlite::Error> {
    db.execute(
        "INSERT OR REPLACE INTO _runs (run, table_name, started_at, ended_at, outcome, reason, seen)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            done.run,
            follow_up_row(&done.name),
            to_text(done.started),
            to_text(done.ended),
            done.end().as_str(),
            done.failure,
            to_sql_integer(done.count)
        ],
    )
    .map(drop)
}

fn entry(row: &Row<'_>) -> Result<Entry, rusqlite::Error> {
    let number = |at: usize| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    let mut counts = [0; 7];
    for (at, count) in (10..).zip(&mut counts) {
        *count = number(at)?;
    }
    Ok(Entry {
        end: parse_end(&row.get::<_, String>(4)?),
        reason: row.get(5)?,
        place: row.get(6)?,
        requests: number(7)?,
        retries: number(8)?,
        waited_ms: number(9)?,
        tally: tally(counts),
    })
}
