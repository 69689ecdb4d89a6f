//! Builds what several commands need: HTTP clients, the database, the async runtime.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use anyhow::Context;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::CommandError;
use crate::database::Database;
use crate::definitions::monitor;
use crate::domain::monitoring::monitor::Monitor;
use crate::http::{ClientOptions, Network, PageClient};
use crate::settings::{Settings, Vars};
use crate::web::brand::Brand;

pub(super) const NO_SIGNALS: &str = "cannot listen to signals";

/// Reads the variables again. A connector that is added by a reload may need variables that were set after the start.
pub(super) type ReadVars = Arc<dyn Fn() -> Result<Box<dyn Vars>, CommandError> + Send + Sync>;

/// The program mostly waits for the network, so two worker threads suffice. Fewer threads use less memory.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let entered = runtime.enter();
    // Without a handler, exceeding a file size limit (RLIMIT_FSIZE) kills the process; with one, the write fails. The
    // handler stays installed after the drop.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context(NO_SIGNALS)?);
    drop(entered);
    Ok(runtime)
}

/// Runs a future that handles signals itself or completes quickly.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    // Does not wait for tasks that still wait for the network.
    runtime.shutdown_background();
    Ok(done)
}

/// Runs a future that SIGTERM and SIGINT stop immediately. As process 1 of a container the program needs handlers for that:
/// the kernel delivers to process 1 only signals that it handles.
pub(crate) fn block_on_until_signal<T>(
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

pub(super) fn monitors(settings: &Settings) -> Result<Vec<Monitor>, CommandError> {
    let loaded = monitor::load(&settings.monitors_dir, &settings.engines_dir);
    let loaded = loaded.map_err(CommandError::configuration)?;
    Ok(loaded.0)
}

pub(super) fn network(settings: &Settings) -> Network {
    Network { extra_ca: settings.extra_ca.clone(), proxies: settings.proxies.clone() }
}

/// Describes the configured proxies, if there are any.
pub(super) fn proxies_in_use(settings: &Settings) -> Option<String> {
    (!settings.proxies.is_empty()).then(|| settings.proxies.to_string())
}

/// Title and logo of the dashboard.
pub(super) fn brand(settings: &Settings) -> Result<Brand, CommandError> {
    let wrong = |why: String| CommandError::configuration([format!("DASHBOARD_LOGO_FILE: {why}")]);
    let Some(path) = &settings.web.logo else {
        return Brand::new(settings.web.title.clone(), None).map_err(wrong);
    };
    let file = path.display();
    let body = std::fs::read(path).map_err(|e| wrong(format!("cannot read {file}: {e}")))?;
    Brand::new(settings.web.title.clone(), Some(body)).map_err(|why| wrong(format!("{file} {why}")))
}

/// The PostgreSQL database of `DATABASE_URL`, if it is set. Does not connect.
pub(super) fn database(settings: &Settings) -> Result<Option<Database>, CommandError> {
    let Some(address) = &settings.database else { return Ok(None) };
    Database::new(&address.url, address.password.as_ref(), settings.extra_ca.as_deref())
        .map(Some)
        .map_err(|e| CommandError::configuration([e]))
}

/// Name of this process among the daemons of a database. It differs at each start.
pub(super) fn holder() -> String {
    // uname(2): a sandbox may hide the same in /proc.
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let host = if host.is_empty() { "unknown host" } else { &*host };
    // Process ids are reused, and are the same in every container.
    #[expect(clippy::disallowed_methods, reason = "must differ from every other process")]
    let unique = RandomState::new().build_hasher().finish();
    format!("{host} process {} ({unique:016x})", std::process::id())
}

/// Client for status pages. It keeps no idle connections, because a dead one would look like an outage.
pub(super) fn page_client(settings: &Settings) -> Result<PageClient, CommandError> {
    let network = network(settings);
    let options = ClientOptions { network, keep_alive: false };
    PageClient::new(&options).map_err(|e| CommandError::configuration([e]))
}
