//! `run`: the daemon, put together and run until a signal.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::records::Kept;
use super::{CommandError, compose, connectors};
use crate::domain::config::variable;
use crate::runtime::board::BoardHandle;
use crate::runtime::clock::Clock;
use crate::runtime::jobs::{Load, Loaded, Roster};
use crate::runtime::{Controls, Daemon, watcher};
use crate::settings::{Credentials, Settings};
use crate::store::{OpenError, Store};
use crate::telemetry::{self, Guard, LogSettings};
use crate::web;
use crate::web::security::{Access, Door};

pub(super) fn run() -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    compose::monitors(&settings)?;
    let log =
        telemetry::init(&LogSettings::from(&settings.log)).map_err(|e| CommandError::configuration([e]))?;
    hide_secrets(&settings, &log);
    let runtime = compose::runtime()?;
    let code = runtime.block_on(serve(settings, &log))?;
    // What still hangs after the grace period is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

async fn serve(settings: Settings, log: &Guard) -> Result<ExitCode, CommandError> {
    tracing::info!(target: "MainOrchestrator", "Starting Qlik Cloud Data Sources Monitor...");
    for warning in &settings.warnings {
        tracing::warn!(target: "MainOrchestrator", "{warning}");
    }
    match &settings.tenant {
        Some(tenant) => tracing::info!(target: "MainOrchestrator", "Tenant: {}", tenant.url),
        None => tracing::warn!(
            target: "MainOrchestrator",
            "Preview: no QLIK_ variable is set, so no banner is written; the log shows the banner that would be."
        ),
    }
    let store = Store::open(&settings.data_dir).map_err(|e| match e {
        OpenError::InUse { .. } => CommandError::Failed(e.into()),
        OpenError::Unusable { .. } | OpenError::TooNew { .. } => CommandError::configuration([e]),
    })?;
    let clock = Clock::system();
    let controls = Controls::default();
    let board = BoardHandle::new(clock.now(), settings.tenant.is_some());
    let web = match settings.listen {
        None => None,
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("LISTEN: cannot listen at {address}"))?;
            let local = listener.local_addr().unwrap_or(address);
            let access = access(&settings, local);
            let records = Arc::new(Kept::new(&settings, store.0.reader()));
            let stop = controls.stop.clone();
            Some((listener, web::router(web::Shown { board: board.clone(), clock, records, stop }, access)))
        }
    };
    let jobs = jobs(&settings, log)?;
    let daemon = Daemon {
        clock,
        board,
        store,
        target: compose::target(&settings)?,
        tenant: settings.tenant.as_ref().map(|tenant| tenant.url.to_string()),
        policy: settings.policy,
        recheck: settings.recheck,
        clear_on_stop: settings.clear_on_stop,
        watch: watcher::Options {
            folder: settings.monitors_dir.clone(),
            interval: settings.poll_interval,
            timeout: settings.poll_timeout,
            client: compose::page_client(&settings)?,
            on_tick: tell_service_manager(&settings),
        },
        jobs,
        web,
    };
    listen_to_signals(controls.clone(), log.log())?;
    let drained = crate::runtime::run(daemon, controls).await;
    if drained {
        tracing::info!(target: "MainOrchestrator", "Stopped.");
        Ok(ExitCode::SUCCESS)
    } else {
        tracing::error!(target: "MainOrchestrator", "Stopped with work unfinished after {} s.", crate::runtime::GRACE.as_secs());
        Ok(ExitCode::FAILURE)
    }
}

/// Who may see the dashboard. A port that can be reached from elsewhere shows it to nobody until somebody says to whom.
fn access(settings: &Settings, at: SocketAddr) -> Access {
    let web = &settings.web;
    let door = match &web.token {
        Some(token) => Door::Token(token.clone()),
        None if web.open || at.ip().is_loopback() => Door::Open,
        None => Door::Shut,
    };
    let who = match &door {
        Door::Token(_) => "asks for WEB_TOKEN",
        Door::Open if at.ip().is_loopback() => "open on this machine",
        Door::Open => "open to everybody who reaches it (WEB_OPEN=true)",
        Door::Shut => "closed: set WEB_TOKEN, or WEB_OPEN=true to show it to everybody",
    };
    let line = format!("Listening at http://{at} (/healthz, /readyz, /metrics); dashboard {who}");
    if matches!(door, Door::Shut) || web.open && !at.ip().is_loopback() {
        tracing::warn!(target: "WebServer", "{line}");
    } else {
        tracing::info!(target: "WebServer", "{line}");
    }
    Access { door, hosts: web.hosts.clone() }
}

