//! A list that changes while it is read, and whether every row that was there throughout is seen.

use proptest::prelude::*;

use super::*;

fn offset(size: u64) -> Page {
    let kind = PageKind::Offset { at: "offset".into() };
    Page { kind, size: Some(("limit".into(), size)), total: None, pages: None, short_ends: false }
}

fn at(ask: &Ask, name: &str) -> u64 {
    let Ask::Params(params) = ask else { panic!("a link") };
    params.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.parse().ok()).unwrap()
}

/// Reads `list` with a server that gives at most `clamp` rows and changes the list after each page; returns what was
/// seen, whether it settled, and the number of requests.
fn read(
    list: &mut Vec<u32>,
    mut pager: Pager,
    clamp: usize,
    with_total: bool,
    mut change: impl FnMut(usize, &mut Vec<u32>),
) -> (Vec<u32>, bool, usize) {
    let mut got = Vec::new();
    let mut ask = pager.first();
    for request in 0..10_000 {
        let from = (at(&ask, "offset") as usize).min(list.len());
        let to = (from + (at(&ask, "limit") as usize).min(clamp)).min(list.len());
        let page = &list[from..to];
        got.extend_from_slice(page);
        let expected = pager.expected().map(str::to_owned);
        let seen = Seen {
            records: page.len() as u64,
            expected_at: expected
                .and_then(|key| page.iter().position(|row| row.to_string() == key))
                .map(|at| at as u64),
            last_key: page.last().map(ToString::to_string),
            total: with_total.then_some(list.len() as u64),
            ..Seen::default()
        };
        match pager.next(&seen).unwrap() {
            Step::Next(next) => ask = next,
            end => return (got, end == Step::Done, request + 1),
        }
        change(request, list);
    }
    panic!("paging never ends");
}

/// A list that stands still is read with one request a page, whatever the server's own limit on pages is.
#[test]
fn reads_a_still_list_once() {
    for (rows, size, clamp, total, requests) in
        [(250, 100, 1000, true, 3), (250, 100, 50, true, 5), (0, 100, 100, true, 1), (100, 100, 100, true, 1)]
    {
        let mut list: Vec<u32> = (0..rows).collect();
        let pager = Pager::new(offset(size), true);
        let (mut got, settled, count) = read(&mut list, pager, clamp, total, |_, _| {});
        got.dedup();
        assert_eq!((got.len(), settled), (rows as usize, true));
        assert!(count <= requests + 1, "{count} requests for {rows} rows");
    }
}

/// A list that never stands still ends as unsettled, after the readings that are allowed.
#[test]
fn gives_up_on_a_restless_list() {
    let mut list: Vec<u32> = (1000..1300).collect();
    let mut fresh = 0;
    let (_, settled, _) = read(&mut list, Pager::new(offset(50), true), 50, false, |_, list| {
        fresh += 1;
        list.insert(0, fresh);
    });
    assert!(!settled);
}

/// A list that shrinks just before its end leaves an empty page where a known row should be; the last row, which slipped
/// over the seam, is found all the same.
#[test]
fn an_empty_page_is_not_always_the_end() {
    let mut list: Vec<u32> = (0..142).collect();
    let (got, settled, _) = read(&mut list, Pager::new(offset(15), true), 15, false, |request, list| {
        for _ in 0..[3, 11, 11].iter().filter(|when| **when == request).count() {
            list.remove(0);
        }
    });
    assert!(got.contains(&141) && settled);
}

