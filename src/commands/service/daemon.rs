//! Assembles the daemon from its settings, for `run` and `demo`.
//!
//! Nothing here reads the environment; callers pass [`Settings`] and [`ReadVars`]. Start at [`assemble`].

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::records;
use crate::commands::channels;
use crate::commands::compose::ReadVars;
use crate::commands::connectors;
use crate::commands::{CommandError, compose, tenants};
use crate::domain::proxy::ProxyAddress;
use crate::domain::tenure::LeasePace;
use crate::runtime::board;
use crate::runtime::board::BoardReader;
use crate::runtime::clock::Clock;
use crate::runtime::jobs::claims;
use crate::runtime::jobs::claims::Claims;
use crate::runtime::jobs::{ConnectorRoster, Load, LoadedConnectors};
use crate::runtime::lease::Contest;
use crate::runtime::monitoring::messenger::{ChannelRoster, ConfiguredChannel, LoadChannels};
use crate::runtime::monitoring::watcher;
use crate::runtime::{Daemon, MonitoringContext};
use crate::secrets::Redactor;
use crate::settings::{Credentials, PublicAccess, Settings};
use crate::store::jobs::{self, Jobs};
use crate::store::lease::Lease;
use crate::store::schema::Schema;
use crate::store::{Closer, OpenError, Store, StoredState};
use crate::telemetry::Log;
use crate::web;
use crate::web::metrics::LogLosses;
use crate::web::server::security::{Access, AccessMode};

/// How long the start waits for a state database that is temporarily unavailable. Shorter than systemd's start timeout, and
/// long enough that systemd's limit of restarts is never reached.
const START_TIMEOUT: Duration = Duration::from_secs(100);

/// Delay before the first retry; it doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Upper limit of the delay, long enough that attempts with a missing role do not look like an attack on the server.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(8);

/// What the caller provides to the daemon.
pub(in crate::commands) struct Surroundings<'a> {
    pub(in crate::commands) clock: Clock,
    /// `None` with `LISTEN=off`.
    pub(in crate::commands) listener: Option<TcpListener>,
    /// Called after each cycle.
    pub(in crate::commands) on_tick: Box<dyn Fn(&str) + Send + Sync>,
    /// Its redactor is given every secret.
    pub(in crate::commands) log: &'a Log,
    /// Stops the daemon.
    pub(in crate::commands) stop: CancellationToken,
}

/// The state database, and the election of its leader where several daemons share it.
pub(in crate::commands) type OpenedStore = ((Store, Closer, StoredState), Option<Contest>);

/// Opens the state database on the server of `DATABASE_URL`, or in `DATA_DIR`. Transient errors are retried for
/// [`START_TIMEOUT`].
pub(crate) async fn open_store(settings: &Settings) -> Result<OpenedStore, CommandError> {
    let Some(database) = compose::database(settings)? else {
        let folder = settings.data_dir.clone();
        // SQLite blocks while it waits for locks, which must not delay a stop.
        let open = async || {
            let folder = folder.clone();
            let path = folder.display().to_string();
            let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
            opened.unwrap_or_else(|e| Err(OpenError::Unavailable { path, reason: e.to_string() }))
        };
        return Ok((retry_transient(open).await?, None));
    };
    let pace = LeasePace::USUAL;
    let (schema, name, holder) = (schema(settings), "monitor".to_owned(), compose::holder());
    let lease = Lease { schema, name, holder, ttl: pace.ttl };
    let connect = async || Store::connect(database.clone(), lease.clone()).await;
    let (store, closer) = retry_transient(connect).await?;
    let (server, schema, me) = (database.name(), schema.name(), &lease.holder);
    tracing::info!(target: "MainOrchestrator", "State is in PostgreSQL at {server}, schema {schema}; this daemon is {me}.");
    Ok(((store, closer, StoredState::default()), Some(Contest { database, lease, pace })))
}

/// Retries until the attempt succeeds, fails permanently or [`START_TIMEOUT`] is over. Repeated errors are logged once.
async fn retry_transient<T>(attempt: impl AsyncFn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let (started, mut wait, mut logged) = (Instant::now(), FIRST_RETRY_DELAY, String::new());
    loop {
        let error = match attempt().await {
            Err(e) if e.is_transient() && started.elapsed() + wait < START_TIMEOUT => e.to_string(),
            done => return done,
        };
        if error != logged {
            let seconds = START_TIMEOUT.saturating_sub(started.elapsed()).as_secs();
            tracing::warn!(target: "MainOrchestrator", "{error}; retrying for {seconds} s");
            logged = error;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_RETRY_DELAY);
    }
}

