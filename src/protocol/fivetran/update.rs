//! Converts ops to the messages of one `Update` stream, in order and within Fivetran's limits.
//!
//! - Records are sent in batches of at most 100 records and about 100 KiB. A larger row is sent alone; a row that is too
//!   large for a message becomes a warning.
//! - A table is truncated before its first rows, and a table that is replaced as a whole is truncated in each run, so that
//!   Fivetran keeps no older rows. Later deletions are sent if the table has few enough keys to store them in the state
//!   (see `sweep`).
//! - A row whose `deleted_if` column is true becomes a deletion in the order of the records: the last record of a key wins.
//! - A checkpoint follows the rows that it covers. A large state is not sent after every few rows.
//!
//! Start at [`Feed::take`] and [`Feed::end`]. This module does not wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use tonic::Status;

use super::choice::Choice;
use super::generated::{
    Checkpoint, Record, RecordType, Records, SchemaChange, TableList, Task, UpdateResponse, Warning,
    schema_change, update_response::Operation,
};
use super::{schema, values};
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::syncing::op::{End, Op, Rows, Sweep, TableShape, Write};
use crate::domain::text::shorten;
use crate::protocol::saved::SavedState;
use crate::protocol::source::SourceEnd;
use crate::protocol::sweep::{Passes, is_deleted, key_places};

/// Fivetran refuses larger batches.
pub(super) const MAX_RECORDS: usize = 100;
/// Maximum size of a batch, unless a single record is larger.
const MAX_BATCH_BYTES: usize = 100 << 10;
/// gRPC clients refuse messages above 4 MiB by default; the rest is for the message around the record.
const MAX_RECORD_BYTES: usize = (4 << 20) - (64 << 10);
/// A state up to this size is sent after each change; a larger one after as many bytes of rows.
const SMALL_STATE_BYTES: usize = 64 << 10;

/// A character may need twelve bytes in a header.
const MAX_STATUS_CHARS: usize = 500;

/// As for a record: the client would refuse a larger checkpoint, after all rows were sent.
const MAX_STATE_BYTES: usize = MAX_RECORD_BYTES;

/// The state is too large for a checkpoint, so that no further progress could be saved. Contains its size in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StateTooLarge(usize);

impl StateTooLarge {
    /// A failure that the user must resolve.
    pub(super) fn ended(&self) -> SourceEnd {
        let reason = format!(
            "the state of this sync has {} bytes, but a checkpoint can hold {MAX_STATE_BYTES}: it has a cursor for each \
             parent of a child table, so deselect child tables, or split the connector into several by `enabled`",
            self.0
        );
        SourceEnd { end: End::Failed, reason: Some(reason), mend: true, notes: Vec::new() }
    }
}

/// Produces the messages of one stream.
pub(super) struct Feed {
    choice: Choice,
    saved: SavedState,
    passes: Passes,
    lenses: BTreeMap<String, TableFilter>,
    /// The tables of earlier syncs: a table without rows sends no shape.
    known: BTreeMap<String, Arc<TableShape>>,
    batch: Vec<Record>,
    batch_bytes: usize,
    /// Tables emptied in this run.
    emptied: BTreeSet<String>,
    rejected: BTreeMap<String, u64>,
    unsaved: Unsaved,
    /// Records sent.
    pub(super) sent: u64,
}

/// The changes since the last checkpoint that was sent.
#[derive(Default)]
struct Unsaved {
    changed: bool,
    bytes: usize,
    /// Bytes of the last state.
    state: usize,
}

/// The selected columns of a shape.
struct TableFilter {
    shape: Arc<TableShape>,
    columns: Vec<(usize, String, ColumnType)>,
    /// Index of the `deleted_if` column.
    deleted: Option<usize>,
}

impl Feed {
    /// A stream that resumes from the caller's state.
    pub(super) fn new(definition: &Definition, choice: Choice, saved: SavedState) -> Feed {
        let vanishing = definition.tables.iter().filter(|table| table.snapshot.is_some());
        let known = saved.shapes(definition).into_iter().map(|shape| (shape.table.clone(), Arc::new(shape)));
        let known = known.collect();
        Feed {
            choice,
            saved,
            passes: Passes::new(vanishing.map(|table| table.name.clone())),
            lenses: BTreeMap::new(),
            known,
            batch: Vec::new(),
            batch_bytes: 0,
            emptied: BTreeSet::new(),
            rejected: BTreeMap::new(),
            unsaved: Unsaved::default(),
            sent: 0,
        }
    }

    /// Adds the messages at the start of the stream.
    pub(super) fn start(&mut self, out: &mut Vec<UpdateResponse>) {
        out.extend(self.choice.notes.drain(..).map(warning));
    }

