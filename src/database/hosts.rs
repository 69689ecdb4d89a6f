//! Resolves the hosts of `DATABASE_URL`. The PostgreSQL library would use the resolver of the C library.

use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::resolver::{LookupError, Resolver};

/// The same configuration with one host and port for each address. A host without an address is omitted, unless it is
/// the only one.
pub(super) async fn resolve(config: &Config, resolver: &Resolver) -> Result<Config, LookupError> {
    let named: Vec<&String> = config.get_hosts().iter().filter_map(tcp).collect();
    if named.is_empty() || !config.get_hostaddrs().is_empty() {
        return Ok(config.clone());
    }
    let (mut resolved, mut refused) = (without_hosts(config), None);
    for (i, host) in named.into_iter().enumerate() {
        match resolver.lookup(host).await {
            Ok(found) => found.iter().for_each(|at| add(&mut resolved, host, at.ip(), port(config, i))),
            Err(e) => refused = Some(e),
        }
    }
    match refused {
        Some(e) if resolved.get_hosts().is_empty() => Err(e),
        _ => Ok(resolved),
    }
}

/// The port of the host at an index: hosts have one port each, or share one.
pub(super) fn port(config: &Config, i: usize) -> u16 {
    let ports = config.get_ports();
    ports.get(i).or_else(|| ports.first()).copied().unwrap_or(5432)
}

fn add(config: &mut Config, host: &str, ip: IpAddr, port: u16) {
    // The name is kept: the certificate is verified against it.
    config.host(host).hostaddr(ip).port(port);
}

fn tcp(host: &Host) -> Option<&String> {
    match host {
        Host::Tcp(name) => Some(name),
        Host::Unix(_) => None,
    }
}

/// A copy without hosts: the library can add hosts, but not replace them.
fn without_hosts(from: &Config) -> Config {
    let mut to = Config::new();
    if let Some(user) = from.get_user() {
        to.user(user);
    }
    if let Some(password) = from.get_password() {
        to.password(password);
    }
    if let Some(name) = from.get_dbname() {
        to.dbname(name);
    }
    if let Some(options) = from.get_options() {
        to.options(options);
    }
    if let Some(name) = from.get_application_name() {
        to.application_name(name);
    }
    if let Some(timeout) = from.get_connect_timeout() {
        to.connect_timeout(*timeout);
    }
    if let Some(timeout) = from.get_tcp_user_timeout() {
        to.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = from.get_keepalives_interval() {
        to.keepalives_interval(interval);
    }
    if let Some(retries) = from.get_keepalives_retries() {
        to.keepalives_retries(retries);
    }
    to.ssl_mode(from.get_ssl_mode())
        .ssl_negotiation(from.get_ssl_negotiation())
        .keepalives(from.get_keepalives())
        .keepalives_idle(from.get_keepalives_idle())
        .target_session_attrs(from.get_target_session_attrs())
        .channel_binding(from.get_channel_binding())
        .load_balance_hosts(from.get_load_balance_hosts());
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_get_their_addresses_and_nothing_else_changes() {
        let resolver = Resolver::default();
        let url = "postgres://dsm:x@127.0.0.2:6432,[::1]:7432/acme?sslmode=require&application_name=a&options=-cx%3D1\
                   &connect_timeout=3&keepalives_idle=7&target_session_attrs=read-write&load_balance_hosts=random\
                   &tcp_user_timeout=9&keepalives=0&keepalives_interval=4&keepalives_retries=2\
                   &channel_binding=require&sslnegotiation=direct";
        let config: Config = url.parse().unwrap();
        let mut want = config.clone();
        want.hostaddr("127.0.0.2".parse().unwrap()).hostaddr("::1".parse().unwrap());
        assert_eq!(resolve(&config, &resolver).await.unwrap(), want);
        for unchanged in
            ["postgres://dsm@%2Frun%2Fpostgresql/acme", "postgres://dsm@a.test/acme?hostaddr=192.0.2.1"]
        {
            let config: Config = unchanged.parse().unwrap();
            assert_eq!(resolve(&config, &resolver).await.unwrap(), config);
        }
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_omitted() {
        let resolver = Resolver::default();
        let config: Config = "postgres://dsm@no..name,127.0.0.1:6432/acme".parse().unwrap();
        let resolved = resolve(&config, &resolver).await;
        let alone: Config = "postgres://dsm@no..name/acme".parse().unwrap();
        assert_eq!(resolve(&alone, &resolver).await.unwrap_err(), LookupError::NotFound);
        let resolved = resolved.unwrap();
        assert_eq!(resolved.get_hosts(), [Host::Tcp("127.0.0.1".into())]);
        assert_eq!(port(&resolved, 0), 5432.max(port(&config, 1)));
    }
}
