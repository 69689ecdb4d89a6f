//! One JSON document in, one JSON document out: the protocol of Fivetran's Functions over stdin and stdout.
//!
//! An answer to a sync has at most about 5 MB or 10,000 rows (`page`); with `hasMore`, the next call resumes from the
//! returned state. An answer ends at a point where reading can resume (a checkpoint, the end of a table); later rows are
//! read again by the next call. A checkpoint that is equal to the state of the request (rows read again behind a cursor)
//! is not such a point: all later calls would end there too. A table that can only be read whole makes one answer of any
//! size. Tables that were read to their end are not read again within one sync: the state contains them until `hasMore`
//! is false.
//!
//! An answer is either complete, or it is an error and the caller's state stays valid. Deletions are sent if the table has
//! few enough keys to store them in the state (see `sweep`).
//!
//! Start at [`answer`].

mod page;
mod request;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::given;
use super::saved::SavedState;
use super::source::{PipelineSource, Selection, SourceEnd};
use super::sweep::Passes;
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::definition::config::ConfigValues;
use crate::domain::syncing::definition::connector::{Definition, Table};
use crate::domain::syncing::op::{End, Op, Sweep, TableShape, Write};
use crate::domain::syncing::state_text::TextPart;
use crate::domain::text::counted;
use page::{ReplyBuffer, Room};
use request::{StdinAction, StdinRequest};

/// Ops between the connector and this module: a few pages.
const OPS: usize = 4;
/// Limit of warnings in one answer.
const MAX_WARNINGS: usize = 20;

/// Limit of a returned state in bytes: half the limit of a request, so that the next call can always send it.
pub const MAX_STATE_BYTES: usize = 32 << 20;

/// The output of one call.
#[derive(Debug)]
pub struct StdinAnswer {
    /// One JSON document.
    pub document: Vec<u8>,
    /// Whether the request was answered, which includes a failed test.
    pub ok: bool,
}

impl StdinAnswer {
    /// An error; the caller's state stays valid.
    pub fn error(message: &str) -> StdinAnswer {
        StdinAnswer { document: json!({ "error": message }).to_string().into_bytes(), ok: false }
    }

    fn of(document: &Value) -> StdinAnswer {
        StdinAnswer { document: document.to_string().into_bytes(), ok: true }
    }
}

/// Answers one document.
pub async fn answer(
    source: &dyn PipelineSource,
    document: impl Into<Vec<u8>>,
    stop: &CancellationToken,
) -> StdinAnswer {
    let request = match StdinRequest::read(document.into()) {
        Ok(request) => request,
        Err(message) => return StdinAnswer::error(&message),
    };
    let definition = source.definition();
    let sync_id = request.sync_id.as_deref().unwrap_or("none");
    tracing::info!(connector = definition.name, sync_id, "Received request {:?}", request.action);
    if request.action == StdinAction::Schema {
        return StdinAnswer::of(&json!({ "schema": schema(definition) }));
    }
    let config = given::resolve(definition, &request.given, "secrets");
    match (request.action, config) {
        (StdinAction::Test, Err(message)) => {
            StdinAnswer::of(&json!({ "success": false, "message": message }))
        }
        (StdinAction::Test, Ok(config)) => match stop.run_until_cancelled(source.test(config)).await {
            Some(Ok(())) => StdinAnswer::of(&json!({ "success": true })),
            Some(Err(message)) => StdinAnswer::of(&json!({ "success": false, "message": message })),
            None => StdinAnswer::error("stopped before the source answered"),
        },
        (_, Err(message)) => StdinAnswer::error(&message),
        (_, Ok(config)) => {
            let synced = sync(source, config, &request.state, stop).await;
            synced.unwrap_or_else(|message| {
                tracing::error!("{message}");
                StdinAnswer::error(&message)
            })
        }
    }
}

/// The tables, keys and types that are known before the first row.
fn schema(definition: &Definition) -> Value {
    let table = |table: &Table| {
        let shape = table.declared_shape();
        let known = shape.columns.iter().filter(|column| column.kind != ColumnType::Unknown);
        let columns: BTreeMap<&str, &str> =
            known.map(|column| (column.name.as_str(), type_name(column.kind))).collect();
        (table.name.clone(), json!({ "primary_key": shape.key, "columns": columns }))
    };
    definition.tables.iter().map(table).collect::<serde_json::Map<_, _>>().into()
}

