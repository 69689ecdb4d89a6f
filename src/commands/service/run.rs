//! `run`: assembles the daemon and runs it until a signal.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::changed_settings::ChangedSettings;
use super::daemon::{self, Surroundings};
use crate::commands::compose::ReadVars;
use crate::commands::preflight::{Preflight, preflight};
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::runtime::Controls;
use crate::runtime::clock::Clock;
use crate::settings::Settings;
use crate::telemetry::{self, Guard, LogSettings};

pub(crate) fn run(flags: &SettingFlags) -> Result<ExitCode, CommandError> {
    let Preflight { settings, report } = preflight(&flags.process_vars());
    if !report.mistakes.is_empty() {
        return Err(CommandError::Configuration(report.mistakes));
    }
    let log =
        telemetry::init(&LogSettings::from(&settings.log)).map_err(|e| CommandError::configuration([e]))?;
    daemon::hide_secrets(&settings, log.log().redactor())?;
    let runtime = compose::runtime()?;
    let code = runtime.block_on(serve(flags, settings, &report.warnings, &log));
    // Does not wait for tasks that are still running after the grace period.
    runtime.shutdown_background();
    code
}

async fn serve(
    flags: &SettingFlags,
    settings: Settings,
    warnings: &[String],
    log: &Guard,
) -> Result<ExitCode, CommandError> {
    tracing::info!(target: "MainOrchestrator", "Starting Qlik Cloud Data Sources Monitor...");
    for warning in warnings {
        tracing::warn!(target: "MainOrchestrator", "{warning}");
    }
    if let Some(proxies) = compose::proxies_in_use(&settings) {
        tracing::info!(target: "MainOrchestrator", "Proxies: {proxies}");
    }
    match &settings.tenant {
        Some(tenant) => tracing::info!(target: "MainOrchestrator", "Tenant: {}", tenant.url),
        None if settings.live => {
            tracing::info!(target: "MainOrchestrator", "Tenants: defined in {}", settings.tenants_dir.display());
        }
        None => tracing::warn!(
            target: "MainOrchestrator",
            "Preview: no QLIK_ variable is set, so no banner is written; the log shows the banner that would be written."
        ),
    }
    let lines = log.log();
    let controls = Controls::default();
    let watched = ChangedSettings::new(flags);
    listen_to_signals(controls.clone(), lines.clone(), watched)?;
    let store = tokio::select! {
        store = daemon::open_store(&settings) => store?,
        () = controls.stop.cancelled() => {
            tracing::info!(target: "MainOrchestrator", "Stopped.");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let around = Surroundings {
        clock: Clock::system(),
        listener: daemon::listen(&settings).await?,
        on_tick: notify_systemd(&settings),
        log: &lines,
        stop: controls.stop.clone(),
    };
    let flags = flags.clone();
    let vars: ReadVars = Arc::new(move || Ok(Box::new(flags.vars()?)));
    let (daemon, _) = daemon::assemble(&settings, vars, store, around)?;
    let drained = crate::runtime::run(daemon, controls).await;
    if drained {
        tracing::info!(target: "MainOrchestrator", "Stopped.");
        Ok(ExitCode::SUCCESS)
    } else {
        tracing::error!(target: "MainOrchestrator", "Stopped with work unfinished after {} s.", crate::runtime::GRACE.as_secs());
        Ok(ExitCode::FAILURE)
    }
}

/// Notifies systemd: ready after the first cycle, and a watchdog keep-alive after every cycle.
fn notify_systemd(settings: &Settings) -> Box<dyn Fn(&str) + Send + Sync> {
    // A watchdog timeout shorter than the poll interval would kill a healthy daemon.
    let longest = settings.poll_interval.saturating_mul(3) + settings.poll_timeout;
    let extend = sd_notify::watchdog_enabled().filter(|watchdog| *watchdog < longest).map(|_| longest);
    let first = AtomicBool::new(true);
    Box::new(move |status| {
        use sd_notify::NotifyState::{Custom, Ready, Status, Watchdog};
        // Outside systemd the notification fails, which is expected.
        let _ = if first.swap(false, Ordering::Relaxed) {
            let extra = extend.map(|longest| {
                // The library's type for this holds at most 71 minutes.
                sd_notify::notify(&[Custom(&format!("WATCHDOG_USEC={}", longest.as_micros()))])
            });
            extra.unwrap_or(Ok(())).and(sd_notify::notify(&[Ready, Status(status), Watchdog]))
        } else {
            sd_notify::notify(&[Status(status), Watchdog])
        };
    })
}

/// SIGTERM and SIGINT stop the daemon, a second one immediately. SIGHUP reopens the log and reloads the definitions.
fn listen_to_signals(
    controls: Controls,
    log: telemetry::Log,
    settings: ChangedSettings,
) -> anyhow::Result<()> {
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
                    settings.report();
                    tracing::info!(target: "MainOrchestrator", "SIGHUP: log reopened, reloading definitions.");
                    controls.reload();
                    continue;
                }
            }
            if controls.stop.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!(target: "MainOrchestrator", "Stopping...");
            // Outside systemd the notification fails, which is expected.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            controls.stop.cancel();
        }
    });
    Ok(())
}
