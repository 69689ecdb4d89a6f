//! `demo`: runs the real daemon against stand-in servers that play the incidents of a day.
//!
//! `daemon::assemble` builds the daemon as for `run`, but from variables that name only the stand-in servers. Neither the
//! environment nor `.env` is read, so a demo can never reach a real tenant. Start at `demo`; [`Show`] is the running demo
//! without the timing of the script.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::daemon::{self, Surroundings};
use crate::commands::compose::ReadVars;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::demo::past::{past, past_responses};
use crate::demo::{DemoPace, Stage, script};
use crate::runtime::Controls;
use crate::runtime::board::BoardReader;
use crate::runtime::clock::Clock;
use crate::settings::Settings;
use crate::store::Batch;
use crate::telemetry::{self, Log, LogSettings};

/// Default port of the daemon's dashboard.
const USUAL_PORT: u16 = 8080;

#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = "\
No configuration is needed, and no data leaves this machine. The only setting
that is read is the environment variable LISTEN, the address of the dashboard,
for containers. --data-dir names a new or empty folder for databases,
definitions and log; by default a temporary folder is used and removed at the
end. Press Ctrl-C to stop the demo.

Examples:
  data-sources-monitor demo
  data-sources-monitor demo --port 9000 --data-dir ./demo
  docker run --rm -p 8080:8080 -e LISTEN=0.0.0.0:8080 \\
      data-sources-monitor demo")]
pub struct DemoArgs {
    /// Port of the dashboard on 127.0.0.1 (default: LISTEN, else 8080 or any free port)
    #[arg(long)]
    port: Option<u16>,
}

pub(crate) fn demo(flags: &SettingFlags, args: &DemoArgs) -> Result<ExitCode, CommandError> {
    let folder = DemoFolder::make(flags.data_dir())?;
    let runtime = compose::runtime()?;
    let code = runtime.block_on(play(flags, args, &folder));
    // Does not wait for tasks that are still running after the grace period.
    runtime.shutdown_background();
    code
}

