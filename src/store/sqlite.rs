//! The state database in `DATA_DIR/monitor.db`: one thread and numbered migrations. `folder` opens and locks it.

mod folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use tokio::sync::mpsc;

use super::{
    Batch, Damaged, KeepError, OpenError, Remembered, SavedBanner, SavedDeliveries, StateChange,
    StoreRequest, StoredState,
};
use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::history;
use crate::domain::monitoring::history::{Day, MonitorDay, Span};
use crate::domain::monitoring::news::ChannelState;
use crate::domain::monitoring::responses::{
    KEEP_RESPONSE_DAYS, MonitorResponses, ResponseDay, ResponseTotals,
};
use crate::domain::syncing::delivery::DeliveryState;

use folder::OpenedFolder;

/// Numbered by position, from 1; never changed once released.
const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
];

/// How long a statement waits for another process that reads the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database in a folder.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("monitor.db")
}

/// Starts the worker thread and reads the saved state.
pub(super) fn start(
    folder: &Path,
    damaged: Damaged,
    inbox: mpsc::Receiver<StoreRequest>,
) -> Result<(JoinHandle<()>, StoredState), OpenError> {
    let (opened, stored) = OpenedFolder::open(folder, damaged)?;
    let spawned = std::thread::Builder::new().name("store".into()).spawn(move || run(opened, inbox));
    let thread = spawned
        .map_err(|e| OpenError::Unavailable { path: folder.display().to_string(), reason: e.to_string() })?;
    Ok((thread, stored))
}

/// Takes the lock that allows one daemon per folder.
pub(super) fn lock(folder: &Path) -> Result<std::fs::File, OpenError> {
    folder::lock(folder)
}

/// Whether this user can write where the database is or would be. Changes nothing.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    folder::check(folder)
}

/// Reads the saved state while a daemon may be running; empty if there is no database.
pub(super) fn peek(folder: &Path) -> Result<StoredState, KeepError> {
    let path = file(folder);
    if !path.exists() {
        return Ok(StoredState::default());
    }
    let read = || {
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        read_state(&db)
    };
    read().map_err(|e| failed(&path, &e))
}

fn failed(path: &Path, error: &rusqlite::Error) -> KeepError {
    KeepError { place: path.display().to_string(), reason: error.to_string(), fenced: false }
}

fn read_state(db: &Connection) -> rusqlite::Result<StoredState> {
    let mut select = db.prepare("SELECT name, state FROM monitor")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut states = Vec::new();
    for row in rows {
        let (name, state) = row?;
        states.push((name, parse(&state)?));
    }
    let mut select = db.prepare("SELECT memory FROM banner")?;
    let mut banners = BTreeMap::new();
    for row in select.query_map([], |row| row.get::<_, String>(0))? {
        let Remembered { tenant, memory, report } = parse(&row?)?;
        banners.insert(tenant, SavedBanner { state: memory, report });
    }
    Ok(StoredState { states, banners, channels: read_channels(db)?, deliveries: read_deliveries(db)? })
}

fn read_channels(db: &Connection) -> rusqlite::Result<BTreeMap<String, ChannelState>> {
    if !has_table(db, "channel")? {
        return Ok(BTreeMap::new());
    }
    let mut select = db.prepare("SELECT name, state FROM channel")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, parse(&row.get::<_, String>(1)?)?)))?;
    rows.collect()
}

fn read_deliveries(db: &Connection) -> rusqlite::Result<SavedDeliveries> {
    if !has_table(db, "delivery")? {
        return Ok(BTreeMap::new());
    }
    let mut select = db.prepare("SELECT tenant, connector, state FROM delivery")?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(((row.get(0)?, row.get(1)?), parse::<DeliveryState>(&row.get::<_, String>(2)?)?))
    };
    select.query_map([], row)?.collect()
}

/// A file that an earlier version wrote is also read before it is migrated.
fn has_table(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    Ok(db.query_row(table, [name], |_| Ok(())).optional()?.is_some())
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    let bad = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(text).map_err(bad)
}

