//! Parses `DATABASE_URL`: the options of the library, our own options, and the name for messages.

use std::error::Error as _;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::DatabaseError;
use super::hosts::port;

/// The application name that administrators see in the server's list of sessions.
const APPLICATION: &str = "data-sources-monitor";

/// The address of a server, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `host:port/database`.
    pub name: String,
    pub user: String,
    pub database: String,
    /// Whether TLS is requested.
    pub encrypted: bool,
    /// Whether a pooler in transaction mode is configured, so that no session state outlives a transaction.
    pub pooled: bool,
}

pub(super) fn read(
    url: &SecretString,
    password: Option<&SecretString>,
) -> Result<(Address, Config), DatabaseError> {
    let wrong = DatabaseError::url;
    let url = url.expose_secret().trim();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("must begin with postgres:// (postgres://user@host:5432/database)"));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    // The library takes everything after the first @ as the host, and messages contain the host.
    if base.matches('@').count() > 1 || query.contains('@') {
        return Err(wrong(
            "contains an @ that belongs to a name or password: write %40, or use DATABASE_PASSWORD",
        ));
    }
    let (mut options, mut pooled) = (Vec::new(), false);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option {
            "pooler=transaction" => pooled = true,
            "pooler=session" | "pooler=none" => {}
            // Certificates are always verified, so that these modes are equal to `require`.
            "sslmode=verify-ca" | "sslmode=verify-full" => options.push("sslmode=require"),
            option if option.starts_with("pooler=") => {
                return Err(wrong("pooler must be transaction, session or none"));
            }
            option if option.starts_with("sslrootcert=") => {
                return Err(wrong("sslrootcert is not known: name the file in EXTRA_CA_FILE"));
            }
            option => options.push(option),
        }
    }
    let cleaned = format!("{base}?{}", options.join("&"));
    // The library's message contains the names of options, never their values.
    let mut config: Config = cleaned.parse().map_err(|e: tokio_postgres::Error| {
        let cause = e.source().map(ToString::to_string).unwrap_or_default();
        let hint = "a password with special characters belongs in DATABASE_PASSWORD";
        wrong(&format!("cannot be parsed: {cause} ({hint})"))
    })?;
    let Some(user) = config.get_user().filter(|user| !user.is_empty()).map(str::to_owned) else {
        return Err(wrong("names no user (postgres://user@host:5432/database)"));
    };
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("names no host (postgres://user@host:5432/database)"));
    }
    let sockets = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
    if sockets > 0 && sockets < config.get_hosts().len() {
        return Err(wrong("names both a socket and a host: use one of them"));
    }
    if let Some(password) = password {
        if config.get_password().is_some() {
            return Err(wrong("holds a password, and DATABASE_PASSWORD is set too: keep one of the two"));
        }
        config.password(password.expose_secret());
    }
    let database = config.get_dbname().filter(|name| !name.is_empty()).unwrap_or(&user).to_owned();
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION);
    }
    // Of several servers, connect to the current primary.
    let several = config.get_hosts().len().max(config.get_hostaddrs().len()) > 1;
    if several && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let local = sockets == config.get_hosts().len() && config.get_hostaddrs().is_empty();
    let encrypted = config.get_ssl_mode() != SslMode::Disable && !local;
    let name = format!("{}/{database}", hosts(&config));
    Ok((Address { name, user, database, encrypted, pooled }, config))
}

