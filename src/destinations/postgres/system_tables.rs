//! The tables whose names start with `_`: checkpoints, the run history, and rejected rows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use super::failure::PostgresFailure;
use super::names::Names;
use crate::destinations::run_history::{
    INTERRUPTED, KEPT_REJECTED, KEPT_RUNS, RUNNING, RunClosing, StoredRow, WHOLE_RUN, counts, follow_up_row,
    group_by_run, parse_end, parse_state, tally, to_sql_integer,
};
use crate::destinations::{Entry, FollowUp, NewestRun, RejectedRow, Run};
use crate::domain::syncing::op::{Checkpoint, End, Rejected, State, Tally};

/// The checkpoints of all tables.
pub(super) async fn state(
    client: &impl GenericClient,
    names: &Names,
    connector: &str,
    place: &str,
) -> Result<State, PostgresFailure> {
    let sql = format!("SELECT table_name, partition, format::bigint, cursor FROM {}", names.of("_state"));
    let rows = client.query_typed(&sql, &[]).await?;
    let entries = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    Ok(parse_state(connector, place, entries)?)
}

/// Stores checkpoints in their order.
pub(crate) async fn save(
    db: &Transaction<'_>,
    names: &Names,
    checkpoints: &[Checkpoint],
) -> Result<(), PostgresFailure> {
    // Of several checkpoints for one cursor, store only the last.
    let mut last = BTreeMap::new();
    for (table, partition, cursor) in checkpoints.iter().flat_map(|checkpoint| &checkpoint.entries) {
        last.insert((table.as_str(), partition.as_str()), cursor.as_ref().map(ToString::to_string));
    }
    let (removed, set): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, cursor)| cursor.is_none());
    let state = names.of("_state");
    let part = |entries: &[((&str, &str), Option<String>)]| -> (Vec<String>, Vec<String>) {
        entries.iter().map(|((table, partition), _)| ((*table).to_owned(), (*partition).to_owned())).unzip()
    };
    if !removed.is_empty() {
        let (tables, partitions) = part(&removed);
        let sql = format!(
            "DELETE FROM {state} s USING unnest($1::text[], $2::text[]) AS g(t, p)
             WHERE s.table_name = g.t AND s.partition = g.p"
        );
        db.execute_typed(&sql, &[(&tables, Type::TEXT_ARRAY), (&partitions, Type::TEXT_ARRAY)]).await?;
    }
    if !set.is_empty() {
        let (tables, partitions) = part(&set);
        let cursors: Vec<Option<String>> = set.into_iter().map(|(_, cursor)| cursor).collect();
        let sql = format!(
            "INSERT INTO {state} (table_name, partition, format, cursor)
             SELECT t, p, {}, c FROM unnest($1::text[], $2::text[], $3::text[]) AS g(t, p, c)
             ON CONFLICT (table_name, partition) DO UPDATE SET format = EXCLUDED.format, cursor = EXCLUDED.cursor",
            State::FORMAT
        );
        db.execute_typed(
            &sql,
            &[(&tables, Type::TEXT_ARRAY), (&partitions, Type::TEXT_ARRAY), (&cursors, Type::TEXT_ARRAY)],
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn remove_state(
    db: &Transaction<'_>,
    names: &Names,
    tables: &[String],
) -> Result<(), PostgresFailure> {
    let sql = format!("DELETE FROM {} WHERE table_name = ANY($1)", names.of("_state"));
    db.execute_typed(&sql, &[(&tables, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// Closes runs that a crash left open, and adds a new run.
pub(super) async fn open_run(
    db: &Transaction<'_>,
    names: &Names,
    started: Timestamp,
) -> Result<i64, PostgresFailure> {
    let runs = names.of("_runs");
    db.execute_typed(
        &format!("UPDATE {runs} SET outcome = $1, ended_at = NULL, reason = coalesce(reason, $2) WHERE outcome = $3"),
        &[(&End::Failed.as_str(), Type::TEXT), (&INTERRUPTED, Type::TEXT), (&RUNNING, Type::TEXT)],
    )
    .await?;
    let rows = db
        .query_typed(
            &format!(
                "INSERT INTO {runs} (run, table_name, started_at, outcome)
                 SELECT coalesce(max(run), 0) + 1, $1, $2, $3 FROM {runs} RETURNING run"
            ),
            &[(&WHOLE_RUN, Type::TEXT), (&started, Type::TIMESTAMPTZ), (&RUNNING, Type::TEXT)],
        )
        .await?;
    let run: i64 = rows.first().map_or(1, |row| row.get(0));
    db.execute_typed(&format!("DELETE FROM {runs} WHERE run <= $1"), &[(&(run - KEPT_RUNS), Type::INT8)])
        .await?;
    Ok(run)
}

/// Updates the counts of a table to those after this transaction.
pub(super) async fn count(
    db: &Transaction<'_>,
    names: &Names,
    run: i64,
    started: Timestamp,
    table: &str,
    tally: &Tally,
) -> Result<(), PostgresFailure> {
    let sql = format!(
        "INSERT INTO {} AS r (run, table_name, started_at, outcome, seen, inserted, updated, unchanged, duplicate,
                              rejected, deleted)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (run, table_name) DO UPDATE SET seen = $5, inserted = $6, updated = $7, unchanged = $8,
            duplicate = $9, rejected = $10, deleted = $11",
        names.of("_runs")
    );
    let [seen, inserted, updated, unchanged, duplicate, rejected, deleted] = counts(tally);
    db.execute_typed(
        &sql,
        &[
            (&run, Type::INT8),
            (&table, Type::TEXT),
            (&started, Type::TIMESTAMPTZ),
            (&RUNNING, Type::TEXT),
            (&seen, Type::INT8),
            (&inserted, Type::INT8),
            (&updated, Type::INT8),
            (&unchanged, Type::INT8),
            (&duplicate, Type::INT8),
            (&rejected, Type::INT8),
            (&deleted, Type::INT8),
        ],
    )
    .await?;
    Ok(())
}

/// Stores the end of the run and of its tables.
pub(super) async fn close(
    db: &Transaction<'_>,
    names: &Names,
    run: i64,
    started: Timestamp,
    closing: &RunClosing,
) -> Result<(), PostgresFailure> {
    let sql = format!(
        "UPDATE {} SET ended_at = $1, outcome = $2, reason = $3, place = $4, requests = $5, retries = $6,
                waited_ms = $7 WHERE run = $8 AND table_name = $9",
        names.of("_runs")
    );
    for row in closing.rows() {
        count(db, names, run, started, row.table, &row.tally).await?;
        let ending = &row.ending;
        let (reason, place) = (ending.reason.as_deref().map(plain), ending.place.as_deref().map(plain));
        db.execute_typed(
            &sql,
            &[
                (&closing.outcome.ended, Type::TIMESTAMPTZ),
                (&ending.end.as_str(), Type::TEXT),
                (&reason, Type::TEXT),
                (&place, Type::TEXT),
                (&to_sql_integer(ending.requests), Type::INT8),
                (&to_sql_integer(ending.retries), Type::INT8),
                (&to_sql_integer(ending.waited_ms), Type::INT8),
                (&run, Type::INT8),
                (&row.table, Type::TEXT),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Replaces NUL, which PostgreSQL cannot store, by a visible character.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

pub(crate) async fn reject(
    db: &Transaction<'_>,
    names: &Names,
    run: i64,
    rejected: &[Rejected],
) -> Result<(), PostgresFailure> {
    if rejected.is_empty() {
        return Ok(());
    }
    let table = names.of("_rejected");
    let tables: Vec<&str> = rejected.iter().map(|row| row.table.as_str()).collect();
    let reasons: Vec<String> = rejected.iter().map(|row| plain(&row.reason)).collect();
    let raws: Vec<String> = rejected.iter().map(|row| plain(&row.raw)).collect();
    let sql = format!(
        "INSERT INTO {table} (run, table_name, reason, raw)
         SELECT $1, t, r, w FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS g(t, r, w, i) ORDER BY i"
    );
    db.execute_typed(
        &sql,
        &[
            (&run, Type::INT8),
            (&tables, Type::TEXT_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
            (&raws, Type::TEXT_ARRAY),
        ],
    )
    .await?;
    let sql = format!("DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - $1");
    db.execute_typed(&sql, &[(&KEPT_REJECTED, Type::INT8)]).await?;
    Ok(())
}

/// The last rejected rows, newest first.
pub(super) async fn rejected(
    client: &impl GenericClient,
    names: &Names,
    limit: usize,
) -> Result<Vec<RejectedRow>, PostgresFailure> {
    let sql = format!(
        "SELECT run, table_name, reason, raw FROM {} ORDER BY id DESC LIMIT $1",
        names.of("_rejected")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = client.query_typed(&sql, &[(&limit, Type::INT8)]).await?;
    let row =
        |row: &Row| RejectedRow { run: row.get(0), table: row.get(1), reason: row.get(2), raw: row.get(3) };
    Ok(rows.iter().map(row).collect())
}

/// The last runs, newest first.
pub(super) async fn runs(
    client: &impl GenericClient,
    names: &Names,
    limit: usize,
) -> Result<Vec<Run>, PostgresFailure> {
    let table = names.of("_runs");
    let sql = format!(
        "SELECT run, table_name, started_at, ended_at, outcome, reason, place, requests, retries, waited_ms,
                seen, inserted, updated, unchanged, duplicate, rejected, deleted
         FROM {table} WHERE run > (SELECT coalesce(max(run), 0) FROM {table}) - $1
         ORDER BY run DESC, table_name"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX / 2);
    let row = |row: &Row| StoredRow {
        run: row.get(0),
        table: row.get(1),
        started: row.get(2),
        ended: row.get(3),
        entry: entry(row),
    };
    let rows = client.query_typed(&sql, &[(&limit, Type::INT8)]).await?;
    Ok(group_by_run(rows.iter().map(row).collect()))
}

pub(crate) async fn newest_run(
    client: &impl GenericClient,
    names: &Names,
) -> Result<Option<NewestRun>, PostgresFailure> {
    let sql = format!(
        "SELECT run, ended_at, outcome FROM {} WHERE table_name = $1 ORDER BY run DESC LIMIT 1",
        names.of("_runs")
    );
    let rows = client.query_typed(&sql, &[(&WHOLE_RUN, Type::TEXT)]).await?;
    let run = |row: &Row| NewestRun { number: row.get(0), ended: row.get(1), end: parse_end(row.get(2)) };
    Ok(rows.first().map(run))
}

/// For each table the number and the start of the newest run that changed it.
pub(crate) async fn last_changes(
    client: &impl GenericClient,
    names: &Names,
) -> Result<Vec<(String, i64, Timestamp)>, PostgresFailure> {
    let sql = format!(
        "SELECT DISTINCT ON (table_name) table_name, run, started_at FROM {}
         WHERE table_name <> $1 AND inserted + updated + deleted > 0
         ORDER BY table_name, run DESC",
        names.of("_runs")
    );
    let rows = client.query_typed(&sql, &[(&WHOLE_RUN, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

/// Adds what follows a run to the history, or replaces it.
pub(super) async fn record_follow_up(
    client: &impl GenericClient,
    names: &Names,
    done: &FollowUp,
) -> Result<(), PostgresFailure> {
    let sql = format!(
        "INSERT INTO {} (run, table_name, started_at, ended_at, outcome, reason, seen) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (run, table_name) DO UPDATE SET started_at = EXCLUDED.started_at, ended_at = EXCLUDED.ended_at,
            outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, seen = EXCLUDED.seen",
        names.of("_runs")
    );
    let row = follow_up_row(&done.name);
    let reason = done.failure.as_deref().map(plain);
    client
        .execute_typed(
            &sql,
            &[
                (&done.run, Type::INT8),
                (&row, Type::TEXT),
                (&done.started, Type::TIMESTAMPTZ),
                (&done.ended, Type::TIMESTAMPTZ),
                (&done.end().as_str(), Type::TEXT),
                (&reason, Type::TEXT),
                (&to_sql_integer(done.count), Type::INT8),
            ],
        )
        .await?;
    Ok(())
}

fn entry(row: &Row) -> Entry {
    let number = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
    Entry {
        end: parse_end(row.get(4)),
        reason: row.get(5),
        place: row.get(6),
        requests: number(7),
        retries: number(8),
        waited_ms: number(9),
        tally: tally(std::array::from_fn(|i| number(10 + i))),
    }
}