    /// Adds the messages for an op. The service passes rows to [`Feed::begin`] and [`Feed::rows`] in batches instead.
    ///
    /// # Errors
    /// When the state is too large for a checkpoint.
    pub(super) fn take(&mut self, op: Op, out: &mut Vec<UpdateResponse>) -> Result<(), StateTooLarge> {
        match op {
            Op::Shape(shape) if self.wants(&shape.table) => self.shape(&shape, out),
            Op::Rows(rows) if self.wants(&rows.shape.table) => {
                self.begin(&rows, out);
                self.rows(&rows.shape, &rows.rows, out);
            }
            Op::Rejected(rows) => rows.iter().for_each(|row| self.reject(&row.table, &row.reason, out)),
            Op::Checkpoint(checkpoint) => {
                self.saved.apply(checkpoint);
                self.unsaved.changed = true;
                if self.unsaved.state <= SMALL_STATE_BYTES || self.unsaved.bytes >= self.unsaved.state {
                    self.checkpoint(out)?;
                }
            }
            Op::Finish { table, sweep } if self.wants(&table) => self.finish(&table, sweep, out)?,
            Op::Shape(_) | Op::Rows(_) | Op::Finish { .. } => {}
        }
        Ok(())
    }

    /// Adds the messages that precede rows.
    pub(super) fn begin(&mut self, rows: &Rows, out: &mut Vec<UpdateResponse>) {
        if !self.wants(&rows.shape.table) {
            return;
        }
        self.empty(&rows.shape.table, rows.shape.write, out);
        self.passes.rows(rows, &mut self.saved);
    }

    /// Adds the messages for rows, or a part of them.
    pub(super) fn rows(
        &mut self,
        shape: &Arc<TableShape>,
        rows: &[Box<[Cell]>],
        out: &mut Vec<UpdateResponse>,
    ) {
        if !self.wants(&shape.table) {
            return;
        }
        for row in rows {
            let lens = self.lens(shape);
            if is_deleted(lens.deleted, row) {
                let key: Vec<&Cell> = key_places(shape).into_iter().filter_map(|at| row.get(at)).collect();
                self.add(deletion(shape, key), out);
                continue;
            }
            let data = lens
                .columns
                .iter()
                .filter_map(|(at, name, kind)| Some((name.clone(), values::value(row.get(*at)?, *kind))));
            let data = data.collect();
            self.add(Record { data, ..record(&shape.table, RecordType::Upsert) }, out);
        }
    }

    /// Adds the remaining messages and the outcome.
    pub(super) fn end(&mut self, ended: &SourceEnd, out: &mut Vec<UpdateResponse>) -> Result<(), Status> {
        self.flush(out);
        for (table, count) in std::mem::take(&mut self.rejected).into_iter().filter(|(_, count)| *count > 1) {
            out.push(warning(format!("{table}: {count} rows could not be taken in all")));
        }
        if self.unsaved.changed
            && let Err(too_large) = self.checkpoint(out)
        {
            out.push(task(too_large.ended().reason().to_owned()));
            return Ok(());
        }
        match ended.end {
            End::Complete => Ok(()),
            End::Partial => {
                out.push(warning(ended.reason().to_owned()));
                Ok(())
            }
            End::Deferred => Err(Status::unavailable(status_message(ended))),
            End::Failed if ended.mend => {
                out.push(task(ended.reason().to_owned()));
                Ok(())
            }
            End::Failed => Err(Status::internal(status_message(ended))),
        }
    }

    fn wants(&self, table: &str) -> bool {
        self.choice.tables.iter().any(|wanted| wanted == table)
    }

    fn shape(&mut self, shape: &Arc<TableShape>, out: &mut Vec<UpdateResponse>) {
        self.lens(shape);
        if !self.saved.add_shape(shape) {
            return;
        }
        self.unsaved.changed = true;
        self.flush(out);
        let columns = shape.columns.iter();
        let known =
            columns.filter(|column| column.kind != ColumnType::Unknown || shape.key.contains(&column.name));
        let known = TableShape { columns: known.cloned().collect(), ..(**shape).clone() };
        let table = schema::table(&known, |column| self.choice.wants(shape, column));
        let change = schema_change::Change::WithoutSchema(TableList { tables: vec![table] });
        out.push(message(Operation::SchemaChange(SchemaChange { change: Some(change) })));
    }

