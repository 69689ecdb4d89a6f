//! What ends a reading and what does not, habit by habit. The same at random: `model`.

use super::model::{Align, Api, Behind, Outcome, Total, page_of, read};
use super::*;

fn number() -> PageKind {
    PageKind::Number { at: "page".into(), first: 1 }
}

fn offset() -> PageKind {
    PageKind::Offset { at: "offset".into() }
}

fn token() -> PageKind {
    PageKind::Token { at: "after".into(), next: Next::Path("next".into()) }
}

fn rows(count: u32) -> Vec<u32> {
    (0..count).collect()
}

fn read_still(mut api: Api, kind: PageKind, size: u64) -> Outcome {
    let all = api.rows.clone();
    let outcome = read(&mut api, Pager::new(page_of(kind, Some(size)), true), |_, _| {});
    if outcome.end == Ok(Step::Done) {
        assert!(all.iter().all(|row| outcome.got.contains(row)), "{api:?}");
    }
    outcome
}

/// A list that stands still is read with one request a page and one more, whatever the service's own limit on pages is.
#[test]
fn reads_a_still_list_once() {
    for (count, size, cap, total, requests) in [
        (250, 100, 1000, Total::Honest, 3),
        (250, 100, 50, Total::Honest, 6),
        (0, 100, 100, Total::Honest, 1),
        (100, 100, 100, Total::Honest, 2),
        (3, 100, 100, Total::Honest, 2),
        (3, 100, 100, Total::Silent, 2),
    ] {
        let outcome = read_still(Api { cap, total, ..Api::of(rows(count)) }, offset(), size);
        assert_eq!((&outcome.end, outcome.requests), (&Ok(Step::Done), requests), "{count} {size} {cap}");
    }
}

/// A total or a number of pages is a lower bound: a full page is never the last, whatever they say.
#[test]
fn a_full_page_beats_every_total() {
    for total in [Total::Capped(10), Total::Zero, Total::OwnPage, Total::Honest, Total::Pages, Total::Silent]
    {
        for (kind, cap) in [(number(), 99), (offset(), 99), (number(), 5), (offset(), 5)] {
            let outcome = read_still(Api { total, cap, ..Api::of(rows(25)) }, kind.clone(), 10);
            assert_eq!(outcome.end, Ok(Step::Done), "{total:?} {kind:?} {cap}");
            assert!(outcome.requests <= 9, "{total:?} {kind:?}: {} requests", outcome.requests);
        }
    }
    let above = read_still(Api { total: Total::TooMany, ..Api::of(rows(25)) }, number(), 10);
    assert_eq!(above.end, Ok(Step::Partial(Doubt::Rows { stated: 28, read: 25 })));
}

/// Offsets that are rounded to whole pages, or refused within one, are noticed with one more request.
#[test]
fn whole_pages_are_noticed() {
    for (align, cap) in [
        (Align::Down, 99),
        (Align::DownByCap, 40),
        (Align::Down, 40),
        (Align::Refused, 99),
        (Align::Exact, 99),
    ] {
        for (count, size) in [(1000, 50), (3, 4), (0, 4), (100, 50)] {
            let api = Api { align, cap, ..Api::of(rows(count)) };
            let outcome = read_still(api, offset(), size);
            assert_eq!(outcome.end, Ok(Step::Done), "{align:?} {cap} {count}");
            assert!(outcome.requests as u32 <= count / 40 + 5, "{align:?} {count}: {}", outcome.requests);
        }
    }
    let mut api = Api { align: Align::Down, ..Api::of(rows(100)) };
    let pager = Pager::new(page_of(offset(), Some(10)), true).with(Habits { whole_pages: true, size: None });
    assert_eq!(read(&mut api, pager, |_, _| {}).requests, 11, "what was learned spares the questions");
}

