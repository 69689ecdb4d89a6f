//! A random model of an API, and the rule that every reading must keep: the result is [`PagingStep::Done`]
//! only if every row that existed throughout was read.

use std::time::Duration;

use proptest::prelude::*;

use super::signs::{Sign, SignKind};
use super::*;

/// How a service handles an offset within a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Align {
    Exact,
    /// Rounded down to a multiple of the requested size, or of the returned size.
    Down,
    DownByCap,
    Refused,
}

/// How a service states the total number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Total {
    Silent,
    Honest,
    Capped(u64),
    Zero,
    OwnPage,
    Pages,
    TooMany,
}

/// The response after the last page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Behind {
    Empty,
    NotFound,
    LastPage,
}

/// How a service handles a request for more rows than its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Over {
    Caps,
    /// With this status; 504 for a response that does not arrive in time.
    Refuses(u16),
    /// It returns this many instead.
    FallsBack(u64),
}

/// A service. Rows are their own keys.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) rows: Vec<u32>,
    pub(super) cap: u64,
    pub(super) over: Over,
    /// Page numbers are counted by the requested size, although fewer rows are returned.
    pub(super) counts_by_requested: bool,
    pub(super) align: Align,
    pub(super) total: Total,
    pub(super) behind: Behind,
    /// Rows that are filtered out after pagination: those divisible by this.
    pub(super) hidden: Option<u32>,
    /// A flag says whether there are more rows.
    pub(super) flag: bool,
    /// The last page names itself; tokens only.
    pub(super) names_itself: bool,
    /// Keysets: whether the bound is inclusive, and how many rows have the same value.
    pub(super) inclusive: bool,
    pub(super) ties: u32,
    /// Requests that are answered slowly, and that time out if they ask for more rows than the definition does.
    pub(super) slow: Vec<usize>,
    pub(super) late: Vec<usize>,
}

impl Api {
    pub(super) fn of(rows: Vec<u32>) -> Api {
        Api {
            rows,
            cap: u64::MAX,
            over: Over::Caps,
            counts_by_requested: false,
            align: Align::Exact,
            total: Total::Silent,
            behind: Behind::Empty,
            hidden: None,
            flag: false,
            names_itself: false,
            inclusive: false,
            ties: 1,
            slow: Vec::new(),
            late: Vec::new(),
        }
    }

