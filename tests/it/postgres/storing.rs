//! What only PostgreSQL has: its types, values it cannot hold, and tables that others use meanwhile.

use ColumnType::{Bigint, Decimal, Json, Text, Timestamp as Instant};
use data_sources_monitor::testing::destinations::Destination;
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{End, Op, Write};

use crate::postgres::cluster;
use crate::syncing::contract::{
    Kind, TestDestination, begin, checkpoint, counts, every_type, outcome, send, shape, text,
};

async fn dest() -> Option<TestDestination> {
    cluster::programs()?;
    Some(Kind::Postgres.dest().await)
}

/// Each holds its value exactly.
#[tokio::test]
async fn types_and_primary_keys_are_the_servers_own() {
    let Some(dest) = dest().await else { return };
    let (columns, row) = every_type();
    dest.run(0, send(&shape(&columns, &["id"], Write::Upsert), vec![row])).await.unwrap();
    let types = "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute a
                 WHERE a.attrelid = 'thing'::regclass AND a.attnum > 0 ORDER BY a.attnum";
    insta::assert_snapshot!(dest.rows(types).await.join("\n"), @"
    id|text|1
    flag|boolean|0
    count|bigint|0
    ratio|double precision|0
    amount|numeric|0
    day|date|0
    moment|timestamp with time zone|0
    doc|jsonb|0
    order|text|0
    _synced_at|timestamp with time zone|1
    _deleted_at|timestamp with time zone|0
    ");
    insta::assert_snapshot!(dest.rows("SELECT * FROM thing").await[0], @"a|1|9007199254740993|0.1|123456789012345678901234567890.10|2024-02-29|2026-05-02 09:15:00.5|[1000]|1e3|2026-05-02 09:15:00|NULL");
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'thing'::regclass";
    assert_eq!(dest.rows(key).await, ["PRIMARY KEY (id)"]);
}

/// A value that no column can hold rejects the row with its reason, and the run is not complete.
#[tokio::test]
async fn a_value_that_does_not_fit_makes_its_column_text() {
    let Some(dest) = dest().await else { return };
    let columns = [("id", Text), ("moment", Instant), ("amount", Decimal), ("doc", Json), ("note", Text)];
    let thing = shape(&columns, &["id"], Write::Upsert);
    let row = |id: &str, moment: &str, amount: &str, doc: &str, note: &str| {
        vec![
            text(id),
            Cell::Timestamp(moment.parse().unwrap()),
            Cell::Decimal(amount.into()),
            Cell::Json(doc.into()),
            text(note),
        ]
    };
    let rows = vec![
        row("plain", "2026-05-02T09:15:00.123456Z", "1.50", "{\"a\":1}", "x"),
        row("nul", "2026-05-02T09:15:00Z", "1", "1", "a\0b"),
        row("doc", "2026-05-02T09:15:00Z", "1", r#"{"a":"\u0000"}"#, "x"),
        row(&"k".repeat(3_000), "2026-05-02T09:15:00Z", "1", "1", "x"),
        row("fine", "2026-05-02T09:15:00.123456789Z", "1", "1", "x"),
        row("huge", "2026-05-02T09:15:00Z", "1e140000", "1", "x"),
        row("after", "2026-05-02T09:15:00Z", "0.10", "1", "x"),
    ];
    let report = dest.run(0, send(&thing, rows)).await.unwrap();
    assert_eq!((report.end, counts(&report)), (End::Partial, [7, 4, 0, 0, 0, 3, 0]));
    insta::assert_snapshot!(report.notes.join("\n"), @"
    column moment of table thing was widened: its stored values were converted
    column amount of table thing was widened: its stored values were converted
    ");
    insta::assert_snapshot!(dest.rows("SELECT id, moment, amount, doc FROM thing ORDER BY id").await.join("\n"), @r#"
    after|2026-05-02 09:15:00|0.10|1
    fine|2026-05-02 09:15:00.123456789|1|1
    huge|2026-05-02 09:15:00|1e140000|1
    plain|2026-05-02 09:15:00.123456|1.50|{"a": 1}
    "#);
    let rejected = dest.open().await.rejected(9).await.unwrap();
    let rejected: Vec<_> = rejected.iter().map(|row| format!("{}: {:.60}", row.reason, row.raw)).collect();
    insta::assert_snapshot!(rejected.join("\n"), @r#"
    its key is longer than PostgreSQL can index: {"amount":"1","doc":"1","id":"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    a JSON value holds a NUL character, which PostgreSQL cannot store: {"amount":"1","doc":"{\"a\":\"\\u0000\"}","id":"doc","moment
    a text holds a NUL character, which PostgreSQL cannot store: {"amount":"1","doc":"1","id":"nul","moment":"2026-05-02 09:1
    "#);
}

/// Nothing is changed; without the view the run is complete.
#[tokio::test]
async fn a_view_that_prevents_a_wider_column_is_named() {
    let Some(dest) = dest().await else { return };
    let thing = |kind| shape(&[("id", Bigint), ("v", kind)], &["id"], Write::Upsert);
    dest.run(0, send(&thing(Bigint), vec![vec![Cell::Int(1), Cell::Int(5)]])).await.unwrap();
    dest.execute("CREATE VIEW by_people AS SELECT v FROM thing; CREATE VIEW other AS SELECT id FROM thing")
        .await;
    let ops = send(&thing(Text), vec![vec![Cell::Int(2), text("x")]]);
    let error = dest.run(1, ops.clone()).await.unwrap_err();
    insta::assert_snapshot!(error, @"table thing: column v must be widened, but views depend on it (acme.by_people): drop them, sync, and create them again");
    assert_eq!(dest.rows("SELECT v FROM by_people").await, ["5"]);
    dest.execute("DROP VIEW by_people").await;
    dest.run(2, ops).await.unwrap();
    assert_eq!(dest.rows("SELECT v FROM thing ORDER BY id").await, ["5", "x"]);
}

/// Before anything is written.
#[tokio::test]
async fn columns_and_keys_changed_by_hand_are_named() {
    let Some(dest) = dest().await else { return };
    let thing = shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert);
    let ops = send(&thing, vec![vec![Cell::Int(1), text("a")]]);
    dest.run(0, ops.clone()).await.unwrap();
    let mut told = Vec::new();
    for (change, back) in [
        ("ALTER TABLE thing ALTER v TYPE varchar(3)", "ALTER TABLE thing ALTER v TYPE text"),
        ("ALTER TABLE thing DROP CONSTRAINT thing_pkey", "ALTER TABLE thing ADD PRIMARY KEY (id)"),
        ("ALTER TABLE thing DROP COLUMN _deleted_at", "DROP TABLE thing"),
    ] {
        dest.execute(change).await;
        told.push(dest.run(1, ops.clone()).await.unwrap_err().to_string());
        dest.execute(back).await;
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    table thing: its column v was changed by hand from text to character varying(3); change it back, or drop the table and sync again
    table thing: its primary key is missing: ALTER TABLE "acme"."thing" ADD PRIMARY KEY ("id"), or drop the table and sync again
    table thing: its column _deleted_at is missing: drop the table and sync again
    "#);
    assert_eq!(dest.run(2, ops).await.unwrap().end, End::Complete);
}

/// Errors go into logs and the run history.
#[tokio::test]
async fn an_error_of_the_server_names_the_column_and_no_value() {
    let Some(dest) = dest().await else { return };
    let thing = shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert);
    let send = |id| send(&thing, vec![vec![Cell::Int(id), text("ann@example.com")]]);
    dest.run(0, send(1)).await.unwrap();
    dest.execute(
        "ALTER TABLE thing ADD theirs int NOT NULL DEFAULT 1; ALTER TABLE thing ALTER theirs DROP DEFAULT",
    )
    .await;
    let missing = dest.run(1, send(2)).await.unwrap_err().to_string();
    dest.execute("ALTER TABLE thing DROP theirs; ALTER TABLE thing ADD UNIQUE (v)").await;
    let taken = dest.run(2, send(2)).await.unwrap_err().to_string();
    assert!(missing.contains("\"theirs\"") && taken.contains("thing_v_key"), "{missing} {taken}");
    assert!(!missing.contains("ann@") && !taken.contains("ann@"), "{missing} {taken}");
}

/// Of tables, columns, and all that belongs to them.
#[tokio::test]
async fn names_beyond_the_servers_limit_stay_distinct() {
    let Some(dest) = dest().await else { return };
    let long = "x".repeat(70);
    let (a, b) = (format!("{long}a"), format!("{long}b"));
    let mut thing = (*shape(&[(&a, Bigint), (&b, Text)], &[&a], Write::Replace)).clone();
    thing.table = format!("{long}t");
    let thing = std::sync::Arc::new(thing);
    for minute in 0..2 {
        let destination = dest.open().await;
        destination.begin(begin(minute)).await.unwrap();
        for op in send(&thing, vec![vec![Cell::Int(1), text("v")]]) {
            destination.write(op).await.unwrap();
        }
        destination.write(Op::Finish { table: thing.table.clone(), sweep: None }).await.unwrap();
        let report = destination.end(outcome(minute, End::Complete)).await.unwrap();
        assert_eq!(report.tallies[&thing.table].unchanged, u64::try_from(minute).unwrap());
    }
    let names = "SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                 WHERE c.relnamespace = 'acme'::regnamespace AND c.relname LIKE 'xxx%t' AND a.attnum > 0 OR
                 c.relnamespace = 'acme'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'xxx%' AND a.attnum > 0";
    assert_eq!(dest.rows(names).await.len(), 4);
}

/// Nothing is lost or counted twice.
#[tokio::test]
async fn deadlocks_are_retried() {
    let Some(dest) = dest().await else { return };
    let thing = shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert);
    let rows = |v: &str| send(&thing, vec![vec![Cell::Int(1), text(v)], vec![Cell::Int(2), text(v)]]);
    dest.run(0, rows("a")).await.unwrap();
    // The first session to check for deadlocks is the victim, and checks once: ours does when the other surely waits.
    let idle_timeout = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 4000', current_database()); END $$";
    dest.execute(idle_timeout).await;
    let other = dest.session().await;
    other.batch_execute("SET deadlock_timeout = '1h'").await.unwrap();
    other.batch_execute("BEGIN").await.unwrap();
    other.batch_execute("UPDATE thing SET v = v WHERE id = 2").await.unwrap();
    let destination = dest.open().await;
    destination.begin(begin(1)).await.unwrap();
    for op in rows("b") {
        destination.write(op).await.unwrap();
    }
    let ending = destination.end(outcome(1, End::Complete));
    let colliding = async {
        let watcher = dest.session().await;
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while crate::syncing::contract::server_rows(&watcher, waiting).await != ["1"] {
            tokio::task::yield_now().await;
        }
        let crossed = other.batch_execute("UPDATE thing SET v = v WHERE id = 1").await;
        let _ = other.batch_execute("COMMIT").await;
        crossed.is_ok()
    };
    let (report, crossed) = tokio::join!(ending, colliding);
    assert!(crossed, "the other one was the victim: nothing was shown");
    assert_eq!(counts(&report.unwrap()), [2, 0, 2, 0, 0, 0, 0]);
    assert_eq!(dest.rows("SELECT v FROM thing").await, ["b", "b"]);
    assert!(cluster::shared().unwrap().log().contains("deadlock detected"));
}

/// It made no sign for longer than its lease; until the other run starts, that one is refused as busy.
#[tokio::test]
async fn a_run_whose_lease_was_taken_stores_nothing() {
    let Some(_) = dest().await else { return };
    let dest = Kind::Pooled.dest().await;
    let thing = shape(&[("id", Bigint)], &["id"], Write::Upsert);
    let (first, second) = (dest.open().await, dest.open().await);
    first.begin(begin(0)).await.unwrap();
    let error = second.begin(begin(1)).await.unwrap_err();
    assert!(error.to_string().contains("in use by another sync"), "{error}");
    for op in send(&thing, vec![vec![Cell::Int(1)]]) {
        first.write(op).await.unwrap();
    }
    // A response means that everything before it was received, and that it no longer renews the lease.
    first.runs(1).await.unwrap();
    dest.execute("UPDATE _lock SET expires_at = clock_timestamp()").await;
    second.begin(begin(1)).await.unwrap();
    let _ = first.write(checkpoint("", 9)).await;
    let error = first.end(outcome(0, End::Complete)).await.unwrap_err();
    assert!(error.to_string().contains("another sync took over"), "{error}");
    second.end(outcome(1, End::Complete)).await.unwrap();
    assert_eq!(dest.rows("SELECT count(*) FROM _state").await, ["0"]);
    assert_eq!(
        dest.rows("SELECT outcome FROM _runs WHERE table_name = '' ORDER BY run").await,
        ["failed", "complete"]
    );
}

/// A replica that is promoted without the last commits does not know which run had the schema: the next one is not
/// mistaken for it, and the former run neither stores nor releases anything.
#[tokio::test]
async fn a_run_that_a_promoted_replica_does_not_know_stores_nothing() {
    let Some(dest) = dest().await else { return };
    let thing = shape(&[("id", Bigint)], &["id"], Write::Upsert);
    let (first, second, third) = (dest.open().await, dest.open().await, dest.open().await);
    dest.execute("CREATE TABLE before AS TABLE _lock").await;
    first.begin(begin(0)).await.unwrap();
    for op in send(&thing, vec![vec![Cell::Int(1)]]) {
        first.write(op).await.unwrap();
    }
    let promoted = "DELETE FROM _lock; INSERT INTO _lock TABLE before; DELETE FROM _runs";
    dest.execute(promoted).await;
    second.begin(begin(1)).await.unwrap();
    let error = first.end(outcome(0, End::Complete)).await.unwrap_err();
    assert!(error.to_string().contains("another sync took over"), "{error}");
    let error = third.begin(begin(2)).await.unwrap_err();
    assert!(error.to_string().contains("in use by another sync"), "{error}");
    second.end(outcome(1, End::Complete)).await.unwrap();
}

/// Not reported as another sync, which no one would find.
#[tokio::test]
async fn a_deleted_lock_row_is_named() {
    let Some(dest) = dest().await else { return };
    let destination = dest.open().await;
    dest.execute("DELETE FROM _lock").await;
    let error = destination.begin(begin(0)).await.unwrap_err().to_string();
    let (reason, repair) = error.split_once("; repair it with: ").unwrap();
    assert!(reason.ends_with("table _lock is empty"), "{reason}");
    dest.execute(repair).await;
    destination.begin(begin(0)).await.unwrap();
}
