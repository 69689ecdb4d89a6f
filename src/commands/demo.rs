//! `demo`: the real daemon between stand-in servers, and a day that is played to it.
//!
//! The daemon is put together by `daemon::assemble`, as `run` does it, from variables that name the stage and
//! nothing else: neither the environment nor `.env` is read, so that a demo can never reach a real tenant. Start at
//! `demo`; [`Show`] is the running thing, without the script's clock.

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

use super::daemon::{self, ReadVars, Surroundings};
use super::{CommandError, compose};
use crate::demo::past::past;
use crate::demo::{Pace, Stage, script};
use crate::runtime::Controls;
use crate::runtime::board::BoardHandle;
use crate::runtime::clock::Clock;
use crate::secrets::Redactor;
use crate::settings::Settings;
use crate::store::Batch;
use crate::telemetry::{self, LogSettings};

/// Where the dashboard of a daemon is usually found.
const USUAL_PORT: u16 = 8080;

/// What can be typed after `demo`.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = "\
Nothing has to be configured, and nothing leaves this machine. Of the settings only LISTEN is read, from the environment:
where the dashboard is, for containers. Ctrl-C ends it.

Examples:
  data-sources-monitor demo
  data-sources-monitor demo --port 9000 --data-dir ./demo   # keeps databases, definitions and log
  docker run --rm -p 8080:8080 -e LISTEN=0.0.0.0:8080 data-sources-monitor demo")]
pub struct DemoArgs {
    /// Port of the dashboard on 127.0.0.1 (without it: LISTEN, 8080, or any that is free)
    #[arg(long)]
    port: Option<u16>,
    /// Folder to keep everything in, new or empty (without it: a temporary one that is removed at the end)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn demo(args: &DemoArgs) -> Result<ExitCode, CommandError> {
    let folder = Folder::make(args.data_dir.as_deref())?;
    let runtime = compose::runtime()?;
    let code = runtime.block_on(play(args, &folder));
    // What still hangs after the grace period is not waited for.
    runtime.shutdown_background();
    code
}

