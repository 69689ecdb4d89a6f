//! One run under way: what waits for the next commit, what has been counted, and which tables it writes to.
//!
//! Nothing is counted before it is committed, except rejected rows. A commit is tried on a copy of the counts, so that
//! one that failed leaves no trace and can be repeated. Start at [`Running::store`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Transaction;

use super::names::Names;
use super::rows::{Pushed, Segment, Target};
use super::table::{self, Adopted};
use super::trouble::{Trouble, refuse};
use super::{complete, ledger};
use crate::destinations::account::Closing;
use crate::destinations::book::Book;
use crate::destinations::{Begin, DestinationError, Outcome};
use crate::domain::cell::{Cell, ColumnType};
use crate::domain::op::{Checkpoint, Rejected, Rows, Sweep, TableShape, Tally, Write};

/// How long anything waits for its commit, so that a slow source's rows and progress are soon there.
pub(super) const COMMIT_AFTER: Duration = Duration::from_secs(2);

/// How much gathers before it is committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Rows after which a checkpoint ends the transaction.
    due: u64,
    /// Rows after which a transaction no longer waits for a checkpoint.
    most: u64,
}

/// Where rows wait at the server: few merges, each of many rows.
pub(super) const AT_SERVER: Bounds = Bounds { due: 50_000, most: 100_000 };

/// Where rows wait here, because nothing of a session lasts.
pub(super) const HERE: Bounds = Bounds { due: 10_000, most: 20_000 };

/// Bytes that wait here before they are sent or, where that cannot be, committed.
const MOST_BYTES: usize = 16 << 20;

/// A rejected row is kept up to here, as the engine keeps those that it rejects.
const RAW_BYTES: usize = 64 << 10;

pub(super) struct Running {
    pub(super) number: i64,
    /// The token of the lock, which every transaction checks.
    pub(super) token: i64,
    /// When the lease was last renewed.
    pub(super) renewed: Instant,
    pub(super) begin: Begin,
    pub(super) book: Book,
    tables: HashMap<String, Table>,
    /// Rows in the order they came, by table and shape.
    pub(super) segments: Vec<Segment>,
}

/// A table this run writes to.
struct Table {
    target: Arc<Target>,
    /// The shape last told.
    told: TableShape,
    /// A replaced table whose rows are staged and not yet in place.
    staged: bool,
}

/// A table that was read to its end.
#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) table: String,
    pub(super) sweep: Option<Sweep>,
}

/// What a commit will have changed here once it is through.
pub(super) struct Stored {
    tallies: BTreeMap<String, Tally>,
    doubts: Vec<String>,
}

/// What to do about rows that were taken.
pub(super) enum Taken {
    /// Nothing.
    All,
    /// These rows could not be taken before a column is text.
    Widen {
        /// The shape that takes them.
        shape: Arc<TableShape>,
        /// The rest.
        rest: Rows,
    },
}

impl Running {
    pub(super) fn new(number: i64, token: i64, begin: Begin, stored: BTreeMap<String, TableShape>) -> Self {
        Self {
            number,
            token,
            renewed: Instant::now(),
            begin,
            book: Book::new(stored),
            tables: HashMap::new(),
            segments: Vec::new(),
        }
    }

    /// Whether the table is ready for rows of this shape.
    pub(super) fn fits(&self, shape: &TableShape) -> bool {
        self.tables
            .get(&shape.table)
            .is_some_and(|table| table.told == *shape || table.target.shape == *shape)
    }

