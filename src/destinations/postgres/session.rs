//! The writer's connection, and whether it supports temporary tables.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::failure::PostgresFailure;
use super::merge::{SEND_BYTES, Segment};
use crate::database::{Connected, Database, DatabaseError, IdleTimeout};

pub(crate) struct Session {
    connected: Connected,
    /// The process id of the server session; `None` behind a pooler.
    backend: Option<i32>,
    /// Number of temporary tables created, for unique names.
    tables: u64,
}

impl Session {
    pub(super) async fn open(database: &Database) -> Result<Self, DatabaseError> {
        let connected = database.connect_patiently().await?;
        let mut backend = None;
        if !database.is_pooled() {
            let result = connected.client.query_typed("SELECT pg_backend_pid()", &[]).await;
            let rows = result.map_err(|e| connected.judge("connecting", &e))?;
            backend = rows.first().map(|row| row.get(0));
        }
        Ok(Self { connected, backend, tables: 0 })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.connected.client
    }

    pub(super) fn connected(&mut self) -> &mut Connected {
        &mut self.connected
    }

    pub(crate) fn idle_timeout(&self) -> &IdleTimeout {
        self.connected.idle_timeout()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.connected.client.is_closed()
    }

    /// Whether temporary tables outlive a transaction.
    pub(crate) fn lasts(&self) -> bool {
        self.backend.is_some()
    }

    pub(super) fn backend(&self) -> Option<i32> {
        self.backend
    }

    /// Stops the use of temporary tables.
    pub(super) fn notice_pooler(&mut self) {
        self.connected.database().notice_pooler();
        self.backend = None;
    }

    pub(crate) async fn transaction(&mut self) -> Result<Transaction<'_>, DatabaseError> {
        self.connected.transaction().await
    }

    /// Sends rows into temporary tables: of segments with many rows, or of all segments with `all`. Before a merge, only
    /// of segments that are too large for its statement.
    pub(super) async fn send(
        &mut self,
        segments: &mut [Segment],
        all: bool,
        before_merge: bool,
    ) -> Result<(), PostgresFailure> {
        for segment in segments {
            let due = if before_merge { segment.is_large() } else { all || segment.bytes() >= SEND_BYTES };
            if !due || !self.lasts() {
                continue;
            }
            let sent = segment.send(&self.connected.client, &mut self.tables).await;
            if let Err(error) = sent {
                // Without the right to create temporary tables, or behind a pooler, rows are part of the merge.
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
                return Err(PostgresFailure::Explained(self.connected.judge("sending rows", &error)));
            }
        }
        Ok(())
    }

    /// Drops the temporary tables of segments. After an error, they are dropped with the session.
    pub(super) async fn drop_tables(&self, segments: Vec<Segment>) {
        for segment in segments {
            if segment.drop_table(&self.connected.client).await.is_err() {
                return;
            }
        }
    }
}
