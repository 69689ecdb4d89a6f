//! Very many pages, and a body that does not end: memory of the real program.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::processes::binary::program;

/// The limit for a sync of any size, in bytes.
const MEMORY: u64 = 64_000_000;

/// Answers the requests of each connection with whatever `answer` writes, until the process ends. Returns the root.
fn serve(answer: impl Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.set_nodelay(true);
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = socket.read(&mut bytes) {
                    heard.extend_from_slice(&bytes[..count]);
                    if heard.ends_with(b"\r\n\r\n") {
                        let request = String::from_utf8_lossy(&heard).into_owned();
                        // A client may disconnect early.
                        if answer(&request, &mut socket).is_err() {
                            break;
                        }
                        heard.clear();
                    }
                }
            });
        }
    });
    url
}

/// The most memory of its own that a process had until it ended, and its exit code. Pages of its program file do not
/// count: in a build with debug information they are most of what is resident.
fn peak_of(child: &mut std::process::Child) -> (u64, i32) {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait().unwrap() {
            return (peak, status.code().unwrap());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Syncs the connector `acme`; returns its exit code, its output, and its peak memory.
fn sync(folder: &Path, url: &str, more: &str) -> (i32, String, u64) {
    let text = format!(
        "format = 1\n[connector]\nname = \"acme\"\nbase_url = \"{url}\"\n{more}\n[[table]]\nname = \"things\"\n\
         path = \"/things\"\nrecords = [\"data\"]\nkey = [\"id\"]\n\
         page = {{ kind = \"cursor\", at_param = \"after\", next = \"next\" }}\n"
    );
    fs::create_dir_all(folder.join("connectors")).unwrap();
    fs::write(folder.join("connectors/acme.toml"), text).unwrap();
    let said = fs::File::create(folder.join("said.txt")).unwrap();
    let mut command = program(folder, &["sync", "acme"], &[]);
    command.stdout(said.try_clone().unwrap()).stderr(said).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (peak, code) = peak_of(&mut child);
    (code, fs::read_to_string(folder.join("said.txt")).unwrap(), peak)
}

#[test]
fn ten_thousand_pages_take_no_more_memory_than_a_hundred() {
    const PAGES: u64 = 10_000;
    let url = serve(|request, out| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let page: u64 = path.rsplit_once("after=").and_then(|(_, page)| page.parse().ok()).unwrap_or(0);
        let next = if page + 1 < PAGES { (page + 1).to_string() } else { "null".to_owned() };
        let body = format!("{{\"data\":[{{\"id\":{page},\"name\":\"thing {page}\"}}],\"next\":{next}}}");
        let length = body.len();
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let (code, said, peak) = sync(folder.path(), &url, "");
    assert_eq!(code, 0, "{said}");
    let db = Connection::open(folder.path().join("data/acme.db")).unwrap();
    let rows: i64 = db.query_row("SELECT count(*) FROM things", [], |row| row.get(0)).unwrap();
    assert_eq!(rows.unsigned_abs(), PAGES);
    assert!(peak < MEMORY, "{peak} bytes");
}

/// With what to do about it; neither stored nor read to its end, whether its length is announced or not.
#[test]
fn a_huge_body_is_refused_at_the_limit() {
    const HUGE: u64 = 500 << 20;
    for announced in [true, false] {
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        let url = serve(move |_, out| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            if announced {
                write!(out, "{head}content-length: {HUGE}\r\n\r\n")?;
            } else {
                write!(out, "{head}transfer-encoding: chunked\r\n\r\n")?;
            }
            let chunk = vec![b' '; 1 << 16];
            while counted.load(Ordering::Relaxed) < HUGE {
                if !announced {
                    write!(out, "{:x}\r\n", chunk.len())?;
                }
                out.write_all(&chunk)?;
                if !announced {
                    write!(out, "\r\n")?;
                }
                counted.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            Ok(())
        });
        let folder = tempfile::tempdir().unwrap();
        let (code, said, peak) = sync(folder.path(), &url, "[http]\nmax_body_mb = 4");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("larger than 4194304 bytes") && said.contains("max_body_mb"), "{said}");
        assert!(peak < MEMORY, "{peak} bytes");
        // What the socket buffers hold counts as sent, too.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < HUGE / 10, "{sent} bytes were taken");
    }
}

/// However many come before a checkpoint; the newest are stored.
#[test]
fn rejected_rows_take_no_more_memory_than_stored_ones() {
    const PAGES: u64 = 480;
    let page = format!("{{\"name\":\"PAGE {}\"}}", "x".repeat(1_000));
    let page = vec![page; 250].join(",");
    let url = serve(move |request, out| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let at: u64 = path.rsplit_once("after=").and_then(|(_, page)| page.parse().ok()).unwrap_or(0);
        let next = if at + 1 < PAGES { (at + 1).to_string() } else { "null".to_owned() };
        // The same page twice would end the run.
        let page = page.replace("PAGE", &format!("{at:06}"));
        let (head, tail) = ("{\"data\":[", format!("],\"next\":{next}}}"));
        let length = head.len() + page.len() + tail.len();
        write!(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")?;
        write!(out, "{head}{page}{tail}")
    });
    let folder = tempfile::tempdir().unwrap();
    let (code, said, peak) = sync(folder.path(), &url, "");
    assert_eq!(code, 4, "{said}");
    let db = Connection::open(folder.path().join("data/acme.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM _rejected"), 10_000);
    assert_eq!(count("SELECT rejected FROM _runs WHERE table_name = 'things'"), 120_000);
    assert!(peak < MEMORY, "{peak} bytes");
}

/// 60 MB from a caller, accepted or refused as too large to return.
#[test]
fn a_large_state_costs_twice_its_size_at_most() {
    let url = serve(|_, out| {
        let body = r#"{"data":[],"next":null}"#;
        let length = body.len();
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "format = 1\n[connector]\nname = \"acme\"\nbase_url = \"{url}\"\n[[table]]\nname = \"things\"\n\
         path = \"/things\"\nrecords = [\"data\"]\nkey = [\"id\"]\n\
         page = {{ kind = \"cursor\", at_param = \"after\", next = \"next\" }}\n"
    );
    fs::write(folder.path().join("acme.toml"), text).unwrap();
    let ask = |bytes: usize| {
        let mut partitions = String::with_capacity(bytes + 100);
        for number in 0.. {
            if partitions.len() >= bytes {
                break;
            }
            let comma = if number == 0 { "" } else { "," };
            let cursor = format!(r#"{{"at":{{"time":"2026-05-01T00:00:00Z"}},"start":{number}}}"#);
            partitions.push_str(&format!(r#"{comma}"parent-{number:07}":{cursor}"#));
        }
        let state = format!(r#"{{"format":1,"connector":"acme","tables":{{"children":{{{partitions}}}}}}}"#);
        let file = folder.path().join("asked.json");
        fs::write(&file, format!(r#"{{"secrets":{{}},"state":{state}}}"#)).unwrap();
        let answered = fs::File::create(folder.path().join("answered.json")).unwrap();
        let mut command = program(folder.path(), &["serve", "stdin", "--file", "acme.toml"], &[]);
        command.stdin(fs::File::open(&file).unwrap()).stdout(answered).stderr(Stdio::null());
        let (peak, code) = peak_of(&mut command.spawn().unwrap());
        let answer = fs::read_to_string(folder.path().join("answered.json")).unwrap();
        println!("a state of {} MB: {:.0} MB", bytes >> 20, peak as f64 / 1e6);
        (peak, code, answer, state)
    };
    let (least, code, answer, _) = ask(0);
    assert_eq!(code, 0, "{answer}");
    let (peak, code, answer, state) = ask(10 << 20);
    assert!(
        code == 0 && answer.contains(&state[60..state.len() - 2]),
        "{}",
        &answer[..200.min(answer.len())]
    );
    assert!(peak - least <= 3 * state.len() as u64, "{} bytes", peak - least);
    let (peak, code, answer, state) = ask(60 << 20);
    assert!(
        code == 1 && answer.contains("the state would have 60 MB"),
        "{}",
        &answer[..200.min(answer.len())]
    );
    assert!(peak - least <= 2 * state.len() as u64, "{} bytes", peak - least);
}
