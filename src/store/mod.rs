//! Our own memory in `DATA_DIR/monitor.db`: what is believed of each monitor, its transitions, the banner.
//!
//! One thread owns the database; everybody else sends it what to keep and may wait for the answer. Single looks
//! are not rows: only what is believed now, and each change of it. Start at [`Store::open`].

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use crate::domain::assess::{MonitorState, Transition};
use crate::domain::plan::Memory;

/// Numbered by position, from 1; never changed once released.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long transitions are kept: a year and a bit, so that a year can be compared with the last.
const KEEP_TRANSITIONS: SignedDuration = SignedDuration::from_hours(400 * 24);

/// Enough for a burst; whoever sends more waits, which slows it to the speed of the disk.
const QUEUE: usize = 256;

/// Another process that reads the file holds it at most this long.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon works on the same folder.
    #[error(
        "DATA_DIR {folder} is in use by another data-sources-monitor ({holder}); two would fight over the \
         banner. Stop it, or give this one a DATA_DIR of its own"
    )]
    InUse {
        /// The folder.
        folder: String,
        /// What the lock file says of the holder.
        holder: String,
    },
    /// The folder or a file in it cannot be used.
    #[error("DATA_DIR {path}: {reason}")]
    Unusable {
        /// Folder or file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A later version wrote it.
    #[error(
        "{path} was written by a later version (layout {found}, this program knows {known}); update the program"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its layout.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// Something could not be kept. The daemon goes on with what it has in memory.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct KeepError {
    /// The file.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What was kept of an earlier run.
#[derive(Debug, Default)]
pub struct Kept {
    /// By monitor.
    pub states: Vec<(String, MonitorState)>,
    /// Of the banner, and the tenant it belongs to.
    pub banner: Option<(String, Memory)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Remembered {
    tenant: String,
    memory: Memory,
}

impl Kept {
    /// What is remembered of this tenant's banner: nothing if it was another's.
    pub fn memory_of(&self, tenant: &str) -> Memory {
        self.banner.as_ref().filter(|(whose, _)| whose == tenant).map(|(_, m)| m.clone()).unwrap_or_default()
    }
}

enum Order {
    States(Vec<(String, MonitorState)>, Vec<Transition>),
    Memory(Box<Remembered>),
    Forget(Vec<String>),
    Prune(Timestamp),
}

type Answer = oneshot::Sender<Result<(), KeepError>>;

/// The handle. Dropping the last clone lets the thread finish; [`Closer::join`] waits for it.
#[derive(Clone)]
pub struct Store {
    orders: mpsc::Sender<(Order, Answer)>,
    path: PathBuf,
}

/// Waits for the store's thread at the end.
pub struct Closer(JoinHandle<()>);

impl Closer {
    /// Returns when everything sent is on disk and the file is closed. Every [`Store`] must be gone by then.
    pub fn join(self) {
        // The thread only ends by finishing its work; a panic in it was logged by the panic hook.
        let _ = self.0.join();
    }
}

impl Store {
    /// Opens or makes the database, locks the folder against a second daemon, and reads what was kept.
    ///
    /// # Errors
    /// When the folder is in use, cannot be written, or comes from a later version.
    pub fn open(folder: &Path) -> Result<(Store, Closer, Kept), OpenError> {
        let lock = lock(folder)?;
        let path = folder.join("monitor.db");
        let unusable = |e: rusqlite::Error| OpenError::Unusable {
            path: path.display().to_string(),
            reason: format!(
                "{e}; if the file is damaged, move it away: only history and the memory of the banner are in it"
            ),
        };
        let mut db = connect(&path).map_err(unusable)?;
        migrate(&mut db, &path).map_err(|e| e.unwrap_or_else(unusable))?;
        let kept = read_kept(&db).map_err(unusable)?;
        let (orders, inbox) = mpsc::channel(QUEUE);
        let store = Store { orders, path: path.clone() };
        let spawned = std::thread::Builder::new().name("store".into()).spawn(move || {
            work(&mut db, &path, inbox);
            drop(lock);
        });
        let thread = spawned
            .map_err(|e| OpenError::Unusable { path: folder.display().to_string(), reason: e.to_string() })?;
        Ok((store, Closer(thread), kept))
    }

    /// What is remembered of the banner, read beside a daemon that may be running. Nothing is made or changed.
    ///
    /// # Errors
    /// When there is a database that cannot be read.
    pub fn peek(folder: &Path, tenant: &str) -> Result<Memory, KeepError> {
        let path = folder.join("monitor.db");
        if !path.exists() {
            return Ok(Memory::default());
        }
        let read = || {
            let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            db.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
            read_kept(&db)
        };
        let failed =
            |e: rusqlite::Error| KeepError { path: path.display().to_string(), reason: e.to_string() };
        read().map(|kept| kept.memory_of(tenant)).map_err(failed)
    }

    /// Keeps the states of monitors and what changed, together.
    ///
    /// # Errors
    /// When it could not be written; nothing of it is then.
    pub async fn keep_states(
        &self,
        states: Vec<(String, MonitorState)>,
        transitions: Vec<Transition>,
    ) -> Result<(), KeepError> {
        self.order(Order::States(states, transitions)).await
    }

    /// Keeps the memory of a tenant's banner.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn keep_memory(&self, tenant: &str, memory: Memory) -> Result<(), KeepError> {
        self.order(Order::Memory(Box::new(Remembered { tenant: tenant.to_owned(), memory }))).await
    }

    /// Forgets what was believed of monitors that are no longer defined. Their history stays.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn forget(&self, monitors: Vec<String>) -> Result<(), KeepError> {
        self.order(Order::Forget(monitors)).await
    }

    /// Forgets transitions that are too old.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn prune(&self, now: Timestamp) -> Result<(), KeepError> {
        self.order(Order::Prune(now)).await
    }

    async fn order(&self, order: Order) -> Result<(), KeepError> {
        let gone = || KeepError {
            path: self.path.display().to_string(),
            reason: "the store's thread has ended".into(),
        };
        let (answer, answered) = oneshot::channel();
        self.orders.send((order, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let unusable =
        |e: std::io::Error| OpenError::Unusable { path: folder.display().to_string(), reason: e.to_string() };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    let path = folder.join("monitor.lock");
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // What it says is only a help for the reader.
            let _ = file.read_to_string(&mut holder);
            let folder = folder.display().to_string();
            return Err(OpenError::InUse { folder, holder: holder.trim().to_owned() });
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(unusable(e)),
    }
    file.set_len(0).map_err(unusable)?;
    file.rewind().map_err(unusable)?;
    writeln!(file, "process {}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // A banner's memory must survive a power cut; writes are rare.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", 4 << 20)?;
    Ok(db)
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), Result<OpenError, rusqlite::Error>> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(Err)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Ok(OpenError::TooNew { path: path.display().to_string(), found, known }));
    }
    for (number, sql) in (1i64..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
        let tx = db.transaction().map_err(Err)?;
        tx.execute_batch(sql).map_err(Err)?;
        tx.pragma_update(None, "user_version", number).map_err(Err)?;
        tx.commit().map_err(Err)?;
    }
    Ok(())
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

