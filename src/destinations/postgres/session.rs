//! A connection of the writer, and whether rows may wait in tables of its session.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::rows::{SEND_BYTES, Segment};
use super::trouble::Trouble;
use crate::database::{Connected, Database, DatabaseError, Patience};

pub(super) struct Session {
    connected: Connected,
    /// The server's process, as long as it is always the same one.
    backend: Option<i32>,
    /// Tables of the session made so far: their names never come twice.
    tables: u64,
}

impl Session {
    pub(super) async fn open(database: &Database) -> Result<Self, DatabaseError> {
        let connected = database.connect_patiently().await?;
        let mut backend = None;
        if !database.is_pooled() {
            let asked = connected.client.query_typed("SELECT pg_backend_pid()", &[]).await;
            let rows = asked.map_err(|e| connected.judge("signing in", &e))?;
            backend = rows.first().map(|row| row.get(0));
        }
        Ok(Self { connected, backend, tables: 0 })
    }

    pub(super) fn client(&self) -> &Client {
        &self.connected.client
    }

    pub(super) fn patience(&self) -> &Patience {
        self.connected.patience()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.connected.client.is_closed()
    }

    /// Whether what belongs to the session outlives a transaction.
    pub(super) fn lasts(&self) -> bool {
        self.backend.is_some()
    }

    pub(super) fn backend(&self) -> Option<i32> {
        self.backend
    }

    /// From now on nothing is left in the session.
    pub(super) fn notice_pooler(&mut self) {
        self.connected.database().notice_pooler();
        self.backend = None;
    }

    pub(super) async fn transaction(&mut self) -> Result<Transaction<'_>, DatabaseError> {
        self.connected.transaction().await
    }

    /// Sends rows that wait into tables of the session: of each segment that holds many, or with `all` of any. Before
    /// a merge only those that are too many for its statement.
    pub(super) async fn send(
        &mut self,
        segments: &mut [Segment],
        all: bool,
        before_merge: bool,
    ) -> Result<(), Trouble> {
        for segment in segments {
            let wanted = if before_merge { segment.is_large() } else { all || segment.bytes() >= SEND_BYTES };
            if !wanted || !self.lasts() {
                continue;
            }
            let sent = segment.send(&self.connected.client, &mut self.tables).await;
            if let Err(error) = sent {
                // Without the right to make temporary tables, or behind a pooler, they go within the merge.
                let code = error.code();
                let refused = [
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    SqlState::INVALID_SQL_STATEMENT_NAME,
                    SqlState::DUPLICATE_PSTATEMENT,
                    SqlState::FEATURE_NOT_SUPPORTED,
                ];
                if !segment.is_sent()
                    && segment.bytes() > 0
                    && code.is_some_and(|code| refused.contains(code))
                {
                    self.backend = None;
                    continue;
                }
                return Err(Trouble::Told(self.connected.judge("sending rows", &error)));
            }
        }
        Ok(())
    }

    /// Drops the session's tables of segments that are of no more use. They would end with the session anyway.
    pub(super) async fn forget(&self, segments: Vec<Segment>) {
        for segment in segments {
            if segment.forget(&self.connected.client).await.is_err() {
                return;
            }
        }
    }
}
