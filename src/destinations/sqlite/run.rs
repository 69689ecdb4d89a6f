//! One run under way: what it has gathered, what it has counted, and which tables it writes to.
//!
//! Counts follow the transactions: those of one that was rolled back are forgotten with its rows.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::time::Duration;

use rusqlite::Connection;

use super::rows::Target;
use super::table::{self, Trouble, refuse};
use super::{complete, ledger};
use crate::destinations::account::Closing;
use crate::destinations::book::Book;
use crate::destinations::{Begin, DestinationError, Outcome};
use crate::domain::cell::Cell;
use crate::domain::op::{Rejected, Rows, Sweep, TableShape, Write};

/// Rows sorted and written in one go: enough that neighbours in the key's tree meet, few enough for memory.
const GATHERED_ROWS: usize = 5_000;

/// Text gathered, in bytes: the same bound for rows that are large.
const GATHERED_BYTES: usize = 16 * 1024 * 1024;

/// Rows after which a checkpoint ends the transaction: a commit waits for the disk, so there should be few.
const COMMIT_ROWS: usize = 50_000;

/// How long anything waits for its commit, so that a slow source's rows and progress are soon there.
pub(super) const COMMIT_AFTER: Duration = Duration::from_secs(2);

/// Rows after which a transaction no longer waits for a checkpoint: the log must not grow without end.
const MOST_ROWS: usize = 100_000;

pub(super) struct Running {
    pub(super) number: i64,
    begin: Begin,
    synced: String,
    /// Held as long as the run.
    _lock: File,
    pub(super) book: Book,
    tables: HashMap<String, Table>,
    gathered: Vec<Rows>,
    gathered_rows: usize,
    gathered_bytes: usize,
    /// Rows written in the open transaction.
    written_rows: usize,
}

/// A table this run writes to.
struct Table {
    shape: TableShape,
    target: Target,
    /// A replaced table whose rows are staged and not yet in place.
    staged: bool,
}

impl Running {
    pub(super) fn open(db: &Connection, begin: Begin, lock: File) -> Result<Self, Trouble> {
        let number = ledger::open_run(db, begin.started)?;
        for table in table::dropped(db)? {
            ledger::forget(db, &table)?;
            db.execute("DELETE FROM _tables WHERE name = ?", [&table])?;
        }
        for table in &begin.full_refresh {
            ledger::forget(db, table)?;
        }
        Ok(Self {
            number,
            synced: ledger::text_of(begin.started),
            begin,
            _lock: lock,
            book: Book::new(table::all(db)?),
            tables: HashMap::new(),
            gathered: Vec::new(),
            gathered_rows: 0,
            gathered_bytes: 0,
            written_rows: 0,
        })
    }

    pub(super) fn gather(&mut self, rows: Rows) {
        self.book.uncovered |= rows.shape.write == Write::Append;
        self.gathered_bytes += rows.rows.iter().flatten().map(Cell::text_len).sum::<usize>();
        self.gathered_rows += rows.rows.len();
        self.gathered.push(rows);
    }

    /// Whether enough has gathered to be written.
    pub(super) fn is_full(&self) -> bool {
        self.gathered_rows >= GATHERED_ROWS || self.gathered_bytes >= GATHERED_BYTES
    }

