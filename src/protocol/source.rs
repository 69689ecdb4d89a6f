//! Where a front's ops come from. One implementation runs the engine; tests send ops of their own.

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::config::ConfigValues;
use crate::domain::connector::Definition;
use crate::domain::op::{End, Op, State, TableShape};

/// A connector, ready to be tested and run.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// What it is.
    fn definition(&self) -> &Definition;

    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Asks the service whether the configuration works. `Err` says what is wrong, without secrets.
    async fn test(&self, config: ConfigValues) -> Result<(), String>;

    /// Reads what is wanted and sends it in order, as fast as there is room. Ends soon after `cancel`, and when
    /// nobody takes the ops any more.
    async fn run(&self, wanted: Wanted, ops: mpsc::Sender<Op>, cancel: CancellationToken) -> Ended;
}

/// What one run is to read.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The checked configuration.
    pub config: ConfigValues,
    /// Only these tables; all that are enabled without it.
    pub tables: Option<Vec<String>>,
    /// Where reading goes on; empty for everything.
    pub state: State,
    /// The tables as earlier runs have seen them, so that types do not change from run to run.
    pub shapes: Vec<TableShape>,
    /// When the sync began that this run goes on with: parts that were read since are not read again.
    pub since: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In one word.
    pub end: End,
    /// What is missing or went wrong, in words for a person.
    pub reason: Option<String>,
    /// Only a person can mend it: credentials, configuration. Trying again is of no use.
    pub mend: bool,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

impl Ended {
    /// The reason, or what stands for one.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("no reason is known")
    }
}
