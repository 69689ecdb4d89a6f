//! Whatever comes in whatever order: the same tables and the same accounts, in each kind of destination.

use proptest::prelude::*;

use super::*;
use ColumnType::{Bigint, Boolean, Decimal, Double, Unknown};

/// A key, a value, and what the source says of the row being deleted.
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

/// Rows without flags where these would become numbers and then text: such a one is 0 or 1 if it was stored in between,
/// and that is not at the same moment in each kind.
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

/// What a kind of destination makes of three runs: its accounts, and its rows after the second and the third.
async fn outcomes(kind: Kind, rows: &[Sent], size: usize) -> (Vec<[u64; 7]>, Vec<String>) {
    let desk = kind.desk().await;
    let (ops, _) = batches(rows, size, Unknown);
    let mut told = vec![counts(&desk.run(0, ops).await.unwrap())];
    let destination = desk.open().await;
    let known = destination.shapes().await.unwrap()["thing"].columns.get(1).map_or(Unknown, |c| c.kind);
    drop(destination);
    let (ops, _) = batches(rows, rows.len(), known);
    told.push(counts(&desk.run(1, ops.clone()).await.unwrap()));
    // A column whose first value came late stands behind ours in one kind, and in its place in another.
    let v = if known == Unknown { "" } else { "v, " };
    let all = format!("SELECT id, {v}gone, _synced_at, _deleted_at FROM thing ORDER BY id");
    let table = desk.rows(&all).await;
    told.push(counts(&desk.run(2, ops).await.unwrap()));
    assert_eq!(desk.rows(&all).await, table);
    (told, table)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever values come in whatever order, the run succeeds and accounts for every row; the same rows again,
    /// read by a connector that knows the table, end in the same table; a third time changes nothing at all.
    #[test]
    fn the_same_run_again_changes_nothing(rows in prop::collection::vec(sent(), 1..40), size in 1_usize..10) {
        let (told, table) = runtime().block_on(outcomes(Kind::Sqlite, &rows, size));
        let [seen, inserted, updated, unchanged, duplicate, ..] = told[2];
        assert_eq!((inserted, updated, unchanged + duplicate), (0, 0, seen));
        let ids: BTreeSet<_> = rows.iter().map(|(id, ..)| id).collect();
        assert_eq!(table.len(), ids.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same stream of ops leaves the same rows and the same account in a file and on a server, with and without
    /// a pooler.
    #[test]
    fn all_kinds_agree(rows in prop::collection::vec(sent(), 1..40), size in 1_usize..10) {
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