    /// A page, or the status of a rejection.
    fn answer(&self, kind: &PageKind, ask: &PageRequest) -> Result<(Vec<u32>, PageContent), u16> {
        let (at_param, params) = match (kind, ask) {
            (PageKind::Link { .. }, PageRequest::Link(link)) => {
                ("at", vec![("at".to_owned(), RawValue::new(link.clone()))])
            }
            (_, PageRequest::Params(params)) => {
                let at = match kind {
                    PageKind::Number { at, .. } | PageKind::Offset { at } => at.as_str(),
                    PageKind::Token { at, .. } | PageKind::Keyset { at, .. } => at,
                    PageKind::None | PageKind::Link { .. } => "at",
                };
                (at, params.clone())
            }
            (_, PageRequest::Link(_)) => panic!("a link where none was given"),
        };
        let number = |name: &str| {
            params.iter().find(|(key, _)| key == name).map(|(_, value)| value.text().parse::<u64>().unwrap())
        };
        let requested = number("limit").unwrap_or(25);
        let size = match self.over {
            Over::Refuses(status) if requested > self.cap => return Err(status),
            Over::FallsBack(size) if requested > self.cap => size,
            _ => requested.min(self.cap),
        };
        let count = self.rows.len() as u64;
        let from = match kind {
            PageKind::None => 0,
            PageKind::Number { first, .. } => {
                (number(at_param).unwrap() - first) * if self.counts_by_requested { requested } else { size }
            }
            PageKind::Offset { .. } => match (self.align, number(at_param).unwrap()) {
                (Align::Exact, at) => at,
                (Align::Down, at) => at / requested * requested,
                (Align::DownByCap, at) => at / size.max(1) * size,
                (Align::Refused, at) if at % requested != 0 => return Err(400),
                (Align::Refused, at) => at,
            },
            PageKind::Token { .. } | PageKind::Link { .. } => number(at_param).map_or(0, |after| {
                self.rows.iter().position(|row| u64::from(*row) > after).unwrap_or(self.rows.len()) as u64
            }),
            PageKind::Keyset { .. } => number(at_param).map_or(0, |bound| {
                let value = |row: &u32| u64::from(row / self.ties);
                let is_after =
                    |row: &u32| if self.inclusive { value(row) >= bound } else { value(row) > bound };
                self.rows.iter().position(is_after).unwrap_or(self.rows.len()) as u64
            }),
        };
        let from = match self.behind {
            _ if from < count || count == 0 => from.min(count),
            Behind::Empty => count,
            Behind::NotFound => return Err(404),
            Behind::LastPage => (count - 1) / size.max(1) * size,
        };
        let to = (from + size).min(count);
        let whole = &self.rows[from as usize..to as usize];
        let is_hidden = |row: &&u32| self.hidden.is_none_or(|by| !row.is_multiple_of(by));
        let page: Vec<u32> = whole.iter().filter(is_hidden).copied().collect();
        let mut content = PageContent { records: page.len() as u64, ..PageContent::default() };
        content.total = match self.total {
            Total::Silent | Total::Pages => None,
            Total::Honest => Some(count),
            Total::Capped(cap) => Some(count.min(cap)),
            Total::Zero => Some(0),
            Total::OwnPage => Some(content.records),
            Total::TooMany => Some(count + 3),
        };
        content.pages = (self.total == Total::Pages).then(|| count.div_ceil(size.max(1)));
        if self.flag {
            content.signs.flag = Some((to < count, "has_more".into()));
        }
        if let PageKind::Token { .. } | PageKind::Link { .. } = kind {
            let last = whole.last().map(|row| RawValue::new(row.to_string()));
            let sent = number(at_param).map(|at| RawValue::new(at.to_string()));
            content.next = if to < count { last } else { last.or(sent).filter(|_| self.names_itself) };
            content.address = number(at_param).map(|at| at.to_string());
        }
        let value = |row: &u32| RawValue::new((row / self.ties).to_string());
        content.last_value = page.last().map(value);
        let last = page.last().map(|row| row / self.ties);
        content.value_before = page.iter().rev().find(|row| Some(*row / self.ties) != last).map(value);
        Ok((page, content))
    }
}

/// The result of a reading.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) got: Vec<u32>,
    pub(super) end: Result<PagingStep, String>,
    pub(super) requests: usize,
    pub(super) habits: Habits,
}

/// Reads as the engine does; `change` is called after each request.
pub(super) fn read(api: &mut Api, mut pager: Pager, mut change: impl FnMut(usize, &mut Api)) -> Outcome {
    let (mut got, mut ask) = (Vec::new(), pager.first());
    for request in 0..5_000 {
        let kind = pager.page.kind.clone();
        let is_late = pager.is_grown() && api.late.contains(&request);
        let step = match if is_late { Err(504) } else { api.answer(&kind, &ask) } {
            Err(504) if pager.is_grown() => pager.shrink().ok_or_else(|| "no smaller size".to_owned()),
            Err(status) => pager.refused(status).ok_or_else(|| format!("refused with {status}")),
            Ok((page, mut content)) => {
                let expected = pager.expected();
                let mut progress = pager.take_progress();
                for row in &page {
                    if !progress.row(u64::from(*row)) && progress.wants_contents() {
                        progress.contents(u64::from(*row));
                    }
                }
                content.novelty = progress.end_page(content.records);
                content.expected_at = expected
                    .and_then(|key| page.iter().position(|row| u64::from(*row) == key))
                    .map(|at| at as u64);
                content.last_key = page.last().map(|row| u64::from(*row));
                pager.return_progress(progress);
                got.extend(page);
                pager.weigh(Duration::from_secs(if api.slow.contains(&request) { 3 } else { 0 }), 0);
                pager.next(&content).map_err(|error| error.to_string())
            }
        };
        match step {
            Ok(PagingStep::Next(next)) => ask = next,
            end => return Outcome { got, end, requests: request + 1, habits: pager.habits() },
        }
        change(request, api);
    }
    panic!("a reading without an end: {api:?}");
}

