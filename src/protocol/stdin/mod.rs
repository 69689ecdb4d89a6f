//! One JSON document in, one JSON document out: the protocol of Fivetran's Functions, which the first connectors of
//! this kind spoke over stdin and stdout.
//!
//! An answer to a sync holds about 5 MB or 10,000 rows (`page`) at most; `hasMore` says that the next call, with the
//! returned state, goes on. An answer ends where the connector says that reading can go on from (a checkpoint, the end
//! of a table); what came after that place is read again by the next call. A checkpoint that says no more than the state
//! that came (rows read again behind a cursor) is no such place: the next call would end there, too, and so would all that
//! follow. A table that can only be read whole makes
//! one answer, however large. Tables read to their end are not read again within one sync: the state remembers them
//! until `hasMore` is false.
//!
//! Either everything that an answer claims is in it, or the answer is an error and the caller's state still holds.
//! Deletions are told where the table's keys are few enough to be remembered in the state (see `sweep`).
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
use super::saved::Saved;
use super::source::{Ended, Source, Wanted};
use super::sweep::Passes;
use crate::domain::cell::ColumnType;
use crate::domain::config::ConfigValues;
use crate::domain::connector::{Definition, Table};
use crate::domain::op::{End, Op, Sweep, TableShape, Write};
use crate::domain::state_text::TextPart;
use page::{Page, Room};
use request::{Action, Request};

/// Ops under way between the connector and us: a few pages.
const OPS: usize = 4;
/// Warnings of one answer; more would be read by nobody.
const MAX_WARNINGS: usize = 20;

/// Bytes of a state that is handed out: half of what a caller may hand in, so that no sync gives a state that the next call
/// cannot bring.
pub const MAX_STATE_BYTES: usize = 32 << 20;

/// What goes out.
#[derive(Debug)]
pub struct Answer {
    /// One JSON document.
    pub document: Vec<u8>,
    /// Whether the question was answered. A test that found something wrong was.
    pub ok: bool,
}

impl Answer {
    /// It went wrong, and the caller's state still holds.
    pub fn error(message: &str) -> Answer {
        Answer { document: json!({ "error": message }).to_string().into_bytes(), ok: false }
    }

    fn of(document: &Value) -> Answer {
        Answer { document: document.to_string().into_bytes(), ok: true }
    }
}

/// Answers one document, which is given away where it is large.
pub async fn answer(source: &dyn Source, document: impl Into<Vec<u8>>, stop: &CancellationToken) -> Answer {
    let request = match Request::read(document.into()) {
        Ok(request) => request,
        Err(message) => return Answer::error(&message),
    };
    let definition = source.definition();
    let sync_id = request.sync_id.as_deref().unwrap_or("none");
    tracing::info!(connector = definition.name, sync_id, "{:?} asked for", request.action);
    if request.action == Action::Schema {
        return Answer::of(&json!({ "schema": schema(definition) }));
    }
    let config = given::resolve(definition, &request.given, "secrets");
    match (request.action, config) {
        (Action::Test, Err(message)) => Answer::of(&json!({ "success": false, "message": message })),
        (Action::Test, Ok(config)) => match stop.run_until_cancelled(source.test(config)).await {
            Some(Ok(())) => Answer::of(&json!({ "success": true })),
            Some(Err(message)) => Answer::of(&json!({ "success": false, "message": message })),
            None => Answer::error("stopped before the source had answered"),
        },
        (_, Err(message)) => Answer::error(&message),
        (_, Ok(config)) => {
            let synced = sync(source, config, &request.state, stop).await;
            synced.unwrap_or_else(|message| {
                tracing::error!("{message}");
                Answer::error(&message)
            })
        }
    }
}

/// Tables, keys and those types that are known before a row was seen.
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

/// What Fivetran calls a type.
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
    source: &dyn Source,
    config: ConfigValues,
    kept: &TextPart,
    stop: &CancellationToken,
) -> Result<Answer, String> {
    let definition = source.definition();
    let mut saved = Saved::read(kept, &definition.name).map_err(|e| e.to_string())?;
    let enabled = definition.tables.iter().filter(|table| config.enables(&table.enabled));
    let tables: Vec<String> =
        enabled.map(|table| table.name.clone()).filter(|name| !saved.done().contains(name)).collect();
    if tables.is_empty() {
        saved.end_sync();
        return Ok(Answer { document: whole(&saved, &Page::default(), false, &[])?, ok: true });
    }
    let shapes = saved.shapes(definition);
    let since = Some(saved.begin_sync(source.now()));
    let wanted = Wanted { config, tables: Some(tables.clone()), state: saved.state(), shapes, since };
    let cancel = stop.child_token();
    let (ops, mut inbox) = mpsc::channel(OPS);
    let mut gathering = Gathering::new(definition, saved, &tables);
    let gather = async {
        let cut = gathering.gather(&mut inbox).await;
        cancel.cancel();
        // The connector may be waiting for room.
        inbox.close();
        while inbox.recv().await.is_some() {}
        cut
    };
    let (ended, cut) = tokio::join!(source.run(wanted, ops, cancel.clone()), gather);
    gathering.answer(&ended, cut?)
}