    /// Whether the table is ready for any rows.
    pub(super) fn knows(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Makes the table fit for a shape, within a transaction of its own.
    pub(super) async fn adopt(
        &self,
        db: &Transaction<'_>,
        names: &Names,
        told: &TableShape,
    ) -> Result<Option<Adopted>, Trouble> {
        let stored = self.book.stored.get(&told.table);
        let adopted = table::adopt(db, names, stored, told).await?;
        let Some(mut adopted) = adopted else { return Ok(None) };
        let shape = &adopted.shape;
        if stored.is_some_and(|stored| stored.deleted_if != shape.deleted_if) {
            adopted.marked = table::mark(db, names, shape, self.begin.started).await?;
        }
        let sweeping = self.is_sweeping(shape);
        if self.tables.contains_key(&told.table) {
            table::convert_run(db, names, shape, &adopted.converted, sweeping).await?;
        }
        if sweeping {
            table::remember_keys(db, names, shape).await?;
        }
        if shape.write == Write::Replace {
            table::stage(db, names, shape).await?;
        }
        Ok(Some(adopted))
    }

    /// Goes on with the table as adopted.
    pub(super) fn adopted(&mut self, told: &TableShape, adopted: Adopted) {
        for (column, ..) in &adopted.converted {
            self.book.widened(&told.table, column);
        }
        let shape = adopted.shape;
        self.book.marked(&shape, adopted.marked);
        let staged = shape.write == Write::Replace;
        let target = Arc::new(Target::new(shape.clone(), self.is_sweeping(&shape)));
        self.tables.insert(told.table.clone(), Table { target, told: told.clone(), staged });
        self.book.stored.insert(told.table.clone(), shape);
    }

    fn is_sweeping(&self, shape: &TableShape) -> bool {
        self.begin.sweeping.contains(&shape.table) && !shape.key.is_empty()
    }

    /// Takes rows of a table that is ready.
    pub(super) fn gather(&mut self, rows: Rows) -> Result<Taken, Trouble> {
        let name = &rows.shape.table;
        let Some(table) = self.tables.get(name) else {
            return Err(refuse(name, "rows came whose key columns hold nothing: a mistake of the connector"));
        };
        self.book.uncovered |= rows.shape.write == Write::Append;
        let mine = |segment: &Segment| Arc::ptr_eq(&segment.target, &table.target);
        let at = match self.segments.iter().rposition(mine) {
            Some(at) => at,
            None => {
                self.segments.push(Segment::new(Arc::clone(&table.target)));
                self.segments.len() - 1
            }
        };
        let Some(segment) = self.segments.get_mut(at) else { return Ok(Taken::All) };
        segment.expect(&rows.shape);
        for (i, cells) in rows.rows.iter().enumerate() {
            match segment.push(cells)? {
                Pushed::Taken => {}
                Pushed::Rejected(reason) => {
                    let reason = reason.to_owned();
                    let row = Rejected { table: name.clone(), raw: raw(&rows.shape, cells), reason };
                    self.book.reject(vec![row]);
                }
                Pushed::Widen(column) => {
                    let mut shape = (*rows.shape).clone();
                    for wide in shape.columns.iter_mut().filter(|wide| wide.name == column) {
                        wide.kind = ColumnType::Text;
                    }
                    let rest = rows.rows.into_iter().skip(i).collect();
                    return Ok(Taken::Widen {
                        shape: Arc::new(shape),
                        rest: Rows { shape: rows.shape, rows: rest },
                    });
                }
            }
        }
        Ok(Taken::All)
    }

    fn rows(&self) -> u64 {
        self.segments.iter().map(Segment::rows).sum::<u64>() + self.book.rejected.len() as u64
    }

    fn bytes(&self) -> usize {
        let rejected: usize = self.book.rejected.iter().map(|row| row.raw.len()).sum();
        rejected + self.segments.iter().map(Segment::bytes).sum::<usize>()
    }

    /// Whether a checkpoint that came now should be committed at once.
    pub(super) fn is_due(&self, bounds: Bounds) -> bool {
        let waited = self.book.waiting_since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER);
        self.book.uncovered || waited || self.rows() >= bounds.due
    }

    /// Whether the transaction has waited long enough for a checkpoint.
    pub(super) fn is_overdue(&self, bounds: Bounds) -> bool {
        self.rows() >= bounds.most
    }

    /// Whether too much waits in memory.
    pub(super) fn is_heavy(&self) -> bool {
        self.bytes() >= MOST_BYTES
    }

