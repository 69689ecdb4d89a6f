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
        let reason = "LISTEN=off: the daemon has no port that a health check could ask; set LISTEN, or switch the health \
                      check off (docker run --no-healthcheck)";
        return Err(CommandError::configuration([reason]));
    };
    let options =
        ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
    let client = options.build().context("cannot ask")?;
    let addresses = reachable(listen);
    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let asking = async {
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
    let (ready, body) = tokio::time::timeout(TIMEOUT, asking)
        .await
        .map_err(|_| anyhow!("no answer from {shown} within {} s", TIMEOUT.as_secs()))?
        .map_err(|_| anyhow!("cannot connect to {shown}; is the daemon running?"))?;
    say!("{}", String::from_utf8_lossy(&body).trim_end());
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a daemon on this machine answers that listens at this address. `[::]` stands for both families, and the
/// machine may have no IPv6.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
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

    /// A daemon that listens everywhere is asked at home, by IPv4 too where it listens at both families.
    #[test]
    fn asks_where_the_daemon_answers() {
        let asked = |listen: &str| {
            reachable(listen.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked("[::]:8080"), ["[::1]:8080", "127.0.0.1:8080"]);
        assert_eq!(asked("0.0.0.0:8080"), ["127.0.0.1:8080"]);
        assert_eq!(asked("192.0.2.1:8080"), ["192.0.2.1:8080"]);
    }
}
