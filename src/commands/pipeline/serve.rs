//! `serve`: runs a connector for another program, over stdin and stdout or as a Fivetran source (gRPC).
//!
//! Neither writes a log file. `serve stdin` writes its answer to stdout and logs to stderr; `serve fivetran` logs to stdout.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::commands::completions::connector_names;
use crate::commands::connectors;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::definitions::connector::read_one;
use crate::domain::syncing::definition::connector::Definition;
use crate::protocol::fivetran;
use crate::protocol::source::ConnectorSource;
use crate::protocol::stdin::{MAX_STATE_BYTES, StdinAnswer, answer};
use crate::settings::{Settings, lookup};
use crate::telemetry::{self, Guard, LogFormat, LogSettings};

/// Limits memory use while leaving room for a large state.
const MAX_STDIN_BYTES: u64 = 2 * MAX_STATE_BYTES as u64;

#[derive(Debug, Subcommand)]
pub enum Serve {
    /// Read one JSON request from stdin and write one JSON response to stdout
    ///
    /// Requests: {"selection":{"action":"schema"}}, {"secrets":{…},"selection":{"action":"test"}}, or
    /// {"secrets":{…},"state":{…}} for rows. If `hasMore` is true, send another request with the returned state.
    /// Logs go to stderr. Exit: 0 success, 1 failed, 78 configuration. On failure the response is {"error":…}.
    #[command(after_long_help = "\
Examples:
  echo '{\"selection\":{\"action\":\"schema\"}}' \\
      | data-sources-monitor serve stdin statuscake
  echo '{\"secrets\":{\"api_key\":\"…\"},\"selection\":{\"action\":\"test\"}}' \\
      | data-sources-monitor serve stdin statuscake
  echo '{\"secrets\":{\"api_key\":\"…\"},\"state\":{}}' \\
      | data-sources-monitor serve stdin --file acme.toml")]
    Stdin(Which),
    /// Serve as a Fivetran source (Partner SDK v2, gRPC without TLS)
    ///
    /// Each call carries configuration, selection and state. Logs go to stdout, one JSON object per line.
    #[command(after_long_help = "\
Examples:
  data-sources-monitor serve fivetran statuscake --port 50051
  data-sources-monitor serve fivetran --file acme.toml --listen 127.0.0.1")]
    Fivetran(FivetranArgs),
}

#[derive(Debug, Args)]
pub struct Which {
    /// Name of the connector
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    #[arg(add = connector_names())]
    pub name: Option<String>,
    /// Definition to use instead of a connector in CONNECTORS_DIR
    #[arg(long, value_name = "FILE.toml")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct FivetranArgs {
    #[command(flatten)]
    pub which: Which,
    /// Port to listen on; 0 chooses a free port and logs it
    #[arg(long, default_value_t = 50051)]
    pub port: u16,
    /// Address to listen on (default: all addresses of this machine)
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<IpAddr>,
}

/// Name under which Fivetran builds and starts a source that is written in Rust.
pub const SOURCE_NAME: &str = "fivetran_source";
/// Names the connector to serve when the program is started under that name.
const SOURCE_VARIABLE: &str = "FIVETRAN_SOURCE";

/// A Fivetran source (Partner SDK v2, gRPC without TLS)
#[derive(Debug, Parser)]
#[command(name = SOURCE_NAME, version = env!("VERSION_LINE"))]
struct SourceArgs {
    /// Port to listen on
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Address to listen on (default: all addresses of this machine)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
}

pub(crate) fn serve(flags: &SettingFlags, what: Serve) -> Result<ExitCode, CommandError> {
    match what {
        Serve::Stdin(which) => stdin(flags, &which),
        Serve::Fivetran(args) => serve_fivetran(flags, &args),
    }
}

/// Writes exactly one document to stdout, also if the request fails.
fn stdin(flags: &SettingFlags, which: &Which) -> Result<ExitCode, CommandError> {
    let (answer, code) = match answer_stdin(flags, which) {
        Ok(answer) => {
            let code = if answer.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            (answer, code)
        }
        Err(error) => (StdinAnswer::error(&error.to_string()), error.exit_code()),
    };
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(&answer.document).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.context("cannot write the answer to stdout")?;
    Ok(code)
}

