//! Random APIs read by the engine, run after run, while rows come and go. One rule: a complete run has every row that
//! was there throughout and deletes none of them; any other outcome gives its reason.

use std::sync::{Arc, Mutex};

use data_sources_monitor::testing::domain::syncing::op::End;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::rules::{bench, now, things_with};
use stand_ins::made_up::serve;
use stand_ins::{Reply, Request};

/// How pages are found, by the definition.
const KINDS: [&str; 7] = [
    "{ kind = \"page\", at_param = \"at\", size_param = \"limit\", size = SIZE, total = \"total\" }",
    "{ kind = \"page\", at_param = \"at\", size_param = \"limit\", size = SIZE }",
    "{ kind = \"offset\", at_param = \"at\", size_param = \"limit\", size = SIZE, total = \"total\" }",
    "{ kind = \"offset\", at_param = \"at\", size_param = \"limit\", size = SIZE }",
    "{ kind = \"cursor\", at_param = \"after\", next = \"paging.after\", size_param = \"limit\", size = SIZE }",
    "{ kind = \"link\", header = \"link\", size_param = \"limit\", size = SIZE }",
    "{ kind = \"keyset\", at_param = \"after\", field = \"id\", size_param = \"limit\", size = SIZE }",
];

/// What comes of a request for too many rows.
#[derive(Debug, Clone, Copy)]
enum Beyond {
    Status(u16),
    Rows(u64),
    /// More bytes than the definition allows.
    Bytes,
}

/// A service.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    kind: usize,
    pub(crate) rows: Vec<u64>,
    /// The most rows on a page.
    cap: u64,
    /// 0: offsets as they are; 1: rounded to whole pages; 2: refused within a page.
    align: u8,
    /// 0: absent; 1: right; 2: at most 20; 3: 0.
    total: u8,
    /// Whether pages behind the last are "not found".
    not_found: bool,
    /// Offsets: how many times the definition's size a page may have, how many times it can, and what comes beyond.
    growth: Option<(u64, u64, Beyond)>,
    /// The definition's page size.
    size: u64,
    /// What happens to the list after which request of the second run: a row comes, or one goes.
    changes: Vec<(usize, usize, bool)>,
    /// After how many requests of a run one fails, once, and how.
    failures: Vec<(usize, u8)>,
    asked: usize,
    run: u32,
    /// Rows that were there throughout the run, and those that were there at any time of it.
    throughout: Vec<u64>,
    ever: Vec<u64>,
}

impl Api {
    pub(crate) fn answer(&mut self, request: &Request) -> Reply {
        if let Some(at) = self.failures.iter().position(|(when, _)| *when == self.asked) {
            return match self.failures.swap_remove(at).1 {
                0 => Reply::status(500),
                1 => Reply::too_many(None),
                2 => Reply::dropped(),
                3 => Reply::status(504),
                _ => Reply::json(&json!({ "data": [{ "id": 1, "name": "cut off" }] })).half(),
            };
        }
        let number = |name: &str| request.param(name).and_then(|text| text.parse::<u64>().ok());
        let asked = number("limit").unwrap_or(10);
        let beyond = self.growth.filter(|(_, most, _)| asked > most * self.size).map(|(_, _, beyond)| beyond);
        let size = match beyond {
            Some(Beyond::Status(status)) => return Reply::status(status),
            Some(Beyond::Bytes) => return Reply::json(&json!({ "data": [] })).padded_to(2 << 20),
            Some(Beyond::Rows(size)) => size,
            None => asked.min(self.cap),
        };
        let count = self.rows.len() as u64;
        let from = match self.kind {
            0 | 1 => (number("at").unwrap() - 1) * size,
            2 | 3 => match (self.align, number("at").unwrap()) {
                (1, at) => at / asked * asked,
                (2, at) if at % asked != 0 => return Reply::status(400),
                (_, at) => at,
            },
            _ => {
                let after = number("after");
                self.rows.iter().filter(|row| after.is_some_and(|after| **row <= after)).count() as u64
            }
        };
        if self.not_found && from >= count && from > 0 && self.kind < 4 {
            return Reply::status(404);
        }
        let page: Vec<u64> = self.rows.iter().skip(from as usize).take(size as usize).copied().collect();
        let more = from + (page.len() as u64) < count;
        let data: Vec<Value> =
            page.iter().map(|id| json!({ "id": id, "name": format!("row {id}") })).collect();
        let mut body = json!({ "data": data });
        match self.total {
            1 => body["total"] = json!(count),
            2 => body["total"] = json!(count.min(20)),
            3 => body["total"] = json!(0),
            _ => {}
        }
        let last = page.last().copied();
        body["paging"] = json!({ "after": last.filter(|_| more && self.kind == 4) });
        let reply = Reply::json(&body);
        let reply = match last.filter(|_| more && self.kind == 5) {
            Some(last) => {
                let link = format!("</things?after={last}&limit={asked}>; title=\"a, b\"; rel=\"next\"");
                reply.header("link", &link)
            }
            None => reply,
        };
        self.change();
        reply
    }

    fn change(&mut self) {
        if self.run == 2 {
            for (_, at, comes) in self.changes.iter().filter(|(when, _, _)| *when == self.asked) {
                let id = *at as u64 * 10 + 5;
                if !comes {
                    let at = at % self.rows.len().max(1);
                    self.rows.drain(at..(at + 1).min(self.rows.len()));
                } else if !self.rows.contains(&id) {
                    let at = self.rows.partition_point(|row| *row < id);
                    self.rows.insert(at, id);
                    self.ever.push(id);
                }
            }
            self.throughout.retain(|row| self.rows.contains(row));
        }
        self.asked += 1;
    }
}