pub(super) fn page_of(kind: PageKind, size: Option<u64>) -> Paging {
    let size = size.map(|size| ("limit".to_owned(), size));
    Paging { kind, size, size_max: None, total: None, pages: None, short_ends: false, ignore: Vec::new() }
}

fn kinds() -> impl Strategy<Value = PageKind> {
    let (at, next) = ("at".to_owned(), Next::Path("next".into()));
    prop_oneof![
        Just(PageKind::Number { at: at.clone(), first: 1 }),
        Just(PageKind::Number { at: at.clone(), first: 0 }),
        Just(PageKind::Offset { at: at.clone() }),
        Just(PageKind::Offset { at: at.clone() }),
        Just(PageKind::Token { at: at.clone(), next: next.clone() }),
        Just(PageKind::Link { next }),
        Just(PageKind::Keyset { at, column: "id".into(), unique: false }),
        Just(PageKind::None),
    ]
}

fn apis() -> impl Strategy<Value = Api> {
    let align = prop_oneof![
        3 => Just(Align::Exact), 1 => Just(Align::Down), 1 => Just(Align::DownByCap), 1 => Just(Align::Refused)
    ];
    let total = prop_oneof![
        3 => Just(Total::Silent), 3 => Just(Total::Honest), 1 => (1u64..60).prop_map(Total::Capped),
        1 => Just(Total::Zero), 1 => Just(Total::OwnPage), 1 => Just(Total::Pages), 1 => Just(Total::TooMany)
    ];
    let behind =
        prop_oneof![3 => Just(Behind::Empty), 1 => Just(Behind::NotFound), 1 => Just(Behind::LastPage)];
    let cap = prop_oneof![2 => Just(u64::MAX), 1 => 1u64..12];
    let hidden = proptest::option::weighted(0.2, 2u32..5);
    let habits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 1u32..4);
    let requests = || proptest::collection::vec(0usize..20, 0..3);
    (0usize..90, align, total, behind, cap, hidden, habits, requests(), requests()).prop_map(
        |(
            rows,
            align,
            total,
            behind,
            cap,
            hidden,
            (counts_by_requested, flag, names_itself, inclusive, ties),
            slow,
            late,
        )| Api {
            rows: (1..=rows as u32).map(|n| n * 10).collect(),
            cap,
            over: Over::Caps,
            counts_by_requested,
            align,
            total,
            behind,
            hidden,
            flag,
            names_itself,
            inclusive,
            ties: [1, 10, 20, 30][ties as usize % 4],
            slow,
            late,
        },
    )
}

/// Rows added and removed: after which request, where, and whether a row is added.
type Changes = Vec<(usize, usize, bool)>;

fn apply(changes: &Changes, sorted: bool) -> impl FnMut(usize, &mut Api) {
    let mut fresh = 0;
    move |request, api| {
        for (_, at, comes) in changes.iter().filter(|(when, _, _)| *when == request) {
            if *comes {
                fresh += 1;
                // Between two old rows, or anywhere if the list is not sorted.
                let row = (*at as u32 % 90) * 10 + fresh % 10;
                if api.rows.contains(&row) {
                    continue;
                }
                let place = if sorted { api.rows.partition_point(|other| *other < row) } else { *at };
                api.rows.insert(place.min(api.rows.len()), row);
            } else if *at < api.rows.len() {
                api.rows.remove(*at);
            }
        }
    }
}

/// The size in the definition, its maximum, how the service handles larger sizes, and what earlier runs learned of it.
type Size = (u64, Option<u64>, Over, PageSizes);

fn sizes() -> impl Strategy<Value = Size> {
    let status = prop_oneof![Just(400u16), Just(404), Just(413), Just(504)];
    let over = prop_oneof![2 => Just(Over::Caps), 2 => status.prop_map(Over::Refuses), 1 => (0u64..12).prop_map(Over::FallsBack)];
    let size = || proptest::option::of(2u64..100);
    let known =
        (size(), size()).prop_map(|(worked, refused)| PageSizes { worked, refused, ..PageSizes::default() });
    (2u64..20, size(), over, known)
}

