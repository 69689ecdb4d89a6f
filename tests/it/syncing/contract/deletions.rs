//! Rows that the source itself calls deleted are soft-deleted.

use super::*;
use ColumnType::{Bigint, Boolean, Text, Unknown};

against_each!(
    a_row_called_deleted_is_soft_deleted_and_restored,
    the_last_row_of_a_key_decides,
    a_full_pass_ignores_rows_already_soft_deleted,
    soft_deletions_survive_a_wider_column,
    a_new_deletion_column_applies_to_stored_rows,
    more_rows_than_one_statement_holds_are_soft_deleted,
);

/// A table whose column `gone` says so.
fn with_deletion_column(gone: ColumnType) -> Arc<TableShape> {
    let thing = shape(&[("id", Bigint), ("v", Text), ("gone", gone)], &["id"], Write::Upsert);
    Arc::new(TableShape { deleted_if: Some("gone".into()), ..(*thing).clone() })
}

fn row(id: i64, v: &str, gone: Option<bool>) -> Vec<Cell> {
    vec![Cell::Int(id), text(v), gone.map_or(Cell::Null, Cell::Bool)]
}

const MARKS: &str = "SELECT id, v, _synced_at, _deleted_at FROM thing ORDER BY id";

/// `_deleted_at` is the start of the run; the row counts like any other; the same again changes nothing; other values
/// may change without a new time. False or null restores it.
async fn a_row_called_deleted_is_soft_deleted_and_restored(kind: Kind) {
    let dest = kind.dest().await;
    let run = async |minute, rows| {
        let report = dest.run(minute, send(&with_deletion_column(Boolean), rows)).await.unwrap();
        (counts(&report), dest.rows(MARKS).await)
    };
    let first = || vec![row(1, "a", Some(false)), row(2, "b", Some(true)), row(3, "c", None)];
    let (told, stored) = run(0, first()).await;
    assert_eq!(told, [3, 3, 0, 0, 0, 0, 0]);
    let want = [
        "1|a|2026-05-02 09:15:00|NULL",
        "2|b|2026-05-02 09:15:00|2026-05-02 09:15:00",
        "3|c|2026-05-02 09:15:00|NULL",
    ];
    assert_eq!(stored, want);
    let destination = dest.open().await;
    let facts = destination.tables().await.unwrap();
    assert_eq!((facts[0].rows, facts[0].deleted), (2, 1));
    drop(destination);
    assert_eq!(run(1, first()).await, ([3, 0, 0, 3, 0, 0, 0], want.map(str::to_owned).to_vec()));
    let (told, stored) =
        run(2, vec![row(1, "a", Some(true)), row(2, "b", Some(false)), row(3, "c", None)]).await;
    assert_eq!(told, [3, 0, 2, 1, 0, 0, 0]);
    assert_eq!(
        stored,
        [
            "1|a|2026-05-02 09:17:00|2026-05-02 09:17:00",
            "2|b|2026-05-02 09:17:00|NULL",
            "3|c|2026-05-02 09:15:00|NULL"
        ]
    );
    let (told, stored) = run(3, vec![row(1, "A", Some(true)), row(4, "d", Some(true))]).await;
    assert_eq!(
        (told, stored[0].as_str()),
        ([2, 1, 1, 0, 0, 0, 0], "1|A|2026-05-02 09:18:00|2026-05-02 09:17:00")
    );
    let (told, stored) = run(4, vec![row(1, "A", None), row(4, "d", Some(false))]).await;
    assert_eq!(told, [2, 0, 2, 0, 0, 0, 0]);
    assert!(stored.iter().all(|row| row.ends_with("NULL")), "{stored:?}");
}

/// Within a batch, over batches, and over commits.
async fn the_last_row_of_a_key_decides(kind: Kind) {
    let dest = kind.dest().await;
    let thing = with_deletion_column(Boolean);
    let (live, gone) = (Some(false), Some(true));
    let mut ops =
        send(&thing, vec![row(1, "a", live), row(1, "b", gone), row(2, "a", gone), row(2, "b", live)]);
    ops.extend(send(&thing, vec![row(3, "a", live), row(4, "a", gone)]));
    ops.extend(send(&thing, vec![row(3, "b", gone), row(4, "b", live)]));
    ops.push(finish(None));
    ops.extend(send(
        &thing,
        vec![row(3, "c", live), row(4, "c", gone), row(5, "a", gone), row(5, "b", gone)],
    ));
    ops.push(finish(None));
    ops.extend(send(&thing, vec![row(5, "c", None)]));
    let [seen, inserted, updated, unchanged, duplicate, ..] = counts(&dest.run(0, ops).await.unwrap());
    assert_eq!((seen, inserted, updated + duplicate, unchanged), (13, 5, 8, 0));
    let marks = dest.rows("SELECT id, v, _deleted_at IS NULL FROM thing ORDER BY id").await;
    assert_eq!(marks, ["1|b|0", "2|b|1", "3|c|1", "4|c|0", "5|c|1"]);
}