fn apis() -> impl Strategy<Value = Api> {
    let changes = proptest::collection::vec((0usize..8, 0usize..60, any::<bool>()), 0..5);
    let failures = proptest::collection::vec((0usize..8, 0u8..5), 0..3);
    let beyond = prop_oneof![
        prop_oneof![Just(400u16), Just(404), Just(413), Just(504)].prop_map(Beyond::Status),
        (0u64..9).prop_map(Beyond::Rows),
        Just(Beyond::Bytes),
    ];
    let growth = proptest::option::of((2u64..20, 1u64..9, beyond));
    (
        0usize..7,
        (0u64..60, growth),
        prop_oneof![2 => Just(1_000u64), 1 => 2u64..9],
        0u8..3,
        0u8..4,
        any::<bool>(),
        (changes, any::<bool>()),
        failures,
    )
        .prop_map(
            |(kind, (rows, growth), cap, align, total, not_found, (mut changes, comes), failures)| {
                // Numbered pages show only changes of one kind, and only by a total or a second reading.
                if kind < 4 {
                    changes.iter_mut().for_each(|change| change.2 = comes);
                }
                let total = if kind == 0 && !changes.is_empty() { 1 } else { total };
                Api {
                    kind,
                    rows: (1..=rows).map(|n| n * 10).collect(),
                    cap,
                    align,
                    total,
                    not_found,
                    growth: growth.filter(|_| kind == 2 || kind == 3),
                    size: 0,
                    changes,
                    failures,
                    asked: 0,
                    run: 0,
                    throughout: Vec::new(),
                    ever: Vec::new(),
                }
            },
        )
}

/// Some services by name, one of each kind of paging, for other entry points than the engine: pages that are capped,
/// offsets by whole pages, totals that are none, and requests that fail.
pub(crate) fn examples() -> Vec<Api> {
    let api = |kind: usize| Api {
        kind,
        rows: (1..=17).map(|n| n * 10).collect(),
        cap: if kind.is_multiple_of(2) { 1_000 } else { 3 },
        align: if kind == 2 { 1 } else { 0 },
        total: if kind == 6 { 3 } else { 0 },
        not_found: kind == 1,
        growth: None,
        size: 0,
        changes: Vec::new(),
        failures: vec![(1, u8::try_from(kind % 4).unwrap_or_default()), (2, 0)],
        asked: 0,
        run: 0,
        throughout: Vec::new(),
        ever: Vec::new(),
    };
    (0..KINDS.len()).map(api).collect()
}

/// The definition for a service.
pub(crate) fn definition(api: &Api, size: u64) -> String {
    let mut page = KINDS[api.kind].replace("SIZE", &size.to_string());
    if let Some((times, _, _)) = api.growth {
        page = page.replace(" }", &format!(", size_max = {} }}", times * size));
    }
    let table = format!("page = {page}\ndeletes = \"snapshot\"\nmax_share = 1.0");
    things_with(&table, "[http]\nmax_body_mb = 1\n")
}

async fn check(mut api: Api, size: u64) -> Result<(), TestCaseError> {
    api.size = size;
    let shared = Arc::new(Mutex::new(api.clone()));
    let answering = Arc::clone(&shared);
    let acme = serve(move |request| answering.lock().unwrap().answer(request));
    let mut bench = bench(&definition(&api, size), &acme);
    for run in 1..=3 {
        {
            let mut api = shared.lock().unwrap();
            (api.run, api.asked) = (run, 0);
            (api.throughout, api.ever) = (api.rows.clone(), api.rows.clone());
        }
        let outcome = bench.run(now()).await;
        let (throughout, ever) = {
            let api = shared.lock().unwrap();
            (api.throughout.clone(), api.ever.clone())
        };
        let stored = bench.column("things", "id");
        let missing: Vec<&u64> = throughout.iter().filter(|row| !stored.contains(&row.to_string())).collect();
        if outcome.run.end == End::Complete {
            prop_assert!(missing.is_empty(), "run {run}: {missing:?} missing of {api:?}: {}", acme.dump());
            // No API gives all pages of one moment, so a row counts for itself: one that came and went during the run may
            // be stored (it was read in between), one that was gone before the run may not.
            let gone = stored.iter().find(|row| !ever.iter().any(|id| id.to_string() == **row));
            prop_assert!(gone.is_none(), "run {run}: {gone:?} is gone, {api:?}: {}", acme.dump());
        } else {
            prop_assert!(outcome.run.reason.is_some_and(|reason| !reason.is_empty()), "{api:?}");
            prop_assert!(run == 1 || missing.is_empty(), "run {run}: a living row was swept, {api:?}");
        }
    }
    Ok(())
}

#[test]
fn a_complete_run_has_every_row() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let ran = runner.run(&(apis(), 3u64..12), |(api, size)| runtime.block_on(check(api, size)));
    ran.unwrap();
}

/// A row that comes after one request and goes after the next was read in between, and may be stored.
#[tokio::test]
async fn a_row_may_be_stored_that_came_and_went_during_the_run() {
    let mut api = examples().remove(6);
    (api.rows, api.cap, api.total) = (vec![10], 1_000, 0);
    (api.changes, api.failures) = (vec![(1, 5, false), (0, 1, true)], Vec::new());
    check(api, 3).await.unwrap();
}
