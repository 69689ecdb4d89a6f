//! What several commands put together the same way: settings, clients, the tenant, the runtime.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::CommandError;
use super::preflight::names_and_folders;
use crate::database::Database;
use crate::definitions::monitor;
use crate::domain::monitor::Monitor;
use crate::http::{ClientOptions, Network, PageClient, Redirects};
use crate::publish::{DryRun, Qlik, QlikCredentials, Target};
use crate::secrets::Redactor;
use crate::settings::{Credentials, ProcessVars, Settings, Tenant, Vars};

/// Context of an error of registering a signal handler.
pub(super) const NO_SIGNALS: &str = "cannot listen to signals";

/// Where `.env` is looked for.
pub(super) const ENV_FILE: &str = ".env";

/// Two workers are plenty for a program that waits; fewer threads are less memory.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let entered = runtime.enter();
    // Without a handler a file size limit (RLIMIT_FSIZE) kills the process; with one it is an error of that write. The
    // handler outlives what is dropped here.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context(NO_SIGNALS)?);
    drop(entered);
    Ok(runtime)
}

/// Runs what handles signals by itself, or ends in a moment.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    // What still waits for the network is not waited for.
    runtime.shutdown_background();
    Ok(done)
}

pub(super) fn process_vars() -> ProcessVars {
    ProcessVars::load(Path::new(ENV_FILE))
}

/// Runs what SIGTERM and SIGINT end at once, also as the first process of a container: the kernel delivers to that one
/// only signals that it handles.
pub(super) fn block_on_until_signal<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    block_on(async {
        if std::process::id() != 1 {
            return work.await;
        }
        let mut terminate = signal(SignalKind::terminate()).context(NO_SIGNALS)?;
        let mut interrupt = signal(SignalKind::interrupt()).context(NO_SIGNALS)?;
        tokio::select! {
            done = work => done,
            _ = terminate.recv() => Err(anyhow::anyhow!("stopped by SIGTERM").into()),
            _ = interrupt.recv() => Err(anyhow::anyhow!("stopped by SIGINT").into()),
        }
    })?
}

pub(super) fn vars() -> Result<ProcessVars, CommandError> {
    let vars = process_vars();
    if vars.problems().is_empty() { Ok(vars) } else { Err(CommandError::configuration(vars.problems())) }
}

pub(super) fn settings() -> Result<Settings, CommandError> {
    let vars = process_vars();
    let (settings, problems) = Settings::read(&vars);
    let mut mistakes: Vec<String> = problems.iter().map(ToString::to_string).collect();
    mistakes.extend(names_and_folders(&settings, &vars));
    if mistakes.is_empty() { Ok(settings) } else { Err(CommandError::Configuration(mistakes)) }
}

pub(super) fn monitors(settings: &Settings) -> Result<Vec<Monitor>, CommandError> {
    let loaded = monitor::load(&settings.monitors_dir).map_err(CommandError::configuration)?;
    Ok(loaded.0)
}

pub(super) fn network(settings: &Settings) -> Network {
    Network { extra_ca: settings.extra_ca.clone(), proxies: settings.proxies.clone() }
}

/// The way out through proxies, in words; `None` without any.
pub(super) fn proxies_in_use(settings: &Settings) -> Option<String> {
    (!settings.proxies.is_empty()).then(|| settings.proxies.to_string())
}

/// PostgreSQL, where `DATABASE_URL` names it. Nobody is connected to yet.
pub(super) fn database(settings: &Settings) -> Result<Option<Database>, CommandError> {
    let Some(address) = &settings.database else { return Ok(None) };
    Database::new(&address.url, address.password.as_ref(), settings.extra_ca.as_deref())
        .map(Some)
        .map_err(|e| CommandError::configuration([e]))
}

/// Who we are among the daemons of a database, in words for people; another for each start.
pub(super) fn holder() -> String {
    // uname(2): a sandbox may hide the same in /proc.
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let host = if host.is_empty() { "unknown host" } else { &*host };
    // Process ids come back, and are the same in every container.
    let unique = RandomState::new().build_hasher().finish();
    format!("{host} process {} ({unique:016x})", std::process::id())
}

/// For pages: no connection is kept between two polls, since a dead one would look like an outage.
pub(super) fn page_client(settings: &Settings) -> Result<PageClient, CommandError> {
    let network = network(settings);
    let options = ClientOptions { network, redirects: Redirects::Refuse, keep_alive: false };
    PageClient::new(&options).map_err(|e| CommandError::configuration([e]))
}

/// The tenant, or what stands for it in preview.
pub(super) fn target(settings: &Settings) -> Result<Arc<dyn Target>, CommandError> {
    redacted_target(settings, &Redactor::default())
}

/// The same; `redactor` learns its credentials and tokens.
pub(super) fn redacted_target(
    settings: &Settings,
    redactor: &Redactor,
) -> Result<Arc<dyn Target>, CommandError> {
    match &settings.tenant {
        None => Ok(Arc::new(DryRun::default())),
        Some(tenant) => {
            let qlik = qlik(settings, tenant)?;
            redactor.include("tenant", qlik.redactor());
            Ok(Arc::new(qlik))
        }
    }
}

fn qlik(settings: &Settings, tenant: &Tenant) -> Result<Qlik, CommandError> {
    let credentials = match tenant.credentials.clone() {
        Credentials::ApiKey(key) => QlikCredentials::ApiKey(key),
        Credentials::OAuth { id, secret } => QlikCredentials::OAuth { client_id: id, client_secret: secret },
    };
    let network = network(settings);
    let options = ClientOptions { network, redirects: Redirects::Refuse, keep_alive: true };
    let client = options.build().map_err(|e| CommandError::configuration([e]))?;
    Ok(Qlik::new(client, tenant.url.clone(), credentials))
}
