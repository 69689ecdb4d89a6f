//! Random rows in random order: the same tables and the same counts in each kind of destination.

use proptest::prelude::*;

use super::*;
use ColumnType::{Bigint, Boolean, Decimal, Double, Unknown};

/// A key, a value, and whether the source calls the row deleted.
type Sent = (u8, Cell, Option<bool>);

fn sent() -> impl Strategy<Value = Sent> {
    (0_u8..12, cells(), prop_oneof![3 => Just(None), 1 => Just(Some(false)), 1 => Just(Some(true))])
}

fn cells() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Null),
        any::<bool>().prop_map(Cell::Bool),
        any::<i64>().prop_map(Cell::Int),
        (-1000_i64..1000).prop_map(Cell::Int),
        (-1e9..1e9).prop_map(Cell::Double),
        "[1-9][0-9]{19,29}".prop_map(|digits| Cell::Decimal(digits.into())),
        "[a-c\"']{0,3}".prop_map(|value| Cell::Text(value.into())),
        (0_i64..100_000).prop_map(|s| Cell::Timestamp(Timestamp::from_second(s).unwrap())),
    ]
}

/// Rows without booleans where these would become numbers and then text: such a value is 0 or 1 if it was stored in between,
/// which is not at the same time in each kind.
fn comparable(mut rows: Vec<Sent>) -> Vec<Sent> {
    let any = |fits: fn(&Cell) -> bool| rows.iter().any(|(_, cell, _)| fits(cell));
    let numbers = any(|cell| matches!(cell, Cell::Int(_) | Cell::Double(_) | Cell::Decimal(_)));
    if numbers && any(|cell| matches!(cell, Cell::Text(_) | Cell::Timestamp(_))) {
        for (_, cell, _) in rows.iter_mut().filter(|(_, cell, _)| matches!(cell, Cell::Bool(_))) {
            *cell = Cell::Null;
        }
    }
    rows
}

/// The ops a careful connector would send for these rows in batches, each shape as wide as what came so far.
fn batches(rows: &[Sent], size: usize, mut kind: ColumnType) -> (Vec<Op>, ColumnType) {
    let mut ops = Vec::new();
    for batch in rows.chunks(size) {
        for (_, cell, _) in batch {
            let large = |cell: &Cell| matches!(cell, Cell::Int(v) if v.unsigned_abs() > 1 << 53);
            let meets_double = kind == Double || batch.iter().any(|(_, c, _)| c.column_type() == Double);
            kind = kind.join(cell.column_type());
            if large(cell) && meets_double {
                kind = kind.join(Decimal);
            }
        }
        let thing = shape(&[("id", Bigint), ("v", kind), ("gone", Boolean)], &["id"], Write::Upsert);
        let thing = Arc::new(TableShape { deleted_if: Some("gone".into()), ..(*thing).clone() });
        let row = |(id, cell, gone): &Sent| {
            vec![Cell::Int((*id).into()), cell.clone(), gone.map_or(Cell::Null, Cell::Bool)]
        };
        ops.extend(send(&thing, batch.iter().map(row).collect()));
    }
    (ops, kind)
}

/// The result of three runs: their counts, and the rows after the second and the third.
async fn outcomes(kind: Kind, rows: &[Sent], size: usize) -> (Vec<[u64; 7]>, Vec<String>) {
    let dest = kind.dest().await;
    let (ops, _) = batches(rows, size, Unknown);
    let mut told = vec![counts(&dest.run(0, ops).await.unwrap())];
    let destination = dest.open().await;
    let known = destination.shapes().await.unwrap()["thing"].columns.get(1).map_or(Unknown, |c| c.kind);
    drop(destination);
    let (ops, _) = batches(rows, rows.len(), known);
    told.push(counts(&dest.run(1, ops.clone()).await.unwrap()));
    // A column whose first value came late is behind ours in one kind, and in its place in another.
    let v = if known == Unknown { "" } else { "v, " };
    let all = format!("SELECT id, {v}gone, _synced_at, _deleted_at FROM thing ORDER BY id");
    let table = dest.rows(&all).await;
    told.push(counts(&dest.run(2, ops).await.unwrap()));
    assert_eq!(dest.rows(&all).await, table);
    (told, table)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The first run succeeds and counts every row; the same rows, read with the table's shapes known, end in the
    /// same table; a third run changes nothing.
    #[test]
    fn the_same_run_again_changes_nothing(rows in prop::collection::vec(sent(), 1..40), size in 1_usize..10) {
        let (told, table) = runtime().block_on(outcomes(Kind::Sqlite, &rows, size));
        let [seen, inserted, updated, unchanged, duplicate, ..] = told[2];
        assert_eq!((inserted, updated, unchanged + duplicate), (0, 0, seen));
        let ids: BTreeSet<_> = rows.iter().map(|(id, ..)| id).collect();
        assert_eq!(table.len(), ids.len());
    }
}

/// Found by chance: rows that were not in the table yet did not count when its column became a double.
#[tokio::test]
async fn integers_beyond_a_double_count_alike_in_all_kinds() {
    if cluster::programs().is_none() {
        return;
    }
    let value = |id, cell| (id, cell, None);
    for ids in [[0, 0, 0], [0, 1, 2]] {
        let rows = [
            value(ids[0], Cell::Int(-9_007_199_254_740_993)),
            value(ids[1], Cell::Double(-325_880_107.9)),
            value(ids[2], Cell::Int(-8_928_042_586_256_345_686)),
        ];
        let file = outcomes(Kind::Sqlite, &rows, 1).await;
        for kind in [Kind::Postgres, Kind::Pooled] {
            assert_eq!(outcomes(kind, &rows, 1).await, file, "{kind:?} {ids:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A file and a server, with and without a pooler, from the same stream of ops.
    #[test]
    fn all_kinds_store_the_same_rows_and_counts(rows in prop::collection::vec(sent(), 1..40), size in 1_usize..10) {
        if cluster::programs().is_some() {
            let runtime = runtime();
            let rows = comparable(rows);
            let file = runtime.block_on(outcomes(Kind::Sqlite, &rows, size));
            for kind in [Kind::Postgres, Kind::Pooled] {
                assert_eq!(runtime.block_on(outcomes(kind, &rows, size)), file, "{kind:?}");
            }
        }
    }
}
