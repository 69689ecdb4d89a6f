//! `healthcheck`: asks the running daemon's `/readyz`. For containers, which have no other tool inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::{CommandError, compose};
use crate::http::{ClientOptions, Network, Redirects, read_body};
use crate::settings::Settings;

/// A daemon that needs longer does not do its work.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Reasons are a few lines.
const MAX_BODY: usize = 64 * 1024;

pub(super) async fn healthcheck() -> Result<ExitCode, CommandError> {
    // Whatever else is wrong by now, the daemon runs with what it was started with.
    let (settings, _) = Settings::read(&compose::process_vars());
    let Some(listen) = settings.listen else {
        return Err(CommandError::configuration(["LISTEN: is off, so there is nothing to ask"]));
    };
    let options =
        ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
    let client = options.build().context("cannot ask")?;
    let address = reachable(listen);
    let asking = async {
        let response = client.get(format!("http://{address}/readyz")).send().await?;
        let ready = response.status().is_success();
        anyhow::Ok((ready, read_body(response, MAX_BODY).await?))
    };
    let (ready, body) = tokio::time::timeout(TIMEOUT, asking)
        .await
        .map_err(|_| anyhow!("no answer from {address} within {} s", TIMEOUT.as_secs()))?
        .map_err(|_| anyhow!("nobody answers at {address}; is the daemon running?"))?;
    say!("{}", String::from_utf8_lossy(&body).trim_end());
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An address to listen at everywhere is reached at home.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}
