//! The tables that begin with `_`: where reading goes on, how runs went, and what was rejected.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use super::names::Names;
use super::trouble::Trouble;
use crate::destinations::account::{
    Closing, INTERRUPTED, KEPT_REJECTED, KEPT_RUNS, RUNNING, WHOLE_RUN, counts, end_of, number,
};
use crate::destinations::{DestinationError, Entry, RejectedRow, Run};
use crate::domain::op::{Checkpoint, End, Rejected, State, Tally};

/// The whole state.
pub(super) async fn state(
    client: &impl GenericClient,
    names: &Names,
    connector: &str,
    place: &str,
) -> Result<State, Trouble> {
    let mut state = State { format: State::FORMAT, connector: connector.to_owned(), ..State::default() };
    let sql = format!("SELECT table_name, partition, format, cursor FROM {}", names.of("_state"));
    for row in client.query_typed(&sql, &[]).await? {
        let format: i32 = row.get(2);
        if i64::from(format) > i64::from(State::FORMAT) {
            let (found, known) = (format.into(), State::FORMAT.into());
            return Err(DestinationError::Newer { place: place.to_owned(), found, known }.into());
        }
        let (table, text): (String, String) = (row.get(0), row.get(3));
        let cursor = serde_json::from_str(&text).map_err(|e| DestinationError::Damaged {
            place: place.to_owned(),
            reason: format!("the state of table {table} is no JSON: {e}"),
        })?;
        state.tables.entry(table).or_default().insert(row.get(1), cursor);
    }
    Ok(state)
}

/// Stores what checkpoints say, in their order.
pub(super) async fn save(
    db: &Transaction<'_>,
    names: &Names,
    checkpoints: &[Checkpoint],
) -> Result<(), Trouble> {
    // Of many pages' worth of one cursor only the last counts.
    let mut last = BTreeMap::new();
    for (table, partition, cursor) in checkpoints.iter().flat_map(|checkpoint| &checkpoint.entries) {
        last.insert((table.as_str(), partition.as_str()), cursor.as_ref().map(ToString::to_string));
    }
    let (gone, set): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, cursor)| cursor.is_none());
    let state = names.of("_state");
    let part = |entries: &[((&str, &str), Option<String>)]| -> (Vec<String>, Vec<String>) {
        entries.iter().map(|((table, partition), _)| ((*table).to_owned(), (*partition).to_owned())).unzip()
    };
    if !gone.is_empty() {
        let (tables, partitions) = part(&gone);
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

pub(super) async fn forget(db: &Transaction<'_>, names: &Names, tables: &[String]) -> Result<(), Trouble> {
    let sql = format!("DELETE FROM {} WHERE table_name = ANY($1)", names.of("_state"));
    db.execute_typed(&sql, &[(&tables, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// Closes what a crash left open, and enters a new run.
pub(super) async fn open_run(
    db: &Transaction<'_>,
    names: &Names,
    started: Timestamp,
) -> Result<i64, Trouble> {
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

/// Brings a table's counts up to what this transaction will have stored.
pub(super) async fn count(
    db: &Transaction<'_>,
    names: &Names,
    run: i64,
    started: Timestamp,
    table: &str,
    tally: &Tally,
) -> Result<(), Trouble> {
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

/// Enters the end of the run and of its tables.
pub(super) async fn close(
    db: &Transaction<'_>,
    names: &Names,
    run: i64,
    started: Timestamp,
    closing: &Closing,
) -> Result<(), Trouble> {
    let sql = format!(
        "UPDATE {} SET ended_at = $1, outcome = $2, reason = $3, place = $4, requests = $5, retries = $6,
                waited_ms = $7 WHERE run = $8 AND table_name = $9",
        names.of("_runs")
    );
    for line in closing.lines() {
        count(db, names, run, started, line.table, &line.tally).await?;
        let account = &line.account;
        // What a service said may hold what no text here may.
        let (reason, place) = (account.reason.as_deref().map(plain), account.place.as_deref().map(plain));
        db.execute_typed(
            &sql,
            &[
                (&closing.ended(), Type::TIMESTAMPTZ),
                (&account.end.as_str(), Type::TEXT),
                (&reason, Type::TEXT),
                (&place, Type::TEXT),
                (&number(account.requests), Type::INT8),
                (&number(account.retries), Type::INT8),
                (&number(account.waited_ms), Type::INT8),
                (&run, Type::INT8),
                (&line.table, Type::TEXT),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Text without the one character the server does not take, which is shown instead.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

pub(super) async fn reject(
    db: &Transaction<'_>,
    names: &Names,
    run: i64,
    rejected: &[Rejected],
) -> Result<(), Trouble> {
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
) -> Result<Vec<RejectedRow>, Trouble> {
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
) -> Result<Vec<Run>, Trouble> {
    let table = names.of("_runs");
    let sql = format!(
        "SELECT run, table_name, started_at, ended_at, outcome, reason, place, requests, retries, waited_ms,
                seen, inserted, updated, unchanged, duplicate, rejected, deleted
         FROM {table} WHERE run > (SELECT coalesce(max(run), 0) FROM {table}) - $1
         ORDER BY run DESC, table_name"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX / 2);
    let mut runs: Vec<Run> = Vec::new();
    for row in client.query_typed(&sql, &[(&limit, Type::INT8)]).await? {
        let (run, table): (i64, String) = (row.get(0), row.get(1));
        let entry = entry(&row);
        match runs.last_mut().filter(|last| last.number == run) {
            Some(last) => drop(last.tables.insert(table, entry)),
            None => runs.push(Run {
                number: run,
                started: row.get(2),
                ended: row.get(3),
                entry,
                tables: BTreeMap::new(),
            }),
        }
    }
    Ok(runs)
}

fn entry(row: &Row) -> Entry {
    let number = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
    Entry {
        end: end_of(row.get(4)),
        reason: row.get(5),
        place: row.get(6),
        requests: number(7),
        retries: number(8),
        waited_ms: number(9),
        tally: Tally {
            seen: number(10),
            inserted: number(11),
            updated: number(12),
            unchanged: number(13),
            duplicate: number(14),
            rejected: number(15),
            deleted: number(16),
        },
    }
}
