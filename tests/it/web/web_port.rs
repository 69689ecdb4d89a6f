//! The web port of the real program between hostile clients: their cost, and whether others are answered.
//!
//! `cargo test --release --test it web_port -- --nocapture` prints the figures of docs/benchmarks.md.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::processes::binary::Running;

/// The port's limit of connections.
const CONNECTIONS: usize = 256;
/// Enough for a large overview page.
const MONITORS: usize = 200;
/// What all hostile clients together may cost, in bytes.
const MEMORY: u64 = 32_000_000;
/// For a probe; the program that is tested in CI is not optimised, and shares its processors with other tests.
const PROBE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// A client that sends this and reads at most one response.
async fn hostile(address: SocketAddr, said: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    // The port may have closed it already to make room.
    let _ = stream.write_all(said.as_bytes()).await;
    stream
}

/// Asks for `/healthz` over a connection of its own; how long that took.
async fn probe(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request("/healthz").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"alive\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    started.elapsed()
}

fn memory(daemon: &Running, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// 256 of them, of any kind, cost at most 32 MB in all, and `/healthz` answers within a second.
#[tokio::test]
async fn hostile_clients_keep_no_one_out() {
    let page = format!("{}{}", request("/").repeat(16), "GET ");
    let metrics = request("/metrics").repeat(64);
    let drip = format!("{}GET /healthz HTT", request("/healthz"));
    let kinds = [
        ("silent", String::new()),
        ("half a request", "GET / HTTP/1.1\r\nhost: ".to_owned()),
        ("one request, then half", drip),
        ("large heads", format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(30_000))),
        ("the overview, never read", page),
        ("metrics, never read", metrics),
    ];
    for (kind, said) in kinds {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("monitors")).unwrap();
        for number in 0..MONITORS {
            // Nothing listens there.
            let text = format!("name = \"Service {number}\"\nurl = \"http://127.0.0.1:9/{number}\"\n");
            fs::write(folder.path().join(format!("monitors/{number}.toml")), text).unwrap();
        }
        let mut daemon = Running::start(folder.path(), &[("POLL_INTERVAL", "60s")]);
        let line = daemon.until("Listening on http://");
        let address =
            line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        daemon.until("not readable");
        probe(address).await;
        let before = memory(&daemon, "VmRSS:");
        let mut all = Vec::new();
        let mut slowest = Duration::ZERO;
        for number in 0..CONNECTIONS + 32 {
            all.push(hostile(address, &said).await);
            if number % 32 == 31 {
                slowest = slowest.max(probe(address).await);
            }
        }
        for _ in 0..10 {
            slowest = slowest.max(probe(address).await);
        }
        let cost = memory(&daemon, "VmHWM:").saturating_sub(before);
        println!("{kind}: {:.1} MB, slowest probe {} ms", cost as f64 / 1e6, slowest.as_millis());
        assert!(cost <= MEMORY, "{kind}: {cost} bytes");
        assert!(slowest <= PROBE, "{kind}: {slowest:?}");
    }
}
