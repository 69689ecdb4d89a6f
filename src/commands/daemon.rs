//! The daemon put together out of what is set: what `run` and `demo` share.
//!
//! Nothing here looks at the environment: what is set comes in as [`Settings`] and [`Vars`]. Start at [`assemble`].

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::records;
use super::{CommandError, compose, connectors};
use crate::domain::proxy::ProxyAddress;
use crate::domain::tenure::Pace;
use crate::runtime::board::BoardHandle;
use crate::runtime::claims::{self, Claims};
use crate::runtime::clock::Clock;
use crate::runtime::jobs::{Load, Loaded, Roster};
use crate::runtime::lease::Contest;
use crate::runtime::{Daemon, watcher};
use crate::secrets::Redactor;
use crate::settings::{Credentials, Open, Settings, Vars};
use crate::store::jobs::{self, Jobs};
use crate::store::lease::Lease;
use crate::store::schema::Schema;
use crate::store::{Closer, Kept, OpenError, Store};
use crate::web;
use crate::web::security::{Access, Door};

/// Reads what is set, now: connectors that are taken over later may need what was set later.
pub(super) type ReadVars = Arc<dyn Fn() -> Result<Box<dyn Vars>, CommandError> + Send + Sync>;

/// How long a start waits for a state database that cannot be used for the moment: less than systemd waits for a start,
/// and long enough that its limit of restarts is never reached.
const START_PATIENCE: Duration = Duration::from_secs(100);

/// The first pause between two attempts; each further one is twice as long.
const START_AGAIN: Duration = Duration::from_secs(1);

/// The longest pause. A role that is missing must not look like an attack on the server.
const START_AGAIN_MOST: Duration = Duration::from_secs(8);

/// What the daemon takes from its surroundings.
pub(super) struct Surroundings<'a> {
    /// Time.
    pub(super) clock: Clock,
    /// Where pages are served, if at all.
    pub(super) listener: Option<TcpListener>,
    /// Called after each finished tick.
    pub(super) on_tick: Box<dyn Fn(&str) + Send + Sync>,
    /// Keeps secrets out of the log.
    pub(super) redactor: &'a Redactor,
    /// Ends it.
    pub(super) stop: CancellationToken,
}

/// Our own memory, and who may write into it where several daemons share it.
pub(super) type Opened = ((Store, Closer, Kept), Option<Contest>);

/// Opens the state database: on the server that `DATABASE_URL` names, or in `DATA_DIR`. What may be over by itself is
/// retried for [`START_PATIENCE`].
pub(super) async fn open_store(settings: &Settings) -> Result<Opened, CommandError> {
    let Some(database) = compose::database(settings)? else {
        let folder = settings.data_dir.clone();
        // SQLite waits for locks, which must not hold up a stop.
        let open = async || {
            let folder = folder.clone();
            let path = folder.display().to_string();
            let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
            opened.unwrap_or_else(|e| Err(OpenError::Unavailable { path, reason: e.to_string() }))
        };
        return Ok((patiently(open).await?, None));
    };
    let pace = Pace::USUAL;
    let (schema, name, holder) = (schema(settings), "monitor".to_owned(), compose::holder());
    let lease = Lease { schema, name, holder, ttl: pace.ttl };
    let connect = async || Store::connect(database.clone(), lease.clone()).await;
    let (store, closer) = patiently(connect).await?;
    let (place, schema, me) = (database.name(), schema.name(), &lease.holder);
    tracing::info!(target: "MainOrchestrator", "State is in PostgreSQL at {place}, schema {schema}; this daemon is {me}.");
    Ok(((store, closer, Kept::default()), Some(Contest { database, lease, pace })))
}

/// Tries until it succeeds, fails for good, or [`START_PATIENCE`] is over. Each reason is logged once.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let (begun, mut wait, mut logged) = (Instant::now(), START_AGAIN, String::new());
    loop {
        let error = match attempt().await {
            Err(e) if e.is_transient() && begun.elapsed() + wait < START_PATIENCE => e.to_string(),
            done => return done,
        };
        if error != logged {
            let seconds = START_PATIENCE.saturating_sub(begun.elapsed()).as_secs();
            tracing::warn!(target: "MainOrchestrator", "{error}; retrying for {seconds} s");
            logged = error;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(START_AGAIN_MOST);
    }
}

/// Where our own memory is on a server. A daemon in preview must not keep those that write the banner from it.
pub(super) fn schema(settings: &Settings) -> Schema {
    if settings.tenant.is_some() { Schema::SHARED } else { Schema::PREVIEW }
}

/// The port that pages are served at, if any.
pub(super) async fn listen(settings: &Settings) -> Result<Option<TcpListener>, CommandError> {
    let Some(address) = settings.listen else { return Ok(None) };
    Ok(Some(bind(address).await?))
}

/// Listens at an address; where the machine has no IPv6, at all of IPv4 instead of all of both.
pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Err(e) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && e.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| e)
        }
        bound => bound,
    };
    bound.with_context(|| format!("LISTEN: cannot listen at {address}"))
}