/// Fivetran's name of a type.
fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Bigint => "LONG",
        ColumnType::Double => "DOUBLE",
        ColumnType::Decimal => "DECIMAL",
        ColumnType::Date => "NAIVE_DATE",
        ColumnType::Timestamp => "UTC_DATETIME",
        ColumnType::Json => "JSON",
        ColumnType::Text | ColumnType::Unknown => "STRING",
    }
}

async fn sync(
    source: &dyn PipelineSource,
    config: ConfigValues,
    stored: &TextPart,
    stop: &CancellationToken,
) -> Result<StdinAnswer, String> {
    let definition = source.definition();
    let mut saved = SavedState::read(stored, &definition.name).map_err(|e| e.to_string())?;
    let enabled = definition.tables.iter().filter(|table| config.enables(&table.enabled));
    let tables: Vec<String> =
        enabled.map(|table| table.name.clone()).filter(|name| !saved.done().contains(name)).collect();
    if tables.is_empty() {
        saved.end_sync();
        return Ok(StdinAnswer {
            document: document(&saved, &ReplyBuffer::default(), false, &[])?,
            ok: true,
        });
    }
    let shapes = saved.shapes(definition);
    let since = Some(saved.begin_sync(source.now()));
    let selection = Selection { config, tables: Some(tables.clone()), state: saved.state(), shapes, since };
    let cancel = stop.child_token();
    let (ops, mut inbox) = mpsc::channel(OPS);
    let mut gathering = Gathering::new(definition, saved, &tables);
    let gather = async {
        let cut = gathering.gather(&mut inbox).await;
        cancel.cancel();
        // The connector may wait for space in the channel.
        inbox.close();
        while inbox.recv().await.is_some() {}
        cut
    };
    let (ended, cut) = tokio::join!(source.run(selection, ops, cancel.clone()), gather);
    gathering.answer(&ended, cut?)
}

/// The content of an answer while it is gathered.
struct Gathering {
    /// The state of the request.
    received: SavedState,
    saved: SavedState,
    page: ReplyBuffer,
    passes: Passes,
    tables: Vec<String>,
    shapes: BTreeMap<String, Arc<TableShape>>,
    warnings: Vec<String>,
    rejected: BTreeMap<String, (u64, String)>,
    /// Whether the state is ahead of that of the request.
    moved: bool,
}

/// Whether the answer was cut at its size limit.
type Cut = bool;

impl Gathering {
    fn new(definition: &Definition, saved: SavedState, tables: &[String]) -> Gathering {
        let watched =
            definition.tables.iter().filter(|table| vanishing(table)).map(|table| table.name.clone());
        // A table without rows sends no shape.
        let shapes = saved.shapes(definition).into_iter().map(|shape| (shape.table.clone(), Arc::new(shape)));
        Gathering {
            received: saved.clone(),
            saved,
            page: ReplyBuffer::default(),
            passes: Passes::new(watched),
            tables: tables.to_vec(),
            shapes: shapes.collect(),
            warnings: Vec::new(),
            rejected: BTreeMap::new(),
            moved: false,
        }
    }

    /// Takes ops until the answer is full or they end.
    async fn gather(&mut self, inbox: &mut mpsc::Receiver<Op>) -> Result<Cut, String> {
        while let Some(op) = inbox.recv().await {
            self.take(op);
            match self.page.room() {
                Room::Left | Room::Over => {}
                Room::Full => {
                    self.page.cut();
                    return Ok(true);
                }
                Room::Burst => {
                    return Err("a table that can only be read whole is too large for this protocol: give it a cursor or \
                                a window in the connector's definition, or use gRPC or `sync`"
                        .into());
                }
            }
        }
        Ok(false)
    }

