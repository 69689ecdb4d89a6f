//! Where a URL points: to this machine, to the same origin, to a place that credentials may be sent to.

use url::{Host, Url};

/// Whether the URL points to this machine: the loopback range, or the name `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether two URLs share scheme, host and port, so that credentials for one may be sent to the other.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Checks that credentials may be sent to a URL: https, or this machine. `harmless`: there are no
/// credentials.
///
/// # Errors
/// What is wrong. The URL is not repeated, because it may contain a password.
pub fn check_url(text: &str, harmless: bool) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| format!("not a URL ({e}); expected https://host/path"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not contain a user name or password".into());
    }
    if url.host().is_none() {
        return Err("a URL must name a host".into());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if harmless || is_loopback(&url) => Ok(()),
        "http" => Err("credentials are only sent over https (plain http only to this machine)".into()),
        other => Err(format!("{other} is not https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = Url::parse("https://api.acme.test/v1").unwrap();
        for (other, same) in [
            ("https://api.acme.test:443/x", true),
            ("http://api.acme.test/x", false),
            ("https://api.acme.test:8443/", false),
            ("https://evil.test/api.acme.test", false),
            ("https://api.acme.test@evil.test/", false),
        ] {
            assert_eq!(same_origin(&base, &Url::parse(other).unwrap()), same, "{other}");
        }
    }

    #[test]
    fn credentials_are_sent_over_https_or_to_this_machine() {
        for (text, harmless, ok) in [
            ("https://api.acme.test/v1", false, true),
            ("http://127.0.0.7:80/", false, true),
            ("http://[::1]/", false, true),
            ("http://localhost/", false, true),
            ("http://api.acme.test/", false, false),
            ("http://api.acme.test/", true, true),
            ("https://me:pw@api.acme.test/", true, false),
            ("ftp://api.acme.test/", true, false),
            ("api.acme.test", true, false),
        ] {
            assert_eq!(check_url(text, harmless).is_ok(), ok, "{text}");
        }
    }
}
