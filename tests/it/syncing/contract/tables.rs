//! Rows, types, keys, and the three write modes.

use super::*;

use ColumnType::{Bigint, Boolean, Date, Decimal, Double, Json, Text, Timestamp as Instant};

against_each!(
    rows_are_counted_and_only_changes_written,
    a_missing_column_sets_null,
    columns_widen_in_place,
    integers_of_the_same_run_keep_their_digits,
    booleans_become_true_and_false_in_text,
    key_columns_widen,
    missing_rows_are_soft_deleted_and_restored,
    large_tables_take_linear_time,
    a_replaced_table_changes_as_a_whole_at_its_end,
    appended_rows_wait_for_their_checkpoint,
    names_that_contain_sql_are_only_names,
);

/// New, changed, unchanged and duplicate rows; an unchanged row is not touched.
async fn rows_are_counted_and_only_changes_written(kind: Kind) {
    let dest = kind.dest().await;
    let thing = shape(&[("id", Bigint), ("name", Text)], &["id"], Write::Upsert);
    let row = |id, name: &str| vec![Cell::Int(id), text(name)];
    let first = vec![row(2, "b"), row(1, "a"), row(2, "c"), row(2, "d")];
    assert_eq!(counts(&dest.run(0, send(&thing, first)).await.unwrap()), [4, 2, 0, 0, 2, 0, 0]);
    let second = vec![row(1, "a"), row(2, "e"), row(3, "f")];
    assert_eq!(counts(&dest.run(1, send(&thing, second)).await.unwrap()), [3, 1, 1, 1, 0, 0, 0]);
    assert_eq!(
        dest.rows("SELECT id, name, _synced_at FROM thing ORDER BY id").await,
        ["1|a|2026-05-02 09:15:00", "2|e|2026-05-02 09:16:00", "3|f|2026-05-02 09:16:00"]
    );
}