    fn take(&mut self, op: Op) {
        match op {
            Op::Shape(shape) if self.wants(&shape.table) => {
                self.saved.add_shape(&shape);
                self.shapes.insert(shape.table.clone(), shape);
            }
            Op::Rows(rows) if self.wants(&rows.shape.table) => {
                self.page.insert(&rows);
                self.passes.rows(&rows, &mut self.saved);
            }
            Op::Rejected(rejected) => {
                for row in rejected {
                    self.rejected.entry(row.table).or_insert((0, row.reason)).0 += 1;
                }
            }
            Op::Checkpoint(checkpoint) => {
                self.moved |= self.saved.apply(checkpoint);
                if self.moved {
                    self.page.mark();
                }
            }
            Op::Finish { table, sweep } if self.wants(&table) => self.finish(&table, sweep),
            Op::Shape(_) | Op::Rows(_) | Op::Finish { .. } => {}
        }
    }

    fn wants(&self, table: &str) -> bool {
        self.tables.iter().any(|name| name == table)
    }

    fn finish(&mut self, table: &str, sweep: Option<Sweep>) {
        if let Some(shape) = self.shapes.get(table).cloned() {
            let gone = self.passes.finish(&shape, sweep.or_else(|| replaced(&shape)), &mut self.saved);
            self.page.delete(&shape, &gone.keys);
            self.warnings.extend(gone.note);
            if shape.write == Write::Replace && shape.key.is_empty() {
                self.warnings.push(format!(
                    "{table}: it is replaced as a whole and has no key, so that rows of earlier syncs are not removed: give it \
                     a key, or use gRPC"
                ));
            }
        }
        self.saved.finish(table);
        self.moved = true;
        self.page.mark();
    }

    fn answer(mut self, ended: &SourceEnd, cut: Cut) -> Result<StdinAnswer, String> {
        self.warnings.extend(ended.notes.iter().cloned());
        if !cut {
            self.end(ended)?;
        }
        let more = cut || ended.end == End::Deferred;
        for (table, (count, reason)) in &self.rejected {
            self.warnings
                .push(format!("{table}: {} could not be taken; the first: {reason}", counted(*count, "row")));
        }
        self.warnings.truncate(MAX_WARNINGS);
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        if !more {
            self.saved.end_sync();
        }
        self.page.finish();
        let document = document(&self.saved, &self.page, more, &self.warnings)?;
        tracing::info!(rows = self.page.len(), more, "Answered request");
        Ok(StdinAnswer { document, ok: true })
    }

    /// Checks whether the rows are a valid answer after the connector has ended by itself.
    fn end(&mut self, ended: &SourceEnd) -> Result<(), String> {
        match ended.end {
            End::Complete => {}
            End::Partial => self.warnings.push(ended.reason().to_owned()),
            End::Deferred => {
                // Return the rows so far. A later call without rows returns the reason.
                self.page.cut();
                if self.page.len() == 0 || self.saved == self.received {
                    return Err(format!("{}; call again later with the same state", ended.reason()));
                }
                self.warnings.push(ended.reason().to_owned());
            }
            End::Failed => return Err(ended.reason().to_owned()),
        }
        Ok(())
    }
}

/// Whether rows of a table can disappear without a deletion from the source.
fn vanishing(table: &Table) -> bool {
    table.snapshot.is_some() || (table.write == Write::Replace && !table.key.is_empty())
}

/// A replaced table may lose all its rows.
fn replaced(shape: &TableShape) -> Option<Sweep> {
    (shape.write == Write::Replace).then_some(Sweep { max_share: 1.0 })
}

fn document(
    saved: &SavedState,
    page: &ReplyBuffer,
    more: bool,
    warnings: &[String],
) -> Result<Vec<u8>, String> {
    let size = saved.json_len();
    if size > MAX_STATE_BYTES {
        return Err(format!(
            "the state would have {} MB, but this protocol allows {}: it has a cursor for each parent of a child \
             table, so disable child tables by `enabled`, or use `sync`",
            size >> 20,
            MAX_STATE_BYTES >> 20
        ));
    }
    let mut out = Vec::with_capacity(size + 1024);
    out.extend_from_slice(b"{\"state\":");
    saved.write(&mut out).map_err(|e| format!("the state cannot be written: {e}"))?;
    out.push(b',');
    out.append(&mut page.members());
    if !warnings.is_empty() {
        out.extend(format!(",\"warnings\":{}", json!(warnings)).as_bytes());
    }
    out.extend(format!(",\"hasMore\":{more}}}").as_bytes());
    Ok(out)
}
