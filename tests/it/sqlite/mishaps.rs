//! Files that are locked, damaged, full, newer, or changed by hand: a clear error, and nothing half.

use super::*;
use ColumnType::{Bigint, Text};

/// Tells the writer without room where to write.
const FOLDER: &str = "SQLITE_FULL_FOLDER";

fn thing() -> Arc<TableShape> {
    shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert)
}

/// What is no database is refused and left as it is.
#[tokio::test]
async fn no_database_is_refused() {
    let desk = Desk::new();
    std::fs::write(desk.path(), "this is a letter, not a database, and long enough to be read as one")
        .unwrap();
    let error = sqlite::open(&desk.path(), "acme").unwrap_err();
    assert!(error.to_string().contains("is corrupt or not a database"), "{error}");
    assert!(std::fs::read(desk.path()).unwrap().starts_with(b"this is a letter"));
    let error = sqlite::open(&desk.folder().join("absent").join("x.db"), "acme").unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
}

/// Not a test of its own: the writer that [`a_full_disk_leaves_nothing_half`] runs where no file may grow large.
#[tokio::test]
async fn writer_without_room() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let sqlite = sqlite::open(&PathBuf::from(folder).join("acme.db"), "acme").unwrap();
    sqlite.begin(begin(0)).await.unwrap();
    let large = "x".repeat(200);
    for batch in 0..1_000 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        let mut ops = send(&thing(), ids.map(|id| vec![Cell::Int(id), text(&large)]).collect());
        ops.push(checkpoint("", (batch + 1) * 1_000));
        for op in ops {
            if let Err(error) = sqlite.write(op).await {
                assert_eq!(sqlite.end(outcome(0, End::Complete)).await.unwrap_err(), error);
                println!("refused: {error}");
                return;
            }
        }
    }
}

/// When there is no room left the run fails and says so, what was committed stays with its checkpoint, what came
/// later is gone as a whole, and the next run goes on from there.
#[tokio::test]
async fn a_full_disk_leaves_nothing_half() {
    let desk = Desk::new();
    let said = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 81920; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["sqlite::mishaps::writer_without_room", "--exact", "--nocapture"])
        .env(FOLDER, desk.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("refused: no space left") || said.contains("refused: storing rows in"), "{said}");
    let stored = desk.rows("SELECT count(*), max(id) + 1, (SELECT cursor FROM _state) FROM thing").await;
    let parts: Vec<_> = stored[0].split('|').collect();
    assert!(parts[0] != "0" && parts[0] == parts[1] && parts[1] == parts[2], "{stored:?}");
    assert_eq!(desk.rows("PRAGMA integrity_check").await, ["ok"]);
    assert_eq!(
        desk.run(1, send(&thing(), vec![vec![Cell::Int(-1), text("")]])).await.unwrap().end,
        End::Complete
    );
    assert_eq!(
        desk.rows("SELECT outcome FROM _runs WHERE table_name = '' ORDER BY run").await,
        ["failed", "complete"]
    );
}

/// A file that another program keeps locked is waited for, then named.
#[tokio::test]
async fn a_locked_file_is_named() {
    let desk = Desk::new();
    desk.run(0, send(&thing(), vec![vec![Cell::Int(1), text("a")]])).await.unwrap();
    let other = rusqlite::Connection::open(desk.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(desk.open().await.runs(1).await.unwrap().len(), 1);
    let error = desk.run(1, send(&thing(), vec![vec![Cell::Int(2), text("b")]])).await.unwrap_err();
    assert!(error.to_string().contains("is locked by another program"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(
        desk.run(1, send(&thing(), vec![vec![Cell::Int(2), text("b")]])).await.unwrap().end,
        End::Complete
    );
}

/// A view that would not survive the widening of a column stops it and is named; nothing is changed before it is gone.
#[tokio::test]
async fn a_view_in_the_way_is_named() {
    let desk = Desk::new();
    desk.run(0, send(&thing(), vec![vec![Cell::Int(1), text("a")]])).await.unwrap();
    // A column that is computed is not copied into the rebuilt table.
    desk.execute(
        "ALTER TABLE thing ADD COLUMN twice BIGINT GENERATED ALWAYS AS (id * 2) VIRTUAL;
         CREATE VIEW doubled AS SELECT twice FROM thing;",
    )
    .await;
    let wider = shape(&[("id", ColumnType::Text), ("v", ColumnType::Text)], &["id"], Write::Upsert);
    let ops = || send(&wider, vec![vec![text("x"), text("b")]]);
    let error = desk.run(1, ops()).await.unwrap_err().to_string();
    assert!(error.contains("view doubled") && error.contains("drop the view"), "{error}");
    assert_eq!(desk.rows("SELECT * FROM doubled").await, ["2"]);
    desk.execute("DROP VIEW doubled").await;
    desk.run(2, ops()).await.unwrap();
    assert_eq!(desk.rows("SELECT id || v FROM thing ORDER BY 1").await, ["1a", "xb"]);
}

/// A file that is damaged in its middle fails the run with what to do, and is not written over.
#[tokio::test]
async fn a_damaged_file_is_named() {
    let desk = Desk::new();
    let rows = |from: i64| (from..from + 5_000).map(|id| vec![Cell::Int(id), text("some words")]).collect();
    desk.run(0, send(&thing(), rows(0))).await.unwrap();
    let mut bytes = std::fs::read(desk.path()).unwrap();
    let (page, length) = (4_096, bytes.len());
    // Every page but those of the schema and of our own small tables.
    bytes[8 * page..length].fill(0xa5);
    std::fs::write(desk.path(), &bytes).unwrap();
    let error = desk.run(1, send(&thing(), rows(2_500))).await.unwrap_err();
    assert!(error.to_string().contains("move it aside"), "{error}");
    assert_eq!(std::fs::read(desk.path()).unwrap()[8 * page..length], bytes[8 * page..length]);
}