/// Puts the daemon together.
pub(super) fn assemble(
    settings: &Settings,
    vars: ReadVars,
    opened: Opened,
    around: Surroundings<'_>,
) -> Result<Daemon, CommandError> {
    let clock = around.clock;
    let (store, contest) = opened;
    let board = BoardHandle::new(clock.now(), settings.tenant.is_some());
    let place = connectors::place(settings)?;
    let web = around.listener.map(|listener| {
        let access = access(settings, listener.local_addr().ok());
        let records = Arc::new(records::Kept::new(place, store.0.reader()));
        let shown = web::Shown { board: board.clone(), clock, records, stop: around.stop };
        (listener, web::router(shown, access))
    });
    let mut roster = roster(settings, vars, around.redactor)?;
    if let Some(contest) = &contest {
        let shared = Jobs::new(contest.database.clone(), contest.lease.holder.clone(), jobs::LEASE);
        roster.claims = Claims::shared(shared, connectors::place(settings)?, claims::Pace::default());
    }
    Ok(Daemon {
        clock,
        board,
        store,
        contest,
        target: compose::redacted_target(settings, around.redactor)?,
        tenant: settings.tenant.as_ref().map(|tenant| tenant.url.to_string()),
        policy: settings.policy,
        recheck: settings.recheck,
        clear_on_stop: settings.clear_on_stop,
        watch: watcher::Options {
            folder: settings.monitors_dir.clone(),
            interval: settings.poll_interval,
            timeout: settings.poll_timeout,
            hold_for: settings.hold_for,
            client: compose::page_client(settings)?,
            on_tick: around.on_tick,
        },
        jobs: roster,
        web,
    })
}

/// Who may see the dashboard. A port that can be reached from elsewhere shows it to nobody until somebody says to whom.
fn access(settings: &Settings, at: Option<SocketAddr>) -> Access {
    let web = &settings.web;
    let here = at.is_some_and(|at| at.ip().is_loopback());
    let (door, who) = match &web.token {
        Some(token) => (Door::Token(token.clone()), "for who has WEB_TOKEN"),
        None if here => (Door::Open, "open on this machine"),
        None if web.open == Open::Everything => {
            (Door::Open, "open to everybody who reaches it (WEB_OPEN=true)")
        }
        None => (Door::Shut, "closed: set WEB_TOKEN, or WEB_OPEN=true to show it to everybody"),
    };
    let at = at.map_or_else(|| "an unknown address".to_owned(), |at| format!("http://{at}"));
    let line = format!("Listening at {at} (/healthz, /readyz, /metrics); the dashboard is {who}");
    let beside =
        if web.open == Open::Status { "; badges and /api/v2 for everybody (WEB_OPEN=status)" } else { "" };
    let line = format!("{line}{beside}");
    if here || web.token.is_some() {
        tracing::info!(target: "WebServer", "{line}");
    } else {
        tracing::warn!(target: "WebServer", "{line}");
    }
    Access { door, status_open: web.open != Open::Nothing, hosts: web.hosts.clone() }
}

/// The connectors, now and whenever their folder changes or somebody asks; says which are on.
fn roster(settings: &Settings, vars: ReadVars, redactor: &Redactor) -> Result<Roster, CommandError> {
    let first = connectors::jobs(settings, &*vars()?)?;
    hide_secrets_of(&first, redactor);
    let Loaded { jobs, off } = &first;
    let on: Vec<String> =
        jobs.iter().map(|job| format!("{} every {:?}", job.name(), job.account.every())).collect();
    let on = if on.is_empty() { "none".to_owned() } else { on.join(", ") };
    tracing::info!(target: "MainOrchestrator", "Connectors on: {on}; off (not configured): {}", off.join(", "));
    let (as_set, redactor) = (settings.clone(), redactor.clone());
    let load: Load = Arc::new(move |_| {
        let loaded = vars().and_then(|vars| connectors::jobs(&as_set, &*vars));
        let loaded = loaded.map_err(CommandError::into_lines)?;
        hide_secrets_of(&loaded, &redactor);
        Ok(loaded)
    });
    let again = Some((settings.connectors_dir.clone(), settings.poll_interval, load));
    Ok(Roster { first, again, claims: Claims::default() })
}

/// Keeps what connectors know out of the log.
fn hide_secrets_of(loaded: &Loaded, redactor: &Redactor) {
    for job in &loaded.jobs {
        redactor.include(job.name(), job.account.redactor());
    }
}

/// Keeps what is set and secret out of the log.
pub(super) fn hide_secrets(settings: &Settings, redactor: &Redactor) -> Result<(), CommandError> {
    let hide = |name: &str, secret: &SecretString| redactor.register(name, secret);
    match settings.tenant.as_ref().map(|tenant| &tenant.credentials) {
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

    /// What may be over by itself is tried again, for a bounded time; the rest is told at once.
    #[tokio::test(start_paused = true)]
    async fn a_start_is_patient_for_a_bounded_time() {
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
        let begun = Instant::now();
        assert!(patiently(attempt(true, 3)).await.is_ok());
        assert_eq!((tries.get(), begun.elapsed().as_secs()), (4, 7));
        assert!(patiently(attempt(false, 3)).await.is_err());
        assert_eq!(tries.get(), 1);
        let begun = Instant::now();
        assert!(patiently(attempt(true, u32::MAX)).await.is_err());
        assert!(begun.elapsed() < START_PATIENCE && begun.elapsed() > START_PATIENCE / 2);
    }
}