/// Numbered pages of a service that gives fewer rows than asked, whichever size it counts by.
#[test]
fn numbered_pages_of_a_capped_size() {
    for counts_by_asked in [false, true] {
        let outcome = read_still(Api { cap: 5, counts_by_asked, ..Api::of(rows(23)) }, number(), 10);
        assert_eq!((outcome.end, outcome.requests), (Ok(Step::Done), 8), "{counts_by_asked}");
    }
}

/// "Not found" behind the last page, and the last page again, are ends; one full page for ever is not known to be one.
#[test]
fn what_is_behind_the_last_page() {
    for kind in [number(), offset()] {
        for behind in [Behind::NotFound, Behind::Empty] {
            for count in [45, 40, 7, 10] {
                let outcome = read_still(Api { behind, ..Api::of(rows(count)) }, kind.clone(), 10);
                assert_eq!(outcome.end, Ok(Step::Done), "{kind:?} {behind:?} {count}");
            }
        }
    }
    for count in [45, 40] {
        let outcome = read_still(Api { behind: Behind::LastPage, ..Api::of(rows(count)) }, number(), 10);
        assert_eq!(outcome.end, Ok(Step::Done), "{count}");
    }
    for count in [10, 7] {
        let unheeded = read_still(Api { behind: Behind::LastPage, ..Api::of(rows(count)) }, number(), 10);
        assert_eq!(unheeded.end, Ok(Step::Partial(Doubt::Unheeded("page".into()))), "{count}");
    }
}

/// A list that never stands still ends as partial, after the readings that are allowed.
#[test]
fn gives_up_on_a_restless_list() {
    for kind in [offset(), number()] {
        let mut fresh = 0;
        let pager = Pager::new(page_of(kind, Some(50)), true);
        let outcome = read(&mut Api::of((1000..1300).collect()), pager, |_, api| {
            fresh += 1;
            api.rows.insert(0, fresh);
        });
        assert_eq!(outcome.end, Ok(Step::Partial(Doubt::Shifts)));
    }
}

/// A list that shrinks just before its end leaves an empty page where a known row should be; the last row, which slipped
/// over the seam, is found all the same.
#[test]
fn an_empty_page_is_not_always_the_end() {
    let pager = Pager::new(page_of(offset(), Some(15)), true);
    let outcome = read(&mut Api::of(rows(142)), pager, |request, api| {
        for _ in 0..[3, 11, 11].iter().filter(|when| **when == request).count() {
            api.rows.remove(0);
        }
    });
    assert!(outcome.got.contains(&141) && outcome.end == Ok(Step::Done));
}

/// Rows put before the page under way push the last row of the page before onto it: all is read again, since what pushed
/// is behind us. Rows that share a key for good are none of that.
#[test]
fn numbered_pages_notice_what_pushes() {
    let mut api = Api::of(rows(45));
    let outcome = read(&mut api, Pager::new(page_of(number(), Some(10)), true), |request, api| {
        if request == 1 {
            api.rows.rotate_right(1);
        }
    });
    assert_eq!(outcome.end, Ok(Step::Done));
    assert!(api.rows.iter().all(|row| outcome.got.contains(row)), "{:?}", outcome.got);
    let twins: Vec<u32> = (0..45).map(|row| if row == 10 { 9 } else { row }).collect();
    let outcome = read_still(Api::of(twins), number(), 10);
    assert_eq!((outcome.end, outcome.requests), (Ok(Step::Done), 12));
}

/// Rows that go away before a numbered page leave no trace. Where missing rows are taken for deleted, a second reading
/// tells.
#[test]
fn a_second_reading_verifies_numbered_pages() {
    for verified in [false, true] {
        let mut api = Api::of(rows(45));
        let pager = Pager::new(page_of(number(), Some(10)), true).verified(verified);
        let outcome = read(&mut api, pager, |request, api| {
            if request == 1 {
                api.rows.remove(0);
            }
        });
        assert_eq!(outcome.end, Ok(Step::Done));
        assert_eq!(outcome.got.contains(&20), verified, "{:?}", outcome.got);
    }
    // One short page may be all that a service gives at once, with a row that moved onto it from the next.
    let single = Pager::new(page_of(number(), Some(10)), true).verified(true);
    assert_eq!(read(&mut Api::of(rows(7)), single, |_, _| {}).requests, 4);
    let empty = Pager::new(page_of(number(), Some(10)), true).verified(true);
    assert_eq!(read(&mut Api::of(rows(0)), empty, |_, _| {}).requests, 1);
}

