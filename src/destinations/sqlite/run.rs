//! One run under way: what it has gathered, what it has counted, and which tables it writes to.
//!
//! Counts follow the transactions: those of one that was rolled back are forgotten with its rows.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::rows::Target;
use super::table::{self, Trouble, refuse};
use super::{complete, ledger};
use crate::destinations::account::{Closing, Finished, marked_now};
use crate::destinations::{Begin, DestinationError, Outcome};
use crate::domain::cell::Cell;
use crate::domain::op::{Checkpoint, Rejected, Rows, Sweep, TableShape, Tally, Write};

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
    /// When the oldest op that is not yet committed came.
    pub(super) waiting_since: Option<Instant>,
    begin: Begin,
    synced: String,
    /// Held as long as the run.
    _lock: File,
    stored: BTreeMap<String, TableShape>,
    tables: HashMap<String, Table>,
    gathered: Vec<Rows>,
    gathered_rows: usize,
    gathered_bytes: usize,
    /// Rows written in the open transaction.
    written_rows: usize,
    /// Appended rows came that no checkpoint covers yet.
    pub(super) uncovered: bool,
    rejected: Vec<Rejected>,
    checkpoints: Vec<Checkpoint>,
    /// Checkpoints of tables that are being replaced: nothing of them is stored before their end.
    held: BTreeMap<String, Checkpoint>,
    tallies: BTreeMap<String, Tally>,
    committed: BTreeMap<String, Tally>,
    notes: Vec<String>,
    /// Why something is missing though nothing failed.
    doubts: Vec<String>,
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
            waiting_since: None,
            synced: ledger::text_of(begin.started),
            begin,
            _lock: lock,
            stored: table::all(db)?,
            tables: HashMap::new(),
            gathered: Vec::new(),
            gathered_rows: 0,
            gathered_bytes: 0,
            written_rows: 0,
            uncovered: false,
            rejected: Vec::new(),
            checkpoints: Vec::new(),
            held: BTreeMap::new(),
            tallies: BTreeMap::new(),
            committed: BTreeMap::new(),
            notes: Vec::new(),
            doubts: Vec::new(),
        })
    }

    pub(super) fn gather(&mut self, rows: Rows) {
        self.uncovered |= rows.shape.write == Write::Append;
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
        let waited = self.waiting_since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER);
        self.uncovered || waited || self.written_rows + self.gathered_rows >= COMMIT_ROWS
    }

    /// Whether the transaction has waited long enough for a checkpoint.
    pub(super) fn is_overdue(&self) -> bool {
        self.written_rows >= MOST_ROWS
    }

    pub(super) fn reject(&mut self, rows: Vec<Rejected>) {
        self.gathered_rows += rows.len();
        self.gathered_bytes += rows.iter().map(|row| row.raw.len()).sum::<usize>();
        for row in &rows {
            let tally = self.tallies.entry(row.table.clone()).or_default();
            tally.seen += 1;
            tally.rejected += 1;
        }
        self.rejected.extend(rows);
    }

    /// Takes a checkpoint. What it covers may be stored from now on, and not before if it was appended: rows of a
    /// table without a key that are read twice are stored twice.
    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) {
        let (held, now): (Vec<_>, Vec<_>) = checkpoint.entries.into_iter().partition(|(table, ..)| {
            self.stored.get(table).is_some_and(|shape| shape.write == Write::Replace)
        });
        for entry in held {
            self.held.entry(entry.0.clone()).or_default().entries.push(entry);
        }
        self.checkpoints.push(Checkpoint { entries: now });
    }

    /// Whether rows of this shape can be written as the table is.
    pub(super) fn fits(&self, shape: &TableShape) -> bool {
        self.tables.get(&shape.table).is_some_and(|table| table.shape == *shape)
    }

    pub(super) fn adopt(&mut self, db: &Connection, told: &TableShape) -> Result<(), Trouble> {
        let stored = self.stored.get(&told.table);
        let Some(adopted) = table::adopt(db, stored, told)? else { return Ok(()) };
        let shape = adopted.shape;
        if stored.is_some_and(|stored| stored.deleted_if != shape.deleted_if) {
            let marked = table::mark(db, &shape, &self.synced)?;
            self.tallies.entry(told.table.clone()).or_default().deleted += marked;
            self.notes.extend(marked_now(&shape, marked));
        }
        for (column, _) in &adopted.converted {
            self.notes.push(format!(
                "column {column} of table {} became wider: its rows were converted",
                told.table
            ));
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
        self.stored.insert(told.table.clone(), shape);
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
            let tally = self.tallies.entry(name.to_owned()).or_default();
            table.target.write(db, &batches, &self.synced, table.staged, tally)?;
        }
        // With the rows, so that a source whose rows are all rejected does not fill the memory.
        ledger::reject(db, self.number, &self.rejected)?;
        self.rejected.clear();
        self.written_rows += self.gathered_rows;
        (self.gathered_rows, self.gathered_bytes) = (0, 0);
        Ok(())
    }

    /// Writes what goes with the rows: checkpoints and counts.
    pub(super) fn write_rest(&mut self, db: &Connection) -> Result<(), Trouble> {
        for checkpoint in &self.checkpoints {
            ledger::save(db, checkpoint)?;
        }
        let started = self.begin.started;
        for (table, tally) in &self.tallies {
            let staged = self.tables.get(table).is_some_and(|table| table.staged);
            if !staged && self.committed.get(table) != Some(tally) {
                ledger::count(db, self.number, started, table, tally)?;
            }
        }
        Ok(())
    }

    /// The transaction is through.
    pub(super) fn committed(&mut self) {
        self.checkpoints.clear();
        self.gathered_rows = 0;
        self.gathered_bytes = 0;
        self.written_rows = 0;
        self.uncovered = false;
        self.committed.clone_from(&self.tallies);
        self.waiting_since = None;
    }

    /// Forgets what was taken since the last commit; its transaction is rolled back.
    pub(super) fn discard(&mut self) {
        self.gathered.clear();
        self.rejected.clear();
        self.tallies.clone_from(&self.committed);
        self.committed();
        self.notes.push(
            "rows that no checkpoint covers were not appended: the next run reads them again".to_owned(),
        );
    }

    /// The table was read to its end.
    pub(super) fn complete(
        &mut self,
        db: &Connection,
        name: &str,
        sweep: Option<Sweep>,
    ) -> Result<(), Trouble> {
        let stored = self.stored.get(name).cloned();
        if let Some(shape) = stored.as_ref().filter(|shape| shape.write == Write::Replace) {
            if !self.tables.contains_key(name) {
                self.adopt(db, shape)?;
            }
            complete::replace(db, shape, self.tallies.entry(name.to_owned()).or_default())?;
        } else if let (Some(shape), Some(sweep)) = (&stored, sweep)
            && !shape.key.is_empty()
        {
            if self.begin.sweeping.contains(name) {
                let tally = self.tallies.entry(name.to_owned()).or_default();
                if let Err(refused) = complete::sweep(db, shape, sweep, &self.synced, tally)? {
                    self.doubts.push(format!("table {name}: {refused}"));
                }
            } else {
                self.doubts
                    .push(format!("table {name}: its keys were not remembered, nothing was marked deleted"));
            }
        }
        complete::forget(db, name)?;
        self.tables.remove(name);
        if let Some(held) = self.held.remove(name) {
            self.checkpoints.push(held);
        }
        Ok(())
    }

    /// What the run comes to. After a failure only what was committed counts.
    pub(super) fn report(&mut self, outcome: Outcome, failure: Option<&DestinationError>) -> Closing {
        let staged = self.tables.values().filter(|table| table.staged);
        let finished = Finished {
            tallies: std::mem::take(&mut self.committed),
            unfinished: staged.map(|table| table.shape.table.clone()).collect(),
            doubts: std::mem::take(&mut self.doubts),
            notes: std::mem::take(&mut self.notes),
        };
        finished.close(outcome, failure)
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