fn to_text<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn run(mut opened: OpenedFolder, mut inbox: mpsc::Receiver<StoreRequest>) {
    while let Some(request) = inbox.blocking_recv() {
        // The receiver may have been dropped at shutdown.
        if let StoreRequest::Keep(change, _, reply) = request {
            drop(
                reply.send(
                    opened
                        .restore_removed()
                        .and_then(|()| apply(&mut opened.db, change).map_err(|e| failed(opened.path(), &e))),
                ),
            );
            continue;
        }
        let (db, path) = (&opened.db, opened.path());
        match request {
            StoreRequest::Keep(..) => {}
            StoreRequest::Recall(reply) => drop(reply.send(read_state(db).map_err(|e| failed(path, &e)))),
            StoreRequest::Days(of, since, reply) => {
                drop(reply.send(days(db, of, since).map_err(|e| failed(path, &e))))
            }
            StoreRequest::Responses(of, since, reply) => {
                drop(reply.send(responses(db, of, since).map_err(|e| failed(path, &e))));
            }
            StoreRequest::Transitions(span, reply) => {
                drop(reply.send(transitions(db, &span).map_err(|e| failed(path, &e))));
            }
        }
    }
    // Leaves a file without a WAL; if this fails, the next start does it.
    let _ = opened.db.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

fn apply(db: &mut Connection, change: StateChange) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    match change {
        StateChange::Batch(batch) => save_batch(&tx, &batch)?,
        StateChange::Forget(monitors) => {
            let mut delete = tx.prepare_cached("DELETE FROM monitor WHERE name = ?1")?;
            for name in &monitors {
                delete.execute([name])?;
            }
        }
        StateChange::BannerState(remembered) => {
            let text = to_text(&remembered)?;
            tx.prepare_cached(
                "INSERT INTO banner (tenant, memory) VALUES (?1, ?2) ON CONFLICT (tenant) DO UPDATE SET memory = ?2",
            )?
            .execute([&remembered.tenant, &text])?;
        }
        StateChange::ForgetBanner(tenant) => {
            tx.execute("DELETE FROM banner WHERE tenant = ?1", [tenant])?;
        }
        StateChange::Channel(name, None) => {
            tx.execute("DELETE FROM channel WHERE name = ?1", [name])?;
        }
        StateChange::Channel(name, Some(state)) => {
            let put = "INSERT INTO channel (name, state) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET state = excluded.state";
            tx.execute(put, params![name, to_text(&state)?])?;
        }
        StateChange::Delivery((tenant, connector), None) => {
            let delete = "DELETE FROM delivery WHERE tenant = ?1 AND connector = ?2";
            tx.execute(delete, [tenant, connector])?;
        }
        StateChange::Delivery((tenant, connector), Some(state)) => {
            let put = "INSERT INTO delivery (tenant, connector, state) VALUES (?1, ?2, ?3)
                ON CONFLICT (tenant, connector) DO UPDATE SET state = excluded.state";
            tx.prepare_cached(put)?.execute(params![tenant, connector, to_text(&state)?])?;
        }
        StateChange::Prune(now) => {
            let first_kept: Option<Date> = tx
                .query_row(
                    "SELECT DISTINCT date FROM day ORDER BY date DESC LIMIT 1 OFFSET ?1 - 1",
                    [super::KEEP_DAYS],
                    |row| parsed(row, 0),
                )
                .optional()?;
            let oldest = now.checked_sub(super::KEEP_HISTORY).unwrap_or(Timestamp::MIN);
            let oldest = first_kept.map_or(Timestamp::MIN, |date| oldest.min(history::begin_of(date)));
            tx.execute("DELETE FROM transition WHERE at < ?1", [timestamp_text(oldest)])?;
            tx.execute("DELETE FROM day WHERE date < ?1", [history::date_of(oldest).to_string()])?;
            // The newest days with rows are kept, whatever the clock says.
            tx.execute(
                "DELETE FROM response WHERE date < (SELECT DISTINCT date FROM response ORDER BY date DESC LIMIT 1 OFFSET ?1 - 1)",
                [KEEP_RESPONSE_DAYS],
            )?;
        }
    }
    tx.commit()
}

