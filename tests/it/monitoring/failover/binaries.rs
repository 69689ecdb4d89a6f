//! The real program, several times on one database.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::database;
use crate::postgres::cluster;
use crate::processes::binary::{Running, output, watching};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

/// A daemon and its address.
fn start(folder: &Path, tenant: &Tenant, database: &str) -> (Running, String) {
    let (url, vars) = (tenant.url(), |url| [("QLIK_TENANT_URL", url), ("QLIK_API_KEY", API_KEY)]);
    let [tenant, key] = vars(url.as_str());
    let mut daemon = Running::start(folder, &[tenant, key, ("DATABASE_URL", database)]);
    daemon.until("State is in PostgreSQL at 127.0.0.1:");
    let line = daemon.until("Listening on http://");
    let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    (daemon, address)
}

fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// With `DATABASE_URL` one daemon leads and the other is on standby and says so. It takes over within 30 s after
/// `kill -9`, at once after a clean stop, and the banner stays as it is. `DATA_DIR` stays empty.
#[tokio::test]
async fn a_standby_takes_over_from_the_dead_and_the_stopped() {
    let Some((_cluster, url)) = database().await else { return };
    let (tenant, alpha) = (Tenant::start(), StatusPage::start());
    alpha.set_indicator("major", "Partial System Outage");
    let folders =
        [watching(&[("Alpha", &alpha)]), watching(&[("Alpha", &alpha)]), watching(&[("Alpha", &alpha)])];
    let (mut ann, first) = start(folders[0].path(), &tenant, &url);
    ann.until("Banner updated successfully.");
    let (mut bob, second) = start(folders[1].path(), &tenant, &url);
    let line = bob.until("Standby: ");
    assert!(line.contains("holds the monitoring lease since "), "{line}");
    let (code, said, _) = output(folders[1].path(), &["healthcheck"], &[("LISTEN", &second)]);
    assert!(code == 0 && said.starts_with("ready\nstandby: "), "{said}");
    let figures = page(&first, "/metrics");
    assert!(figures.contains("\ndsm_leader{} 1"), "{figures}");
    let figures = page(&second, "/metrics");
    assert!(
        figures.contains("\ndsm_leader{} 0") && figures.contains("dsm_monitor_severity{monitor=\"Alpha\"} 3"),
        "{figures}"
    );
    // The leader saves what it knows after each attempt, so the standby may need another copy.
    let (begun, mut banner) = (Instant::now(), String::new());
    while !banner.contains("\"message\":\"Alpha: Partial System Outage\"") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{banner}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        banner = page(&second, "/api/v1/banner");
    }
    assert!(banner.contains("\"source\":\"leader\"") && banner.contains("\"owner\":\"daemon\""), "{banner}");
    let overview = page(&second, "/");
    assert!(
        overview.contains("Set by</dt><dd>this monitor") && !overview.contains("No banner"),
        "{overview}"
    );
    assert!(page(&second, "/metrics").contains("dsm_tenant_answered_timestamp_seconds{tenant=\"default\"} "));
    ann.signal("-KILL");
    let killed = Instant::now();
    bob.until("This daemon is now the leader (token 2).");
    let after_kill = killed.elapsed();
    let (mut cem, _) = start(folders[2].path(), &tenant, &url);
    cem.until("Standby: ");
    bob.until("Issues detected");
    bob.signal("-TERM");
    bob.until("Stopped.");
    let stopped = Instant::now();
    cem.until("This daemon is now the leader (token 3).");
    let after_stop = stopped.elapsed();
    println!(
        "takeover {:.1} s after kill -9, {:.1} s after a stop",
        after_kill.as_secs_f64(),
        after_stop.as_secs_f64()
    );
    assert!(after_kill < Duration::from_secs(30) && after_stop < Duration::from_secs(5));
    cem.until("Issues detected");
    assert_eq!(tenant.writes().len(), 1, "{:#?}", tenant.writes());
    let vars = [("QLIK_TENANT_URL", tenant.url()), ("QLIK_API_KEY", API_KEY.into()), ("DATABASE_URL", url)];
    let vars = vars.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (code, said, _) = output(folders[2].path(), &["banner", "show"], &vars);
    assert!(code == 0 && said.contains("ours, visible"), "{said}");
    alpha.recover();
    cem.until("Banner cleared.");
    cem.signal("-TERM");
    cem.until("Stopped.");
    assert!(folders.iter().all(|folder| !folder.path().join("data/monitor.db").exists()));
    tenant.assert_well_behaved();
}

/// As after a power cut of both machines; a stop during the wait takes effect at once.
#[tokio::test]
async fn a_start_waits_for_the_database() {
    let Some(cluster) = cluster::own() else { return };
    let (tenant, alpha) = (Tenant::start(), StatusPage::start());
    let folder = watching(&[("Alpha", &alpha)]);
    let (url, database) = (tenant.url(), cluster.url("postgres", &cluster.database().await));
    let vars =
        [("QLIK_TENANT_URL", url.as_str()), ("QLIK_API_KEY", API_KEY), ("DATABASE_URL", database.as_str())];
    cluster.crash();
    let mut daemons = [Running::start(folder.path(), &vars), Running::start(folder.path(), &vars)];
    for daemon in &mut daemons {
        let line = daemon.until("retrying for");
        assert!(line.contains("WARNING") && line.contains("connection refused"), "{line}");
    }
    let [mut ann, mut bob] = daemons;
    bob.signal("-TERM");
    bob.until("Stopped.");
    cluster.restart();
    ann.until("State is in PostgreSQL at 127.0.0.1:");
    ann.until("This daemon is now the leader");
    ann.signal("-TERM");
    ann.until("Stopped.");
}