/// Schema of the state database. A daemon in preview uses its own, so that it never takes the lease of the real ones.
pub(crate) fn schema(settings: &Settings) -> Schema {
    if settings.live { Schema::SHARED } else { Schema::PREVIEW }
}

/// Opens the port of the dashboard, if `LISTEN` is set.
pub(crate) async fn listen(settings: &Settings) -> Result<Option<TcpListener>, CommandError> {
    let Some(address) = settings.listen else { return Ok(None) };
    Ok(Some(bind(address).await?))
}

/// Listens at an address. On a machine without IPv6, `[::]` falls back to all IPv4 addresses.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Err(e) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && e.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| e)
        }
        bound => bound,
    };
    bound.with_context(|| format!("LISTEN: cannot listen on {address}"))
}

/// Assembles the daemon, and returns it with the reader of its board.
pub(in crate::commands) fn assemble(
    settings: &Settings,
    vars: ReadVars,
    opened: OpenedStore,
    around: Surroundings<'_>,
) -> Result<(Daemon, BoardReader), CommandError> {
    let (clock, redactor) = (around.clock, around.log.redactor());
    let ((store, closer, kept), contest) = opened;
    let (writer, reader) = board::channel(clock.now(), settings.live);
    let place = connectors::destination_kind(settings)?;
    let brand = Arc::new(compose::brand(settings)?);
    let web = around.listener.map(|listener| {
        let access = access(settings, listener.local_addr().ok());
        let records = Arc::new(records::StoredRecords::new(place, store.reader()));
        let log = around.log.clone();
        let log_losses = Arc::new(move || LogLosses { lost: log.lost_lines(), dropped: log.dropped_lines() });
        let (board, stop) = (reader.clone(), around.stop);
        let state = web::WebState { board, clock, records, log_losses, brand, stop };
        web::server::connections::serve(listener, web::router(state, access)).boxed()
    });
    let channels = channel_roster(settings, vars.clone(), redactor)?;
    let tenants = tenants::roster(settings, Arc::clone(&vars), redactor)?;
    let mut roster = roster(settings, vars, redactor)?;
    if let Some(contest) = &contest {
        let shared = Jobs::new(contest.database.clone(), contest.lease.holder.clone(), jobs::LEASE);
        roster.claims =
            Claims::shared(shared, connectors::destination_kind(settings)?, claims::ClaimPace::default());
    }
    let context = MonitoringContext {
        clock,
        board: writer,
        store,
        live: settings.live,
        recheck: settings.recheck,
        clear_on_stop: settings.clear_on_stop,
    };
    let daemon = Daemon {
        context,
        closer,
        kept,
        contest,
        watch: watcher::Options {
            folder: settings.monitors_dir.clone(),
            engines: settings.engines_dir.clone(),
            interval: settings.poll_interval,
            timeout: settings.poll_timeout,
            hold_for: settings.hold_for,
            log_every_cycle: settings.log.every_cycle,
            client: compose::page_client(settings)?,
            on_tick: around.on_tick,
        },
        tenants,
        jobs: roster,
        channels,
        web,
    };
    Ok((daemon, reader))
}

/// Decides who may see the dashboard. On a non-loopback address it is closed unless the settings open it.
fn access(settings: &Settings, at: Option<SocketAddr>) -> Access {
    let web = &settings.web;
    let here = at.is_some_and(|at| at.ip().is_loopback());
    let (mode, who) = match &web.token {
        Some(token) => (AccessMode::Token(token.clone()), "protected by WEB_TOKEN"),
        None if here => (AccessMode::Open, "open on this machine"),
        None if web.open == PublicAccess::Everything => {
            (AccessMode::Open, "open to everyone who can reach it (WEB_OPEN=true)")
        }
        None => (AccessMode::Closed, "closed: set WEB_TOKEN, or WEB_OPEN=true to open it to everyone"),
    };
    let at = at.map_or_else(|| "an unknown address".to_owned(), |at| format!("http://{at}"));
    let line = format!("Listening on {at} (/healthz, /readyz, /metrics); the dashboard is {who}");
    let public = if web.open == PublicAccess::Status {
        "; badges and /api/v2 are open to everyone (WEB_OPEN=status)"
    } else {
        ""
    };
    let line = format!("{line}{public}");
    if here || web.token.is_some() {
        tracing::info!(target: "WebServer", "{line}");
    } else {
        tracing::warn!(target: "WebServer", "{line}");
    }
    Access { mode, status_open: web.open != PublicAccess::Nothing, hosts: web.hosts.clone() }
}

