//! A writing process is killed at any moment: rows and checkpoints stay consistent, nothing is lost or duplicated.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use ColumnType::{Bigint, Text};

/// How often the writer is killed.
const KILLS: usize = 60;

/// Batches that the writer sends in total; small, so that kills hit commits and checkpoints.
const BATCHES: i64 = 400;

const ROWS: i64 = 137;

/// Where the writer writes: a folder, or a database's address.
const DESTINATION_VARIABLE: &str = "CRASH_DESK";

against_each!(a_kill_leaves_rows_and_their_checkpoint_or_neither);

/// Not a test of its own: the writer that [`a_kill_leaves_rows_and_their_checkpoint_or_neither`] starts and kills.
#[tokio::test]
async fn writer_to_be_killed() {
    let Ok(dest) = std::env::var(DESTINATION_VARIABLE) else { return };
    let destination = opened(&dest).await;
    destination.begin(begin(0)).await.unwrap();
    let state = destination.state().await.unwrap();
    let cursor = |table: &str| state.tables.get(table).and_then(|t| t[""].as_i64()).unwrap_or(0);
    let keyed = shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert);
    let mut log = (*shape(&[("line", Bigint)], &[], Write::Append)).clone();
    log.table = "log".into();
    let log = Arc::new(log);
    for batch in cursor("thing")..BATCHES {
        let ids = batch * ROWS..(batch + 1) * ROWS;
        let mut ops =
            send(&keyed, ids.clone().map(|id| vec![Cell::Int(id), text(&format!("v{id}"))]).collect());
        if batch % 7 == 0 {
            ops.extend(send(&log, ids.map(|id| vec![Cell::Int(id)]).collect()));
        }
        let entry = ("thing".to_owned(), String::new(), Some((batch + 1).into()));
        ops.push(Op::Checkpoint(Checkpoint { entries: vec![entry] }));
        for op in ops {
            destination.write(op).await.unwrap();
        }
        println!("batch {batch}");
    }
    destination.end(outcome(0, End::Complete)).await.unwrap();
    println!("done");
}

/// After a random number of batches; the next writer continues until every row is there once.
async fn a_kill_leaves_rows_and_their_checkpoint_or_neither(kind: Kind) {
    let mut random = seed();
    let (mut dest, mut finished) = (kind.dest().await, 0);
    // Each writer of a server has to connect first.
    let kills = if kind == Kind::Sqlite { KILLS } else { KILLS / 3 };
    for _ in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lines = (random >> 33) % 90;
        free(&dest, kind).await;
        if !write_and_kill(&dest, Some(lines)) {
            check(&dest, false).await;
            continue;
        }
        check(&dest, true).await;
        finished += 1;
        dest = kind.dest().await;
    }
    free(&dest, kind).await;
    write_and_kill(&dest, None);
    check(&dest, true).await;
    println!("{finished} of {kills} writers came to their end between kills");
}

/// Through a pooler only the lease shows that a run is gone; this test does not wait for its expiry.
async fn free(dest: &TestDestination, kind: Kind) {
    if kind == Kind::Pooled {
        drop(dest.open().await);
        dest.execute("UPDATE _lock SET expires_at = '-infinity'").await;
    }
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = u64::from(now.subsec_nanos()) | 1;
    println!("seed {seed}");
    seed
}

/// Runs the writer and kills it after so many lines; `true` if it came to its end.
fn write_and_kill(dest: &TestDestination, lines: Option<u64>) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["syncing::contract::crash::writer_to_be_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(DESTINATION_VARIABLE, dest.address())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (mut batches, mut done) = (0, false);
    for line in said {
        done = line.contains("done");
        batches += u64::from(line.contains("batch"));
        if done || lines.is_some_and(|lines| batches > lines) {
            break;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    done
}

async fn check(dest: &TestDestination, complete: bool) {
    if matches!(dest, TestDestination::Sqlite(_)) {
        assert_eq!(dest.rows("PRAGMA integrity_check").await, ["ok"]);
    }
    let shapes = dest.open().await.shapes().await.unwrap();
    if shapes.len() < 2 {
        assert!(!complete);
        assert_eq!(dest.rows("SELECT count(*) FROM _state").await, ["0"]);
        return;
    }
    let number = async |sql: &str| dest.rows(sql).await[0].parse::<i64>().unwrap();
    let promised = number("SELECT coalesce(max(CAST(cursor AS INTEGER)), 0) FROM _state").await * ROWS;
    let stored = number("SELECT count(*) FROM thing").await;
    assert!(stored >= promised, "the checkpoint promises {promised} rows, {stored} are there");
    assert_eq!(number("SELECT coalesce(max(id) + 1, 0) FROM thing").await, stored, "a hole");
    assert_eq!(number("SELECT count(*) FROM thing WHERE v <> 'v' || id").await, 0);
    let lines = |below: i64| (0..below).filter(|id| (id / ROWS) % 7 == 0).count() as i64;
    let logged = number("SELECT count(*) FROM log").await;
    assert_eq!(logged, lines(promised), "appended rows without their checkpoint");
    assert_eq!(number("SELECT count(DISTINCT line) FROM log").await, lines(promised));
    if complete {
        assert_eq!(promised, BATCHES * ROWS);
    }
}