fn check(
    mut api: Api,
    kind: PageKind,
    (size, size_max, over, known): Size,
    verified: bool,
    changes: &Changes,
    other: usize,
) -> Result<(), TestCaseError> {
    // The service accepts the definition's own size.
    if size_max.is_some() && over != Over::Caps {
        (api.cap, api.over) = (size * (1 + other as u64 % 5), over);
    }
    let is_number = matches!(kind, PageKind::Number { .. });
    let is_named = matches!(kind, PageKind::Token { .. } | PageKind::Link { .. });
    let is_offset = matches!(kind, PageKind::Offset { .. });
    // An empty page proves the end, so it can be in the middle only if something else says that there are
    // more rows.
    if !(is_named || api.flag && is_number) {
        api.hidden = None;
    }
    if kind == PageKind::None {
        api.cap = u64::MAX;
    }
    if matches!(kind, PageKind::Keyset { .. }) && api.ties > 1 {
        // More rows with one value than fit on a page can be detected only if a full page is known to be
        // full.
        api.cap = api.cap.max(4);
    }
    // A first page shorter than requested, with nothing after it, cannot be distinguished from a small list.
    // Filtered rows hide the size by which pages are counted.
    api.counts_by_requested &= api.rows.len() as u64 > 2 * size && api.hidden.is_none();
    if is_offset {
        // Pages of one row cannot overlap.
        api.cap = api.cap.max(2);
    } else {
        api.over = Over::Caps;
    }
    if is_named {
        api.behind = Behind::Empty;
    }
    if !matches!(kind, PageKind::Keyset { .. }) {
        api.ties = 1;
    }
    let sorted = is_named || matches!(kind, PageKind::Keyset { .. });
    let before = api.rows.clone();
    let plain = changes.is_empty() && api.hidden.is_none() && api.total != Total::TooMany;
    let page = Paging { size_max: size_max.filter(|_| is_offset), ..page_of(kind.clone(), Some(size)) };
    let habits = Habits { sizes: known, ..Habits::default() };
    let mut pager = Pager::new(page, true).with(habits).verified(verified);
    if let PageKind::Keyset { unique, .. } = &mut pager.page.kind {
        *unique = api.ties == 1;
    }
    let again = pager.clone();
    let outcome = read(&mut api, pager, apply(changes, sorted));
    let hidden = api.hidden;
    let visible = |row: &&u32| hidden.is_none_or(|by| !row.is_multiple_of(by));
    let throughout = before.iter().filter(|row| api.rows.contains(row)).filter(visible);
    let missing: Vec<u32> = throughout.filter(|row| !outcome.got.contains(row)).copied().collect();
    if outcome.end == Ok(PagingStep::Done) {
        prop_assert!(missing.is_empty(), "{missing:?} missing of {api:?}");
    }
    // Readings must not be so careful that they are never complete.
    if plain && !matches!(kind, PageKind::None) {
        let readable = api.ties == 1 || u64::from(api.ties / 10) < size.min(api.cap);
        let one_page = before.len() as u64 <= size;
        // A full page that names itself is a loop.
        let loops = api.names_itself && is_named && !api.flag;
        let odd = loops || api.behind == Behind::LastPage || one_page;
        let lying = matches!(api.total, Total::Zero | Total::OwnPage | Total::Capped(_));
        let narrow = matches!(kind, PageKind::Keyset { .. }) && size.min(api.cap) < 3;
        if readable && !odd && !lying && !narrow {
            prop_assert_eq!(outcome.end, Ok(PagingStep::Done), "{:?}", api);
        }
    }
    // Another partition of the table, read with what was learned.
    api.rows.truncate(other);
    api.counts_by_requested &= api.rows.len() as u64 > 2 * size;
    let learned = read(&mut api, again.with(outcome.habits), |_, _| {});
    let missing = api.rows.iter().filter(visible).any(|row| !learned.got.contains(row));
    prop_assert!(
        learned.end != Ok(PagingStep::Done) || !missing,
        "rows missing of {api:?} with {:?}",
        outcome.habits
    );
    prop_assert!(outcome.requests < 800, "{} requests", outcome.requests);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    /// For any service, a list that does not change is read completely or not reported as complete.
    #[test]
    fn no_row_of_a_constant_list_is_missed(
        api in apis(), kind in kinds(), size in sizes(), verified: bool, other in 0usize..90,
    ) {
        check(api, kind, size, verified, &Vec::new(), other)?;
    }

    /// The same while rows are added and removed. Numbered pages cannot overlap, so only what a total or a
    /// second reading shows can be detected.
    #[test]
    fn no_row_of_a_changing_list_is_missed(
        api in apis(), kind in kinds(), size in sizes(),
        changes in proptest::collection::vec((0usize..12, 0usize..90, any::<bool>()), 1..8),
        only: bool, other in 0usize..90,
    ) {
        let mut api = api;
        let mut changes = changes;
        if matches!(kind, PageKind::Number { .. }) || api.align != Align::Exact {
            api.total = Total::Honest;
            changes.iter_mut().for_each(|change| change.2 = only);
        }
        check(api, kind, size, false, &changes, other)?;
    }
}

