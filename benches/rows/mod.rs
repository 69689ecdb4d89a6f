//! The rows of the destination benches: People.ai activities of 25 fields and about 750 bytes, with a random text
//! key, made from a fixed seed; and the outcome of a run of them.

pub(crate) mod activity;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Instant;

use data_sources_monitor::testing::destinations::{Destination, Ending, RunOutcome, RunStart};
use data_sources_monitor::testing::domain::syncing::definition::connector::{
    Arrays, ColumnKind, ColumnRule, Key, Nested,
};
use data_sources_monitor::testing::domain::syncing::op::{Checkpoint, End, Op, Write};
use data_sources_monitor::testing::source::decode::{Layout, RowReader};
use jiff::Timestamp;

/// Rows of a page.
pub(crate) const PAGE: u64 = 1_000;

/// The most memory the process has had, in MiB.
pub(crate) fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

pub(crate) fn begin() -> RunStart {
    RunStart { started: Timestamp::UNIX_EPOCH, full_refresh: vec![], sweeping: BTreeSet::new() }
}

pub(crate) fn outcome() -> RunOutcome {
    let run = Ending { end: End::Complete, reason: None, place: None, requests: 0, retries: 0, waited_ms: 0 };
    RunOutcome { ended: Timestamp::UNIX_EPOCH, run, tables: BTreeMap::new() }
}

pub(crate) fn checkpoint(page: u64) -> Op {
    Op::Checkpoint(Checkpoint { entries: vec![("activity".into(), String::new(), Some(page.into()))] })
}

pub(crate) fn reader() -> RowReader {
    let time = |name: &str| {
        (name.to_owned(), ColumnRule::Keep { name: None, kind: Some(ColumnKind::EpochMillis), from: None })
    };
    let times = ["activity_timestamp", "created_at", "ingested_at", "modified_at"];
    let layout = Layout {
        table: "activity".into(),
        records: vec!["data".into(), ".".into()],
        null_is_empty: None,
        total: None,
        key: vec![Key::plain("uid")],
        write: Write::Upsert,
        nested: Nested::Flatten,
        arrays: Arrays::Json,
        columns: times.into_iter().map(time).collect(),
        inherited: vec![],
        freeze: false,
        deleted_if: None,
        raw: Vec::new(),
    };
    RowReader::new(layout, None).unwrap()
}

/// Writes decoded rows, so many decoded at a time, and gives the seconds; the time to decode them isn't counted.
pub(crate) async fn feed(destination: &dyn Destination, rows: u64, decoded: u64) -> f64 {
    destination.begin(begin()).await.unwrap();
    let mut reader = reader();
    let (mut seconds, mut ops) = (0.0, Vec::new());
    for i in 0..rows / PAGE {
        reader.read(page(i * PAGE, PAGE).as_bytes(), &[], &mut |op| ops.push(op)).unwrap();
        ops.push(checkpoint(i));
        let done = (i + 1) * PAGE;
        if !done.is_multiple_of(decoded) && done != rows {
            continue;
        }
        let begun = Instant::now();
        for op in ops.drain(..) {
            destination.write(op).await.unwrap();
        }
        // The response comes when everything before it is done: nothing is written while pages are made.
        destination.runs(0).await.unwrap();
        seconds += begun.elapsed().as_secs_f64();
    }
    let begun = Instant::now();
    let report = destination.end(outcome()).await.unwrap();
    seconds += begun.elapsed().as_secs_f64();
    let tally = report.tallies["activity"];
    assert_eq!(tally.inserted + tally.unchanged, rows);
    seconds
}

/// A page as the service would send it.
pub(crate) fn page(from: u64, rows: u64) -> String {
    let mut out = String::with_capacity(800 * rows as usize);
    out.push_str("{\"data\":[");
    for number in from..from + rows {
        let time = 1_777_713_300_000 + number * 977;
        if number > from {
            out.push(',');
        }
        activity::write(&mut out, number, time, time + 65);
    }
    write!(out, "],\"meta\":{{\"limit\":1000,\"offset\":{from},\"total\":1000000,\"message\":null}}}}")
        .unwrap();
    out
}
