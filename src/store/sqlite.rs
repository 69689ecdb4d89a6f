//! The memory in `DATA_DIR/monitor.db`: one thread and numbered migrations; `folder` opens and locks it.

mod folder;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use tokio::sync::mpsc;

use super::{Ask, Batch, Damaged, KeepError, Kept, OpenError, Order, Remembered};
use crate::domain::assess::Transition;
use crate::domain::history::{self, Day, MonitorDay, Span};

use folder::Opened;

/// Numbered by position, from 1; never changed once released.
const MIGRATIONS: [&str; 2] = [include_str!("migrations/1.sql"), include_str!("migrations/2.sql")];

/// Another process that reads the file holds it at most this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database in a folder.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("monitor.db")
}

/// Starts the thread that answers, and reads what was kept.
pub(super) fn start(
    folder: &Path,
    damaged: Damaged,
    inbox: mpsc::Receiver<Ask>,
) -> Result<(JoinHandle<()>, Kept), OpenError> {
    let (opened, kept) = Opened::open(folder, damaged)?;
    let spawned = std::thread::Builder::new().name("store".into()).spawn(move || work(opened, inbox));
    let thread = spawned
        .map_err(|e| OpenError::Unavailable { path: folder.display().to_string(), reason: e.to_string() })?;
    Ok((thread, kept))
}

/// Whether this user can write where the database is or would be. Changes nothing.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    folder::check(folder)
}

/// What was kept, read beside a daemon that may be running; nothing if there is no database.
pub(super) fn peek(folder: &Path) -> Result<Kept, KeepError> {
    let path = file(folder);
    if !path.exists() {
        return Ok(Kept::default());
    }
    let read = || {
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        read_kept(&db)
    };
    read().map_err(|e| failed(&path, &e))
}

fn failed(path: &Path, error: &rusqlite::Error) -> KeepError {
    KeepError { place: path.display().to_string(), reason: error.to_string(), fenced: false }
}

/// Brings the layout up to date; where a later version wrote it, the layout found and the one known.
fn migrate(db: &mut Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Ok(Some((found, known)));
    }
    for (number, sql) in (1i64..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
        let tx = db.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", number)?;
        tx.commit()?;
    }
    Ok(None)
}

fn read_kept(db: &Connection) -> rusqlite::Result<Kept> {
    let mut select = db.prepare("SELECT name, state FROM monitor")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut states = Vec::new();
    for row in rows {
        let (name, state) = row?;
        states.push((name, parse(&state)?));
    }
    let memory: Option<String> =
        db.query_row("SELECT memory FROM banner", [], |row| row.get(0)).optional()?;
    let banner = memory.map(|text| parse::<Remembered>(&text)).transpose()?;
    Ok(Kept { states, banner: banner.map(|remembered| (remembered.tenant, remembered.memory)) })
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    let bad = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(text).map_err(bad)
}

fn to_text<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn work(mut opened: Opened, mut inbox: mpsc::Receiver<Ask>) {
    while let Some(ask) = inbox.blocking_recv() {
        // Nobody waits for an answer any more when the daemon stops in the middle.
        if let Ask::Keep(order, _, reply) = ask {
            drop(
                reply.send(
                    opened.restore_removed().and_then(|()| {
                        carry_out(&mut opened.db, order).map_err(|e| failed(opened.path(), &e))
                    }),
                ),
            );
            continue;
        }
        let (db, path) = (&opened.db, opened.path());
        match ask {
            Ask::Keep(..) => {}
            Ask::Recall(reply) => drop(reply.send(read_kept(db).map_err(|e| failed(path, &e)))),
            Ask::Days(of, since, reply) => {
                drop(reply.send(days(db, of, since).map_err(|e| failed(path, &e))))
            }
            Ask::Transitions(span, reply) => {
                drop(reply.send(transitions(db, &span).map_err(|e| failed(path, &e))));
            }
        }
    }
    // A clean file at the end; if it fails the next start does it.
    let _ = opened.db.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

fn carry_out(db: &mut Connection, order: Order) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    match order {
        Order::Batch(batch) => keep(&tx, &batch)?,
        Order::Forget(monitors) => {
            let mut forget = tx.prepare_cached("DELETE FROM monitor WHERE name = ?1")?;
            for name in &monitors {
                forget.execute([name])?;
            }
        }
        Order::Memory(remembered) => {
            let text = to_text(&remembered)?;
            tx.execute(
                "INSERT INTO banner (id, memory) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET memory = ?1",
                [text],
            )?;
        }
        Order::Prune(now) => {
            let of_days: Option<Date> = tx
                .query_row(
                    "SELECT DISTINCT date FROM day ORDER BY date DESC LIMIT 1 OFFSET ?1 - 1",
                    [super::KEEP_DAYS],
                    |row| parsed(row, 0),
                )
                .optional()?;
            let oldest = now.checked_sub(super::KEEP_HISTORY).unwrap_or(Timestamp::MIN);
            let oldest = of_days.map_or(Timestamp::MIN, |date| oldest.min(history::begin_of(date)));
            tx.execute("DELETE FROM transition WHERE at < ?1", [text_of(oldest)])?;
            tx.execute("DELETE FROM day WHERE date < ?1", [history::date_of(oldest).to_string()])?;
        }
    }
    tx.commit()
}

fn keep(db: &Connection, batch: &Batch) -> rusqlite::Result<()> {
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
        add.execute(params![text_of(t.at), t.monitor, t.from.as_str(), t.to.as_str(), t.description])?;
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
    Ok(())
}

/// Three decimals always, so that texts sort like moments.
fn text_of(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn days(db: &Connection, of: Option<String>, since: Date) -> rusqlite::Result<Vec<MonitorDay>> {
    let one = if of.is_some() { "AND monitor = ?2" } else { "AND ?2 IS NULL" };
    let mut select = db.prepare_cached(&format!(
        "SELECT monitor, date, none, maintenance, minor, major, critical FROM day WHERE date >= ?1 {one}
         ORDER BY monitor, date"
    ))?;
    let day = |row: &Row<'_>| {
        let at = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
        Ok((row.get(0)?, parsed(row, 1)?, Day { at }))
    };
    select.query_map(params![since.to_string(), of], day)?.collect()
}

fn transitions(db: &Connection, span: &Span) -> rusqlite::Result<Vec<Transition>> {
    let (from, to) = (text_of(span.from), text_of(span.to));
    let limit = i64::try_from(span.limit).unwrap_or(i64::MAX);
    let of = if span.monitor.is_some() { "AND monitor = ?4" } else { "AND ?4 IS NULL" };
    let mut select = db.prepare_cached(&format!(
        "SELECT at, monitor, from_, to_, description FROM transition WHERE at >= ?1 AND at < ?2 {of}
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