/// Loads the connectors, with a function that loads them again at a reload. Logs which are on.
fn roster(settings: &Settings, vars: ReadVars, redactor: &Redactor) -> Result<ConnectorRoster, CommandError> {
    let first = connectors::jobs(settings, &*vars()?)?;
    hide_secrets_of(&first, redactor);
    let LoadedConnectors { jobs, off } = &first;
    let on: Vec<String> =
        jobs.iter().map(|job| format!("{} every {:?}", job.name(), job.account.every())).collect();
    let on = if on.is_empty() { "none".to_owned() } else { on.join(", ") };
    tracing::info!(target: "MainOrchestrator", "Connectors on: {on}; off (not configured): {}", off.join(", "));
    let (settings_copy, redactor) = (settings.clone(), redactor.clone());
    let load: Load = Arc::new(move |_| {
        let loaded = vars().and_then(|vars| connectors::jobs(&settings_copy, &*vars));
        let loaded = loaded.map_err(CommandError::into_lines)?;
        hide_secrets_of(&loaded, &redactor);
        Ok(loaded)
    });
    let again = Some((settings.connectors_dir.clone(), settings.poll_interval, load));
    Ok(ConnectorRoster { first, again, claims: Claims::default() })
}

/// Loads the channels, with a function that loads them again at a reload. Logs which there are.
fn channel_roster(
    settings: &Settings,
    vars: ReadVars,
    redactor: &Redactor,
) -> Result<ChannelRoster, CommandError> {
    let hide = |channels: &[ConfiguredChannel], redactor: &Redactor| {
        for configured in channels {
            redactor.include(&format!("channel {}", configured.name), configured.channel.redactor());
        }
    };
    let first = channels::of_daemon(settings, &*vars()?)?;
    hide(&first, redactor);
    if !first.is_empty() {
        let names: Vec<&str> = first.iter().map(|configured| configured.name.as_str()).collect();
        tracing::info!(target: "MainOrchestrator", "Channels: {}", names.join(", "));
    }
    let (settings_copy, redactor) = (settings.clone(), redactor.clone());
    let load: LoadChannels = Arc::new(move |_| {
        let loaded = vars().and_then(|vars| channels::of_daemon(&settings_copy, &*vars));
        let loaded = loaded.map_err(CommandError::into_lines)?;
        hide(&loaded, &redactor);
        Ok(loaded)
    });
    let again = Some((settings.channels_dir.clone(), settings.poll_interval, load));
    Ok(ChannelRoster { channels: first, again, live: settings.live })
}

/// Registers the secrets of connectors for redaction.
fn hide_secrets_of(loaded: &LoadedConnectors, redactor: &Redactor) {
    for job in &loaded.jobs {
        redactor.include(job.name(), job.account.redactor());
    }
}

/// Registers the secrets among the settings for redaction.
pub(crate) fn hide_secrets(settings: &Settings, redactor: &Redactor) -> Result<(), CommandError> {
    let hide = |name: &str, secret: &SecretString| redactor.register(name, secret);
    match &settings.shared_credentials {
        Some(Credentials::ApiKey(key)) => hide("QLIK_API_KEY", key),
        Some(Credentials::OAuth { secret, .. }) => hide("QLIK_CLIENT_SECRET", secret),
        None => {}
    }
    if let Some(token) = &settings.web.token {
        hide("WEB_TOKEN", token);
    }
    if let Some(database) = &settings.database {
        hide("DATABASE_URL", &database.url);
    }
    if let Some(password) = compose::database(settings)?.and_then(|database| database.password()) {
        hide("DATABASE_PASSWORD", &password);
    }
    for (name, proxy) in [("HTTPS_PROXY", &settings.proxies.https), ("HTTP_PROXY", &settings.proxies.http)] {
        if let Some((user, password)) = proxy.as_ref().and_then(ProxyAddress::credentials) {
            redactor.register_basic(&format!("{name} credentials"), &user, &password);
            hide(name, &password.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_transient_errors_are_retried_and_for_a_limited_time() {
        let tries = Cell::new(0);
        let attempt = |transient: bool, until: u32| {
            tries.set(0);
            let tries = &tries;
            async move || {
                tries.set(tries.get() + 1);
                let (path, reason) = ("/data".to_owned(), "no space".to_owned());
                match transient {
                    _ if tries.get() > until => Ok(()),
                    true => Err(OpenError::Unavailable { path, reason }),
                    false => Err(OpenError::Unusable { path, reason }),
                }
            }
        };
        let started = Instant::now();
        assert!(retry_transient(attempt(true, 3)).await.is_ok());
        assert_eq!((tries.get(), started.elapsed().as_secs()), (4, 7));
        assert!(retry_transient(attempt(false, 3)).await.is_err());
        assert_eq!(tries.get(), 1);
        let started = Instant::now();
        assert!(retry_transient(attempt(true, u32::MAX)).await.is_err());
        assert!(started.elapsed() < START_TIMEOUT && started.elapsed() > START_TIMEOUT / 2);
    }
}