fn work(db: &mut Connection, path: &Path, mut inbox: mpsc::Receiver<(Order, Answer)>) {
    while let Some((order, answer)) = inbox.blocking_recv() {
        let done = carry_out(db, order)
            .map_err(|e| KeepError { path: path.display().to_string(), reason: e.to_string() });
        // Nobody waits any more when the daemon stops in the middle.
        let _ = answer.send(done);
    }
    // A clean file at the end; if it fails the next start does it.
    let _ = db.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

fn carry_out(db: &mut Connection, order: Order) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    match order {
        Order::States(states, transitions) => {
            let mut put = tx.prepare_cached(
                "INSERT INTO monitor (name, state) VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET state = excluded.state",
            )?;
            for (name, state) in &states {
                put.execute(params![name, to_text(state)?])?;
            }
            let mut add = tx.prepare_cached(
                "INSERT INTO transition (at, monitor, from_, to_, description) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for t in &transitions {
                let row =
                    params![format!("{:.3}", t.at), t.monitor, t.from.as_str(), t.to.as_str(), t.description];
                add.execute(row)?;
            }
        }
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
            let oldest = now.checked_sub(KEEP_TRANSITIONS).unwrap_or(Timestamp::MIN);
            tx.execute("DELETE FROM transition WHERE at < ?1", [format!("{oldest:.3}")])?;
        }
    }
    tx.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::severity::Severity;

    fn transition(at: &str) -> Transition {
        Transition {
            monitor: "A".into(),
            at: at.parse().unwrap(),
            from: Severity::None,
            to: Severity::Major,
            description: "down".into(),
        }
    }

    /// What is kept comes back after a restart, as it was.
    #[tokio::test]
    async fn remembers() {
        let folder = tempfile::tempdir().unwrap();
        let (store, closer, kept) = Store::open(folder.path()).unwrap();
        assert!(kept.states.is_empty());
        let state =
            MonitorState { severity: Severity::Major, description: "down".into(), ..Default::default() };
        let memory = Memory { holding: true, stands: Some("x".into()), ..Default::default() };
        store
            .keep_states(vec![("A".into(), state.clone())], vec![transition("2026-05-02T09:00:00Z")])
            .await
            .unwrap();
        store.keep_memory("https://acme.test/", memory.clone()).await.unwrap();
        drop(store);
        closer.join();
        let (_store, _closer, kept) = Store::open(folder.path()).unwrap();
        assert_eq!(kept.memory_of("https://acme.test/"), memory);
        assert_eq!(kept.memory_of("https://other.test/"), Memory::default());
        assert_eq!(kept.states, [("A".to_owned(), state)]);
    }

    /// A second daemon on the same folder is told who is there; after the first has gone the folder is free.
    #[tokio::test]
    async fn one_daemon_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (store, closer, _) = Store::open(folder.path()).unwrap();
        let refused = Store::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(store);
        closer.join();
        assert!(Store::open(folder.path()).is_ok());
    }

    /// History older than 400 days goes; the rest stays.
    #[tokio::test]
    async fn prunes() {
        let folder = tempfile::tempdir().unwrap();
        let (store, closer, _) = Store::open(folder.path()).unwrap();
        let both = vec![transition("2025-01-01T00:00:00Z"), transition("2026-05-01T00:00:00Z")];
        store.keep_states(vec![], both).await.unwrap();
        store.prune("2026-05-02T00:00:00Z".parse().unwrap()).await.unwrap();
        drop(store);
        closer.join();
        let db = Connection::open(folder.path().join("monitor.db")).unwrap();
        let left: i64 = db.query_row("SELECT count(*) FROM transition", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
    }

    /// A folder that cannot be made, a damaged file and a file from the future are told apart.
    #[test]
    fn refuses_clearly() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let unusable = Store::open(&folder.path().join("file/data")).err().unwrap().to_string();
        assert!(unusable.starts_with("DATA_DIR "), "{unusable}");
        std::fs::write(folder.path().join("monitor.db"), "this is no database, and long enough to tell")
            .unwrap();
        assert!(Store::open(folder.path()).err().unwrap().to_string().contains("move it away"));
        std::fs::remove_file(folder.path().join("monitor.db")).unwrap();
        let (store, closer, _) = Store::open(folder.path()).unwrap();
        drop(store);
        closer.join();
        let db = Connection::open(folder.path().join("monitor.db")).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        assert!(Store::open(folder.path()).err().unwrap().to_string().contains("a later version"));
    }
}