/// Rows that the source called deleted are neither deleted nor counted, whether they still come or not; a row that a
/// full pass deleted keeps its time when the source calls it deleted.
async fn a_full_pass_ignores_rows_already_soft_deleted(kind: Kind) {
    let dest = kind.dest().await;
    let run = async |minute, live: std::ops::Range<i64>, gone: std::ops::Range<i64>| {
        let live = live.map(|id| row(id, "v", Some(false)));
        let mut ops = send(
            &with_deletion_column(Boolean),
            live.chain(gone.map(|id| row(id, "v", Some(true)))).collect(),
        );
        ops.push(finish(Some(0.2)));
        let report = dest.run(minute, ops).await.unwrap();
        assert_eq!(report.end, End::Complete, "{report:?}");
        (
            counts(&report),
            dest.rows("SELECT id, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL ORDER BY id").await,
        )
    };
    run(0, 0..10, 0..0).await;
    let (told, marked) = run(1, 0..7, 7..10).await;
    assert_eq!(told, [10, 0, 3, 7, 0, 0, 0]);
    let three = ["7|2026-05-02 09:16:00", "8|2026-05-02 09:16:00", "9|2026-05-02 09:16:00"];
    assert_eq!(marked, three);
    // One of seven live rows is missing; three of ten would be more than allowed.
    let (told, marked) = run(2, 0..6, 0..0).await;
    assert_eq!(told, [6, 0, 0, 6, 0, 0, 1]);
    assert_eq!((marked[0].as_str(), &marked[1..]), ("6|2026-05-02 09:17:00", &three.map(str::to_owned)[..]));
    let (told, marked) = run(3, 0..6, 6..8).await;
    assert_eq!(told, [8, 0, 1, 7, 0, 0, 0]);
    assert_eq!((marked.len(), marked[0].as_str()), (4, "6|2026-05-02 09:17:00"));
    let (told, marked) = run(4, 0..7, 0..0).await;
    assert_eq!((told, marked.len()), ([7, 0, 1, 6, 0, 0, 0], 3));
}

/// A deletion column that held only nulls, or that becomes a number or text, still decides; the same rows again
/// change nothing.
async fn soft_deletions_survive_a_wider_column(kind: Kind) {
    for (wider, odd) in [(Bigint, Cell::Int(2)), (Text, text("perhaps"))] {
        let dest = kind.dest().await;
        let run = async |minute, shape, rows| counts(&dest.run(minute, send(&shape, rows)).await.unwrap());
        run(0, with_deletion_column(Unknown), vec![row(1, "a", None), row(2, "b", None)]).await;
        let known = || vec![row(1, "a", Some(true)), row(2, "b", Some(false))];
        assert_eq!(run(1, with_deletion_column(Boolean), known()).await, [2, 0, 2, 0, 0, 0, 0]);
        let mut more = known();
        more.extend([vec![Cell::Int(3), text("c"), odd.clone()], row(4, "d", Some(true))]);
        assert_eq!(
            run(2, with_deletion_column(wider), more.clone()).await,
            [4, 2, 0, 2, 0, 0, 0],
            "{wider:?}"
        );
        assert_eq!(run(3, with_deletion_column(wider), more).await, [4, 0, 0, 4, 0, 0, 0], "{wider:?}");
        let marks =
            dest.rows("SELECT id, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL ORDER BY id").await;
        assert_eq!(marks, ["1|2026-05-02 09:16:00", "4|2026-05-02 09:17:00"], "{wider:?}");
    }
}

/// Rows that had said so are soft-deleted with the next rows of the table or once; they may never come again. Without
/// the column, rows that come are live.
async fn a_new_deletion_column_applies_to_stored_rows(kind: Kind) {
    let dest = kind.dest().await;
    let silent = shape(&[("id", Bigint), ("v", Text), ("gone", Boolean)], &["id"], Write::Upsert);
    let before =
        vec![row(1, "a", Some(true)), row(2, "b", Some(false)), row(3, "c", None), row(4, "d", Some(true))];
    dest.run(0, send(&silent, before)).await.unwrap();
    let report = dest
        .run(1, send(&with_deletion_column(Boolean), vec![row(4, "d", Some(true)), row(5, "e", Some(true))]))
        .await
        .unwrap();
    assert_eq!(counts(&report), [2, 1, 0, 1, 0, 0, 2]);
    assert_eq!(
        report.notes,
        ["table thing: 2 rows stored as live although gone is true, now marked deleted"]
    );
    let marks = "SELECT id, _synced_at, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL ORDER BY id";
    let want = [1, 4, 5].map(|id| format!("{id}|2026-05-02 09:16:00|2026-05-02 09:16:00"));
    assert_eq!(dest.rows(marks).await, want);
    let destination = dest.open().await;
    assert_eq!(destination.shapes().await.unwrap()["thing"], *with_deletion_column(Boolean));
    drop(destination);
    let report =
        dest.run(2, send(&with_deletion_column(Boolean), vec![row(2, "b", Some(false))])).await.unwrap();
    assert_eq!((counts(&report), report.notes), ([1, 0, 0, 1, 0, 0, 0], Vec::new()));
    let report = dest.run(3, send(&silent, vec![row(1, "a", Some(true))])).await.unwrap();
    assert_eq!((counts(&report), dest.rows(marks).await.len()), ([1, 0, 1, 0, 0, 0, 0], 2));
}

async fn more_rows_than_one_statement_holds_are_soft_deleted(kind: Kind) {
    let dest = kind.dest().await;
    let run = async |minute, of: i64| {
        let rows =
            |page: i64| (page * 500..(page + 1) * 500).map(|id| row(id, "v", Some(id % of == 0))).collect();
        let ops = (0..12).flat_map(|page| send(&with_deletion_column(Boolean), rows(page))).collect();
        counts(&dest.run(minute, ops).await.unwrap())
    };
    let marked = "SELECT count(*), count(_deleted_at), max(_deleted_at) FROM thing";
    assert_eq!(run(0, 2).await, [6000, 6000, 0, 0, 0, 0, 0]);
    assert_eq!(dest.rows(marked).await, ["6000|3000|2026-05-02 09:15:00"]);
    // Multiples of six stay as they are, those of only two or three change.
    assert_eq!(run(1, 3).await, [6000, 0, 3000, 3000, 0, 0, 0]);
    assert_eq!(dest.rows(marked).await, ["6000|2000|2026-05-02 09:16:00"]);
    assert_eq!(run(2, 3).await, [6000, 0, 0, 6000, 0, 0, 0]);
}