    /// Whether a checkpoint that came now should be committed at once.
    pub(super) fn is_due(&self) -> bool {
        let waited = self.book.waiting_since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER);
        self.book.uncovered || waited || self.written_rows + self.gathered_rows >= COMMIT_ROWS
    }

    /// Whether the transaction has waited long enough for a checkpoint.
    pub(super) fn is_overdue(&self) -> bool {
        self.written_rows >= MOST_ROWS
    }

    pub(super) fn reject(&mut self, rows: Vec<Rejected>) {
        self.gathered_rows += rows.len();
        self.gathered_bytes += rows.iter().map(|row| row.raw.len()).sum::<usize>();
        self.book.reject(rows);
    }

    /// Whether rows of this shape can be written as the table is.
    pub(super) fn fits(&self, shape: &TableShape) -> bool {
        self.tables.get(&shape.table).is_some_and(|table| table.shape == *shape)
    }

    pub(super) fn adopt(&mut self, db: &Connection, told: &TableShape) -> Result<(), Trouble> {
        let stored = self.book.stored.get(&told.table);
        let Some(adopted) = table::adopt(db, stored, told)? else { return Ok(()) };
        let shape = adopted.shape;
        if stored.is_some_and(|stored| stored.deleted_if != shape.deleted_if) {
            let marked = table::mark(db, &shape, &self.synced)?;
            self.book.marked(&shape, marked);
        }
        for (column, _) in &adopted.converted {
            self.book.widened(&told.table, column);
        }
        let sweeping = self.begin.sweeping.contains(&told.table) && !shape.key.is_empty();
        if sweeping {
            complete::remember_keys(db, &shape)?;
        }
        let replaced = shape.write == Write::Replace;
        if replaced {
            complete::stage(db, &shape)?;
        }
        complete::convert(db, &shape, &adopted.converted, sweeping, replaced)?;
        let target = Target::new(&shape, sweeping);
        self.tables.insert(told.table.clone(), Table { shape: shape.clone(), target, staged: replaced });
        self.book.stored.insert(told.table.clone(), shape);
        Ok(())
    }

    /// Writes the gathered rows, those of one table, for as long as its shape stays, in one go; then the rejected ones.
    pub(super) fn write_rows(&mut self, db: &Connection) -> Result<(), Trouble> {
        let gathered = std::mem::take(&mut self.gathered);
        for rows in &gathered {
            if !self.tables.contains_key(&rows.shape.table) {
                self.adopt(db, &rows.shape)?;
            }
        }
        let mut by_table: BTreeMap<&str, Vec<&Rows>> = BTreeMap::new();
        for rows in &gathered {
            by_table.entry(&rows.shape.table).or_default().push(rows);
        }
        for (name, batches) in by_table {
            let Some(table) = self.tables.get(name) else {
                return Err(refuse(
                    name,
                    "rows came whose key columns hold nothing: a mistake of the connector",
                ));
            };
            let tally = self.book.tally(name);
            table.target.write(db, &batches, &self.synced, table.staged, tally)?;
        }
        // With the rows, so that a source whose rows are all rejected does not fill the memory.
        ledger::reject(db, self.number, &self.book.rejected)?;
        self.book.rejected.clear();
        self.written_rows += self.gathered_rows;
        (self.gathered_rows, self.gathered_bytes) = (0, 0);
        Ok(())
    }

    /// Writes what goes with the rows: checkpoints and counts.
    pub(super) fn write_rest(&mut self, db: &Connection) -> Result<(), Trouble> {
        for checkpoint in &self.book.checkpoints {
            ledger::save(db, checkpoint)?;
        }
        let started = self.begin.started;
        for (table, tally) in &self.book.tallies {
            let staged = self.tables.get(table).is_some_and(|table| table.staged);
            if !staged && self.book.committed.get(table) != Some(tally) {
                ledger::count(db, self.number, started, table, tally)?;
            }
        }
        Ok(())
    }

    /// The transaction is through.
    pub(super) fn committed(&mut self) {
        self.gathered_rows = 0;
        self.gathered_bytes = 0;
        self.written_rows = 0;
        self.book.settle();
    }

    /// Forgets what was taken since the last commit; its transaction is rolled back.
    pub(super) fn discard(&mut self) {
        self.gathered.clear();
        self.book.discard();
        self.committed();
    }

    /// The table was read to its end.
    pub(super) fn complete(
        &mut self,
        db: &Connection,
        name: &str,
        sweep: Option<Sweep>,
    ) -> Result<(), Trouble> {
        let stored = self.book.stored.get(name).cloned();
        if let Some(shape) = stored.as_ref().filter(|shape| shape.write == Write::Replace) {
            if !self.tables.contains_key(name) {
                self.adopt(db, shape)?;
            }
            complete::replace(db, shape, self.book.tally(name))?;
        } else if let (Some(shape), Some(sweep)) = (&stored, sweep)
            && !shape.key.is_empty()
        {
            if self.begin.sweeping.contains(name) {
                let tally = self.book.tally(name);
                if let Err(refused) = complete::sweep(db, shape, sweep, &self.synced, tally)? {
                    self.book.doubts.push(format!("table {name}: {refused}"));
                }
            } else {
                self.book
                    .doubts
                    .push(format!("table {name}: its keys were not remembered, nothing was marked deleted"));
            }
        }
        complete::forget(db, name)?;
        self.tables.remove(name);
        if let Some(held) = self.book.held.remove(name) {
            self.book.checkpoints.push(held);
        }
        Ok(())
    }

    /// What the run comes to. After a failure only what was committed counts.
    pub(super) fn report(&mut self, outcome: Outcome, failure: Option<&DestinationError>) -> Closing {
        let staged = self.tables.values().filter(|table| table.staged);
        let unfinished: Vec<String> = staged.map(|table| table.shape.table.clone()).collect();
        self.book.close(&unfinished, outcome, failure)
    }

    /// Enters the end in the ledger and forgets the run's temporary tables.
    pub(super) fn close(&self, db: &Connection, closing: &Closing) -> Result<(), Trouble> {
        for line in closing.lines() {
            ledger::count(db, self.number, self.begin.started, line.table, &line.tally)?;
            ledger::close(db, self.number, line.table, closing.ended(), &line.account)?;
        }
        for table in self.tables.keys() {
            complete::forget(db, table)?;
        }
        Ok(())
    }
}