    /// Stores everything taken so far, rows and what goes with them; with the end of a table, if that was reached.
    pub(super) async fn store(
        &self,
        db: &Transaction<'_>,
        names: &Names,
        finish: Option<&Finish>,
    ) -> Result<Stored, Trouble> {
        let mut stored = Stored { tallies: self.book.tallies.clone(), doubts: Vec::new() };
        for segment in &self.segments {
            let name = &segment.target.shape.table;
            let now = self.tables.get(name).map_or(&segment.target, |table| &table.target);
            let tally = stored.tallies.entry(name.clone()).or_default();
            segment.merge(db, names, now, self.begin.started, tally).await?;
            segment.clear(db).await?;
        }
        if let Some(finish) = finish {
            self.complete(db, names, finish, &mut stored).await?;
        }
        ledger::reject(db, names, self.number, &self.book.rejected).await?;
        let held = finish.and_then(|finish| self.book.held.get(&finish.table)).cloned();
        let checkpoints: Vec<Checkpoint> = self.book.checkpoints.iter().cloned().chain(held).collect();
        ledger::save(db, names, &checkpoints).await?;
        for (table, tally) in &stored.tallies {
            let finished = finish.is_some_and(|finish| finish.table == *table);
            let staged = !finished && self.tables.get(table).is_some_and(|table| table.staged);
            if !staged && self.book.committed.get(table) != Some(tally) {
                ledger::count(db, names, self.number, self.begin.started, table, tally).await?;
            }
        }
        Ok(stored)
    }

    /// The table was read to its end.
    async fn complete(
        &self,
        db: &Transaction<'_>,
        names: &Names,
        finish: &Finish,
        stored: &mut Stored,
    ) -> Result<(), Trouble> {
        let name = &finish.table;
        if let Some(shape) = self.book.stored.get(name) {
            let tally = stored.tallies.entry(name.clone()).or_default();
            if shape.write == Write::Replace {
                complete::replace(db, names, shape, tally).await?;
            } else if let (Some(sweep), false) = (finish.sweep, shape.key.is_empty()) {
                if self.begin.sweeping.contains(name) {
                    let now = self.begin.started;
                    if let Err(refused) = complete::sweep(db, names, shape, sweep, now, tally).await? {
                        stored.doubts.push(format!("table {name}: {refused}"));
                    }
                } else {
                    stored.doubts.push(format!(
                        "table {name}: its keys were not remembered, nothing was marked deleted"
                    ));
                }
            }
            if *tally == Tally::default() && !self.book.tallies.contains_key(name) {
                stored.tallies.remove(name);
            }
        }
        table::forget_run(db, names, name).await
    }

    /// The transaction is through. Gives the segments that are of no more use.
    pub(super) fn committed(&mut self, stored: Stored, finish: Option<&Finish>) -> Vec<Segment> {
        if let Some(finish) = finish {
            self.tables.remove(&finish.table);
            self.book.held.remove(&finish.table);
        }
        self.book.tallies = stored.tallies;
        self.book.doubts.extend(stored.doubts);
        self.book.settle();
        self.renewed = Instant::now();
        let tables = &self.tables;
        let current = |segment: &Segment| {
            let table = tables.get(&segment.target.shape.table);
            table.is_some_and(|table| Arc::ptr_eq(&table.target, &segment.target))
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.segments).into_iter().partition(current);
        self.segments = kept.into_iter().map(Segment::emptied).collect();
        gone
    }

    /// Forgets what was taken since the last commit. Gives the segments that held it.
    pub(super) fn discard(&mut self) -> Vec<Segment> {
        self.book.discard();
        std::mem::take(&mut self.segments)
    }

    /// What the run comes to. After a failure only what was committed counts.
    pub(super) fn report(&mut self, outcome: Outcome, failure: Option<&DestinationError>) -> Closing {
        let staged = self.tables.values().filter(|table| table.staged);
        let unfinished: Vec<String> = staged.map(|table| table.target.shape.table.clone()).collect();
        self.book.close(&unfinished, outcome, failure)
    }
}

/// A row as JSON, for those that are kept aside: here only its cells are left of what the source sent.
pub(super) fn raw(shape: &TableShape, cells: &[Cell]) -> String {
    let value = |cell: &Cell| match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Int(value) => (*value).into(),
        cell => cell.to_text().unwrap_or_default().into(),
    };
    let row: serde_json::Map<String, serde_json::Value> = shape
        .columns
        .iter()
        .zip(cells)
        .filter(|(_, cell)| !matches!(cell, Cell::Null))
        .map(|(column, cell)| (column.name.clone(), value(cell)))
        .collect();
    let mut text = serde_json::Value::Object(row).to_string();
    text.truncate(text.floor_char_boundary(RAW_BYTES));
    text
}