/// A total that changes between pages means that rows shifted: everything is read again, three times at most.
#[test]
fn a_changing_total_is_read_again() {
    let mut pager = Pager::new(page_of(number(), None), true);
    let mut total = 50;
    let mut requests = 0;
    let end = loop {
        total += 1;
        requests += 1;
        let novelty = Novelty { new_rows: 31, ..Novelty::default() };
        let records = if requests % 2 == 0 { 30 } else { 31 };
        let content =
            PageContent { records, total: Some(total), pages: Some(2), novelty, ..PageContent::default() };
        match pager.next(&content) {
            Ok(Step::Next(_)) => {}
            other => break other,
        }
    };
    assert_eq!((end, requests), (Ok(Step::Partial(Doubt::TotalChanges)), 8));
}

/// An empty page that names a next one is not the end, and a hundred of them are.
#[test]
fn an_empty_page_with_a_next_goes_on() {
    let named = |records, next: u64| PageContent {
        records,
        next: Some(RawValue::new(next.to_string())),
        novelty: Novelty { new_rows: records, ..Novelty::default() },
        ..PageContent::default()
    };
    let mut pager = Pager::new(page_of(token(), None), true);
    for next in 1..=100 {
        assert!(matches!(pager.next(&named(0, next)), Ok(Step::Next(_))));
    }
    assert!(matches!(pager.next(&named(5, 101)), Ok(Step::Next(_))));
    for next in 102..202 {
        assert!(matches!(pager.next(&named(0, next)), Ok(Step::Next(_))));
    }
    assert_eq!(pager.next(&named(0, 202)), Ok(Step::Partial(Doubt::Empty)));
}

/// A token or link that was seen before is an error, not an endless loop; the last page may name itself.
#[test]
fn loops_are_found() {
    let links = PageKind::Link { next: Next::Path("links.next".into()) };
    for kind in [links, token()] {
        let content = |next: &str, new_rows| PageContent {
            records: 5,
            next: Some(RawValue::new(format!("\"{next}\""))),
            novelty: Novelty { new_rows, ..Novelty::default() },
            ..PageContent::default()
        };
        let mut pager = Pager::new(page_of(kind.clone(), None), true);
        assert!(matches!(pager.next(&content("a", 5)), Ok(Step::Next(_))));
        assert!(matches!(pager.next(&content("b", 5)), Ok(Step::Next(_))));
        assert_eq!(pager.clone().next(&content("a", 5)), Err(PagingError::Loop));
        // Itself, with new rows: asked once more, it has none. Only a page that is not full is the last then, or one
        // that says so.
        assert!(matches!(pager.next(&content("b", 5)), Ok(Step::Next(_))));
        assert_eq!(pager.clone().next(&content("b", 0)), Err(PagingError::Loop));
        assert_eq!(pager.next(&PageContent { records: 3, ..content("b", 0) }), Ok(Step::Done));
        let mut said = content("b", 5);
        said.signs.flag = Some((false, "has_more".into()));
        let mut pager = Pager::new(page_of(kind, None), true);
        assert!(matches!(pager.next(&content("b", 5)), Ok(Step::Next(_))));
        assert_eq!(pager.next(&said), Ok(Step::Done));
    }
}

