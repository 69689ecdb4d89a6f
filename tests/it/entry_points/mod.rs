//! Connectors in other people's pipelines: over stdin and stdout, and as Fivetran's gRPC service. Start at
//! [`Scripted`] for a connector made of ops, at `grpc` for a client that knows only the wire.

mod fivetran;
mod generated_code;
mod grpc;
mod hanging;
mod program;
mod proto;
mod python;
mod same;
mod stdin;
mod tables;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use data_sources_monitor::testing::definitions::connector::read_one;
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::definition::config::ConfigValues;
use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use data_sources_monitor::testing::domain::syncing::op::{
    Checkpoint, Column, End, Op, Rows, TableShape, Write,
};
use data_sources_monitor::testing::protocol::source::{PipelineSource, Selection, SourceEnd};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A connector with one of everything that an entry point handles.
pub(crate) const ACME: &str = r#"
format = 1
[connector]
name = "acme"
base_url = "https://acme.test/v1"
[config]
api_key = { type = "secret", description = "Made under Settings, API" }
start = { type = "date", default = "2026-01-01" }
deep = { type = "boolean", default = false }
lists = { type = "list", default = ["contacts", "accounts"] }
[auth]
kind = "header"
name = "Authorization"
value = "Bearer ${config.api_key}"
[[table]]
name = "accounts"
path = "/accounts"
records = ["data"]
key = ["id"]
deletes = "snapshot"
max_share = 0.5
columns = { id = { type = "bigint" } }
enabled = { list = "lists", has = "accounts" }
[[table]]
name = "contacts"
path = "/contacts"
records = ["data"]
key = ["id"]
columns = { id = { type = "bigint" }, amount = { type = "decimal" }, at = { type = "timestamp" }, subject = { name = "api_subject" } }
enabled = { list = "lists", has = "contacts" }
"#;

/// A connector whose ops a test defines.
pub(crate) struct Scripted {
    definition: Definition,
    ops: Vec<Op>,
    /// How often they are sent.
    rounds: usize,
    ended: SourceEnd,
    pub(crate) heard: Arc<CallRecord>,
}

/// What a connector was asked for, and how far it came.
#[derive(Default)]
pub(crate) struct CallRecord {
    pub(crate) wanted: Mutex<Vec<Selection>>,
    pub(crate) sent: AtomicU64,
    pub(crate) over: CancellationToken,
}

impl Scripted {
    pub(crate) fn new(ops: Vec<Op>) -> Scripted {
        let definition = read_one("acme.toml", ACME, &Default::default()).unwrap();
        Scripted { definition, ops, rounds: 1, ended: ended(End::Complete, ""), heard: Arc::default() }
    }

    pub(crate) fn ending(self, ended: SourceEnd) -> Scripted {
        Scripted { ended, ..self }
    }

    pub(crate) fn rounds(self, rounds: usize) -> Scripted {
        Scripted { rounds, ..self }
    }
}

#[async_trait]
impl PipelineSource for Scripted {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn now(&self) -> Timestamp {
        "2026-05-02T09:00:00Z".parse().unwrap()
    }

    async fn test(&self, config: ConfigValues) -> Result<(), String> {
        if config.get("api_key") == Some("right") { Ok(()) } else { Err("the key is refused (401)".into()) }
    }

    async fn run(&self, wanted: Selection, ops: mpsc::Sender<Op>, cancel: CancellationToken) -> SourceEnd {
        self.heard.wanted.lock().unwrap().push(wanted);
        // Also when it is dropped in the middle.
        let _over = self.heard.over.clone().drop_guard();
        for op in (0..self.rounds).flat_map(|_| &self.ops) {
            let sent = tokio::select! {
                () = cancel.cancelled() => false,
                sent = ops.send(op.clone()) => sent.is_ok(),
            };
            if !sent {
                return ended(End::Deferred, "stopped");
            }
            self.heard.sent.fetch_add(1, Ordering::Relaxed);
        }
        self.ended.clone()
    }
}

pub(crate) fn ended(end: End, reason: &str) -> SourceEnd {
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    SourceEnd { end, reason, mend: false, notes: Vec::new() }
}

/// `contacts` with an id and a column for each type that is asked for.
pub(crate) fn shape(table: &str, columns: &[(&str, ColumnType)]) -> Arc<TableShape> {
    let columns = [("id", ColumnType::Bigint)].iter().chain(columns);
    let columns = columns.map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect();
    let key = vec!["id".into()];
    Arc::new(TableShape { table: table.into(), columns, key, write: Write::Upsert, deleted_if: None })
}

/// A table of ids whose column `gone` says that a row is deleted.
pub(crate) fn with_deletion_column(table: &str) -> Arc<TableShape> {
    let shape = shape(table, &[("gone", ColumnType::Boolean)]);
    Arc::new(TableShape { deleted_if: Some("gone".into()), ..(*shape).clone() })
}

/// Rows with these ids, the other cells all the same.
pub(crate) fn rows(shape: &Arc<TableShape>, ids: std::ops::Range<i64>, others: &[Cell]) -> Op {
    let row = |id| std::iter::once(Cell::Int(id)).chain(others.iter().cloned()).collect();
    Op::Rows(Rows { shape: Arc::clone(shape), rows: ids.map(row).collect() })
}

pub(crate) fn checkpoint(table: &str, at: i64) -> Op {
    Op::Checkpoint(Checkpoint { entries: vec![(table.into(), String::new(), Some(at.into()))] })
}

pub(crate) fn finish(table: &str) -> Op {
    Op::Finish { table: table.into(), sweep: None }
}
