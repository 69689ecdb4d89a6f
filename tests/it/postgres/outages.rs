//! A server that fails and returns, and a pooler in between.

use std::time::Duration;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::destinations::{Destination, RunStart, postgres};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{End, Op, Sweep, Write};

use crate::postgres::cluster::{self, Cluster};
use crate::postgres::pooler::Pooler;
use crate::syncing::contract::{begin, checkpoint, counts, outcome, send, server_rows, shape};
use stand_ins::chaos::{Chaos, Mode};

const PAGE: i64 = 1_000;

/// Longer than any step here takes while the connection works.
const NO_TRAFFIC: Duration = Duration::from_secs(5);

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

/// The run ends at its last checkpoint, with the reason in the run history once the server is back; the next run
/// resumes there until every row is stored once.
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
    // A response means that everything before it was received.
    destination.runs(1).await.unwrap();
    cluster.crash();
    let mut error = None;
    for op in (60..200).flat_map(page) {
        error = error.or(destination.write(op).await.err());
    }
    cluster.restart();
    let ended = destination.end(outcome(0, End::Complete)).await.unwrap_err();
    assert!(ended.to_string().contains("PostgreSQL") && error.is_none_or(|error| error == ended), "{ended}");
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

/// Every connection stays open but no bytes pass. Afterwards the next run resumes, and every row is stored once.
#[tokio::test]
async fn a_stalled_connection_ends_the_run() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let way = Chaos::before(&format!("http://127.0.0.1:{}", cluster.port));
    let url = cluster.url("postgres", &name).replace(&cluster.port.to_string(), &way.port().to_string());
    let database = Database::new(&url.as_str().into(), None, None).unwrap().with_silence(NO_TRAFFIC);
    let destination = postgres::open(&database, "acme").await.unwrap();
    destination.begin(begin(0)).await.unwrap();
    for op in (0..60).flat_map(page) {
        destination.write(op).await.unwrap();
    }
    destination.runs(1).await.unwrap();
    way.set(Mode::Stall);
    let mut error = None;
    for op in (60..200).flat_map(page) {
        error = error.or(destination.write(op).await.err());
    }
    // The response comes when the last of them was given up.
    let unanswered = destination.runs(1).await.unwrap_err();
    way.set(Mode::Pass);
    let ended = destination.end(outcome(0, End::Complete)).await.unwrap_err();
    assert!(ended.to_string().contains("no data for 5 s"), "{ended}, {unanswered}, {error:?}");
    let runs = destination.runs(1).await.unwrap();
    assert_eq!(runs[0].entry.reason.as_ref(), Some(&ended.to_string()));
    let from = destination.state().await.unwrap().tables["thing"][""].as_i64().unwrap();
    destination.begin(begin(1)).await.unwrap();
    for op in (from..200).flat_map(page) {
        destination.write(op).await.unwrap();
    }
    destination.end(outcome(1, End::Complete)).await.unwrap();
    assert_eq!(stored(&cluster, &name).await, ["200000|200"]);
}

/// Widening a column and deleting missing rows may take longer than the timeout for a stalled connection.
#[tokio::test]
async fn work_on_a_whole_table_is_no_stalled_connection() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let url = cluster.url("postgres", &name);
    let database = Database::new(&url.as_str().into(), None, None).unwrap().with_silence(NO_TRAFFIC);
    let destination = postgres::open(&database, "acme").await.unwrap();
    let things = |kind, rows: Vec<Cell>| {
        let thing = shape(&[("id", ColumnType::Bigint), ("v", kind)], &["id"], Write::Upsert);
        send(&thing, rows.into_iter().zip(0..).map(|(v, id)| vec![Cell::Int(id), v]).collect())
    };
    destination.begin(begin(0)).await.unwrap();
    for op in things(ColumnType::Bigint, vec![Cell::Int(1), Cell::Int(2)]) {
        destination.write(op).await.unwrap();
    }
    destination.end(outcome(0, End::Complete)).await.unwrap();
    let long = NO_TRAFFIC.as_secs() + 2;
    let slow = format!(
        "CREATE FUNCTION public.slow_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep({long}); END';
         CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.slow_ddl();
         CREATE FUNCTION public.slow_row() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep({long}); RETURN NEW; END';
         CREATE TRIGGER slow BEFORE UPDATE ON acme.thing FOR EACH ROW WHEN (NEW._deleted_at IS NOT NULL)
             EXECUTE FUNCTION public.slow_row()"
    );
    let session = cluster.session(&name).await;
    session.batch_execute(&slow).await.unwrap();
    destination.begin(RunStart { sweeping: ["thing".to_owned()].into(), ..begin(1) }).await.unwrap();
    let mut ops = things(ColumnType::Text, vec![Cell::Text("a".into())]);
    let sweep = Some(Sweep { max_share: 1.0 });
    ops.push(Op::Finish { table: "thing".into(), sweep });
    for op in ops {
        destination.write(op).await.unwrap();
    }
    destination.end(outcome(1, End::Complete)).await.unwrap();
    let sql = "SELECT v, _deleted_at IS NOT NULL FROM acme.thing ORDER BY id";
    assert_eq!(server_rows(&session, sql).await, ["a|0", "2|1"]);
}

/// Nothing of the transaction is stored, neither rows nor checkpoint, and the reason says what to do; the next run
/// resumes once there is room.
#[tokio::test]
async fn a_full_disk_ends_the_run_and_loses_nothing() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let database = Database::new(&cluster.url("postgres", &name).as_str().into(), None, None).unwrap();
    let destination = postgres::open(&database, "acme").await.unwrap();
    let run = async |minute, pages: std::ops::Range<i64>| {
        destination.begin(begin(minute)).await.unwrap();
        for op in pages.flat_map(page) {
            // What follows a failure is rejected with the same message.
            let _ = destination.write(op).await;
        }
        destination.end(outcome(minute, End::Complete)).await
    };
    run(0, 0..3).await.unwrap();
    let admin = cluster.session(&name).await;
    let full = "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file \"base/1/2\": No space left on device' USING ERRCODE = 'disk_full';
        END $$; CREATE TRIGGER no_room AFTER INSERT ON acme.thing EXECUTE FUNCTION no_room()";
    admin.batch_execute(full).await.unwrap();
    let ended = run(1, 3..9).await.unwrap_err();
    let ended_as = ended.to_string();
    assert!(ended_as.contains("no space left") && ended_as.contains("free some space"), "{ended}");
    assert_eq!(stored(&cluster, &name).await, ["3000|3"]);
    let runs = destination.runs(1).await.unwrap();
    assert_eq!(
        (runs[0].entry.end, runs[0].entry.reason.as_ref()),
        (Some(End::Failed), Some(&ended.to_string()))
    );
    admin.batch_execute("DROP FUNCTION no_room() CASCADE").await.unwrap();
    run(2, 3..9).await.unwrap();
    assert_eq!(stored(&cluster, &name).await, ["9000|9"]);
}

/// With the parameter in the URL everything is stored; without it the pooler is detected, nothing is lost, and the
/// run continues in the right mode.
#[tokio::test]
async fn a_pooler_in_transaction_mode_works() {
    let Some(cluster) = cluster::shared() else { return };
    let Some(pooler) = Pooler::before(&cluster) else { return };
    for (told, option) in [(true, "&pooler=transaction"), (false, "")] {
        let name = cluster.database().await;
        let url = pooler.url(&name) + option;
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
