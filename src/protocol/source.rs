//! Where a front's ops come from. One implementation runs the engine; tests send ops of their own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connectors::{self, Account, Outcome, Progress, RunPlan};
use crate::domain::config::{ConfigValues, variable};
use crate::domain::connector::Definition;
use crate::domain::op::{End, Op, State, TableShape};
use crate::http::Network;

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

/// The engine, running a definition. Each call is an account of its own: it comes with its own credentials.
pub struct Engine {
    definition: Arc<Definition>,
    network: Network,
}

impl Engine {
    /// Runs this definition, reaching the network like this.
    pub fn new(definition: Definition, network: Network) -> Engine {
        Engine { definition: Arc::new(definition), network }
    }

    fn account(&self, config: ConfigValues) -> Result<Account, String> {
        Account::new(Arc::clone(&self.definition), config, self.network.clone()).map_err(|e| e.to_string())
    }

    /// Whoever calls a front has never heard of variables: they gave keys.
    fn in_keys(&self, words: String) -> String {
        let mut keys: Vec<&String> = self.definition.config.keys().collect();
        // A name may begin with another.
        keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
        keys.iter().fold(words, |words, key| words.replace(&variable(&self.definition.name, key), key))
    }
}

#[async_trait]
impl Source for Engine {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn test(&self, config: ConfigValues) -> Result<(), String> {
        let tested = connectors::test(&self.account(config)?, self.now()).await;
        tested.map(drop).map_err(|reason| self.in_keys(reason))
    }

    async fn run(&self, wanted: Wanted, ops: mpsc::Sender<Op>, cancel: CancellationToken) -> Ended {
        let Wanted { config, tables, state, shapes, since } = wanted;
        let account = match self.account(config) {
            Ok(account) => account,
            Err(reason) => return Ended::failed(reason, true),
        };
        let now = self.now();
        let plan = RunPlan { account, tables, full_refresh: false, state, shapes, now, since };
        let run = connectors::run(plan, ops, Progress::new(&self.definition), cancel);
        // A mistake in the program ends this run, and not the service with all its other callers.
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(outcome) => {
                let ended = Ended::from(outcome);
                Ended { reason: ended.reason.map(|reason| self.in_keys(reason)), ..ended }
            }
            Err(_) => Ended::failed("the connector broke off; see the log".into(), false),
        }
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Ended {
        let reason = match (outcome.run.reason, outcome.run.place) {
            (Some(reason), Some(place)) => Some(format!("{reason} (at {place})")),
            (reason, _) => reason,
        };
        Ended { end: outcome.run.end, reason, mend: outcome.mend, notes: outcome.notes }
    }
}

impl Ended {
    fn failed(reason: String, mend: bool) -> Ended {
        Ended { end: End::Failed, reason: Some(reason), mend, notes: Vec::new() }
    }

    /// The reason, or what stands for one.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("no reason is known")
    }
}
