//! The source of an entry point's ops. One implementation runs the engine; tests send ops of their own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::syncing::definition::config::{ConfigValues, variable};
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::syncing::op::{End, Op, State, TableShape};
use crate::http::Network;
use crate::source;
use crate::source::{Account, ReadOutcome, RunPlan, RunProgress};

/// A connector that can be tested and run.
#[async_trait]
pub trait PipelineSource: Send + Sync + 'static {
    fn definition(&self) -> &Definition;

    fn now(&self) -> Timestamp;

    /// Tests the configuration with a request to the service. `Err` is a redacted message.
    async fn test(&self, config: ConfigValues) -> Result<(), String>;

    /// Reads the selection and sends its ops in order; waits while the channel is full. Returns soon after `cancel`, and
    /// when the receiver of the ops is dropped.
    async fn run(&self, selection: Selection, ops: mpsc::Sender<Op>, cancel: CancellationToken) -> SourceEnd;
}

/// What a run reads.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The checked configuration.
    pub config: ConfigValues,
    /// Only these tables; `None` for all enabled ones.
    pub tables: Option<Vec<String>>,
    /// Where reading resumes; empty for everything.
    pub state: State,
    /// The tables of earlier runs, so that types do not change from run to run.
    pub shapes: Vec<TableShape>,
    /// Start of the sync that this run continues: parts that were read since are not read again.
    pub since: Option<Timestamp>,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEnd {
    pub end: End,
    /// What is missing or failed, for people.
    pub reason: Option<String>,
    /// Whether a retry is useless until a person changes something, such as credentials or the configuration.
    pub mend: bool,
    /// Further messages for people.
    pub notes: Vec<String>,
}

/// Runs a definition with the engine. Each call has an account of its own, since it contains its own credentials.
pub struct ConnectorSource {
    definition: Arc<Definition>,
    network: Network,
}

impl ConnectorSource {
    pub fn new(definition: Definition, network: Network) -> ConnectorSource {
        ConnectorSource { definition: Arc::new(definition), network }
    }

    fn account(&self, config: ConfigValues) -> Result<Account, String> {
        Account::new(Arc::clone(&self.definition), config, self.network.clone()).map_err(|e| e.to_string())
    }

    /// Replaces environment variables by configuration keys in a message: callers of an entry point know only the keys.
    fn in_keys(&self, message: String) -> String {
        let mut keys: Vec<&String> = self.definition.config.keys().collect();
        // The longest first, because one name may be a prefix of another.
        keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
        keys.iter().fold(message, |message, key| message.replace(&variable(&self.definition.name, key), key))
    }
}

#[async_trait]
impl PipelineSource for ConnectorSource {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the clock of the two protocols; stand-in sources have their own"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn test(&self, config: ConfigValues) -> Result<(), String> {
        let tested = source::test(&self.account(config)?, self.now()).await;
        tested.map(drop).map_err(|reason| self.in_keys(reason))
    }

    async fn run(&self, selection: Selection, ops: mpsc::Sender<Op>, cancel: CancellationToken) -> SourceEnd {
        let Selection { config, tables, state, shapes, since } = selection;
        let account = match self.account(config) {
            Ok(account) => account,
            Err(reason) => return SourceEnd::failed(reason, true),
        };
        let now = self.now();
        let plan = RunPlan { account, tables, full_refresh: false, state, shapes, now, since };
        let run = source::run(plan, ops, RunProgress::new(&self.definition), cancel);
        // A panic ends only this run, not the service for other callers.
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(outcome) => {
                let ended = SourceEnd::from(outcome);
                SourceEnd { reason: ended.reason.map(|reason| self.in_keys(reason)), ..ended }
            }
            Err(_) => SourceEnd::failed("the connector failed unexpectedly; see the log".into(), false),
        }
    }
}

impl From<ReadOutcome> for SourceEnd {
    fn from(outcome: ReadOutcome) -> SourceEnd {
        let reason = match (outcome.run.reason, outcome.run.place) {
            (Some(reason), Some(place)) => Some(format!("{reason} (at {place})")),
            (reason, _) => reason,
        };
        SourceEnd { end: outcome.run.end, reason, mend: outcome.mend, notes: outcome.notes }
    }
}

impl SourceEnd {
    fn failed(reason: String, mend: bool) -> SourceEnd {
        SourceEnd { end: End::Failed, reason: Some(reason), mend, notes: Vec::new() }
    }

    /// The reason, or a default text.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("unknown reason")
    }
}
