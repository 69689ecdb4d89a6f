//! A server that goes away and comes back, and a pooler in between.

use std::process::Stdio;

use data_sources_monitor::database::Database;
use data_sources_monitor::destinations::{Destination, DestinationError, postgres};
use data_sources_monitor::domain::cell::{Cell, ColumnType};
use data_sources_monitor::domain::op::{End, Op, Write};

use crate::cluster::{self, Cluster};
use crate::contract::{begin, checkpoint, counts, outcome, send, server_rows, shape};

const PAGE: i64 = 1_000;

fn page(page: i64) -> Vec<Op> {
    let thing = shape(&[("id", ColumnType::Bigint)], &["id"], Write::Upsert);
    let mut ops = send(&thing, (page * PAGE..(page + 1) * PAGE).map(|id| vec![Cell::Int(id)]).collect());
    ops.push(checkpoint("", page + 1));
    ops
}

async fn stored(cluster: &Cluster, database: &str) -> Vec<String> {
    let session = cluster.session(database).await;
    let sql = "SELECT count(*), (SELECT cursor FROM acme._state) FROM acme.thing";
    server_rows(&session, sql).await
}

/// A server that crashes in mid-run ends the run at its last checkpoint, with the reason in the ledger once it is back,
/// and the next run goes on from there until all is stored once.
#[tokio::test]
async fn a_crash_of_the_server_loses_nothing() {
    let Some(cluster) = cluster::own() else { return };
    let name = cluster.database().await;
    let database = Database::new(&cluster.url("postgres", &name).as_str().into(), None, None).unwrap();
    let destination = postgres::open(&database, "acme").await.unwrap();
    destination.begin(begin(0)).await.unwrap();
    for op in (0..60).flat_map(page) {
        destination.write(op).await.unwrap();
    }
    // An answer means that everything before it was taken.
    destination.runs(1).await.unwrap();
    cluster.crash();
    let mut error = None;
    for op in (60..200).flat_map(page) {
        error = error.or(destination.write(op).await.err());
    }
    cluster.restart();
    let ended = destination.end(outcome(0, End::Complete)).await.unwrap_err();
    assert!(
        matches!(ended, DestinationError::Database(_)) && error.is_none_or(|error| error == ended),
        "{ended}"
    );
    let runs = destination.runs(1).await.unwrap();
    assert_eq!(
        (runs[0].entry.end, runs[0].entry.reason.as_ref()),
        (Some(End::Failed), Some(&ended.to_string()))
    );
    let state = destination.state().await.unwrap();
    let from = state.tables["thing"][""].as_i64().unwrap();
    assert!(from >= 50, "{from}");
    assert_eq!(stored(&cluster, &name).await, [format!("{}|{from}", from * PAGE)]);
    destination.begin(begin(1)).await.unwrap();
    for op in (from..200).flat_map(page) {
        destination.write(op).await.unwrap();
    }
    let report = destination.end(outcome(1, End::Complete)).await.unwrap();
    assert_eq!(counts(&report)[1], ((200 - from) * PAGE).unsigned_abs());
    assert_eq!(stored(&cluster, &name).await, ["200000|200"]);
}

/// A pooler in transaction mode.
struct Pooler {
    port: u16,
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None`, told loudly, where the machine has no PgBouncer.
fn pooler(cluster: &Cluster) -> Option<Pooler> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let Some(program) = folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
    else {
        assert!(
            std::env::var_os("REQUIRE_POSTGRES").is_none(),
            "REQUIRE_POSTGRES is set, and there is no pgbouncer"
        );
        eprintln!("SKIPPED: pgbouncer is not on this machine, so nothing was tested through a pooler");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n\
         unix_socket_dir=\nauth_type=any\npool_mode=transaction\ndefault_pool_size=3\nserver_round_robin=1\n\
         ignore_startup_parameters=extra_float_digits\n",
        cluster.port
    );
    let file = folder.path().join("pgbouncer.ini");
    std::fs::write(&file, settings).unwrap();
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).ok();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = cluster::unprivileged(&program);
    let child = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed().as_secs() < 20, "pgbouncer does not start");
        std::thread::yield_now();
    }
    Some(Pooler { port, child, _folder: folder })
}

/// Through a pooler that gives each transaction to another session everything is stored, with the parameter in the
/// URL; without it that is noticed, nothing is lost, and it goes on in the way that works.
#[tokio::test]
async fn a_pooler_in_transaction_mode_works() {
    let Some(cluster) = cluster::shared() else { return };
    let Some(pooler) = pooler(&cluster) else { return };
    for (told, option) in [(true, "&pooler=transaction"), (false, "")] {
        let name = cluster.database().await;
        let url = format!("postgres://postgres@127.0.0.1:{}/{name}?sslmode=disable{option}", pooler.port);
        let database = Database::new(&url.as_str().into(), None, None).unwrap();
        // Others keep sessions of the pool busy, so that ours change.
        let (others, driving) =
            tokio_postgres::connect(&url.replace(option, ""), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(driving);
        let mut from = 0;
        for minute in 0..5 {
            let Ok(destination) = postgres::open(&database, "acme").await else { panic!("not opened") };
            destination.begin(begin(minute)).await.unwrap();
            let mut failed = false;
            for page_number in from..40 {
                if page_number % 9 == 0 {
                    others
                        .batch_execute(if page_number % 2 == 0 { "BEGIN" } else { "COMMIT" })
                        .await
                        .unwrap();
                }
                for op in page(page_number) {
                    failed |= destination.write(op).await.is_err();
                }
            }
            let ended = destination.end(outcome(minute, End::Complete)).await;
            assert!(!told || (ended.is_ok() && !failed), "{ended:?}");
            from =
                destination.state().await.unwrap().tables.get("thing").map_or(0, |t| t[""].as_i64().unwrap());
            destination.close().await.unwrap();
            if ended.is_ok() {
                break;
            }
            let session = cluster.session(&name).await;
            session.batch_execute("UPDATE acme._lock SET expires_at = '-infinity'").await.unwrap();
        }
        assert_eq!(stored(&cluster, &name).await, ["40000|40"], "told: {told}");
        assert!(database.is_pooled(), "told: {told}");
    }
}
