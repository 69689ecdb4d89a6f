//! Places that are newer or changed by hand, and failures in mid-run: a clear error, and nothing half.

use super::*;
use ColumnType::{Bigint, Text};

against_each!(newer_formats_are_refused, tables_changed_by_hand, a_failure_ends_the_run);

fn thing() -> Arc<TableShape> {
    shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert)
}

/// A file, or a state, that a newer version wrote isn't touched.
async fn newer_formats_are_refused(kind: Kind) {
    let desk = kind.desk().await;
    desk.run(0, vec![checkpoint("", 1)]).await.unwrap();
    desk.execute("UPDATE _state SET format = 9").await;
    let error = desk.open().await.state().await.unwrap_err();
    assert!(error.to_string().contains("newer version of this program (format 9,"), "{error}");
    desk.execute(match kind {
        Kind::Sqlite => "PRAGMA user_version = 9",
        Kind::Postgres | Kind::Pooled => "UPDATE _format SET version = 9",
    })
    .await;
    let error = desk.try_open().await.unwrap_err();
    assert!(error.to_string().contains("(format 9, this version knows 1)"), "{error}");
}

/// A table that was changed by hand is mended where nothing is lost by it, and refused with a name where something would be.
async fn tables_changed_by_hand(kind: Kind) {
    let desk = kind.desk().await;
    let row = || vec![vec![Cell::Int(1), text("a")]];
    desk.run(0, send(&thing(), row())).await.unwrap();
    desk.execute("ALTER TABLE thing DROP COLUMN v").await;
    assert_eq!(counts(&desk.run(1, send(&thing(), row())).await.unwrap())[2], 1);
    assert_eq!(desk.rows("SELECT v FROM thing").await, ["a"]);

    let error = desk.run(2, send(&shape(&[("id", Bigint), ("v", Text)], &["v"], Write::Upsert), row())).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("key (id)") && error.contains("(v)"), "{error}");

    desk.execute("CREATE VIEW odd AS SELECT id FROM thing; CREATE TABLE other (x INTEGER)").await;
    let mut taken = (*thing()).clone();
    taken.table = "other".into();
    let error = desk.run(3, send(&Arc::new(taken), row())).await.unwrap_err().to_string();
    assert!(error.contains("table other: a table of this name that is not ours"), "{error}");
    assert_eq!(desk.rows("SELECT id, v FROM thing").await, ["1|a"]);
}

/// A failure in mid-run loses nothing that was committed, stores nothing after it, and is the run's reason.
async fn a_failure_ends_the_run(kind: Kind) {
    let desk = kind.desk().await;
    let destination = desk.open().await;
    destination.begin(begin(0)).await.unwrap();
    for id in 0..51 {
        let rows = (id * 1_000..(id + 1) * 1_000).map(|id| vec![Cell::Int(id), text("a")]).collect();
        for op in send(&thing(), rows) {
            destination.write(op).await.unwrap();
        }
        destination.write(checkpoint("", id + 1)).await.unwrap();
    }
    let other_key = shape(&[("id", Bigint), ("v", Text)], &["v"], Write::Upsert);
    for op in send(&other_key, vec![vec![Cell::Int(1), text("a")]]) {
        let _ = destination.write(op).await;
    }
    let _ = destination.write(checkpoint("", 99)).await;
    let error = destination.end(outcome(0, End::Complete)).await.unwrap_err();
    assert!(error.to_string().starts_with("table thing: stored with key (id)"), "{error}");
    let stored =
        desk.rows("SELECT count(*), 1000 * (SELECT CAST(cursor AS INTEGER) FROM _state) FROM thing").await[0]
            .clone();
    let stored: Vec<u64> = stored.split('|').map(|count| count.parse().unwrap()).collect();
    assert_eq!((stored[0], stored[0] >= 1_000), (stored[1], true));
    let run = destination.runs(1).await.unwrap().remove(0);
    assert_eq!((run.entry.end, run.entry.tally.inserted), (Some(End::Failed), stored[0]));
    assert_eq!(run.entry.reason, Some(error.to_string()));
    assert_eq!(destination.begin(begin(1)).await.unwrap(), 2);
}