/// What one call has come to so far.
struct Gathering {
    /// What the caller gave.
    came: Saved,
    saved: Saved,
    page: Page,
    passes: Passes,
    tables: Vec<String>,
    shapes: BTreeMap<String, Arc<TableShape>>,
    warnings: Vec<String>,
    rejected: BTreeMap<String, (u64, String)>,
    /// Whether the state says more than the one that came.
    moved: bool,
}

/// Whether the rows were cut because there were enough.
type Cut = bool;

impl Gathering {
    fn new(definition: &Definition, saved: Saved, tables: &[String]) -> Gathering {
        let watched =
            definition.tables.iter().filter(|table| vanishing(table)).map(|table| table.name.clone());
        // A table that has become empty tells no shape.
        let shapes = saved.shapes(definition).into_iter().map(|shape| (shape.table.clone(), Arc::new(shape)));
        Gathering {
            came: saved.clone(),
            saved,
            page: Page::default(),
            passes: Passes::new(watched),
            tables: tables.to_vec(),
            shapes: shapes.collect(),
            warnings: Vec::new(),
            rejected: BTreeMap::new(),
            moved: false,
        }
    }

    /// Takes ops until there are enough or no more.
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
                self.saved.learn(&shape);
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
        self.tables.iter().any(|wanted| wanted == table)
    }

    fn finish(&mut self, table: &str, sweep: Option<Sweep>) {
        if let Some(shape) = self.shapes.get(table).cloned() {
            let gone = self.passes.finish(&shape, sweep.or_else(|| replaced(&shape)), &mut self.saved);
            self.page.delete(&shape, &gone.keys);
            self.warnings.extend(gone.note);
            if shape.write == Write::Replace && shape.key.is_empty() {
                self.warnings.push(format!(
                    "{table}: it is replaced as a whole and has no key, so that rows of earlier syncs stay beside these: give it \
                     a key, or use gRPC"
                ));
            }
        }
        self.saved.finish(table);
        self.moved = true;
        self.page.mark();
    }

    fn answer(mut self, ended: &Ended, cut: Cut) -> Result<Answer, String> {
        self.warnings.extend(ended.notes.iter().cloned());
        if !cut {
            self.end(ended)?;
        }
        let more = cut || ended.end == End::Deferred;
        for (table, (count, reason)) in &self.rejected {
            self.warnings.push(format!("{table}: {count} rows could not be taken; the first: {reason}"));
        }
        self.warnings.truncate(MAX_WARNINGS);
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        if !more {
            self.saved.end_sync();
        }
        self.page.settle();
        let document = whole(&self.saved, &self.page, more, &self.warnings)?;
        tracing::info!(rows = self.page.len(), more, "answered");
        Ok(Answer { document, ok: true })
    }

    /// The connector has ended by itself: is what came of it an answer?
    fn end(&mut self, ended: &Ended) -> Result<(), String> {
        match ended.end {
            End::Complete => {}
            End::Partial => self.warnings.push(ended.reason().to_owned()),
            End::Deferred => {
                // What was read is kept, and whoever calls again is told the reason when there is nothing left to give.
                self.page.cut();
                if self.page.len() == 0 || self.saved == self.came {
                    return Err(format!("{}; call again later with the same state", ended.reason()));
                }
                self.warnings.push(ended.reason().to_owned());
            }
            End::Failed => return Err(ended.reason().to_owned()),
        }
        Ok(())
    }
}

/// Tables whose rows can be gone without a word.
fn vanishing(table: &Table) -> bool {
    table.snapshot.is_some() || (table.write == Write::Replace && !table.key.is_empty())
}

/// A table that is replaced as a whole may lose all its rows.
fn replaced(shape: &TableShape) -> Option<Sweep> {
    (shape.write == Write::Replace).then_some(Sweep { max_share: 1.0 })
}

fn whole(saved: &Saved, page: &Page, more: bool, warnings: &[String]) -> Result<Vec<u8>, String> {
    let size = saved.json_len();
    if size > MAX_STATE_BYTES {
        return Err(format!(
            "the state would be {} MB, and this protocol carries {}: it remembers a cursor for each parent of a child \
             table, so switch child tables off by `enabled`, or use `sync`",
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