fn save_batch(db: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(
        "INSERT INTO monitor (name, state) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET state = excluded.state",
    )?;
    for (name, state) in &batch.states {
        put.execute(params![name, to_text(state)?])?;
    }
    let mut add = db.prepare_cached(
        "INSERT INTO transition (at, monitor, from_, to_, description) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for t in &batch.transitions {
        add.execute(params![timestamp_text(t.at), t.monitor, t.from.as_str(), t.to.as_str(), t.description])?;
    }
    let mut count = db.prepare_cached(
        "INSERT INTO day (monitor, date, none, maintenance, minor, major, critical) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (monitor, date) DO UPDATE SET none = none + excluded.none,
            maintenance = maintenance + excluded.maintenance, minor = minor + excluded.minor,
            major = major + excluded.major, critical = critical + excluded.critical",
    )?;
    for ((monitor, date), Day { at: [none, maintenance, minor, major, critical] }) in &batch.days {
        count.execute(params![monitor, date.to_string(), none, maintenance, minor, major, critical])?;
    }
    add_responses(db, &batch.responses)
}

fn add_responses(db: &Connection, totals: &ResponseTotals) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached("SELECT hours FROM response WHERE monitor = ?1 AND date = ?2")?;
    let mut put = db.prepare_cached(
        "INSERT INTO response (monitor, date, hours) VALUES (?1, ?2, ?3)
         ON CONFLICT (monitor, date) DO UPDATE SET hours = excluded.hours",
    )?;
    for ((monitor, date), day) in totals {
        let date = date.to_string();
        let stored: Option<Vec<u8>> =
            select.query_row(params![monitor, date], |row| row.get(0)).optional()?;
        let mut total = ResponseDay::decode(&stored.unwrap_or_default());
        total.add(day);
        put.execute(params![monitor, date, total.encode()])?;
    }
    Ok(())
}

/// Always three decimals, so that the texts sort by time.
fn timestamp_text(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn days(db: &Connection, of: Option<String>, since: Date) -> rusqlite::Result<Vec<MonitorDay>> {
    let condition = if of.is_some() { "AND monitor = ?2" } else { "AND ?2 IS NULL" };
    let mut select = db.prepare_cached(&format!(
        "SELECT monitor, date, none, maintenance, minor, major, critical FROM day WHERE date >= ?1 {condition}
         ORDER BY monitor, date"
    ))?;
    let day = |row: &Row<'_>| {
        let at = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
        Ok((row.get(0)?, parsed(row, 1)?, Day { at }))
    };
    select.query_map(params![since.to_string(), of], day)?.collect()
}

fn responses(db: &Connection, of: Option<String>, since: Date) -> rusqlite::Result<Vec<MonitorResponses>> {
    let condition = if of.is_some() { "AND monitor = ?2" } else { "AND ?2 IS NULL" };
    let mut select = db.prepare_cached(&format!(
        "SELECT monitor, date, hours FROM response WHERE date >= ?1 {condition} ORDER BY monitor, date"
    ))?;
    let day =
        |row: &Row<'_>| Ok((row.get(0)?, parsed(row, 1)?, ResponseDay::decode(&row.get::<_, Vec<u8>>(2)?)));
    select.query_map(params![since.to_string(), of], day)?.collect()
}

fn transitions(db: &Connection, span: &Span) -> rusqlite::Result<Vec<Transition>> {
    let (from, to) = (timestamp_text(span.from), timestamp_text(span.to));
    let limit = i64::try_from(span.limit).unwrap_or(i64::MAX);
    let condition = if span.monitor.is_some() { "AND monitor = ?4" } else { "AND ?4 IS NULL" };
    let mut select = db.prepare_cached(&format!(
        "SELECT at, monitor, from_, to_, description FROM transition WHERE at >= ?1 AND at < ?2 {condition}
         ORDER BY at DESC, id DESC LIMIT ?3"
    ))?;
    let transition = |row: &Row<'_>| {
        Ok(Transition {
            at: parsed(row, 0)?,
            monitor: row.get(1)?,
            from: parsed(row, 2)?,
            to: parsed(row, 3)?,
            description: row.get(4)?,
        })
    };
    select.query_map(params![from, to, limit, span.monitor], transition)?.collect()
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.get(at)?;
    text.parse().map_err(|e: T::Err| {
        let reason = format!("`{text}`: {e}");
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, reason.into())
    })
}
