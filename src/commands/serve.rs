//! `serve`: a connector for other people's pipelines, over stdin and stdout or as Fivetran's gRPC service.
//!
//! Neither writes a log file: stdout of the one is the answer and of the other the log, as those who start it expect.

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

use super::{CommandError, compose, connectors};
use crate::definitions::connector::read_one;
use crate::domain::connector::Definition;
use crate::protocol::fivetran;
use crate::protocol::source::Engine;
use crate::protocol::stdin::{Answer, MAX_STATE_BYTES, answer};
use crate::settings::{Settings, lookup};
use crate::telemetry::{self, Format, Guard, LogSettings};

/// A state may be large, but not as large as what would endanger the machine.
const MAX_STDIN_BYTES: u64 = 2 * MAX_STATE_BYTES as u64;

/// Connectors for other people's pipelines.
#[derive(Debug, Subcommand)]
pub enum Serve {
    /// Answer one JSON document on stdin with one on stdout
    ///
    /// What is asked: {"selection":{"action":"schema"}}, {"secrets":{…},"selection":{"action":"test"}}, or
    /// {"secrets":{…},"state":{…}} for rows. `hasMore` says whether to ask again with the returned state.
    /// Logs go to stderr. Exit: 0 answered, 1 failed, 78 configuration; then the answer is {"error":…}.
    #[command(after_long_help = "\
Examples:
  echo '{\"selection\":{\"action\":\"schema\"}}' | data-sources-monitor serve stdin statuscake
  echo '{\"secrets\":{\"api_key\":\"…\"},\"selection\":{\"action\":\"test\"}}' | data-sources-monitor serve stdin statuscake
  echo '{\"secrets\":{\"api_key\":\"…\"},\"state\":{}}' | data-sources-monitor serve stdin --file acme.toml")]
    Stdin(Which),
    /// Be a Fivetran source (Partner SDK v2, gRPC without TLS)
    ///
    /// Configuration, selection and state come with each call. Logs go to stdout, one JSON object a line.
    #[command(after_long_help = "\
Examples:
  data-sources-monitor serve fivetran statuscake --port 50051
  data-sources-monitor serve fivetran --file acme.toml --listen 127.0.0.1")]
    Fivetran(FivetranArgs),
}

/// Which connector.
#[derive(Debug, Args)]
pub struct Which {
    /// The connector
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// The connector that this file defines
    #[arg(long, value_name = "FILE.toml")]
    pub file: Option<PathBuf>,
}

/// What can be asked of `serve fivetran`.
#[derive(Debug, Args)]
pub struct FivetranArgs {
    /// Which connector.
    #[command(flatten)]
    pub which: Which,
    /// Port to listen at; 0 for any that is free (the log names it)
    #[arg(long, default_value_t = 50051)]
    pub port: u16,
    /// Address to listen at, instead of all of this machine's
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<IpAddr>,
}

/// The name under which Fivetran builds and starts a source that is written in Rust.
pub const SOURCE_NAME: &str = "fivetran_source";
/// Which connector the program is when it is started under that name.
const SOURCE_VARIABLE: &str = "FIVETRAN_SOURCE";

/// A Fivetran source (Partner SDK v2, gRPC without TLS)
#[derive(Debug, Parser)]
#[command(name = SOURCE_NAME, version)]
struct SourceArgs {
    /// Port to listen at
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Address to listen at, instead of all of this machine's
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
}

pub(super) fn serve(what: Serve) -> Result<ExitCode, CommandError> {
    match what {
        Serve::Stdin(which) => stdin(&which),
        Serve::Fivetran(args) => serve_fivetran(&args),
    }
}

/// Whatever happens, there is one document on stdout.
fn stdin(which: &Which) -> Result<ExitCode, CommandError> {
    let (answer, code) = match answer_stdin(which) {
        Ok(answer) => {
            let code = if answer.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            (answer, code)
        }
        Err(error) => (Answer::error(&error.to_string()), error.exit_code()),
    };
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(&answer.document).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.context("cannot write the answer to stdout")?;
    Ok(code)
}