async fn play(flags: &SettingFlags, args: &DemoArgs, folder: &DemoFolder) -> Result<ExitCode, CommandError> {
    let stage = Stage::open().context("cannot start the demo's stand-in servers")?;
    let mut vars = stage.variables(folder.path(), DemoPace::SHOW);
    if let Some(level) = flags.log_level() {
        vars.insert("LOG_LEVEL".to_owned(), level.to_owned());
    }
    let settings = Settings::from_vars(&vars).map_err(CommandError::configuration)?;
    let mut lines = LogSettings::from(&settings.log);
    // The console shows the scenes of the demo.
    lines.console = false;
    let log = telemetry::init(&lines).map_err(|e| CommandError::configuration([e]))?;
    let listener = listen(args.port).await?;
    let mut show = Show::open(stage, folder.path(), DemoPace::SHOW, listener, &log.log()).await?;
    let context = "cannot listen to signals";
    let mut terminate = signal(SignalKind::terminate()).context(context)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(context)?;
    announce(&show, folder);
    tokio::select! {
        () = play_days(&show.stage) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = &mut show.running => return Err(anyhow::anyhow!("the daemon stopped unexpectedly; see the log").into()),
    }
    print(format_args!("\nStopping..."));
    // A second signal stops without waiting.
    tokio::select! {
        drained = show.close() => {
            let left = if folder.persistent { format!("Databases, definitions and log are in {}.", folder.path().display()) }
                else { "Removed the temporary folder.".to_owned() };
            print(format_args!("{left}"));
            Ok(if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Listens on `--port`, else on `LISTEN`, else on the default port or any free one.
async fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = port {
        return TcpListener::bind(at(port))
            .await
            .with_context(|| format!("--port {port}: cannot listen on this port"));
    }
    #[expect(clippy::disallowed_methods, reason = "of the settings the demo reads only this, and no .env")]
    let listen = std::env::var("LISTEN").ok();
    if let Some(address) = listen_address(listen.as_deref())? {
        return daemon::bind(address).await;
    }
    match TcpListener::bind(at(USUAL_PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await.context("no free port for the dashboard"),
    }
}

/// The address in `LISTEN`, unless it is unset or `off`.
fn listen_address(listen: Option<&str>) -> anyhow::Result<Option<SocketAddr>> {
    match listen {
        None | Some("" | "off") => Ok(None),
        Some(address) => Ok(Some(
            address.parse().with_context(|| format!("LISTEN: `{address}` is not an address and port"))?,
        )),
    }
}

fn announce(show: &Show, folder: &DemoFolder) {
    let path = folder.path().display();
    print(format_args!("Dashboard: http://{}/", show.address));
    print(format_args!(
        "\nA simulated day takes two minutes and repeats until Ctrl-C. The daemon is the real one; services, tenant and\n\
         data are simulated on this machine. To follow the daemon: tail -F {path}/monitor.log\n"
    ));
}

/// Plays the simulated days until it is dropped.
async fn play_days(stage: &Stage) {
    let started = Instant::now();
    for (at, scene) in script::show() {
        tokio::time::sleep_until(started + at).await;
        stage.play(scene);
        let second = scene.second;
        print(format_args!("{}:{:02}  {}\n      {}", second / 60, second % 60, scene.title, scene.look));
    }
}

/// Prints a line and ignores errors: the demo must clean up even if its output is closed.
fn print(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The daemon running against the stand-in servers.
pub struct Show {
    stage: Stage,
    address: SocketAddr,
    board: BoardReader,
    controls: Controls,
    running: JoinHandle<bool>,
}

impl Show {
    /// Starts the daemon against the servers of `stage`. It stores its files in `folder` and serves the dashboard on `listener`.
    ///
    /// # Errors
    /// If a file cannot be written or the daemon cannot be assembled.
    pub async fn open(
        stage: Stage,
        folder: &Path,
        pace: DemoPace,
        listener: TcpListener,
        log: &Log,
    ) -> Result<Show, CommandError> {
        for (kind, name, text) in stage.definitions(pace) {
            let place = folder.join(kind);
            let written =
                std::fs::create_dir_all(&place).and_then(|()| std::fs::write(place.join(name), text));
            written.with_context(|| format!("{}: cannot be written", place.display()))?;
        }
        let address = listener.local_addr().context("the dashboard has no address")?;
        let mut vars: BTreeMap<String, String> = stage.variables(folder, pace);
        vars.insert("LISTEN".to_owned(), address.to_string());
        // All data of a demo is simulated, so the dashboard needs no protection.
        vars.insert("WEB_OPEN".to_owned(), "true".to_owned());
        let settings = Settings::from_vars(&vars).map_err(CommandError::configuration)?;
        let store = daemon::open_store(&settings).await?;
        let controls = Controls::default();
        let now = Clock::system().now();
        let (days, transitions) = past(now);
        let batch = Batch { days, transitions, responses: past_responses(now), ..Batch::default() };
        store.0.0.keep(batch).await.context("cannot save the simulated history")?;
        let around = Surroundings {
            clock: Clock::system(),
            listener: Some(listener),
            on_tick: Box::new(|_| {}),
            log,
            stop: controls.stop.clone(),
        };
        daemon::hide_secrets(&settings, log.redactor())?;
        let vars: ReadVars = Arc::new(move || Ok(Box::new(vars.clone())));
        let (daemon, board) = daemon::assemble(&settings, vars, store, around)?;
        let running = tokio::spawn(crate::runtime::run(daemon, controls.clone()));
        Ok(Show { stage, address, board, controls, running })
    }

    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Address of the dashboard.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn board(&self) -> &BoardReader {
        &self.board
    }

    /// Stops the daemon as a signal would, then the stand-in servers. Returns whether all work stopped within the grace period.
    pub async fn close(self) -> bool {
        self.controls.stop.cancel();
        self.running.await.unwrap_or(false)
    }
}

/// Folder of all files of a demo. A temporary one is removed on drop.
struct DemoFolder {
    path: PathBuf,
    persistent: bool,
}

impl DemoFolder {
    /// Creates the requested folder, or a temporary one that only this user can read.
    fn make(requested: Option<&Path>) -> anyhow::Result<DemoFolder> {
        if let Some(path) = requested {
            std::fs::create_dir_all(path).with_context(|| format!("--data-dir {}", path.display()))?;
            let mut inside =
                std::fs::read_dir(path).with_context(|| format!("--data-dir {}", path.display()))?;
            // It may belong to a real daemon.
            anyhow::ensure!(inside.next().is_none(), "--data-dir {}: is not empty", path.display());
            return Ok(DemoFolder { path: path.to_owned(), persistent: true });
        }
        let name = format!("data-sources-monitor-demo-{}", std::process::id());
        // A container image without /tmp uses its writable working directory.
        let made = temporary(&std::env::temp_dir().join(&name)).or_else(|e| match std::env::current_dir() {
            Ok(here) if e.kind() == std::io::ErrorKind::NotFound => temporary(&here.join(&name)),
            _ => Err(e),
        });
        let path =
            made.with_context(|| format!("cannot create a folder in {}", std::env::temp_dir().display()))?;
        Ok(DemoFolder { path, persistent: false })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a folder that only this user can read.
fn temporary(path: &Path) -> std::io::Result<PathBuf> {
    std::fs::DirBuilder::new().mode(0o700).create(path)?;
    Ok(path.to_owned())
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        if !self.persistent
            && let Err(e) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("{}: cannot be removed: {e}", self.path.display());
        }
    }
}
