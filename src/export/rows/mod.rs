//! Reads the rows of a table in the order of their key, within a snapshot of the database.
//!
//! A reader fills groups of rows and hands them to the writer of the file; two groups are in use, so that memory is flat and
//! reading and writing overlap. Start at [`Snapshot`].

pub(super) mod feed;
mod instant;
pub(super) mod postgres;
pub(super) mod sqlite;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::columns::{OutputKind, TableLayout};
use crate::destinations::{DestinationError, NewestRun};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::TableShape;
use feed::GroupFeed;

use super::canonical::{Exact, PRECISION};

/// A consistent view of a connector's tables.
pub(super) enum Snapshot<'a> {
    Sqlite(sqlite::SqliteSnapshot),
    Postgres(postgres::PostgresSnapshot<'a>),
}

/// What the run history says in the snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct HistoryFacts {
    pub(super) newest: Option<NewestRun>,
    /// The newest run that changed each table.
    pub(super) changed: BTreeMap<String, ChangeMark>,
}

/// The run that last changed a table. Its start tells it from a run of the same number in another database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct ChangeMark {
    pub(super) run: i64,
    pub(super) started: Timestamp,
}

/// Why rows were not read.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// A value of this column has no exact form but text: read again with another type.
    NeedsText(usize),
    /// The writer failed; it knows why.
    WriterGone,
    Stopped,
    Failed(DestinationError),
}

impl From<DestinationError> for ReadFailure {
    fn from(error: DestinationError) -> Self {
        ReadFailure::Failed(error)
    }
}

impl Snapshot<'_> {
    pub(super) async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        match self {
            Snapshot::Sqlite(snapshot) => snapshot.shapes().await,
            Snapshot::Postgres(snapshot) => snapshot.shapes().await,
        }
    }

    pub(super) async fn history(&self) -> Result<HistoryFacts, DestinationError> {
        match self {
            Snapshot::Sqlite(snapshot) => snapshot.history().await,
            Snapshot::Postgres(snapshot) => snapshot.history().await,
        }
    }

    /// Chooses the scale of each column of decimals, or text where 38 digits are not enough.
    pub(super) async fn measure(&self, layout: &mut TableLayout) -> Result<(), DestinationError> {
        let places: Vec<usize> = (0..layout.columns.len())
            .filter(|place| layout.columns.get(*place).is_some_and(|c| c.stored == ColumnType::Decimal))
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        let extents = vec![DecimalExtent::default(); places.len()];
        let extents = match self {
            Snapshot::Sqlite(snapshot) => snapshot.measure(layout, &places, extents).await?,
            Snapshot::Postgres(snapshot) => snapshot.measure(layout, &places, extents).await?,
        };
        for (place, extent) in places.into_iter().zip(extents) {
            if let Some(column) = layout.columns.get_mut(place) {
                column.kind = extent.kind();
            }
        }
        Ok(())
    }

    /// Passes all rows to the feed.
    pub(super) async fn read(&self, layout: &TableLayout, feed: GroupFeed) -> Result<(), ReadFailure> {
        match self {
            Snapshot::Sqlite(snapshot) => snapshot.read(layout.clone(), feed).await,
            Snapshot::Postgres(snapshot) => snapshot.read(layout, feed).await,
        }
    }
}

/// The most digits before and after the decimal point of a column's numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DecimalExtent {
    before: u64,
    after: u64,
    no_number: bool,
}

impl DecimalExtent {
    fn add(&mut self, text: &str) {
        match Exact::parse(text) {
            Some(exact) => {
                let (before, after) = exact.extent();
                (self.before, self.after) = (self.before.max(before), self.after.max(after));
            }
            None => self.no_number = true,
        }
    }

    fn kind(self) -> OutputKind {
        let fits = !self.no_number && self.before.saturating_add(self.after) <= u64::from(PRECISION);
        match u8::try_from(self.after) {
            Ok(scale) if fits => OutputKind::Decimal { scale },
            _ => OutputKind::Text,
        }
    }
}
