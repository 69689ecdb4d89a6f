//! Files that are locked, damaged, full, newer, or changed by hand: a clear error, and nothing half done.

use super::*;
use ColumnType::{Bigint, Text};

/// Where the writer without room writes.
const FOLDER: &str = "SQLITE_FULL_FOLDER";

fn thing() -> Arc<TableShape> {
    shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert)
}

/// And left as it is.
#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dest = TestDestination::new();
    std::fs::write(dest.path(), "this is a letter, not a database, and long enough to be read as one")
        .unwrap();
    let error = sqlite::open(&dest.path(), "acme").unwrap_err();
    assert!(error.to_string().contains("is corrupt or not a database"), "{error}");
    assert!(std::fs::read(dest.path()).unwrap().starts_with(b"this is a letter"));
    let error = sqlite::open(&dest.folder().join("absent").join("x.db"), "acme").unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
}

/// Not a test of its own: the writer that [`a_full_disk_keeps_only_what_was_committed`] runs where no file may grow large.
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

/// The run fails and says so; later rows are gone as a whole, and the next run resumes there.
#[tokio::test]
async fn a_full_disk_keeps_only_what_was_committed() {
    let dest = TestDestination::new();
    let said = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 81920; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["syncing::sqlite::failures::writer_without_room", "--exact", "--nocapture"])
        .env(FOLDER, dest.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("refused: no space left") || said.contains("refused: storing rows in"), "{said}");
    let stored = dest.rows("SELECT count(*), max(id) + 1, (SELECT cursor FROM _state) FROM thing").await;
    let parts: Vec<_> = stored[0].split('|').collect();
    assert!(parts[0] != "0" && parts[0] == parts[1] && parts[1] == parts[2], "{stored:?}");
    assert_eq!(dest.rows("PRAGMA integrity_check").await, ["ok"]);
    assert_eq!(
        dest.run(1, send(&thing(), vec![vec![Cell::Int(-1), text("")]])).await.unwrap().end,
        End::Complete
    );
    assert_eq!(
        dest.rows("SELECT outcome FROM _runs WHERE table_name = '' ORDER BY run").await,
        ["failed", "complete"]
    );
}

#[tokio::test]
async fn a_locked_file_is_named_after_a_wait() {
    let dest = TestDestination::new();
    dest.run(0, send(&thing(), vec![vec![Cell::Int(1), text("a")]])).await.unwrap();
    let other = rusqlite::Connection::open(dest.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(dest.open().await.runs(1).await.unwrap().len(), 1);
    let error = dest.run(1, send(&thing(), vec![vec![Cell::Int(2), text("b")]])).await.unwrap_err();
    assert!(error.to_string().contains("is locked by another program"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(
        dest.run(1, send(&thing(), vec![vec![Cell::Int(2), text("b")]])).await.unwrap().end,
        End::Complete
    );
}

/// Nothing changes before it is gone.
#[tokio::test]
async fn a_view_that_prevents_a_wider_column_is_named() {
    let dest = TestDestination::new();
    dest.run(0, send(&thing(), vec![vec![Cell::Int(1), text("a")]])).await.unwrap();
    // A computed column is not copied into the rebuilt table.
    dest.execute(
        "ALTER TABLE thing ADD COLUMN twice BIGINT GENERATED ALWAYS AS (id * 2) VIRTUAL;
         CREATE VIEW doubled AS SELECT twice FROM thing;",
    )
    .await;
    let wider = shape(&[("id", ColumnType::Text), ("v", ColumnType::Text)], &["id"], Write::Upsert);
    let ops = || send(&wider, vec![vec![text("x"), text("b")]]);
    let error = dest.run(1, ops()).await.unwrap_err().to_string();
    assert!(error.contains("view doubled") && error.contains("drop the view"), "{error}");
    assert_eq!(dest.rows("SELECT * FROM doubled").await, ["2"]);
    dest.execute("DROP VIEW doubled").await;
    dest.run(2, ops()).await.unwrap();
    assert_eq!(dest.rows("SELECT id || v FROM thing ORDER BY 1").await, ["1a", "xb"]);
}

/// With what to do.
#[tokio::test]
async fn a_damaged_file_is_named_and_not_overwritten() {
    let dest = TestDestination::new();
    let rows = |from: i64| (from..from + 5_000).map(|id| vec![Cell::Int(id), text("some words")]).collect();
    dest.run(0, send(&thing(), rows(0))).await.unwrap();
    let mut bytes = std::fs::read(dest.path()).unwrap();
    let (page, length) = (4_096, bytes.len());
    // Every page but those of the schema and of our own small tables.
    bytes[8 * page..length].fill(0xa5);
    std::fs::write(dest.path(), &bytes).unwrap();
    let error = dest.run(1, send(&thing(), rows(2_500))).await.unwrap_err();
    assert!(error.to_string().contains("move it aside"), "{error}");
    assert_eq!(std::fs::read(dest.path()).unwrap()[8 * page..length], bytes[8 * page..length]);
}