proptest! {
    /// Rows that were there throughout are seen when others are deleted anywhere, at any moment.
    #[test]
    fn deletions_hide_nothing(
        rows in 1usize..200, size in 2u64..40, clamp in 2usize..50, total: bool,
        deletions in proptest::collection::vec((0usize..30, 0usize..200), 0..12),
    ) {
        let mut list: Vec<u32> = (0..rows as u32).collect();
        let (got, _, _) = read(&mut list, Pager::new(offset(size), true), clamp, total, |request, list| {
            for (_, at) in deletions.iter().filter(|(when, _)| *when == request) {
                if *at < list.len() {
                    list.remove(*at);
                }
            }
        });
        prop_assert!(list.iter().all(|row| got.contains(row)), "missing {:?}", list.iter().find(|r| !got.contains(r)));
    }

    /// Rows put in anywhere hide nothing that was there, and a settled reading holds them too.
    #[test]
    fn insertions_hide_nothing(
        rows in 1usize..200, size in 2u64..40, total: bool,
        insertions in proptest::collection::vec((0usize..12, 0usize..200), 0..12),
    ) {
        let mut list: Vec<u32> = (0..rows as u32).collect();
        let before = list.clone();
        let mut fresh = 10_000;
        let (got, _, _) = read(&mut list, Pager::new(offset(size), true), 1000, total, |request, list| {
            for (_, at) in insertions.iter().filter(|(when, _)| *when == request) {
                fresh += 1;
                list.insert((*at).min(list.len()), fresh);
            }
        });
        prop_assert!(before.iter().all(|row| got.contains(row)));
    }
}

/// Page numbers end at the stated count, at an empty page, and never at a short one alone.
#[test]
fn page_numbers_end_where_they_should() {
    let page = |pages: bool| Page {
        kind: PageKind::Number { at: "page".into(), first: 1 },
        size: Some(("limit".into(), 25)),
        total: None,
        pages: pages.then(|| "meta.pages".into()),
        short_ends: false,
    };
    let mut stated = Pager::new(page(true), true);
    let seen = |records, pages| Seen { records, pages, ..Seen::default() };
    assert!(matches!(stated.next(&seen(25, Some(2))), Ok(Step::Next(_))));
    assert_eq!(stated.next(&seen(25, Some(2))), Ok(Step::Done));
    let mut silent = Pager::new(page(true), true);
    assert!(matches!(silent.next(&seen(24, None)), Ok(Step::Next(_))));
    assert!(matches!(silent.next(&seen(3, Some(0))), Ok(Step::Next(_))));
    assert_eq!(silent.next(&seen(0, None)), Ok(Step::Done));
}

/// Reads numbered pages of ten of a list; `change` is told after each page. Returns what was seen, the end, and the
/// number of requests.
fn read_numbered(
    list: &mut Vec<u32>,
    page_of: impl Fn(&[u32], u64) -> Vec<u32>,
    mut change: impl FnMut(usize, &mut Vec<u32>),
) -> (Vec<u32>, Step, usize) {
    let kind = PageKind::Number { at: "page".into(), first: 1 };
    let size = Some(("limit".into(), 10));
    let mut pager = Pager::new(Page { kind, size, total: None, pages: None, short_ends: false }, true);
    let (mut got, mut ask) = (Vec::new(), pager.first());
    for request in 0..1_000 {
        let page = page_of(list, at(&ask, "page"));
        got.extend_from_slice(&page);
        let expected = pager.expected().map(str::to_owned);
        let seen = Seen {
            records: page.len() as u64,
            expected_at: expected
                .and_then(|key| page.iter().position(|row| row.to_string() == key))
                .map(|at| at as u64),
            last_key: page.last().map(ToString::to_string),
            ..Seen::default()
        };
        match pager.next(&seen).unwrap() {
            Step::Next(next) => ask = next,
            end => return (got, end, request + 1),
        }
        change(request, list);
    }
    panic!("paging never ends");
}

fn numbered(list: &[u32], page: u64) -> Vec<u32> {
    list.iter().skip((page as usize - 1) * 10).take(10).copied().collect()
}

/// Rows put before the page under way push the last row of the page before onto it: all is read again, since what pushed
/// is behind us. Rows that share a key for good are none of that.
#[test]
fn numbered_pages_notice_what_pushes() {
    let mut list: Vec<u32> = (0..45).collect();
    let (got, end, _) = read_numbered(&mut list, numbered, |request, list| {
        if request == 1 {
            list.rotate_right(1);
        }
    });
    assert_eq!(end, Step::Done);
    assert!(list.iter().all(|row| got.contains(row)), "{got:?}");
    let mut restless: Vec<u32> = (0..45).collect();
    let mut fresh = 100;
    let (_, end, requests) = read_numbered(&mut restless, numbered, |_, list| {
        fresh += 1;
        list.insert(0, fresh);
    });
    assert_eq!((end, requests < 100), (Step::Unsettled, true));
    let mut twins: Vec<u32> = (0..45).map(|row| if row == 10 { 9 } else { row }).collect();
    let (_, end, requests) = read_numbered(&mut twins, numbered, |_, _| {});
    assert_eq!((end, requests), (Step::Done, 12));
}

