//! State, the account of runs, and rejected rows.

use super::*;

use ColumnType::{Bigint, Text};
use data_sources_monitor::destinations::dry_run::CountingDestination;
use data_sources_monitor::domain::op::State;

fn thing() -> Arc<TableShape> {
    shape(&[("id", Bigint), ("v", Text)], &["id"], Write::Upsert)
}

against_each!(
    state_is_kept_by_table_and_partition,
    runs_are_accounted,
    an_interrupted_run_is_closed_as_failed,
    one_run_at_a_time,
    few_rows_do_not_wait_for_many,
);

/// State is kept per table and partition, changed by entries, and forgotten for tables that are read anew or that
/// somebody dropped.
async fn state_is_kept_by_table_and_partition(kind: Kind) {
    let desk = kind.desk().await;
    let mut ops = send(&thing(), vec![vec![Cell::Int(1), text("a")]]);
    ops.extend([checkpoint("a", 1), checkpoint("b", 2), checkpoint("a", 3)]);
    ops.push(Op::Checkpoint(Checkpoint { entries: vec![("thing".into(), "b".into(), None)] }));
    desk.run(0, ops).await.unwrap();
    let destination = desk.open().await;
    let state = destination.state().await.unwrap();
    assert_eq!((state.format, state.connector.as_str()), (State::FORMAT, "acme"));
    assert_eq!(serde_json::to_string(&state.tables).unwrap(), r#"{"thing":{"a":3}}"#);
    drop(destination);

    desk.execute("DROP TABLE thing").await;
    let destination = desk.open().await;
    assert!(destination.state().await.unwrap().tables.is_empty());
    drop(destination);
    let report = desk.run(1, send(&thing(), vec![vec![Cell::Int(1), text("a")]])).await.unwrap();
    assert_eq!(counts(&report)[1], 1);

    desk.run(2, vec![checkpoint("", 7)]).await.unwrap();
    let destination = desk.open().await;
    destination.begin(RunStart { full_refresh: vec!["thing".into()], ..begin(3) }).await.unwrap();
    assert!(destination.state().await.unwrap().tables.is_empty());
}

/// The ledger tells of each run and each table when, how, why, where and how much, and a run with rejected rows
/// isn't green.
async fn runs_are_accounted(kind: Kind) {
    let desk = kind.desk().await;
    let mut ops = send(&thing(), vec![vec![Cell::Int(1), text("a")]]);
    desk.run(0, ops.clone()).await.unwrap();
    ops.push(rejected(r#"{"no":"key"}"#));
    let report = desk.run(1, ops).await.unwrap();
    assert_eq!((report.end, counts(&report)), (End::Partial, [2, 0, 0, 1, 0, 1, 0]));
    let destination = desk.open().await;
    let runs = destination.runs(10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((runs[0].started, runs[0].ended), (at(1), Some(at(1) + jiff::SignedDuration::from_secs(5))));
    assert_eq!(runs[0].entry.end, Some(End::Partial));
    assert_eq!(runs[0].entry.reason.as_deref(), Some("1 rows were rejected, see _rejected"));
    assert_eq!((runs[0].entry.requests, runs[0].entry.retries, runs[0].entry.waited_ms), (3, 1, 250));
    assert_eq!(runs[0].entry.tally, runs[0].tables["thing"].tally);
    assert_eq!(runs[1].entry.end, Some(End::Complete));
    assert_eq!(destination.runs(1).await.unwrap().len(), 1);
    assert_eq!(
        desk.rows("SELECT run, table_name, reason, raw FROM _rejected").await,
        [r#"2|thing|key column id is null|{"no":"key"}"#]
    );
}

/// A run that nobody ended keeps what it stored, stands as running while it runs, and as failed once another began.
async fn an_interrupted_run_is_closed_as_failed(kind: Kind) {
    let desk = kind.desk().await;
    let destination = desk.open().await;
    destination.begin(begin(0)).await.unwrap();
    for op in send(&thing(), vec![vec![Cell::Int(1), text("a")]]) {
        destination.write(op).await.unwrap();
    }
    destination.write(checkpoint("", 1)).await.unwrap();
    assert_eq!(destination.runs(1).await.unwrap()[0].entry.end, None);
    drop(destination);
    assert_eq!(desk.rows("SELECT cursor, (SELECT count(*) FROM thing) FROM _state").await, ["1|1"]);
    desk.run(1, vec![]).await.unwrap();
    let runs = desk.open().await.runs(2).await.unwrap();
    assert_eq!((runs[1].entry.end, runs[1].ended), (Some(End::Failed), None));
    assert!(runs[1].entry.reason.as_deref().unwrap().contains("interrupted"));
    assert_eq!(runs[1].tables["thing"].tally.inserted, 1);
}

/// Only one run at a time writes to a file, whoever asks; others may read meanwhile.
async fn one_run_at_a_time(kind: Kind) {
    let desk = kind.desk().await;
    let (first, second) = (desk.open().await, desk.open().await);
    first.begin(begin(0)).await.unwrap();
    assert!(second.begin(begin(0)).await.unwrap_err().is_busy());
    let twice = first.begin(begin(0)).await.unwrap_err();
    assert!(twice.to_string().contains("already active"), "{twice}");
    assert_eq!(second.runs(1).await.unwrap().len(), 1);
    first.end(outcome(0, End::Deferred)).await.unwrap();
    assert_eq!(second.begin(begin(1)).await.unwrap(), 2);
    second.end(outcome(1, End::Complete)).await.unwrap();
}

/// Rows of a slow source are there soon, although few: they do not wait for ten thousand.
async fn few_rows_do_not_wait_for_many(kind: Kind) {
    let desk = kind.desk().await;
    let destination = desk.open().await;
    destination.begin(begin(0)).await.unwrap();
    for op in send(&thing(), vec![vec![Cell::Int(1), text("a")]]) {
        destination.write(op).await.unwrap();
    }
    let begun = std::time::Instant::now();
    let there = |shapes: &BTreeMap<String, TableShape>| shapes.contains_key("thing");
    let reader = desk.open().await;
    while !there(&reader.shapes().await.unwrap()) || desk.rows("SELECT count(*) FROM thing").await != ["1"] {
        assert!(begun.elapsed().as_secs() < 30, "the row never came");
        tokio::task::yield_now().await;
    }
    destination.end(outcome(0, End::Complete)).await.unwrap();
}

/// A dry run counts and stores nothing.
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
