//! The service as systemd sees it: the messages to the socket that the unit's `Type=notify` names.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::processes::binary::{Running, watching};
use stand_ins::status_page::StatusPage;

/// Long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: TempDir,
}

impl Manager {
    fn listen() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Manager { socket, path: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    /// Reads messages until one has this line; returns it.
    fn until(&self, word: &str) -> Vec<String> {
        let deadline = Instant::now() + TIMEOUT;
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            let Ok(length) = self.socket.recv(&mut bytes) else {
                panic!("never sent `{word}`: {said:?}");
            };
            let lines: Vec<String> =
                String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect();
            if lines.iter().any(|line| line == word) {
                return lines;
            }
            said.push(lines);
        }
    }
}

/// Ready after the first finished cycle, with a status line; a heartbeat after each further one.
#[test]
fn the_service_reports_ready_watchdog_and_stopping() {
    let page = StatusPage::start();
    page.set_indicator("major", "Partial System Outage");
    let (folder, manager) = (watching(&[("Alpha", &page)]), Manager::listen());
    let mut daemon = Running::start(folder.path(), &[("NOTIFY_SOCKET", &manager.path)]);
    let ready = manager.until("READY=1");
    assert!(ready.iter().any(|line| line.starts_with("STATUS=")), "{ready:?}");
    assert!(!page.requests().is_empty(), "ready before it has looked");
    manager.until("WATCHDOG=1");
    daemon.signal("-TERM");
    manager.until("STOPPING=1");
    assert_eq!(daemon.ended(), 0);
}

/// Otherwise systemd would kill a service that works as configured.
#[test]
fn a_watchdog_shorter_than_a_cycle_is_lengthened() {
    let page = StatusPage::start();
    let (folder, manager) = (watching(&[("Alpha", &page)]), Manager::listen());
    let vars =
        [("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "300000000"), ("POLL_INTERVAL", "1h")];
    let _daemon = Running::start(folder.path(), &vars);
    // Three intervals and a timeout.
    manager.until("WATCHDOG_USEC=10810000000");
    manager.until("READY=1");
}