/// A service that gives its last page for every number behind it is read to its end; one that gives the same full page
/// for every number may have more, and neither is asked for ever.
#[test]
fn numbered_pages_that_repeat_end() {
    let mut list: Vec<u32> = (0..45).collect();
    let clamped = |list: &[u32], page: u64| numbered(list, page.min(5));
    let (got, end, requests) = read_numbered(&mut list, clamped, |_, _| {});
    assert_eq!((end, requests), (Step::Done, 6));
    assert!(list.iter().all(|row| got.contains(row)));
    let (_, end, requests) = read_numbered(&mut list, |list, _| numbered(list, 1), |_, _| {});
    assert_eq!((end, requests), (Step::Unsettled, 8));
}

/// Rows without a key cannot be recognised, but the same page again and again can: a parameter that the service does not
/// know would otherwise bring the first page for ever. A few alike are no mistake.
#[test]
fn pages_that_are_all_the_same_end() {
    let kinds = [PageKind::Number { at: "pg".into(), first: 1 }, PageKind::Offset { at: "pg".into() }];
    for kind in kinds {
        let page = Page { kind, size: None, total: None, pages: None, short_ends: false };
        let seen = |print| Seen { records: 10, print: Some(print), ..Seen::default() };
        let mut pager = Pager::new(page, false);
        for print in [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1] {
            assert!(matches!(pager.next(&seen(print)), Ok(Step::Next(_))));
        }
        assert_eq!(pager.next(&seen(1)), Err(PagingError::Unheeded("pg".into())));
    }
}

/// A total that changes between pages means that rows moved: everything is read again, three times at most.
#[test]
fn a_changing_total_is_read_again() {
    let kind = PageKind::Number { at: "page".into(), first: 1 };
    let page = Page {
        kind,
        size: None,
        total: Some("total".into()),
        pages: Some("pages".into()),
        short_ends: false,
    };
    let mut pager = Pager::new(page, true);
    let mut total = 60;
    let mut requests = 0;
    let end = loop {
        total += 1;
        requests += 1;
        match pager.next(&Seen { records: 31, total: Some(total), pages: Some(2), ..Seen::default() }) {
            Ok(Step::Next(_)) => {}
            other => break other,
        }
    };
    assert_eq!((end, requests), (Ok(Step::Unsettled), 8));
}

/// A token or link that was seen before is an error, not an endless loop.
#[test]
fn circles_are_found() {
    for kind in [
        PageKind::Link { next: Next::Path("links.next".into()) },
        PageKind::Token { at: "cursor".into(), next: Next::Path("next".into()) },
    ] {
        let page = Page { kind, size: None, total: None, pages: None, short_ends: false };
        let mut pager = Pager::new(page, true);
        let seen = |next: &str| Seen { records: 5, next: Some(next.into()), ..Seen::default() };
        assert!(matches!(pager.next(&seen("a")), Ok(Step::Next(_))));
        assert!(matches!(pager.next(&seen("b")), Ok(Step::Next(_))));
        assert_eq!(pager.next(&seen("a")), Err(PagingError::Circle));
    }
}

/// A keyset ends at an empty page or when only the last row comes again, and says when it cannot get on.
#[test]
fn keysets_get_on_or_say_so() {
    let kind = PageKind::Keyset { at: "after".into(), column: "id".into() };
    let page = Page { kind, size: Some(("limit".into(), 2)), total: None, pages: None, short_ends: false };
    let seen = |records, value: &str| Seen { records, last_value: Some(value.into()), ..Seen::default() };
    let mut pager = Pager::new(page.clone(), true);
    assert!(matches!(pager.next(&seen(2, "5")), Ok(Step::Next(_))));
    assert_eq!(pager.next(&seen(1, "5")), Ok(Step::Done));
    let mut stuck = Pager::new(page, true);
    assert!(matches!(stuck.next(&seen(2, "5")), Ok(Step::Next(_))));
    assert_eq!(stuck.next(&seen(2, "5")), Err(PagingError::Stuck("id".into())));
}