fn hosts(config: &Config) -> String {
    let named = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let mut names: Vec<String> = named.collect();
    if names.is_empty() {
        names = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    names
        .iter()
        .enumerate()
        .map(|(i, name)| format!("{name}:{}", port(config, i)))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(url: &str, password: Option<&str>) -> String {
        let password = password.map(SecretString::from);
        match read(&url.into(), password.as_ref()) {
            Ok((a, config)) => format!(
                "{} as {}{}{}{}",
                a.name,
                a.user,
                if a.encrypted { ", encrypted" } else { "" },
                if a.pooled { ", pooled" } else { "" },
                if config.get_password().is_some() { ", password" } else { "" }
            ),
            Err(error) => error.to_string(),
        }
    }

    /// No message contains the password.
    #[test]
    fn addresses_are_parsed_or_refused() {
        let table: String = [
            ("postgres://dsm:pa55@db.example.com/acme", None),
            ("postgresql://dsm@db.example.com:6432/acme?sslmode=disable&pooler=transaction", Some("pa55")),
            ("postgres://dsm@a.example.com,b.example.com/acme?sslmode=verify-full", None),
            ("postgres://dsm@%2Frun%2Fpostgresql/acme", None),
            ("postgres://dsm@%2Frun%2Fpostgresql,db.example.com/acme", None),
            ("postgres://dsm@db.example.com", None),
            ("postgres://dsm:pa55@db.example.com/acme", Some("pa55")),
            ("mysql://dsm:pa55@db.example.com/acme", None),
            ("host=db.example.com password=pa55", None),
            ("postgres://dsm:pa55@db.example.com/acme?sslmode=allow", None),
            ("postgres://dsm:pa55@db.example.com/acme?pooler=maybe", None),
            ("postgres://dsm:pa55@db.example.com/acme?sslrootcert=x.pem", None),
            ("postgres://dsm:pa55@db.example.com/acme?color=red", None),
            ("postgres://dsm:pa55@db.example.com:port/acme", None),
            ("postgres://:pa55@db.example.com/acme", None),
            ("postgres:///acme?user=dsm", None),
            ("postgres://dsm:x@pa55@db.example.com/acme", None),
            ("postgres://dsm:x@y/pa55@db.example.com/acme", None),
            ("postgres://dsm:x?y@pa55@db.example.com/acme", None),
            ("postgres://db.example.com/acme?user=dsm&password=x@pa55", None),
            ("postgres://dsm:x%40pa55@db.example.com/acme", None),
        ]
        .map(|(url, password)| describe(url, password) + "\n")
        .concat();
        assert!(!table.contains("pa55"), "{table}");
        insta::assert_snapshot!(table, @"
        db.example.com:5432/acme as dsm, encrypted, password
        db.example.com:6432/acme as dsm, pooled, password
        a.example.com:5432,b.example.com:5432/acme as dsm, encrypted
        /run/postgresql:5432/acme as dsm
        DATABASE_URL names both a socket and a host: use one of them
        db.example.com:5432/dsm as dsm, encrypted
        DATABASE_URL holds a password, and DATABASE_PASSWORD is set too: keep one of the two
        DATABASE_URL must begin with postgres:// (postgres://user@host:5432/database)
        DATABASE_URL must begin with postgres:// (postgres://user@host:5432/database)
        DATABASE_URL cannot be parsed: invalid value for option `sslmode` (a password with special characters belongs in DATABASE_PASSWORD)
        DATABASE_URL pooler must be transaction, session or none
        DATABASE_URL sslrootcert is not known: name the file in EXTRA_CA_FILE
        DATABASE_URL cannot be parsed: unknown option `color` (a password with special characters belongs in DATABASE_PASSWORD)
        DATABASE_URL cannot be parsed: invalid value for option `port` (a password with special characters belongs in DATABASE_PASSWORD)
        DATABASE_URL names no user (postgres://user@host:5432/database)
        DATABASE_URL names no host (postgres://user@host:5432/database)
        DATABASE_URL contains an @ that belongs to a name or password: write %40, or use DATABASE_PASSWORD
        DATABASE_URL contains an @ that belongs to a name or password: write %40, or use DATABASE_PASSWORD
        DATABASE_URL contains an @ that belongs to a name or password: write %40, or use DATABASE_PASSWORD
        DATABASE_URL contains an @ that belongs to a name or password: write %40, or use DATABASE_PASSWORD
        db.example.com:5432/acme as dsm, encrypted, password
        ");
    }
}