async fn play(args: &DemoArgs, folder: &Folder) -> Result<ExitCode, CommandError> {
    let stage = Stage::open().context("cannot start the demo's stand-in servers")?;
    let vars = stage.variables(folder.path(), Pace::SHOW);
    let settings = Settings::from_vars(&vars).map_err(CommandError::configuration)?;
    let mut lines = LogSettings::from(&settings.log);
    // The console is for the story.
    lines.console = false;
    let log = telemetry::init(&lines).map_err(|e| CommandError::configuration([e]))?;
    let listener = listen(args.port).await?;
    let mut show = Show::open(stage, folder.path(), Pace::SHOW, listener, log.log().redactor()).await?;
    announce(&show, folder);
    let context = "cannot listen to signals";
    let mut terminate = signal(SignalKind::terminate()).context(context)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(context)?;
    tokio::select! {
        () = tell(&show.stage) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = &mut show.running => return Err(anyhow::anyhow!("the daemon ended by itself; see the log").into()),
    }
    print(format_args!("\nStopping..."));
    // Whoever asks again does not want to wait.
    tokio::select! {
        drained = show.close() => {
            let left = if folder.kept { format!("Everything is in {}.", folder.path().display()) }
                else { "Everything is removed.".to_owned() };
            print(format_args!("{left}"));
            Ok(if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// The usual port, or another that is free; the one that was asked for, or none.
async fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = port {
        return TcpListener::bind(at(port))
            .await
            .with_context(|| format!("--port {port}: cannot listen there"));
    }
    if let Some(address) = wanted_address(std::env::var("LISTEN").ok().as_deref())? {
        return daemon::bind(address).await;
    }
    match TcpListener::bind(at(USUAL_PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await.context("no port is free for the dashboard"),
    }
}

/// The address that `LISTEN` names, if it is set and not off.
fn wanted_address(listen: Option<&str>) -> anyhow::Result<Option<SocketAddr>> {
    match listen {
        None | Some("" | "off") => Ok(None),
        Some(address) => Ok(Some(
            address.parse().with_context(|| format!("LISTEN: `{address}` is not an address and port"))?,
        )),
    }
}

fn announce(show: &Show, folder: &Folder) {
    let path = folder.path().display();
    print(format_args!("Dashboard: http://{}/", show.address));
    print(format_args!(
        "\nA day in two minutes, over and over, until Ctrl-C. The daemon is the real one; the services, the tenant and\n\
         the data are invented and on this machine. What the daemon does: tail -F {path}/monitor.log\n"
    ));
}

/// Plays day after day.
async fn tell(stage: &Stage) {
    let began = Instant::now();
    for (at, scene) in script::show() {
        tokio::time::sleep_until(began + at).await;
        stage.play(scene);
        let second = scene.second;
        print(format_args!("{}:{:02}  {}\n      {}", second / 60, second % 60, scene.title, scene.look));
    }
}

/// Prints a line. Nobody may read it, and the demo still has to clean up at the end.
fn print(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The daemon at work between the stand-in servers.
pub struct Show {
    stage: Stage,
    address: SocketAddr,
    board: BoardHandle,
    controls: Controls,
    running: JoinHandle<bool>,
}

impl Show {
    /// Starts the daemon between the servers of a stage; it keeps everything in `folder` and shows itself at `listener`.
    ///
    /// # Errors
    /// When something cannot be written or put together.
    pub async fn open(
        stage: Stage,
        folder: &Path,
        pace: Pace,
        listener: TcpListener,
        redactor: &Redactor,
    ) -> Result<Show, CommandError> {
        let monitors = folder.join("monitors");
        let written = std::fs::create_dir(&monitors).and_then(|()| {
            let mut files = stage.monitors(pace).into_iter();
            files.try_for_each(|(name, text)| std::fs::write(monitors.join(name), text))
        });
        written.with_context(|| format!("{}: cannot be written", monitors.display()))?;
        let address = listener.local_addr().context("the dashboard has no address")?;
        let mut vars: BTreeMap<String, String> = stage.variables(folder, pace);
        vars.insert("LISTEN".to_owned(), address.to_string());
        // Everything that is shown is invented.
        vars.insert("WEB_OPEN".to_owned(), "true".to_owned());
        let settings = Settings::from_vars(&vars).map_err(CommandError::configuration)?;
        let store = daemon::open_store(&settings).await?;
        let controls = Controls::default();
        let (days, transitions) = past(Clock::system().now());
        let batch = Batch { days, transitions, ..Batch::default() };
        store.0.0.keep(batch).await.context("the invented past cannot be kept")?;
        let around = Surroundings {
            clock: Clock::system(),
            listener: Some(listener),
            on_tick: Box::new(|_| {}),
            redactor,
            stop: controls.stop.clone(),
        };
        daemon::hide_secrets(&settings, redactor)?;
        let vars: ReadVars = Arc::new(move || Ok(Box::new(vars.clone())));
        let daemon = daemon::assemble(&settings, vars, store, around)?;
        let board = daemon.board.clone();
        let running = tokio::spawn(crate::runtime::run(daemon, controls.clone()));
        Ok(Show { stage, address, board, controls, running })
    }

    /// The stand-in servers.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Where the dashboard is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the daemon shows.
    pub fn board(&self) -> &BoardHandle {
        &self.board
    }

    /// Stops the daemon as a signal would, then the stand-in servers. Says whether everything ended in time.
    pub async fn close(self) -> bool {
        self.controls.stop.cancel();
        self.running.await.unwrap_or(false)
    }
}

/// Where everything of a demo is kept. A temporary one is removed when it is dropped.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// The folder that was asked for, or a temporary one that nobody else can read.
    fn make(wanted: Option<&Path>) -> anyhow::Result<Folder> {
        if let Some(path) = wanted {
            std::fs::create_dir_all(path).with_context(|| format!("--data-dir {}", path.display()))?;
            let mut inside =
                std::fs::read_dir(path).with_context(|| format!("--data-dir {}", path.display()))?;
            // It may be a real daemon's.
            anyhow::ensure!(inside.next().is_none(), "--data-dir {}: is not empty", path.display());
            return Ok(Folder { path: path.to_owned(), kept: true });
        }
        let name = format!("data-sources-monitor-demo-{}", std::process::id());
        // An image without /tmp works in the folder that it may write to.
        let made = temporary(&std::env::temp_dir().join(&name)).or_else(|e| match std::env::current_dir() {
            Ok(here) if e.kind() == std::io::ErrorKind::NotFound => temporary(&here.join(&name)),
            _ => Err(e),
        });
        let path =
            made.with_context(|| format!("cannot create a folder in {}", std::env::temp_dir().display()))?;
        Ok(Folder { path, kept: false })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a folder that nobody else can read.
fn temporary(path: &Path) -> std::io::Result<PathBuf> {
    std::fs::DirBuilder::new().mode(0o700).create(path)?;
    Ok(path.to_owned())
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("{}: cannot be removed: {e}", self.path.display());
        }
    }
}
