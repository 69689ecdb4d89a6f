//! The rows that the benches of destinations write: People.ai activities of 25 fields and about 750 bytes, with a random
//! text key, made from a fixed seed; and what a run of them is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use data_sources_monitor::connectors::decode::{
    Arrays, Coerce, ColumnRule, KeyColumn, Layout, Nested, RowReader,
};
use data_sources_monitor::destinations::{Account, Begin, Outcome};
use data_sources_monitor::domain::op::{Checkpoint, End, Op, Write};
use jiff::Timestamp;

/// Rows of a page.
pub(crate) const PAGE: u64 = 1_000;

/// The most memory the process has had, in MiB.
pub(crate) fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

pub(crate) fn begin() -> Begin {
    Begin { started: Timestamp::UNIX_EPOCH, full_refresh: vec![], sweeping: BTreeSet::new() }
}

pub(crate) fn outcome() -> Outcome {
    let run =
        Account { end: End::Complete, reason: None, place: None, requests: 0, retries: 0, waited_ms: 0 };
    Outcome { ended: Timestamp::UNIX_EPOCH, run, tables: BTreeMap::new() }
}

pub(crate) fn checkpoint(page: u64) -> Op {
    Op::Checkpoint(Checkpoint { entries: vec![("activity".into(), String::new(), Some(page.into()))] })
}

pub(crate) fn reader() -> RowReader {
    let time = |name: &str| {
        (name.to_owned(), ColumnRule::Rule { name: None, kind: Some(Coerce::EpochMs), from: None })
    };
    let times = ["activity_timestamp", "created_at", "ingested_at", "modified_at"];
    let layout = Layout {
        table: "activity".into(),
        records: vec!["data".into(), ".".into()],
        key: vec![KeyColumn::plain("uid")],
        write: Write::Upsert,
        nested: Nested::Flatten,
        arrays: Arrays::Json,
        columns: times.into_iter().map(time).collect(),
        inherited: vec![],
        freeze: false,
    };
    RowReader::new(layout, None).unwrap()
}

/// A page as the service would send it.
pub(crate) fn page(from: u64, rows: u64) -> String {
    let mut out = String::with_capacity(800 * rows as usize);
    out.push_str("{\"data\":[");
    for i in from..from + rows {
        let (a, b) = (mix(i), mix(i ^ 0x5bd1_e995));
        let time = 1_777_713_300_000 + i * 977;
        if i > from {
            out.push(',');
        }
        write!(
            out,
            "{{\"uid\":\"{a:016x}{b:016x}\",\"crm_id\":\"00U5e{a:013x}\",\"activity_type\":\"EMAIL\",\"sub_type\":null,\
             \"subject\":\"Renewal plan for quarter {} and what to do about it\",\"activity_timestamp\":{time},\
             \"created_at\":{},\"ingested_at\":{},\"modified_at\":{},\"direction\":\"OUTBOUND\",\"duration\":{},\
             \"external\":{},\"is_partner\":null,\"is_blast\":false,\"matched_to\":\"opportunity\",\
             \"number_of_participants\":{},\"account_id\":{},\"account_crm_id\":\"0015e{b:013x}\",\
             \"opportunity_id\":{},\"opportunity_ids\":[{},{}],\"opportunity_stage_id\":\"{}\",\"score\":{}.{:02},\
             \"user_id\":{},\"source_id\":\"<{a:x}.{b:x}@mail.example.com>\",\"deleted\":false}}",
            i % 9,
            time + 60,
            time + 65,
            time + 100,
            a % 3_600,
            a % 2 == 0,
            b % 20,
            a % 100_000,
            b % 1_000_000,
            b % 1_000_000,
            a % 1_000_000,
            a % 12,
            a % 100,
            b % 100,
            b % 5_000,
        )
        .unwrap();
    }
    write!(out, "],\"meta\":{{\"limit\":1000,\"offset\":{from},\"total\":1000000,\"message\":null}}}}")
        .unwrap();
    out
}

/// A scrambled number, so that keys come in no order.
pub(crate) fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
