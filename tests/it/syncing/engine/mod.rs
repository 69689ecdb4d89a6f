//! Definitions run by the engine between stand-in servers and a destination in memory that applies ops without
//! checking. Start at [`Bench`].

mod last_pages;
mod missing_rows;
pub(crate) mod model;
mod request_forms;
mod responses;
mod row_order;
mod rules;
mod sizes;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use data_sources_monitor::testing::definitions::connector::read_all;
use data_sources_monitor::testing::domain::syncing::cell::Cell;
use data_sources_monitor::testing::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use data_sources_monitor::testing::domain::syncing::naming::column_name;
use data_sources_monitor::testing::domain::syncing::op::{End, Op, State, TableShape};
use data_sources_monitor::testing::http::Network;
use data_sources_monitor::testing::source::{Account, ReadOutcome, RunPlan, RunProgress, run};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A row by column.
pub(crate) type Row = BTreeMap<String, Cell>;

/// A connector and what its runs have stored.
pub(super) struct Bench {
    pub(super) account: Account,
    pub(super) tables: BTreeMap<String, BTreeMap<String, Row>>,
    pub(super) shapes: BTreeMap<String, TableShape>,
    pub(super) state: State,
    pub(super) rejected: Vec<String>,
    /// Tables read to their end in the last run, and whether missing rows were deleted.
    pub(super) finished: BTreeMap<String, bool>,
    /// Rows of the last run, including duplicates.
    pub(super) rows: u64,
    /// Checkpoints of the last run.
    pub(super) checkpoints: usize,
    pub(super) only: Option<Vec<String>>,
    pub(super) full_refresh: bool,
    pub(super) cancel: CancellationToken,
    /// Receives the progress of the next run.
    pub(super) progress: Option<Arc<RunProgress>>,
}

/// A built-in connector whose waits are short and whose rate is unlimited; a test may change more.
pub(crate) fn built_in(name: &str, change: impl FnOnce(&mut Definition)) -> Definition {
    quick(read_all(&[]).unwrap().into_iter().find(|definition| definition.name == name).unwrap(), change)
}

/// The same for a definition in TOML.
pub(super) fn custom(toml: &str, change: impl FnOnce(&mut Definition)) -> Definition {
    let all = read_all(&[("custom.toml".into(), toml.into())]);
    let all = all.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    quick(all.into_iter().find(|definition| definition.name == "acme").unwrap(), change)
}

pub(crate) fn quick(mut definition: Definition, change: impl FnOnce(&mut Definition)) -> Definition {
    definition.http.rates.clear();
    definition.http.retry.base = Duration::from_millis(1);
    for delay in &mut definition.http.retry.delays {
        *delay = Duration::from_millis(1);
    }
    change(&mut definition);
    definition
}

impl Bench {
    pub(super) fn new(definition: Definition, config: &[(&str, &str)]) -> Bench {
        let given: BTreeMap<String, SecretString> =
            config.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect();
        let config = match ConfigValues::resolve(&definition, &given) {
            ConfigStatus::On(config) => config,
            other => panic!("not configured: {other:?}"),
        };
        Bench {
            account: Account::new(Arc::new(definition), config, Network::default()).unwrap(),
            tables: BTreeMap::new(),
            shapes: BTreeMap::new(),
            state: State::default(),
            rejected: Vec::new(),
            finished: BTreeMap::new(),
            rows: 0,
            checkpoints: 0,
            only: None,
            full_refresh: false,
            cancel: CancellationToken::new(),
            progress: None,
        }
    }

    /// Runs once and applies each op as it arrives.
    pub(super) async fn run(&mut self, now: Timestamp) -> ReadOutcome {
        let (ops, mut incoming) = mpsc::channel(4);
        let plan = RunPlan {
            account: self.account.clone(),
            tables: self.only.clone(),
            full_refresh: self.full_refresh,
            state: self.state.clone(),
            shapes: self.shapes.values().cloned().collect(),
            now,
            since: None,
        };
        (self.finished, self.rows, self.checkpoints) = (BTreeMap::new(), 0, 0);
        let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let progress = self.progress.take().unwrap_or_else(|| RunProgress::new(self.account.definition()));
        let reading = run(plan, ops, progress, self.cancel.clone());
        let storing = async {
            while let Some(op) = incoming.recv().await {
                self.store(op, &mut seen);
            }
        };
        let (outcome, ()) = tokio::join!(reading, storing);
        outcome
    }

    /// Runs once, and it must be complete.
    pub(super) async fn complete(&mut self, now: Timestamp) -> ReadOutcome {
        let outcome = self.run(now).await;
        assert_eq!(outcome.run.end, End::Complete, "{outcome:#?}");
        outcome
    }