/// The connectors, now and whenever their folder changes or somebody asks; says which are on.
fn jobs(settings: &Settings, log: &Guard) -> Result<Roster, CommandError> {
    let first = connectors::jobs(settings)?;
    hide_secrets_of(&first, &log.log());
    let Loaded { jobs, off } = &first;
    let on: Vec<String> =
        jobs.iter().map(|job| format!("{} every {:?}", job.name(), job.account.every())).collect();
    let on = if on.is_empty() { "none".to_owned() } else { on.join(", ") };
    tracing::info!(target: "MainOrchestrator", "Connectors on: {on}; off (not configured): {}", off.join(", "));
    let (as_set, log) = (settings.clone(), log.log());
    let load: Load = Arc::new(move |_| {
        let loaded = connectors::jobs(&as_set).map_err(CommandError::into_lines)?;
        hide_secrets_of(&loaded, &log);
        Ok(loaded)
    });
    Ok(Roster { first, again: Some((settings.connectors_dir.clone(), settings.poll_interval, load)) })
}

/// Keeps what connectors know out of the log.
fn hide_secrets_of(loaded: &Loaded, log: &telemetry::Log) {
    for job in &loaded.jobs {
        for (key, secret) in job.account.config().secrets() {
            log.redactor().register(&variable(job.name(), key), secret);
        }
    }
}

fn hide_secrets(settings: &Settings, log: &Guard) {
    let log = log.log();
    let hide = |name: &str, secret: &SecretString| log.redactor().register(name, secret);
    match settings.tenant.as_ref().map(|tenant| &tenant.credentials) {
        Some(Credentials::ApiKey(key)) => hide("QLIK_API_KEY", key),
        Some(Credentials::OAuth { secret, .. }) => hide("QLIK_CLIENT_SECRET", secret),
        None => {}
    }
    if let Some(token) = &settings.web.token {
        hide("WEB_TOKEN", token);
    }
}

/// Tells systemd after each tick that we live; before the first, that we are ready.
fn tell_service_manager(settings: &Settings) -> Box<dyn Fn(&str) + Send> {
    // A watchdog shorter than our interval would kill a daemon that does what it was told.
    let longest = settings.poll_interval.saturating_mul(3) + settings.poll_timeout;
    let extend = sd_notify::watchdog_enabled().filter(|watchdog| *watchdog < longest).map(|_| longest);
    let first = AtomicBool::new(true);
    Box::new(move |status| {
        use sd_notify::NotifyState::{Custom, Ready, Status, Watchdog};
        // Outside systemd there is nobody to tell, which is no error.
        let _ = if first.swap(false, Ordering::Relaxed) {
            let extra = extend.map(|longest| {
                // The library's own word for it holds no more than 71 minutes.
                sd_notify::notify(&[Custom(&format!("WATCHDOG_USEC={}", longest.as_micros()))])
            });
            extra.unwrap_or(Ok(())).and(sd_notify::notify(&[Ready, Status(status), Watchdog]))
        } else {
            sd_notify::notify(&[Status(status), Watchdog])
        };
    })
}

/// SIGTERM and SIGINT stop, a second one at once; SIGHUP reopens the log and re-reads the definitions.
fn listen_to_signals(controls: Controls, log: telemetry::Log) -> anyhow::Result<()> {
    let context = "cannot listen to signals";
    let mut terminate = signal(SignalKind::terminate()).context(context)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(context)?;
    let mut hang_up = signal(SignalKind::hangup()).context(context)?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {
                    log.reopen();
                    tracing::info!(target: "MainOrchestrator", "SIGHUP: log reopened, definitions are read again.");
                    controls.reload();
                    continue;
                }
            }
            if controls.stop.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!(target: "MainOrchestrator", "Stopping...");
            // Outside systemd there is nobody to tell.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            controls.stop.cancel();
        }
    });
    Ok(())
}