fn answer_stdin(which: &Which) -> Result<Answer, CommandError> {
    let settings = compose::settings()?;
    let definition = definition(&settings, which)?;
    let format = if settings.log.json { Format::Json } else { Format::Text };
    let _log = log(&settings, format)?;
    let engine = Engine::new(definition, compose::network(&settings));
    let runtime = compose::runtime()?;
    let answer = runtime.block_on(until_stopped(async |stop| {
        // Apart, so that a signal ends a wait for input that never comes.
        let reading = tokio::task::spawn_blocking(read_stdin);
        let document = tokio::select! {
            document = reading => document.context("cannot read stdin")??,
            () = stop.cancelled() => anyhow::bail!("stopped before the end of stdin"),
        };
        Ok(answer(&engine, document, &stop).await)
    }));
    // What still waits for the network, or for stdin, has nothing to say any more.
    runtime.shutdown_background();
    Ok(answer?)
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut document = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_end(&mut document);
    read.context("cannot read stdin")?;
    let most = MAX_STDIN_BYTES >> 20;
    anyhow::ensure!(
        document.len() as u64 <= MAX_STDIN_BYTES,
        "the document on stdin is larger than {most} MB"
    );
    Ok(document)
}

fn serve_fivetran(args: &FivetranArgs) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    let definition = definition(&settings, &args.which)?;
    serve_definition(&settings, definition, args.listen, args.port)
}

/// The program as Fivetran starts it: `fivetran_source --port N`, one connector, named by `FIVETRAN_SOURCE` or given as
/// the text of a definition.
pub fn fivetran_source(text: Option<&str>) -> Result<ExitCode, CommandError> {
    let args = SourceArgs::parse();
    let settings = compose::settings()?;
    let definition = match text {
        Some(text) => {
            let others = connectors::definitions(&settings)?;
            let others = others.into_iter().map(|other| (other.name.clone(), other)).collect();
            read_one("connector.toml", text, &others).map_err(CommandError::configuration)?
        }
        None => {
            let name =
                lookup(&compose::vars()?, SOURCE_VARIABLE).map_err(|e| CommandError::configuration([e]))?;
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
    let _log = log(settings, Format::Fivetran)?;
    let name = definition.name.clone();
    let engine = Engine::new(definition, compose::network(settings));
    let runtime = compose::runtime()?;
    runtime.block_on(until_stopped(async |stop| {
        let listener = listen(address, port).await?;
        let place = listener.local_addr().context("cannot tell where it listens")?;
        tracing::info!("{name} is served at {place}");
        fivetran::serve(listener, Arc::new(engine), stop).await.context("the server ended")?;
        tracing::info!("stopped");
        Ok(())
    }))?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// All addresses of both families by one socket; of IPv4 alone where the machine has no other.
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
            "port {port} is in use by another program: stop that, or choose another with --port"
        ),
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} may not be used by this user: choose one above 1023 with --port")
        }
        _ => anyhow::anyhow!("cannot listen at {first} port {port}: {e}"),
    })
}

fn definition(settings: &Settings, which: &Which) -> Result<Definition, CommandError> {
    match (&which.file, &which.name) {
        (Some(file), _) => from_file(settings, file),
        (None, Some(name)) => connectors::find(connectors::definitions(settings)?, name),
        (None, None) => Err(CommandError::configuration(["name a connector, or a file with --file"])),
    }
}

/// A definition that is in no folder, but may extend one that is.
fn from_file(settings: &Settings, file: &Path) -> Result<Definition, CommandError> {
    let others = connectors::definitions(settings)?;
    connectors::read_file(file, others).map_err(CommandError::configuration)
}

fn log(settings: &Settings, format: Format) -> Result<Guard, CommandError> {
    let wanted = LogSettings { file: None, format, ..LogSettings::from(&settings.log) };
    telemetry::init(&wanted).map_err(|e| CommandError::configuration([e]))
}

/// Does work that SIGTERM and SIGINT stop, a second one at once.
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