fn answer_stdin(flags: &SettingFlags, which: &Which) -> Result<StdinAnswer, CommandError> {
    let settings = flags.settings()?;
    let definition = definition(&settings, which)?;
    let format = if settings.log.json { LogFormat::Json } else { LogFormat::Text };
    let _log = log(&settings, format)?;
    let engine = ConnectorSource::new(definition, compose::network(&settings));
    let runtime = compose::runtime()?;
    let answer = runtime.block_on(until_stopped(async |stop| {
        // On its own thread, so that a signal can interrupt the wait for input.
        let reading = tokio::task::spawn_blocking(read_stdin);
        let document = tokio::select! {
            document = reading => document.context("cannot read stdin")??,
            () = stop.cancelled() => anyhow::bail!("stopped before the end of stdin"),
        };
        Ok(answer(&engine, document, &stop).await)
    }));
    // Does not wait for tasks that still wait for the network or for stdin.
    runtime.shutdown_background();
    Ok(answer?)
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut document = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_end(&mut document);
    read.context("cannot read stdin")?;
    let limit = MAX_STDIN_BYTES >> 20;
    anyhow::ensure!(
        document.len() as u64 <= MAX_STDIN_BYTES,
        "the document on stdin is larger than {limit} MB"
    );
    Ok(document)
}

fn serve_fivetran(flags: &SettingFlags, args: &FivetranArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let definition = definition(&settings, &args.which)?;
    serve_definition(&settings, definition, args.listen, args.port)
}

/// Serves one connector as Fivetran starts it: `fivetran_source --port N`. The connector is named by `FIVETRAN_SOURCE` or
/// given as the text of a definition.
pub fn fivetran_source(text: Option<&str>) -> Result<ExitCode, CommandError> {
    let args = SourceArgs::parse();
    let flags = SettingFlags::default();
    let settings = flags.settings()?;
    let definition = match text {
        Some(text) => {
            let others = connectors::definitions(&settings)?;
            let others = others.into_iter().map(|other| (other.name.clone(), other)).collect();
            read_one("connector.toml", text, &others).map_err(CommandError::configuration)?
        }
        None => {
            let name =
                lookup(&flags.vars()?, SOURCE_VARIABLE).map_err(|e| CommandError::configuration([e]))?;
            let missing =
                || CommandError::configuration([format!("set {SOURCE_VARIABLE} to the connector's name")]);
            connectors::find(connectors::definitions(&settings)?, &name.ok_or_else(missing)?)?
        }
    };
    serve_definition(&settings, definition, args.listen, args.port)
}

fn serve_definition(
    settings: &Settings,
    definition: Definition,
    address: Option<IpAddr>,
    port: u16,
) -> Result<ExitCode, CommandError> {
    let _log = log(settings, LogFormat::Fivetran)?;
    let name = definition.name.clone();
    let engine = ConnectorSource::new(definition, compose::network(settings));
    let runtime = compose::runtime()?;
    runtime.block_on(until_stopped(async |stop| {
        let listener = listen(address, port).await?;
        let address = listener.local_addr().context("the listener has no address")?;
        tracing::info!("serving {name} on {address}");
        fivetran::serve(listener, Arc::new(engine), stop).await.context("the gRPC server failed")?;
        tracing::info!("stopped");
        Ok(())
    }))?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Listens on `address`, or on all IPv6 and IPv4 addresses. On a machine without IPv6, on all IPv4 addresses.
async fn listen(address: Option<IpAddr>, port: u16) -> anyhow::Result<TcpListener> {
    let first = address.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let bound = match TcpListener::bind(SocketAddr::new(first, port)).await {
        Err(e) if address.is_none() && e.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await
        }
        bound => bound,
    };
    bound.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {port} is in use by another program; stop it, or choose another port with --port"
        ),
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("this user may not use port {port}; choose one above 1023 with --port")
        }
        _ => anyhow::anyhow!("cannot listen on {first} port {port}: {e}"),
    })
}

fn definition(settings: &Settings, which: &Which) -> Result<Definition, CommandError> {
    match (&which.file, &which.name) {
        (Some(file), _) => from_file(settings, file),
        (None, Some(name)) => connectors::find(connectors::definitions(settings)?, name),
        (None, None) => Err(CommandError::configuration(["name a connector, or a definition with --file"])),
    }
}

/// Reads a definition outside CONNECTORS_DIR. It may extend one in that folder.
fn from_file(settings: &Settings, file: &Path) -> Result<Definition, CommandError> {
    let others = connectors::definitions(settings)?;
    connectors::read_file(file, others).map_err(CommandError::configuration)
}

fn log(settings: &Settings, format: LogFormat) -> Result<Guard, CommandError> {
    let wanted = LogSettings { file: None, format, ..LogSettings::from(&settings.log) };
    telemetry::init(&wanted).map_err(|e| CommandError::configuration([e]))
}

/// Runs work until it completes. SIGTERM and SIGINT stop it, a second one immediately.
async fn until_stopped<T>(
    work: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let context = "cannot listen to signals";
    let mut terminate = signal(SignalKind::terminate()).context(context)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(context)?;
    let stop = CancellationToken::new();
    let mut work = pin!(work(stop.clone()));
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.is_cancelled() {
            std::process::exit(1);
        }
        stop.cancel();
    }
}