    fn lens(&mut self, shape: &Arc<TableShape>) -> &TableFilter {
        let make = |choice: &Choice| {
            let columns =
                shape.columns.iter().enumerate().filter(|(_, column)| choice.wants(shape, &column.name));
            // A column with only nulls has no type yet and is not sent.
            let columns = columns
                .filter(|(_, column)| column.kind != ColumnType::Unknown || shape.key.contains(&column.name));
            let columns = columns.map(|(at, column)| (at, column.name.clone(), column.kind)).collect();
            TableFilter { shape: Arc::clone(shape), columns, deleted: shape.deleted_place() }
        };
        let lens = self.lenses.entry(shape.table.clone()).or_insert_with(|| make(&self.choice));
        if !Arc::ptr_eq(&lens.shape, shape) {
            *lens = make(&self.choice);
        }
        lens
    }

    /// Truncates a table before its first rows, or before it is replaced.
    fn empty(&mut self, table: &str, write: Write, out: &mut Vec<UpdateResponse>) {
        let first = self.saved.is_first(table);
        let replaced = write == Write::Replace && !self.emptied.contains(table);
        if first || replaced {
            self.emptied.insert(table.to_owned());
            self.unsaved.changed |= first;
            self.flush(out);
            out.push(message(Operation::Record(record(table, RecordType::Truncate))));
        }
    }

    fn add(&mut self, record: Record, out: &mut Vec<UpdateResponse>) {
        // Including its length and its tag.
        let bytes = record.encoded_len() + 6;
        if bytes > MAX_RECORD_BYTES {
            let reason = format!("a row of {bytes} bytes is too large for a message");
            return self.reject(&record.table_name, &reason, out);
        }
        if self.batch.len() == MAX_RECORDS
            || (self.batch_bytes + bytes > MAX_BATCH_BYTES && !self.batch.is_empty())
        {
            self.flush(out);
        }
        self.batch.push(record);
        self.batch_bytes += bytes;
        self.unsaved.bytes += bytes;
    }

    fn flush(&mut self, out: &mut Vec<UpdateResponse>) {
        if !self.batch.is_empty() {
            self.sent += self.batch.len() as u64;
            self.batch_bytes = 0;
            let records = std::mem::take(&mut self.batch);
            out.push(message(Operation::Records(Records { records })));
        }
    }

    /// Sends a warning for the first rejected row of each table; their number follows at the end.
    fn reject(&mut self, table: &str, reason: &str, out: &mut Vec<UpdateResponse>) {
        let count = self.rejected.entry(table.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            out.push(warning(format!("{table}: a row could not be taken: {reason}")));
        }
    }

    fn checkpoint(&mut self, out: &mut Vec<UpdateResponse>) -> Result<(), StateTooLarge> {
        self.flush(out);
        let size = self.saved.json_len();
        self.unsaved = Unsaved { state: size, ..Unsaved::default() };
        if size > MAX_STATE_BYTES {
            return Err(StateTooLarge(size));
        }
        let state_json = self.saved.to_json();
        out.push(message(Operation::Checkpoint(Checkpoint { state_json })));
        Ok(())
    }

    fn finish(
        &mut self,
        table: &str,
        sweep: Option<Sweep>,
        out: &mut Vec<UpdateResponse>,
    ) -> Result<(), StateTooLarge> {
        let announced = self.lenses.get(table).map(|lens| &lens.shape);
        if let Some(shape) = announced.or_else(|| self.known.get(table)).cloned() {
            self.empty(table, shape.write, out);
            let gone = self.passes.finish(&shape, sweep, &mut self.saved);
            self.unsaved.changed |= !gone.keys.is_empty();
            for key in &gone.keys {
                self.add(deletion(&shape, key), out);
            }
            out.extend(gone.note.map(warning));
        }
        if self.unsaved.changed || self.unsaved.bytes > 0 {
            self.checkpoint(out)?;
        }
        Ok(())
    }
}

/// A status is sent in headers, which many clients limit to 8 KB.
fn status_message(ended: &SourceEnd) -> String {
    shorten(ended.reason(), MAX_STATUS_CHARS).into_owned()
}

fn record(table: &str, kind: RecordType) -> Record {
    Record { schema_name: None, table_name: table.to_owned(), r#type: kind.into(), data: BTreeMap::new() }
}

/// A deletion of the row with this key.
fn deletion<'a>(shape: &TableShape, key: impl IntoIterator<Item = &'a Cell>) -> Record {
    let named = key.into_iter().zip(key_places(shape)).map(|(cell, at)| {
        let column = &shape.columns[at];
        (column.name.clone(), values::value(cell, column.kind))
    });
    Record { data: named.collect(), ..record(&shape.table, RecordType::Delete) }
}

fn message(operation: Operation) -> UpdateResponse {
    UpdateResponse { operation: Some(operation) }
}

/// Shown to the user; the sync continues.
fn warning(message: String) -> UpdateResponse {
    self::message(Operation::Warning(Warning { message }))
}

/// Shown to the user, who must change something; the sync ends.
pub(super) fn task(message: String) -> UpdateResponse {
    self::message(Operation::Task(Task { message }))
}
