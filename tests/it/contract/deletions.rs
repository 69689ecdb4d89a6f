//! Rows that the source itself calls deleted: marked, and not taken for live ones.

use super::*;
use ColumnType::{Bigint, Boolean, Text, Unknown};

against_each!(
    called_deleted_is_marked_and_revived,
    the_last_of_a_key_decides,
    a_sweep_leaves_the_marked,
    marks_outlive_wider_columns,
    what_was_stored_as_live_is_marked,
    many_rows_are_marked,
);

/// A table whose column `gone` says so.
fn telling(gone: ColumnType) -> Arc<TableShape> {
    let thing = shape(&[("id", Bigint), ("v", Text), ("gone", gone)], &["id"], Write::Upsert);
    Arc::new(TableShape { deleted_if: Some("gone".into()), ..(*thing).clone() })
}

fn row(id: i64, v: &str, gone: Option<bool>) -> Vec<Cell> {
    vec![Cell::Int(id), text(v), gone.map_or(Cell::Null, Cell::Bool)]
}

const MARKS: &str = "SELECT id, v, _synced_at, _deleted_at FROM thing ORDER BY id";

/// A row called deleted is stored with the start of the run as its mark, counted like any other; the same again changes
/// nothing; a live one is marked when it is called so, keeps that mark while its other values change, and is live again
/// when the source says false, or nothing.
async fn called_deleted_is_marked_and_revived(kind: Kind) {
    let desk = kind.desk().await;
    let run = async |minute, rows| {
        let report = desk.run(minute, send(&telling(Boolean), rows)).await.unwrap();
        (counts(&report), desk.rows(MARKS).await)
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
    let destination = desk.open().await;
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

/// Of several rows of one key the last decides, in one batch, over several, and over commits.
async fn the_last_of_a_key_decides(kind: Kind) {
    let desk = kind.desk().await;
    let thing = telling(Boolean);
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
    let [seen, inserted, updated, unchanged, duplicate, ..] = counts(&desk.run(0, ops).await.unwrap());
    assert_eq!((seen, inserted, updated + duplicate, unchanged), (13, 5, 8, 0));
    let marks = desk.rows("SELECT id, v, _deleted_at IS NULL FROM thing ORDER BY id").await;
    assert_eq!(marks, ["1|b|0", "2|b|1", "3|c|1", "4|c|0", "5|c|1"]);
}

/// A sweep neither marks nor counts rows that the source called deleted, whether they still come or not; and a row that
/// a sweep has marked keeps that mark when the source calls it deleted.
async fn a_sweep_leaves_the_marked(kind: Kind) {
    let desk = kind.desk().await;
    let run = async |minute, live: std::ops::Range<i64>, gone: std::ops::Range<i64>| {
        let live = live.map(|id| row(id, "v", Some(false)));
        let mut ops = send(&telling(Boolean), live.chain(gone.map(|id| row(id, "v", Some(true)))).collect());
        ops.push(finish(Some(0.2)));
        let report = desk.run(minute, ops).await.unwrap();
        assert_eq!(report.end, End::Complete, "{report:?}");
        (
            counts(&report),
            desk.rows("SELECT id, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL ORDER BY id").await,
        )
    };
    run(0, 0..10, 0..0).await;
    let (told, marked) = run(1, 0..7, 7..10).await;
    assert_eq!(told, [10, 0, 3, 7, 0, 0, 0]);
    let three = ["7|2026-05-02 09:16:00", "8|2026-05-02 09:16:00", "9|2026-05-02 09:16:00"];
    assert_eq!(marked, three);
    // One of seven live rows is missing; three of ten would be more than may be.
    let (told, marked) = run(2, 0..6, 0..0).await;
    assert_eq!(told, [6, 0, 0, 6, 0, 0, 1]);
    assert_eq!((marked[0].as_str(), &marked[1..]), ("6|2026-05-02 09:17:00", &three.map(str::to_owned)[..]));
    let (told, marked) = run(3, 0..6, 6..8).await;
    assert_eq!(told, [8, 0, 1, 7, 0, 0, 0]);
    assert_eq!((marked.len(), marked[0].as_str()), (4, "6|2026-05-02 09:17:00"));
    let (told, marked) = run(4, 0..7, 0..0).await;
    assert_eq!((told, marked.len()), ([7, 0, 1, 6, 0, 0, 0], 3));
}

/// A column that held only nulls, or that becomes a number or text because a value does not fit, tells on; what was marked
/// stays so, and the same rows again change nothing.
async fn marks_outlive_wider_columns(kind: Kind) {
    for (wider, odd) in [(Bigint, Cell::Int(2)), (Text, text("perhaps"))] {
        let desk = kind.desk().await;
        let run = async |minute, shape, rows| counts(&desk.run(minute, send(&shape, rows)).await.unwrap());
        run(0, telling(Unknown), vec![row(1, "a", None), row(2, "b", None)]).await;
        let known = || vec![row(1, "a", Some(true)), row(2, "b", Some(false))];
        assert_eq!(run(1, telling(Boolean), known()).await, [2, 0, 2, 0, 0, 0, 0]);
        let mut more = known();
        more.extend([vec![Cell::Int(3), text("c"), odd.clone()], row(4, "d", Some(true))]);
        assert_eq!(run(2, telling(wider), more.clone()).await, [4, 2, 0, 2, 0, 0, 0], "{wider:?}");
        assert_eq!(run(3, telling(wider), more).await, [4, 0, 0, 4, 0, 0, 0], "{wider:?}");
        let marks =
            desk.rows("SELECT id, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL ORDER BY id").await;
        assert_eq!(marks, ["1|2026-05-02 09:16:00", "4|2026-05-02 09:17:00"], "{wider:?}");
    }
}

/// Where a definition comes to name the column, rows that had said so and were stored as live are marked with the next
/// rows of the table, once; they may never come again. Where it names none any more, what comes is live.
async fn what_was_stored_as_live_is_marked(kind: Kind) {
    let desk = kind.desk().await;
    let silent = shape(&[("id", Bigint), ("v", Text), ("gone", Boolean)], &["id"], Write::Upsert);
    let before =
        vec![row(1, "a", Some(true)), row(2, "b", Some(false)), row(3, "c", None), row(4, "d", Some(true))];
    desk.run(0, send(&silent, before)).await.unwrap();
    let report = desk
        .run(1, send(&telling(Boolean), vec![row(4, "d", Some(true)), row(5, "e", Some(true))]))
        .await
        .unwrap();
    assert_eq!(counts(&report), [2, 1, 0, 1, 0, 0, 2]);
    assert_eq!(
        report.notes,
        ["2 rows of table thing were stored as live although gone is true: they are now marked deleted"]
    );
    let marks = "SELECT id, _synced_at, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL ORDER BY id";
    let want = [1, 4, 5].map(|id| format!("{id}|2026-05-02 09:16:00|2026-05-02 09:16:00"));
    assert_eq!(desk.rows(marks).await, want);
    let destination = desk.open().await;
    assert_eq!(destination.shapes().await.unwrap()["thing"], *telling(Boolean));
    drop(destination);
    let report = desk.run(2, send(&telling(Boolean), vec![row(2, "b", Some(false))])).await.unwrap();
    assert_eq!((counts(&report), report.notes), ([1, 0, 0, 1, 0, 0, 0], Vec::new()));
    let report = desk.run(3, send(&silent, vec![row(1, "a", Some(true))])).await.unwrap();
    assert_eq!((counts(&report), desk.rows(marks).await.len()), ([1, 0, 1, 0, 0, 0, 0], 2));
}

/// The same for more rows than go within a statement.
async fn many_rows_are_marked(kind: Kind) {
    let desk = kind.desk().await;
    let run = async |minute, of: i64| {
        let rows =
            |page: i64| (page * 500..(page + 1) * 500).map(|id| row(id, "v", Some(id % of == 0))).collect();
        let ops = (0..12).flat_map(|page| send(&telling(Boolean), rows(page))).collect();
        counts(&desk.run(minute, ops).await.unwrap())
    };
    let marked = "SELECT count(*), count(_deleted_at), max(_deleted_at) FROM thing";
    assert_eq!(run(0, 2).await, [6000, 6000, 0, 0, 0, 0, 0]);
    assert_eq!(desk.rows(marked).await, ["6000|3000|2026-05-02 09:15:00"]);
    // Multiples of six stay as they are, those of only two or three change.
    assert_eq!(run(1, 3).await, [6000, 0, 3000, 3000, 0, 0, 0]);
    assert_eq!(desk.rows(marked).await, ["6000|2000|2026-05-02 09:16:00"]);
    assert_eq!(run(2, 3).await, [6000, 0, 0, 6000, 0, 0, 0]);
}
