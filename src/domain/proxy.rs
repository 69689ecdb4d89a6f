//! Proxies: valid addresses, and which requests bypass them.
//!
//! The rules are implemented here because a library that does not understand an entry sends the request
//! directly, which is not what a user who sets a proxy wants. Start at [`Proxies::of`].

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};
use wildmatch::WildMatch;

/// The schemes that the HTTP client supports.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The address of a proxy, possibly with credentials, which are hidden in output.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAddress(Url);

impl ProxyAddress {
    /// Parses an address; without a scheme it is an http proxy.
    ///
    /// # Errors
    /// What is wrong. The text is not repeated, because it may contain a password.
    pub fn parse(text: &str) -> Result<ProxyAddress, String> {
        const EXAMPLE: &str = "(example: http://proxy.example.com:3128)";
        let text = text.trim();
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&full).map_err(|e| format!("is not a proxy address: {e} {EXAMPLE}"))?;
        if !SCHEMES.contains(&url.scheme()) {
            return Err(format!("{} is not a proxy scheme; use one of {}", url.scheme(), SCHEMES.join(", ")));
        }
        let host = url.host_str().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(format!("names no host {EXAMPLE}"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("must not have a path {EXAMPLE}"));
        }
        Ok(ProxyAddress(url))
    }

    /// The address with its credentials: for the client only.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// User and password as they are sent, for a redactor.
    pub fn credentials(&self) -> Option<(String, String)> {
        let decoded = |text: &str| {
            let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
            url::form_urlencoded::parse(text.as_bytes())
                .map(|(text, _)| text.into_owned())
                .next()
                .unwrap_or_default()
        };
        Some((decoded(self.0.username()), decoded(self.0.password()?)))
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = !self.0.username().is_empty() || self.0.password().is_some();
        let port = self.0.port().map_or(String::new(), |port| format!(":{port}"));
        let mark = if secret { "[redacted]@" } else { "" };
        write!(f, "{}://{mark}{}{port}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The proxies and the exceptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    pub https: Option<ProxyAddress>,
    pub http: Option<ProxyAddress>,
    /// Hosts that are reached directly.
    pub except: NoProxy,
}

impl Proxies {
    /// The proxy for a request to `url`; `None`: directly.
    pub fn of(&self, url: &Url) -> Option<&ProxyAddress> {
        let proxy = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() };
        proxy.filter(|_| !self.except.matches(url))
    }

    /// Whether no proxy is set.
    pub fn is_empty(&self) -> bool {
        self.https.is_none() && self.http.is_none()
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |of: &str, proxy: &Option<ProxyAddress>| match proxy {
            Some(proxy) => format!("{of} through {proxy}"),
            None => format!("{of} directly"),
        };
        write!(f, "{}, {}", part("https", &self.https), part("http", &self.http))?;
        if self.except.0.is_empty() { Ok(()) } else { write!(f, "; {} directly", self.except) }
    }
}

/// Hosts that are reached directly, in the common forms of `NO_PROXY`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<NoProxyEntry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoProxyEntry {
    text: String,
    host: NoProxyPattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum NoProxyPattern {
    /// `*`
    All,
    /// `<local>`: names without a dot.
    Local,
    /// A name and all its subdomains.
    Domain(String),
    /// `127.0.0.*`
    Wild(String),
    /// An address range; a single address has all its bits.
    Range(IpAddr, u8),
}

impl NoProxy {
    /// Parses a list separated by commas or blanks.
    ///
    /// # Errors
    /// The first entry that is not a host.
    pub fn parse(text: &str) -> Result<NoProxy, String> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
        let read = |part: &str| {
            NoProxyEntry::parse(part).ok_or_else(|| {
                format!("`{part}` is not a host, host:port, .domain, address, address/bits or *")
            })
        };
        parts.map(read).collect::<Result<_, _>>().map(NoProxy)
    }

    /// Whether a request bypasses the proxy.
    pub fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let port = url.port_or_known_default();
        self.0.iter().any(|entry| (entry.port.is_none() || entry.port == port) && entry.host.matches(&host))
    }
}

impl fmt::Display for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|entry| entry.text.as_str()).collect();
        f.write_str(&texts.join(", "))
    }
}

impl NoProxyEntry {
    fn parse(text: &str) -> Option<NoProxyEntry> {
        let entry = |host, port| Some(NoProxyEntry { text: text.to_owned(), host, port });
        match text {
            "*" => return entry(NoProxyPattern::All, None),
            "<local>" => return entry(NoProxyPattern::Local, None),
            _ => {}
        }
        if let Some((address, bits)) = text.split_once('/') {
            let ip: IpAddr = unbracketed(address).parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            return (bits <= width(ip)).then(|| entry(NoProxyPattern::Range(ip, bits), None))?;
        }
        let whole = unbracketed(text).parse::<IpAddr>().ok().map(|ip| (ip, None));
        let with_port = || {
            let (address, port) = text.rsplit_once(':')?;
            Some((unbracketed(address).parse::<IpAddr>().ok()?, Some(port.parse().ok()?)))
        };
        if let Some((ip, port)) = whole.or_else(with_port) {
            return entry(NoProxyPattern::Range(ip, width(ip)), port);
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let name = name.strip_prefix("*.").unwrap_or(name).trim_matches('.').to_ascii_lowercase();
        let fits = |c: char| c.is_alphanumeric() || "-_.*".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return None;
        }
        entry(
            if name.contains('*') { NoProxyPattern::Wild(name) } else { NoProxyPattern::Domain(name) },
            port,
        )
    }
}