/// A row is always the whole row.
async fn a_missing_column_sets_null(kind: Kind) {
    let dest = kind.dest().await;
    let wide = shape(&[("id", Bigint), ("a", Text), ("b", Text)], &["id"], Write::Upsert);
    dest.run(0, send(&wide, vec![vec![Cell::Int(1), text("x"), text("y")]])).await.unwrap();
    let narrow = shape(&[("id", Bigint), ("b", Text)], &["id"], Write::Upsert);
    let report = dest.run(1, send(&narrow, vec![vec![Cell::Int(1), text("y")]])).await.unwrap();
    assert_eq!(counts(&report), [1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(dest.rows("SELECT id, a, b FROM thing").await, ["1|NULL|y"]);
}

/// Stored values become as if they had come for the wider column; indexes and columns added by hand stay.
async fn columns_widen_in_place(kind: Kind) {
    let index = match kind {
        Kind::Sqlite => "SELECT count(*) FROM sqlite_schema WHERE name = 'by_v'",
        Kind::Postgres | Kind::Pooled => "SELECT count(*) FROM pg_class WHERE relname = 'by_v'",
    };
    for (old, cell, new, sql) in [
        (Boolean, Cell::Bool(true), Bigint, "true"),
        (Boolean, Cell::Bool(true), Text, "true"),
        (Boolean, Cell::Bool(false), Decimal, "false"),
        (Bigint, Cell::Int(5), Double, "5.0"),
        (Bigint, Cell::Int(9_007_199_254_740_993), Double, "9007199254740993"),
        (Bigint, Cell::Int(i64::MIN), Text, "-9223372036854775808"),
        (Bigint, Cell::Int(i64::MAX), Decimal, "9223372036854775807"),
        (Double, Cell::Double(0.1 + 0.2), Text, "0.30000000000000004"),
        (Double, Cell::Double(1e21), Decimal, "1000000000000000000000"),
        (Decimal, Cell::Decimal("1.50".into()), Text, "1.50"),
        (Date, Cell::Date("2024-02-29".parse().unwrap()), Instant, "2024-02-29 00:00:00"),
        (Instant, Cell::Timestamp("2024-02-29T01:00:00Z".parse().unwrap()), Text, "2024-02-29 01:00:00"),
        (Json, Cell::Json("[1]".into()), Text, "[1]"),
    ] {
        let dest = kind.dest().await;
        let before = shape(&[("id", Text), ("v", old)], &["id"], Write::Upsert);
        dest.run(0, send(&before, vec![vec![text("a"), cell.clone()]])).await.unwrap();
        dest.execute("CREATE INDEX by_v ON thing (v); ALTER TABLE thing ADD COLUMN mine TEXT DEFAULT 'm'")
            .await;
        let after = shape(&[("id", Text), ("v", new), ("w", Bigint)], &["id"], Write::Upsert);
        let report =
            dest.run(1, send(&after, vec![vec![text("b"), Cell::Null, Cell::Int(1)]])).await.unwrap();
        assert_eq!(dest.rows("SELECT v FROM thing WHERE id = 'a'").await, [sql], "{old:?} {new:?}");
        assert_eq!(dest.rows("SELECT mine FROM thing WHERE id = 'a'").await, ["m"]);
        assert_eq!(dest.rows(index).await, ["1"]);
        assert_eq!(report.notes.len(), 1);
        // A converted value equals the same value stored now.
        let report = dest.run(2, send(&after, vec![vec![text("a"), cell, Cell::Null]])).await.unwrap();
        assert_eq!(counts(&report)[3], 1, "{old:?} {new:?}");
    }
}

/// Also where they are not in the table yet when its column would become a double.
async fn integers_of_the_same_run_keep_their_digits(kind: Kind) {
    let exact = "9007199254740993";
    for write in [Write::Upsert, Write::Replace] {
        let dest = kind.dest().await;
        // So that the table exists before.
        let of = |kind| shape(&[("id", Bigint), ("v", kind)], &["id"], write);
        let mut before = send(&of(Bigint), vec![vec![Cell::Int(1), Cell::Int(1)]]);
        before.push(finish(None));
        dest.run(0, before).await.unwrap();
        let mut ops = send(&of(Bigint), vec![vec![Cell::Int(2), Cell::Int(exact.parse().unwrap())]]);
        ops.extend(send(&of(Double), vec![vec![Cell::Int(3), Cell::Double(1.5)]]));
        ops.push(finish(None));
        dest.run(1, ops).await.unwrap();
        assert_eq!(
            dest.rows("SELECT v FROM thing WHERE id > 1 ORDER BY id").await,
            [exact, "1.5"],
            "{write:?}"
        );
    }
}

/// Independent of what came before the text, and of what was stored in between.
async fn booleans_become_true_and_false_in_text(kind: Kind) {
    let cells = [Cell::Bool(true), Cell::Bool(false), Cell::Int(5), Cell::Double(1.5), text("x")];
    let forth: Vec<(Cell, i64)> = cells.into_iter().zip(1..).collect();
    let (mut back, mut turned) = (forth.clone(), forth.clone());
    back.reverse();
    turned.rotate_left(2);
    for order in [forth, back, turned] {
        for size in [1, 2, 5] {
            let dest = kind.dest().await;
            let mut told = ColumnType::Unknown;
            for (run, batch) in (0..).zip(order.chunks(size)) {
                told = batch.iter().fold(told, |told, (cell, _)| told.join(cell.column_type()));
                let thing = shape(&[("id", Bigint), ("v", told)], &["id"], Write::Upsert);
                let rows = batch.iter().map(|(cell, id)| vec![Cell::Int(*id), cell.clone()]).collect();
                dest.run(run, send(&thing, rows)).await.unwrap();
            }
            let rows = dest.rows("SELECT id, v FROM thing ORDER BY id").await;
            assert_eq!(rows, ["1|true", "2|false", "3|5", "4|1.5", "5|x"], "{order:?} by {size}");
        }
    }
}

/// The key still works.
async fn key_columns_widen(kind: Kind) {
    let dest = kind.dest().await;
    let numbers = shape(&[("id", Bigint)], &["id"], Write::Upsert);
    dest.run(0, send(&numbers, vec![vec![Cell::Int(7)], vec![Cell::Int(8)]])).await.unwrap();
    let texts = shape(&[("id", Text)], &["id"], Write::Upsert);
    let mut ops = send(&numbers, vec![vec![Cell::Int(7)]]);
    ops.extend(send(&texts, vec![vec![text("8")], vec![Cell::Int(8)], vec![text("x")]]));
    ops.push(finish(Some(0.5)));
    let report = dest.run(1, ops).await.unwrap();
    assert_eq!(counts(&report), [4, 1, 0, 2, 1, 0, 0]);
    assert_eq!(dest.rows("SELECT id FROM thing ORDER BY id").await, ["7", "8", "x"]);
}

/// After a complete pass; not when too many are missing or a row was rejected. They are restored when they are sent
/// again.
async fn missing_rows_are_soft_deleted_and_restored(kind: Kind) {
    let dest = kind.dest().await;
    let thing = shape(&[("id", Bigint), ("v", Bigint)], &["id"], Write::Upsert);
    let send = |ids: std::ops::Range<i64>, share: Option<f64>| {
        let mut ops = send(&thing, ids.map(|id| vec![Cell::Int(id), Cell::Int(0)]).collect());
        ops.push(finish(share));
        ops
    };
    let live = "SELECT count(*) FROM thing WHERE _deleted_at IS NULL";
    dest.run(0, send(0..10, Some(0.25))).await.unwrap();
    let report = dest.run(1, send(0..5, Some(0.25))).await.unwrap();
    assert_eq!((report.end, counts(&report)[6]), (End::Partial, 0));
    let refused = "table thing: 5 of 10 rows are missing at the source, more than the 25 % that one run may mark \
                   deleted: none was; if they are really gone, a sync with --full-refresh marks them";
    assert_eq!(report.reason.unwrap(), refused);
    let mut ops = send(0..8, Some(0.25));
    ops.insert(0, rejected("{}"));
    assert_eq!(dest.run(2, ops).await.unwrap().end, End::Partial);
    assert_eq!(dest.rows(live).await, ["10"]);
    let report = dest.run(3, send(0..8, Some(0.25))).await.unwrap();
    assert_eq!((report.end, counts(&report)), (End::Complete, [8, 0, 0, 8, 0, 0, 2]));
    assert_eq!(
        dest.rows("SELECT id, _deleted_at FROM thing WHERE _deleted_at IS NOT NULL").await,
        ["8|2026-05-02 09:18:00", "9|2026-05-02 09:18:00"]
    );
    let report = dest.run(4, send(0..9, None)).await.unwrap();
    assert_eq!((counts(&report), dest.rows(live).await), ([9, 0, 1, 8, 0, 0, 0], vec!["9".to_owned()]));
    let report = dest.run(5, vec![finish(Some(0.25))]).await.unwrap();
    assert_eq!((report.end, dest.rows(live).await), (End::Partial, vec!["9".to_owned()]));
}

/// Deleting missing rows and replacing. The test fails only by its timeout.
async fn large_tables_take_linear_time(kind: Kind) {
    const ROWS: i64 = 100_000;
    let dest = kind.dest().await;
    let ends = async {
        for (write, share, gone) in [(Write::Upsert, Some(1.0), 2), (Write::Replace, None, 2)] {
            let thing = shape(&[("id", Bigint), ("v", Bigint)], &["id"], write);
            for (run, from) in [(0, 0), (1, gone)] {
                let pages = (from..ROWS).step_by(1_000).flat_map(|page| {
                    let ids = page..(page + 1_000).min(ROWS);
                    send(&thing, ids.map(|id| vec![Cell::Int(id), Cell::Int(0)]).collect())
                });
                let report = dest.run(run, pages.chain([finish(share)]).collect()).await.unwrap();
                assert_eq!((report.end, counts(&report)[6]), (End::Complete, u64::try_from(from).unwrap()));
            }
            dest.execute("DROP TABLE thing").await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ends).await.expect("an end");
}

/// Equal rows stay; nothing changes if the end never comes.
async fn a_replaced_table_changes_as_a_whole_at_its_end(kind: Kind) {
    let dest = kind.dest().await;
    let thing = shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Replace);
    let row = |id, v: &str| vec![Cell::Int(id), text(v)];
    let mut ops = send(&thing, vec![row(1, "a"), row(2, "b"), row(3, "c"), row(3, "d")]);
    ops.extend([checkpoint("", 1), finish(None)]);
    assert_eq!(counts(&dest.run(0, ops).await.unwrap()), [4, 3, 0, 0, 1, 0, 0]);

    let mut unfinished = send(&thing, vec![row(9, "z")]);
    unfinished.push(checkpoint("", 9));
    let report = dest.run(1, unfinished).await.unwrap();
    assert_eq!((counts(&report), report.notes.len()), ([0; 7], 1));
    assert_eq!(dest.rows("SELECT id || v FROM thing ORDER BY id").await, ["1a", "2b", "3d"]);
    assert_eq!(dest.rows("SELECT cursor FROM _state").await, ["1"]);

    let wider = shape(&[("id", Bigint), ("v", Text), ("w", Double)], &["id"], Write::Replace);
    let mut ops = send(&thing, vec![row(2, "b"), row(4, "e")]);
    ops.extend(send(&wider, vec![vec![Cell::Int(3), text("x"), Cell::Double(0.5)]]));
    ops.extend([checkpoint("", 2), finish(None)]);
    assert_eq!(counts(&dest.run(2, ops).await.unwrap()), [3, 1, 1, 1, 0, 0, 1]);
    assert_eq!(
        dest.rows("SELECT id, v, w, _synced_at FROM thing ORDER BY id").await,
        ["2|b|NULL|2026-05-02 09:15:00", "3|x|0.5|2026-05-02 09:17:00", "4|e|NULL|2026-05-02 09:17:00"]
    );
    assert_eq!(dest.rows("SELECT cursor FROM _state").await, ["2"]);
    dest.run(3, vec![finish(None)]).await.unwrap();
    assert_eq!(dest.rows("SELECT count(*) FROM thing").await, ["0"]);

    let dest = kind.dest().await;
    let keyless = shape(&[("v", Text)], &[], Write::Replace);
    for (minute, value) in [(0, "a"), (1, "b")] {
        let mut ops = send(&keyless, vec![vec![text(value)], vec![text(value)]]);
        ops.push(finish(None));
        assert_eq!(counts(&dest.run(minute, ops).await.unwrap())[..2], [2, 2]);
        assert_eq!(dest.rows("SELECT v FROM thing").await, [value, value]);
    }
}

/// A table without a key stores each row once: the next run reads again what no checkpoint covers, so those rows are
/// dropped if this run fails.
async fn appended_rows_wait_for_their_checkpoint(kind: Kind) {
    let dest = kind.dest().await;
    let log = shape(&[("line", Bigint)], &[], Write::Append);
    let lines = |lines: std::ops::Range<i64>| send(&log, lines.map(|i| vec![Cell::Int(i)]).collect());
    let destination = dest.open().await;
    destination.begin(begin(0)).await.unwrap();
    let mut ops = lines(0..10);
    ops.push(checkpoint("", 10));
    // More than one transaction's worth, and no checkpoint behind it.
    ops.extend((0..25).flat_map(|i| lines(10 + i * 1_000..1_010 + i * 1_000)));
    for op in ops {
        destination.write(op).await.unwrap();
    }
    let report = destination.end(outcome(0, End::Failed)).await.unwrap();
    assert_eq!(counts(&report)[..2], [10, 10]);
    assert_eq!(dest.rows("SELECT count(*), max(line) FROM thing").await, ["10|9"]);
    drop(destination);
    let report = dest.run(1, lines(10..30)).await.unwrap();
    assert_eq!(counts(&report)[..2], [20, 20]);
    assert_eq!(dest.rows("SELECT count(*), count(DISTINCT line) FROM thing").await, ["30|30"]);
}

async fn names_that_contain_sql_are_only_names(kind: Kind) {
    let dest = kind.dest().await;
    let evil = "x\"; DROP TABLE _state; --";
    let columns = [(evil, Bigint), ("select", Text), ("a'b", Text), ("rowid", Text)];
    let thing = shape(&columns, &[evil], Write::Upsert);
    let mut thing = (*thing).clone();
    thing.table = "group\" by".into();
    let thing = Arc::new(thing);
    let row = vec![Cell::Int(1), text("s"), text("q"), text("r")];
    let destination = dest.open().await;
    let sweeping = BTreeSet::from([thing.table.clone()]);
    destination.begin(RunStart { started: at(0), full_refresh: vec![], sweeping }).await.unwrap();
    for op in send(&thing, vec![row]) {
        destination.write(op).await.unwrap();
    }
    let mut wider = (*thing).clone();
    wider.columns[0].kind = Text;
    for op in send(&Arc::new(wider), vec![vec![text("2"), Cell::Null, Cell::Null, Cell::Null]]) {
        destination.write(op).await.unwrap();
    }
    let sweep = Some(Sweep { max_share: 0.1 });
    destination.write(Op::Finish { table: thing.table.clone(), sweep }).await.unwrap();
    assert_eq!(destination.end(outcome(0, End::Complete)).await.unwrap().end, End::Complete);
    assert_eq!(dest.rows("SELECT count(*) FROM \"group\"\" by\"").await, ["2"]);
    assert_eq!(dest.rows("SELECT count(*) FROM _state").await, ["0"]);
}