    fn store(&mut self, op: Op, seen: &mut BTreeMap<String, BTreeSet<String>>) {
        match op {
            Op::Shape(shape) => drop(self.shapes.insert(shape.table.clone(), (*shape).clone())),
            Op::Rows(rows) => {
                let shape = &rows.shape;
                assert_eq!(
                    self.shapes.get(&shape.table),
                    Some(&**shape),
                    "rows of a shape that was not told"
                );
                for cells in rows.rows {
                    let names = shape.columns.iter().map(|column| column.name.clone());
                    let row: Row = names.zip(cells).collect();
                    let key = shape.key.iter().map(|name| format!("{:?}|", row[name])).collect::<String>();
                    assert!(!key.contains("Null"), "NULL in the key of {}: {row:?}", shape.table);
                    seen.entry(shape.table.clone()).or_default().insert(key.clone());
                    self.tables.entry(shape.table.clone()).or_default().insert(key, row);
                    self.rows += 1;
                }
            }
            Op::Rejected(rejected) => self.rejected.extend(rejected.into_iter().map(|row| row.reason)),
            Op::Checkpoint(checkpoint) => {
                self.checkpoints += 1;
                for (table, partition, value) in checkpoint.entries {
                    let partitions = self.state.tables.entry(table).or_default();
                    match value {
                        Some(value) => drop(partitions.insert(partition, value)),
                        None => drop(partitions.remove(&partition)),
                    }
                }
            }
            Op::Finish { table, sweep } => {
                if sweep.is_some() {
                    let seen = seen.get(&table).cloned().unwrap_or_default();
                    self.tables.entry(table.clone()).or_default().retain(|key, _| seen.contains(key));
                }
                self.finished.insert(table, sweep.is_some());
            }
        }
    }

    pub(super) fn rows_of(&self, table: &str) -> Vec<&Row> {
        self.tables.get(table).into_iter().flat_map(BTreeMap::values).collect()
    }

    /// The texts of one column, sorted.
    pub(super) fn column(&self, table: &str, column: &str) -> Vec<String> {
        let mut texts: Vec<String> = self
            .rows_of(table)
            .iter()
            .map(|row| row[column].to_text().unwrap_or_default().into_owned())
            .collect();
        texts.sort();
        texts
    }

    /// Every row of the source is stored, field by field, and nothing else is. `key`: the source's fields that tell
    /// rows apart; `rename`: source field → column.
    pub(super) fn assert_holds(&self, table: &str, source: &[Value], key: &[&str], rename: &[(&str, &str)]) {
        assert_holds(table, &self.rows_of(table), source, key, rename);
    }
}

/// Like [`Bench::assert_holds`], for rows that are stored anywhere.
pub(crate) fn assert_holds(
    table: &str,
    stored: &[&Row],
    source: &[Value],
    key: &[&str],
    rename: &[(&str, &str)],
) {
    let column = |field: &str| {
        let renamed = rename.iter().find(|(from, _)| *from == field);
        renamed.map_or_else(|| column_name(field), |(_, to)| (*to).to_owned())
    };
    let by_key: BTreeMap<Vec<String>, &Row> =
        stored.iter().map(|row| (key.iter().map(|f| text(&row[&column(f)])).collect(), *row)).collect();
    for want in source {
        let wanted_key: Vec<String> = key.iter().map(|field| json_text(&want[*field])).collect();
        let row = by_key.get(&wanted_key).unwrap_or_else(|| panic!("{table} lacks {wanted_key:?}: {want}"));
        for (field, value) in want.as_object().unwrap() {
            assert_field(table, row, &column(field), value);
        }
    }
    assert_eq!(stored.len(), source.len(), "{table} holds rows that the source does not");
}

/// A field, or each field of a nested object, is stored as the source sent it.
fn assert_field(table: &str, row: &Row, column: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                assert_field(table, row, &format!("{column}_{}", column_name(field)), value);
            }
        }
        value => {
            let cell = row.get(column).unwrap_or(&Cell::Null);
            assert!(same(cell, value), "{table}.{column}: {cell:?} is not {value} in {row:?}");
        }
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Timestamp(at) => at.to_string(),
        other => other.to_text().unwrap_or_default().into_owned(),
    }
}

fn json_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.parse::<Timestamp>().map_or_else(|_| text.clone(), |at| at.to_string()),
        other => other.to_string(),
    }
}

/// Whether a cell means what the source sent.
fn same(cell: &Cell, value: &Value) -> bool {
    match (cell, value) {
        (Cell::Null, Value::Null) => true,
        // A part of a key that is absent at the source is the empty string.
        (Cell::Text(text), Value::Null) => text.is_empty(),
        (Cell::Bool(a), Value::Bool(b)) => a == b,
        (Cell::Timestamp(at), Value::Number(ms)) => Some(at.as_millisecond()) == ms.as_i64(),
        (Cell::Timestamp(at), Value::String(text)) => {
            text.parse::<Timestamp>().is_ok_and(|other| other == *at)
        }
        (Cell::Double(a), Value::Number(b)) => Some(*a) == b.as_f64(),
        (Cell::Double(a), Value::String(b)) => b.parse::<f64>().is_ok_and(|b| b == *a),
        (Cell::Int(a), Value::String(b)) => a.to_string() == *b,
        (Cell::Json(a), b @ (Value::Array(_) | Value::Object(_))) => {
            serde_json::from_str::<Value>(a).is_ok_and(|a| a == *b)
        }
        (Cell::Text(a), Value::Array(items)) => {
            **a == *items.iter().map(json_text).collect::<Vec<_>>().join(",")
        }
        (cell, Value::String(b)) => cell.to_text().as_deref() == Some(b.as_str()),
        (cell, value) => cell.to_text().as_deref() == Some(value.to_string().as_str()),
    }
}