impl NoProxyPattern {
    fn matches(&self, host: &Host<&str>) -> bool {
        let ip = match host {
            Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Host::Domain(_) => None,
        };
        let name = host.to_string().trim_end_matches('.').to_ascii_lowercase();
        match self {
            NoProxyPattern::All => true,
            NoProxyPattern::Local => ip.is_none() && !name.contains('.'),
            NoProxyPattern::Domain(domain) => {
                ip.is_none()
                    && name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            NoProxyPattern::Wild(wild) => WildMatch::new(wild).matches(&name),
            NoProxyPattern::Range(of, bits) => {
                ip.is_some_and(|ip| shares(ip.to_canonical(), of.to_canonical(), *bits))
            }
        }
    }
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Whether two addresses are equal in their first `bits`.
fn shares(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let (a, b) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits()),
        _ => return false,
    };
    bits == 0 || (a ^ b) >> (128 - u32::from(bits.min(128))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Valid addresses are printed without credentials; all others are rejected and not repeated.
    #[test]
    fn addresses_are_validated_and_redacted() {
        for (text, want) in [
            ("http://proxy.test:3128", Some("http://proxy.test:3128")),
            ("proxy.test:3128", Some("http://proxy.test:3128")),
            ("http://me:hush@proxy.test:3128/", Some("http://[redacted]@proxy.test:3128")),
            ("me:hush@proxy.test", Some("http://[redacted]@proxy.test")),
            ("https://[::1]:8443", Some("https://[::1]:8443")),
            ("socks5h://proxy.test:1080", Some("socks5h://proxy.test:1080")),
            ("socks9://me:hush@proxy.test", None),
            ("ftp://me:hush@proxy.test", None),
            ("http://me:hush@[bad", None),
            ("http://", None),
            ("socks5://me:hush@pro|xy", None),
            ("http://me:hush@proxy.test/path", None),
            ("\"http://me:hush@proxy.test:3128\"", None),
            ("non sense", None),
        ] {
            let read = ProxyAddress::parse(text);
            assert_eq!(read.as_ref().ok().map(ToString::to_string).as_deref(), want, "{text}: {read:?}");
            assert!(!format!("{read:?}").contains("hush"), "{read:?}");
        }
    }

    #[test]
    fn exceptions_have_all_common_forms() {
        for (list, url, past) in [
            ("*", "https://a.test", true),
            ("a.test", "https://a.test", true),
            ("a.test", "https://b.a.test", true),
            ("a.test", "https://ba.test", false),
            (".a.test", "https://b.a.test", true),
            (".a.test", "https://a.test", true),
            ("*.a.test", "https://b.a.test", true),
            ("A.Test", "https://a.test", true),
            ("x.test a.test", "https://a.test", true),
            (" x.test ,\ta.test ", "https://a.test", true),
            ("a.test:8443", "https://a.test:8443", true),
            ("a.test:443", "https://a.test", true),
            ("a.test:8443", "https://a.test", false),
            ("10.0.0.0/8", "http://10.1.2.3", true),
            ("10.0.0.0/8", "http://11.1.2.3", false),
            ("0.0.0.0/0", "http://11.1.2.3", true),
            ("10.1.2.3", "http://10.1.2.3:81", true),
            ("10.1.2.3:80", "http://10.1.2.3:81", false),
            ("127.0.0.*", "http://127.0.0.7", true),
            ("::1", "http://[::1]:80", true),
            ("[::1]", "http://[::1]", true),
            ("[::1]:80", "http://[::1]", true),
            ("[::1]:81", "http://[::1]", false),
            ("fd00::/8", "http://[fd12::1]", true),
            ("fd00::/8", "http://[fe80::1]", false),
            ("<local>", "http://intranet", true),
            ("<local>", "http://a.test", false),
            ("", "http://a.test", false),
        ] {
            let read = NoProxy::parse(list).unwrap();
            assert_eq!(read.matches(&Url::parse(url).unwrap()), past, "{list} {url}");
        }
        for bad in ["https://a.test", "a.test/path", "10.0.0.0/99", "a.test:http", "'a.test'"] {
            assert!(NoProxy::parse(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxy = |text| ProxyAddress::parse(text).ok();
        let https = proxy("http://p.test:1");
        let proxies = Proxies { https: https.clone(), http: None, except: NoProxy::parse("b.test").unwrap() };
        for (url, want) in
            [("https://a.test", https.as_ref()), ("http://a.test", None), ("https://b.test", None)]
        {
            assert_eq!(proxies.of(&Url::parse(url).unwrap()), want, "{url}");
        }
        assert_eq!(proxies.to_string(), "https through http://p.test:1, http directly; b.test directly");
    }
}
