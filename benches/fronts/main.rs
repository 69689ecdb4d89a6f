//! How fast a connector's rows come out of the two protocols for pipelines, and how much memory that takes: the real
//! release program between a made-up API and a client, all on this machine.
//!
//! `cargo bench --bench fronts [-- ROWS] [grpc|stdin]`: 1,000,000 rows and both by default. Rows have 12 fields and
//! about 330 bytes of JSON, in pages of 1,000; a client reads them as fast as they arrive and counts them. Over stdin
//! each response is a process of its own, started with the state of the one before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unused)]
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time")]

#[path = "../../tests/it/entry_points/grpc.rs"]
mod grpc;
#[path = "../../tests/it/entry_points/proto.rs"]
mod proto;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use serde_json::{Value, json};

use proto::{field, map};

const PAGE: u64 = 1_000;
/// Bytes of a response that are read before the memory of its process is measured: fewer than it writes.
const FIRST_BYTES: usize = 1_024;

const DEFINITION: &str = r#"
format = 1
[connector]
name = "bench"
base_url = "http://127.0.0.1"
[[table]]
name = "orders"
path = "/orders"
records = ["data"]
key = ["id"]
page = { kind = "keyset", at_param = "after", field = "id" }
cursor = { field = "id", param = "after", format = "plain", order = "asc" }
columns = { created_at = { type = "timestamp" }, total = { type = "decimal" } }
"#;

fn main() {
    // `cargo test --benches` starts benchmarks too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench: use `cargo bench --bench fronts`");
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let rows: u64 = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let wants = |front: &str| {
        args.iter().all(|arg| arg.parse::<u64>().is_ok()) || args.iter().any(|arg| arg == front)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let api = runtime.block_on(serve(rows));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bench.toml"), DEFINITION).unwrap();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    println!("{:<6} {:>10} {:>9} {:>10} {:>9}", "front", "rows", "seconds", "rows/s", "peak MiB");
    let print = |front: &str, (count, peak): (u64, u64), seconds: f64| {
        assert_eq!(count, rows, "{front} lost rows");
        println!("{front:<6} {count:>10} {seconds:>9.2} {:>10.0} {peak:>9}", count as f64 / seconds);
    };
    if wants("grpc") {
        let begun = Instant::now();
        let came = runtime.block_on(by_grpc(folder.path(), api));
        print("grpc", came, begun.elapsed().as_secs_f64());
    }
    if wants("stdin") {
        let begun = Instant::now();
        let came = by_stdin(folder.path(), api);
        print("stdin", came, begun.elapsed().as_secs_f64());
    }
}

/// The API: so many orders, a page of them after any.
async fn serve(rows: u64) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/orders", get(page)).with_state(rows);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn page(State(rows): State<u64>, Query(query): Query<Vec<(String, String)>>) -> String {
    let after = query.iter().filter_map(|(_, value)| value.parse::<u64>().ok()).max().unwrap_or(0);
    let mut out = String::with_capacity(400 << 10);
    out.push_str("{\"data\":[");
    for id in after + 1..=(after + PAGE).min(rows) {
        let comma = if id == after + 1 { "" } else { "," };
        let (minute, cents) = (id % 60, id % 100);
        write!(
            out,
            "{comma}{{\"id\":{id},\"number\":\"A-{id:09}\",\"status\":\"shipped\",\"open\":false,\"items\":{cents},\
             \"total\":\"{id}.{cents:02}\",\"weight\":{cents}.5,\"created_at\":\"2026-03-01T10:{minute:02}:00.123Z\",\
             \"customer\":{{\"name\":\"Customer {id}\",\"email\":\"c{id}@example.com\"}},\"tags\":[\"new\",\"gift\"],\
             \"note\":\"A text of some length that nobody reads, but everybody carries along\"}}"
        )
        .unwrap();
    }
    out.push_str("]}");
    out
}

/// The most memory a process ever had resident, in MiB.
fn peak_mib(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024)
}

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-sources-monitor"));
    command.args(args).args(["--file", "bench.toml"]).current_dir(folder).env_clear().stdout(Stdio::piped());
    command
}

/// One stream to its end.
async fn by_grpc(folder: &Path, api: SocketAddr) -> (u64, u64) {
    let mut server =
        program(folder, &["serve", "fivetran", "--listen", "127.0.0.1", "--port", "0"]).spawn().unwrap();
    let mut log = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let address = said["message"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let request = [map(1, &[("base_url", &format!("http://{api}"))]), field(3, b"{}")].concat();
    let client = grpc::Client::connect(address).await;
    let mut call = client.call("Update", &request).await;
    let mut count = 0;
    while let Some(message) = call.next().await {
        count += records(&message);
    }
    let status = call.status().await;
    let peak = peak_mib(&server).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(status.0, 0, "{status:?}");
    (count, peak)
}

/// The records in a message, by their lengths alone.
fn records(message: &[u8]) -> u64 {
    // records = 6, a message of which each record is field 1.
    let Some(batch) = message.strip_prefix(&[6 << 3 | 2]) else { return 0 };
    let (_, mut rest) = varint(batch);
    let mut count = 0;
    while let Some(record) = rest.strip_prefix(&[1 << 3 | 2]) {
        let (length, after) = varint(record);
        rest = &after[length..];
        count += 1;
    }
    count
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let value = bytes[..=last].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[last + 1..])
}

/// One process per response.
fn by_stdin(folder: &Path, api: SocketAddr) -> (u64, u64) {
    let (mut state, mut count, mut peak) = (json!({}), 0, 0);
    loop {
        let mut child =
            program(folder, &["serve", "stdin"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let document =
            json!({ "secrets": { "base_url": format!("http://{api}") }, "state": state }).to_string();
        child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut answer = vec![0; FIRST_BYTES];
        let first = stdout.read(&mut answer).unwrap();
        answer.truncate(first);
        // It is blocked while writing a response that does not fit into the pipe, with all of it in memory. One that fits
        // shows no peak.
        peak = peak.max(peak_mib(&child).unwrap_or(0));
        stdout.read_to_end(&mut answer).unwrap();
        assert!(child.wait().unwrap().success());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        count += answer["insert"]["orders"].as_array().map_or(0, Vec::len) as u64;
        state = answer["state"].clone();
        if answer["hasMore"] == false {
            return (count, peak);
        }
    }
}