/// Whatever the kind, pages without anything new end the reading: soon where they are the very same rows, later where
/// known keys come with other contents, as a feed of changes may.
#[test]
fn pages_without_anything_new_end() {
    let page = |n: u64, novelty| PageContent {
        records: 10,
        next: Some(RawValue::new(n.to_string())),
        novelty,
        ..PageContent::default()
    };
    let after = |kind: PageKind, novelty: Novelty| {
        let mut pager = Pager::new(page_of(kind, None), true);
        (1..).find(|n| pager.next(&page(*n, novelty)).is_err()).unwrap()
    };
    let repeated = Novelty { repeated: true, ..Novelty::default() };
    let stale = Novelty::default();
    assert_eq!(after(token(), repeated), 6);
    assert_eq!(after(PageKind::Link { next: Next::LinkHeader }, repeated), 6);
    assert_eq!(after(token(), stale), 1_001);
    let mut keyless = Pager::new(page_of(number(), None), false);
    let seen = |repeated| PageContent {
        records: 10,
        novelty: Novelty { repeated, ..Novelty::default() },
        ..PageContent::default()
    };
    for repeated in [false, true, true, true, true, false, true, true, true, true, true] {
        assert!(matches!(keyless.next(&seen(repeated)), Ok(Step::Next(_))));
    }
    assert_eq!(keyless.next(&seen(true)), Err(PagingError::Unheeded("page".into())));
}

/// A keyset of a unique column goes on from the last value; of another it asks from the value before it on, so that rows
/// with the same value are not passed over, and says when a whole page has one value.
#[test]
fn keysets_get_on_or_say_so() {
    let kind = |unique| PageKind::Keyset { at: "after".into(), column: "id".into(), unique };
    for (ties, inclusive, unique, size, want) in [
        (1, false, true, 2, true),
        (1, true, true, 2, true),
        (2, false, false, 3, true),
        (2, true, false, 4, true),
        (3, false, false, 3, false),
    ] {
        let mut api = Api { ties, inclusive, ..Api::of(rows(20)) };
        let pager = Pager::new(page_of(kind(unique), Some(size)), true);
        let outcome = read(&mut api, pager, |_, _| {});
        assert_eq!(outcome.end == Ok(Step::Done), want, "{ties} {inclusive}: {outcome:?}");
        assert!(!want || api.rows.iter().all(|row| outcome.got.contains(row)), "{outcome:?}");
    }
    let mut unordered = Pager::new(page_of(kind(true), Some(2)), true);
    let content = PageContent { records: 2, disordered: true, ..PageContent::default() };
    assert_eq!(unordered.next(&content), Err(PagingError::Unordered("id".into())));
    let mut none = Pager::new(page_of(kind(true), Some(2)), true);
    let content = PageContent { records: 2, ..PageContent::default() };
    assert_eq!(none.next(&content), Err(PagingError::NoValue("id".into())));
}

/// Rows without a key are not asked for twice; where some share a value, that is said.
#[test]
fn keysets_of_rows_without_a_key() {
    let kind = PageKind::Keyset { at: "after".into(), column: "n".into(), unique: false };
    let value = |n: u32| Some(RawValue::new(n.to_string()));
    let content = |tied| PageContent {
        records: 3,
        last_value: value(3),
        value_before: value(2),
        tied,
        novelty: Novelty { new_rows: 3, ..Novelty::default() },
        ..PageContent::default()
    };
    let next = |tied| Pager::new(page_of(kind.clone(), None), false).next(&content(tied));
    assert_eq!(next(false), Ok(Step::Next(Ask::Params(vec![("after".into(), RawValue::new("3"))]))));
    assert_eq!(next(true), Err(PagingError::Tied("n".into())));
}

/// What goes back is what came: digits, and texts without their quotes.
#[test]
fn raw_values_are_written_as_they_came() {
    for (raw, text) in [
        ("\"a\\u00e4\"", "aä"),
        ("1.10", "1.10"),
        ("9007199254740993", "9007199254740993"),
        ("[1,\"x\"]", "[1,\"x\"]"),
    ] {
        assert_eq!(RawValue::new(raw).text(), text);
    }
    assert_eq!(RawValue::new("{\"a\":1}").json(), serde_json::json!({ "a": 1 }));
}
