//! `healthcheck`: requests `/readyz` of the running daemon. For containers, whose image contains no other tool.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::commands::CommandError;
use crate::commands::setting_flags::SettingFlags;
use crate::http::{ClientOptions, Network, read_body};
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(3);
/// The body lists reasons, a few lines at most.
const MAX_BODY: usize = 64 * 1024;

pub(crate) async fn healthcheck(flags: &SettingFlags) -> Result<ExitCode, CommandError> {
    // Ignores configuration errors: the daemon runs with the settings it was started with.
    let (settings, _) = Settings::read(&flags.process_vars());
    let Some(listen) = settings.listen else {
        let reason = "LISTEN=off: the daemon has no port for health checks; set LISTEN, or disable the health check (docker \
                      run --no-healthcheck)";
        return Err(CommandError::configuration([reason]));
    };
    let options = ClientOptions { network: Network::default(), keep_alive: false };
    let client = options.build().context("cannot build the HTTP client")?;
    let addresses = reachable(listen);
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let request = async {
        let mut refused = None;
        for address in &addresses {
            match client.get(format!("http://{address}/readyz")).send().await {
                Ok(response) => {
                    let ready = response.status().is_success();
                    return anyhow::Ok((ready, read_body(response, MAX_BODY).await?));
                }
                Err(e) => refused = Some(e),
            }
        }
        Err(refused.map_or_else(|| anyhow!("no address"), Into::into))
    };
    let (ready, body) = tokio::time::timeout(TIMEOUT, request)
        .await
        .map_err(|_| anyhow!("no answer from {shown} within {} s", TIMEOUT.as_secs()))?
        .map_err(|_| anyhow!("cannot connect to {shown}; is the daemon running?"))?;
    say!("{}", String::from_utf8_lossy(&body).trim_end());
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The addresses at which a daemon on this machine can be reached if it listens on `listen`. `[::]` includes IPv4, and the
/// machine may have no IPv6.
pub(in crate::commands) fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    let loopback: &[IpAddr] = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            &[IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]
        }
        _ => return vec![listen],
    };
    loopback.iter().map(|ip| SocketAddr::new(*ip, listen.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_on_all_addresses_is_requested_on_loopback() {
        let addresses = |listen: &str| {
            reachable(listen.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(addresses("[::]:8080"), ["[::1]:8080", "127.0.0.1:8080"]);
        assert_eq!(addresses("0.0.0.0:8080"), ["127.0.0.1:8080"]);
        assert_eq!(addresses("192.0.2.1:8080"), ["192.0.2.1:8080"]);
    }
}
