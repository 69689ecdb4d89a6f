//! Which network addresses are public, and so allowed as targets of redirects and links from a third party.
//! Pure.
//!
//! The tables follow the IANA special-purpose address registries (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Suffixes of names that only a local network resolves (RFC 6761, 6762, 8375; the last three by convention).
const LOCAL_NAMES: [&str; 7] = ["localhost", "local", "home.arpa", "internal", "lan", "intranet", "corp"];

/// Whether the address belongs to the public internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => embedded_v4(ip).map_or_else(|| is_public_v6(ip), is_public_v4),
    }
}

/// Whether the URL names a public host. The address of a name is checked when the connection is made.
pub fn is_public_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => is_public(ip.into()),
        Some(Host::Ipv6(ip)) => is_public(ip.into()),
        Some(Host::Domain(name)) => is_public_name(name),
        None => false,
    }
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let local = |ending: &str| name.strip_suffix(ending).is_some_and(|rest| rest.ends_with('.'));
    name.contains('.') && !LOCAL_NAMES.into_iter().any(local)
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..)
    );
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    // Only 2000::/3 is assigned for the internet; Teredo, documentation and benchmarking are excluded from
    // it.
    let global = segments[0] & 0xe000 == 0x2000;
    let special = matches!(segments, [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..]);
    global && !special
}

/// The IPv4 address behind a translated IPv6 address: mapped, compatible, NAT64 (RFC 6052), 6to4.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_public_hosts_from_others() {
        for (url, public) in [
            ("https://stspg.io/abc", true),
            ("https://status.acme.test/", true),
            ("http://93.184.216.34/", true),
            ("http://[2606:2800:220:1::1]/", true),
            ("http://[::ffff:93.184.216.34]/", true),
            ("http://[64:ff9b::5db8:d822]/", true),
            ("http://localhost/", false),
            ("http://api.localhost./", false),
            ("http://intranet/", false),
            ("http://printer.local/", false),
            ("http://db.prod.internal/", false),
            ("http://127.0.0.1:8080/", false),
            ("http://2130706433/", false),
            ("http://0x7f.1/", false),
            ("http://0.0.0.0/", false),
            ("http://10.1.2.3/", false),
            ("http://100.64.0.1/", false),
            ("http://169.254.169.254/latest/meta-data/", false),
            ("http://172.31.255.255/", false),
            ("http://192.168.1.1/", false),
            ("http://224.0.0.1/", false),
            ("http://255.255.255.255/", false),
            ("http://[::]/", false),
            ("http://[::1]/", false),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://[::127.0.0.1]/", false),
            ("http://[64:ff9b::7f00:1]/", false),
            ("http://[64:ff9b:1::a00:1]/", false),
            ("http://[2002:a00:1::]/", false),
            ("http://[2001:db8::1]/", false),
            ("http://[fc00::1]/", false),
            ("http://[fe80::1]/", false),
            ("http://[ff02::1]/", false),
        ] {
            assert_eq!(is_public_host(&Url::parse(url).unwrap()), public, "{url}");
        }
    }
}
