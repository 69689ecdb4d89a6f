//! The stand-in pages: one server for all, each page at its own address in 127/8, so that each is a separate origin
//! to the program. As small as possible: the program competes with it for the machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::ledger::{self, Ledger, PageContent};

/// Pages a folder of addresses holds.
const PER_NET: usize = 250;
/// The number of available addresses.
pub(crate) const MOST: usize = 200 * PER_NET;
/// A request is shorter.
const MAX_REQUEST: usize = 4096;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Monitors.
    pub(crate) count: usize,
    /// Between two polls.
    pub(crate) interval: Duration,
    /// Of a poll.
    pub(crate) timeout: Duration,
    /// For how long.
    pub(crate) window: Duration,
}

impl Plan {
    /// The interval in whole seconds, at least 1.
    pub(crate) fn seconds(&self) -> usize {
        usize::try_from(self.interval.as_secs()).unwrap_or(1).max(1)
    }
}

/// Where a page is.
pub(crate) fn address(page: usize, port: u16) -> SocketAddr {
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let ip = Ipv4Addr::new(127, 1, octet(page / PER_NET), octet(page % PER_NET + 1));
    SocketAddr::new(ip.into(), port)
}

fn page_at(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [127, 1, net, host] = ip.octets() else { return None };
    Some(usize::from(net) * PER_NET + usize::from(host.checked_sub(1)?))
}

/// Writes one definition per page.
pub(crate) fn define(folder: &Path, plan: Plan, port: u16) -> anyhow::Result<()> {
    let monitors = folder.join("monitors");
    fs::create_dir(&monitors)?;
    for page in 0..plan.count {
        let (name, address) = (ledger::name(page), address(page, port));
        let text = format!("name = \"{name}\"\nurl = \"http://{address}\"\n");
        fs::write(monitors.join(format!("{name}.toml")), text)?;
    }
    Ok(())
}

/// Serves all pages at one port of the loopback device, and of no other.
pub(crate) fn serve(ledger: Ledger) -> anyhow::Result<u16> {
    let socket = TcpSocket::new_v4()?;
    socket.bind_device(Some(b"lo")).context("cannot keep to the loopback device")?;
    socket.bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
    let listener = socket.listen(4096)?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, ledger.clone()));
                }
                // Out of files, most likely; the next accept may succeed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    Ok(port)
}

/// A broken connection is not handled here; the record shows what is missing.
async fn converse(mut stream: TcpStream, ledger: Ledger) -> Option<()> {
    let page = page_at(stream.local_addr().ok()?)?;
    stream.set_nodelay(true).ok()?;
    let mut request = Vec::with_capacity(1024);
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await.ok()? == 0 {
                return None;
            }
        }
        match ledger.poll(page)? {
            PageContent::Hangs => {
                // Until the program gives up.
                while stream.read_buf(&mut request).await.ok()? > 0 {}
                return None;
            }
            says => stream.write_all(&answer(page, says, &request)).await.ok()?,
        }
    }
}

fn answer(page: usize, says: PageContent, request: &[u8]) -> Vec<u8> {
    let (indicator, description) = match says {
        PageContent::Trouble(number) => ("major", ledger::trouble(number)),
        PageContent::Calm | PageContent::Hangs => ("none", "All Systems Operational".to_owned()),
    };
    let etag = format!("W/\"{page}-{}\"", description.replace(' ', "-"));
    if request.windows(etag.len()).any(|window| window == etag.as_bytes()) {
        return format!("HTTP/1.1 304 Not Modified\r\netag: {etag}\r\n\r\n").into_bytes();
    }
    let name = ledger::name(page);
    let body = format!(
        "{{\"page\":{{\"id\":\"{page:012}\",\"name\":\"{name}\",\"url\":\"https://{name}.example.com\",\
         \"time_zone\":\"Etc/UTC\",\"updated_at\":\"2026-05-02T09:00:00.000Z\"}},\
         \"status\":{{\"indicator\":\"{indicator}\",\"description\":\"{description}\"}}}}"
    );
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\netag: {etag}\r\n\
         cache-control: max-age=0, private, must-revalidate\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
