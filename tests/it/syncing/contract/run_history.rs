//! State, run history, and rejected rows.

use super::*;

use ColumnType::{Bigint, Text};
use data_sources_monitor::testing::destinations::dry_run::CountingDestination;
use data_sources_monitor::testing::domain::syncing::op::State;

fn thing() -> Arc<TableShape> {
    shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert)
}

against_each!(
    state_is_stored_by_table_and_partition,
    the_run_history_describes_each_run_and_table,
    an_interrupted_run_is_closed_as_failed,
    only_one_run_at_a_time_writes,
    few_rows_are_committed_soon,
);

/// Changed by entries, and removed for tables with a full refresh and for tables that were dropped by hand.
async fn state_is_stored_by_table_and_partition(kind: Kind) {
    let dest = kind.dest().await;
    let mut ops = send(&thing(), vec![vec![Cell::Int(1), text("a")]]);
    ops.extend([checkpoint("a", 1), checkpoint("b", 2), checkpoint("a", 3)]);
    ops.push(Op::Checkpoint(Checkpoint { entries: vec![("thing".into(), "b".into(), None)] }));
    dest.run(0, ops).await.unwrap();
    let destination = dest.open().await;
    let state = destination.state().await.unwrap();
    assert_eq!((state.format, state.connector.as_str()), (State::FORMAT, "acme"));
    assert_eq!(serde_json::to_string(&state.tables).unwrap(), r#"{"thing":{"a":3}}"#);
    drop(destination);

    dest.execute("DROP TABLE thing").await;
    let destination = dest.open().await;
    assert!(destination.state().await.unwrap().tables.is_empty());
    drop(destination);
    let report = dest.run(1, send(&thing(), vec![vec![Cell::Int(1), text("a")]])).await.unwrap();
    assert_eq!(counts(&report)[1], 1);

    dest.run(2, vec![checkpoint("", 7)]).await.unwrap();
    let destination = dest.open().await;
    destination.begin(RunStart { full_refresh: vec!["thing".into()], ..begin(3) }).await.unwrap();
    assert!(destination.state().await.unwrap().tables.is_empty());
}

/// A run with rejected rows is not complete.
async fn the_run_history_describes_each_run_and_table(kind: Kind) {
    let dest = kind.dest().await;
    let mut ops = send(&thing(), vec![vec![Cell::Int(1), text("a")]]);
    dest.run(0, ops.clone()).await.unwrap();
    ops.push(rejected(r#"{"no":"key"}"#));
    let report = dest.run(1, ops).await.unwrap();
    assert_eq!((report.end, counts(&report)), (End::Partial, [2, 0, 0, 1, 0, 1, 0]));
    let destination = dest.open().await;
    let runs = destination.runs(10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((runs[0].started, runs[0].ended), (at(1), Some(at(1) + jiff::SignedDuration::from_secs(5))));
    assert_eq!(runs[0].entry.end, Some(End::Partial));
    assert_eq!(runs[0].entry.reason.as_deref(), Some("1 row rejected, see _rejected"));
    assert_eq!((runs[0].entry.requests, runs[0].entry.retries, runs[0].entry.waited_ms), (3, 1, 250));
    assert_eq!(runs[0].entry.tally, runs[0].tables["thing"].tally);
    assert_eq!(runs[1].entry.end, Some(End::Complete));
    assert_eq!(destination.runs(1).await.unwrap().len(), 1);
    assert_eq!(
        dest.rows("SELECT run, table_name, reason, raw FROM _rejected").await,
        [r#"2|thing|key column id is null|{"no":"key"}"#]
    );
}

/// It keeps what it stored, is running while it runs, and failed once another started.
async fn an_interrupted_run_is_closed_as_failed(kind: Kind) {
    let dest = kind.dest().await;
    let destination = dest.open().await;
    destination.begin(begin(0)).await.unwrap();
    for op in send(&thing(), vec![vec![Cell::Int(1), text("a")]]) {
        destination.write(op).await.unwrap();
    }
    destination.write(checkpoint("", 1)).await.unwrap();
    assert_eq!(destination.runs(1).await.unwrap()[0].entry.end, None);
    drop(destination);
    assert_eq!(dest.rows("SELECT cursor, (SELECT count(*) FROM thing) FROM _state").await, ["1|1"]);
    dest.run(1, vec![]).await.unwrap();
    let runs = dest.open().await.runs(2).await.unwrap();
    assert_eq!((runs[1].entry.end, runs[1].ended), (Some(End::Failed), None));
    assert!(runs[1].entry.reason.as_deref().unwrap().contains("interrupted"));
    assert_eq!(runs[1].tables["thing"].tally.inserted, 1);
}

/// Others may read meanwhile.
async fn only_one_run_at_a_time_writes(kind: Kind) {
    let dest = kind.dest().await;
    let (first, second) = (dest.open().await, dest.open().await);
    first.begin(begin(0)).await.unwrap();
    assert!(second.begin(begin(0)).await.unwrap_err().is_busy());
    let twice = first.begin(begin(0)).await.unwrap_err();
    assert!(twice.to_string().contains("already active"), "{twice}");
    assert_eq!(second.runs(1).await.unwrap().len(), 1);
    first.end(outcome(0, End::Deferred)).await.unwrap();
    assert_eq!(second.begin(begin(1)).await.unwrap(), 2);
    second.end(outcome(1, End::Complete)).await.unwrap();
}

/// Rows of a slow source do not wait for ten thousand.
async fn few_rows_are_committed_soon(kind: Kind) {
    let dest = kind.dest().await;
    let destination = dest.open().await;
    destination.begin(begin(0)).await.unwrap();
    for op in send(&thing(), vec![vec![Cell::Int(1), text("a")]]) {
        destination.write(op).await.unwrap();
    }
    let begun = std::time::Instant::now();
    let there = |shapes: &BTreeMap<String, TableShape>| shapes.contains_key("thing");
    let reader = dest.open().await;
    while !there(&reader.shapes().await.unwrap()) || dest.rows("SELECT count(*) FROM thing").await != ["1"] {
        assert!(begun.elapsed().as_secs() < 30, "the row never came");
        tokio::task::yield_now().await;
    }
    destination.end(outcome(0, End::Complete)).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_only_counts() {
    let dry = CountingDestination::default();
    dry.begin(begin(0)).await.unwrap();
    for op in send(&thing(), vec![vec![Cell::Int(1), text("a")], vec![Cell::Int(2), text("b")]]) {
        dry.write(op).await.unwrap();
    }
    dry.write(rejected("{}")).await.unwrap();
    let report = dry.end(outcome(0, End::Complete)).await.unwrap();
    assert_eq!((report.tallies["thing"].seen, report.tallies["thing"].rejected), (3, 1));
}
