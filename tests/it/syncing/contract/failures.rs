//! Destinations that are newer or changed by hand, and failures during a run: a clear error, and nothing half done.

use super::*;
use ColumnType::{Bigint, Text};

against_each!(
    newer_formats_are_refused_and_not_touched,
    tables_changed_by_hand_are_repaired_or_refused,
    a_failure_keeps_what_was_committed
);

fn thing() -> Arc<TableShape> {
    shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert)
}

/// A file, or a state, of a later version.
async fn newer_formats_are_refused_and_not_touched(kind: Kind) {
    let dest = kind.dest().await;
    dest.run(0, vec![checkpoint("", 1)]).await.unwrap();
    dest.execute("UPDATE _state SET format = 9").await;
    let error = dest.open().await.state().await.unwrap_err();
    assert!(error.to_string().contains("newer version of this program (format 9,"), "{error}");
    dest.execute(match kind {
        Kind::Sqlite => "PRAGMA user_version = 9",
        Kind::Postgres | Kind::Pooled => "UPDATE _format SET version = 9",
    })
    .await;
    let error = dest.try_open().await.unwrap_err();
    assert!(error.to_string().contains("(format 9, this version knows 1)"), "{error}");
}

/// Repaired where nothing is lost by it; otherwise refused by name.
async fn tables_changed_by_hand_are_repaired_or_refused(kind: Kind) {
    let dest = kind.dest().await;
    let row = || vec![vec![Cell::Int(1), text("a")]];
    dest.run(0, send(&thing(), row())).await.unwrap();
    dest.execute("ALTER TABLE thing DROP COLUMN v").await;
    assert_eq!(counts(&dest.run(1, send(&thing(), row())).await.unwrap())[2], 1);
    assert_eq!(dest.rows("SELECT v FROM thing").await, ["a"]);

    let error = dest.run(2, send(&shape(&[("id", Bigint), ("v", Text)], &["v"], Write::Upsert), row())).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("key (id)") && error.contains("(v)"), "{error}");

    dest.execute("CREATE VIEW odd AS SELECT id FROM thing; CREATE TABLE other (x INTEGER)").await;
    let mut taken = (*thing()).clone();
    taken.table = "other".into();
    let error = dest.run(3, send(&Arc::new(taken), row())).await.unwrap_err().to_string();
    assert!(error.contains("table other: a table of this name that is not ours"), "{error}");
    assert_eq!(dest.rows("SELECT id, v FROM thing").await, ["1|a"]);
}

/// Nothing is stored after it; it is the reason of the run.
async fn a_failure_keeps_what_was_committed(kind: Kind) {
    let dest = kind.dest().await;
    let destination = dest.open().await;
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
        dest.rows("SELECT count(*), 1000 * (SELECT CAST(cursor AS INTEGER) FROM _state) FROM thing").await[0]
            .clone();
    let stored: Vec<u64> = stored.split('|').map(|count| count.parse().unwrap()).collect();
    assert_eq!((stored[0], stored[0] >= 1_000), (stored[1], true));
    let run = destination.runs(1).await.unwrap().remove(0);
    assert_eq!((run.entry.end, run.entry.tally.inserted), (Some(End::Failed), stored[0]));
    assert_eq!(run.entry.reason, Some(error.to_string()));
    assert_eq!(destination.begin(begin(1)).await.unwrap(), 2);
}