/// The message says what to write into the definition.
#[test]
fn a_table_without_paging_is_partial_if_a_sign_says_more() {
    for (json, words) in [
        (r#"{"page_count": 2}"#, "page_count"),
        (r#"{"total_count": "100"}"#, "100 rows"),
        (r#"{"next": "/v1/items?page=2"}"#, "kind = \"link\", next = \"next\""),
        (r#"{"meta": {"next_cursor": "x"}}"#, "kind = \"cursor\", next = \"meta.next_cursor\""),
        (r#"{"_links": {"next": {"href": "/b"}}}"#, "_links.next"),
        (r#"{"has_more": true}"#, "has_more"),
        (r#"{"is_last": false}"#, "is_last"),
        (r#"{"meta": {"pagination": {"total_pages": 2}}}"#, "meta.pagination.total_pages"),
    ] {
        let value: Value = serde_json::from_str(json).unwrap();
        let mut values = Vec::new();
        flatten("", &value, &mut values);
        let signs = Signs::read(values.iter().map(|(path, value)| (path.as_str(), value)), |_| false);
        let content = PageContent { records: 60, signs: signs.clone(), ..PageContent::default() };
        match Pager::new(page_of(PageKind::None, None), true).next(&content) {
            Ok(PagingStep::Partial(doubt)) => assert!(doubt.to_string().contains(words), "{doubt}"),
            other => panic!("{json}: {other:?}"),
        }
        let ignored = Signs::read(values.iter().map(|(path, value)| (path.as_str(), value)), |_| true);
        let content = PageContent { signs: ignored, ..content };
        assert_eq!(Pager::new(page_of(PageKind::None, None), true).next(&content), Ok(PagingStep::Done));
    }
    for json in [
        r#"{"next": null, "has_more": false, "total": 60, "pages": 1}"#,
        r#"{"next": "", "meta": {"next_page": 0, "last": true}, "links": {"next": {"href": null}}}"#,
    ] {
        let value: Value = serde_json::from_str(json).unwrap();
        let mut values = Vec::new();
        flatten("", &value, &mut values);
        let signs = Signs::read(values.iter().map(|(path, value)| (path.as_str(), value)), |_| false);
        let content = PageContent { records: 60, signs, ..PageContent::default() };
        assert_eq!(
            Pager::new(page_of(PageKind::None, None), true).next(&content),
            Ok(PagingStep::Done),
            "{json}"
        );
    }
    let link = Sign { place: "link".into(), kind: SignKind::LinkHeader };
    assert!(link.to_string().contains("header = \"link\""));
}

fn flatten(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if signs::is_name(name) {
            out.push((path.clone(), value.clone()));
        }
        if signs::is_place(&path) {
            flatten(&path, value, out);
        }
    }
}
