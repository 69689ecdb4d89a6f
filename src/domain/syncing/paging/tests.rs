//! What ends a reading, for each behaviour of a service. `model` tests random ones.

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
    if outcome.end == Ok(PagingStep::Done) {
        assert!(all.iter().all(|row| outcome.got.contains(row)), "{api:?}");
    }
    outcome
}

/// It takes one request per page and one more, for any limit on page sizes.
#[test]
fn reads_a_constant_list_once() {
    for (count, size, cap, total, requests) in [
        (250, 100, 1000, Total::Honest, 3),
        (250, 100, 50, Total::Honest, 6),
        (0, 100, 100, Total::Honest, 1),
        (100, 100, 100, Total::Honest, 2),
        (3, 100, 100, Total::Honest, 2),
        (3, 100, 100, Total::Silent, 2),
    ] {
        let outcome = read_still(Api { cap, total, ..Api::of(rows(count)) }, offset(), size);
        assert_eq!(
            (&outcome.end, outcome.requests),
            (&Ok(PagingStep::Done), requests),
            "{count} {size} {cap}"
        );
    }
}

/// A total or a number of pages is a lower bound.
#[test]
fn a_full_page_overrides_every_total() {
    for total in [Total::Capped(10), Total::Zero, Total::OwnPage, Total::Honest, Total::Pages, Total::Silent]
    {
        for (kind, cap) in [(number(), 99), (offset(), 99), (number(), 5), (offset(), 5)] {
            let outcome = read_still(Api { total, cap, ..Api::of(rows(25)) }, kind.clone(), 10);
            assert_eq!(outcome.end, Ok(PagingStep::Done), "{total:?} {kind:?} {cap}");
            assert!(outcome.requests <= 9, "{total:?} {kind:?}: {} requests", outcome.requests);
        }
    }
    let above = read_still(Api { total: Total::TooMany, ..Api::of(rows(25)) }, number(), 10);
    assert_eq!(above.end, Ok(PagingStep::Partial(Doubt::Rows { stated: 28, read: 25 })));
}

/// Offsets that are rounded to page boundaries, or rejected within a page, cost one more request.
#[test]
fn offsets_limited_to_page_boundaries_are_detected() {
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
            assert_eq!(outcome.end, Ok(PagingStep::Done), "{align:?} {cap} {count}");
            assert!(outcome.requests as u32 <= count / 40 + 5, "{align:?} {count}: {}", outcome.requests);
        }
    }
    let mut api = Api { align: Align::Down, ..Api::of(rows(100)) };
    let pager =
        Pager::new(page_of(offset(), Some(10)), true).with(Habits { whole_pages: true, ..Habits::default() });
    assert_eq!(read(&mut api, pager, |_, _| {}).requests, 11, "no request is needed for what was learned");
}

/// The service returns fewer rows than requested and counts pages by either size.
#[test]
fn numbered_pages_of_a_capped_size() {
    for counts_by_requested in [false, true] {
        let outcome = read_still(Api { cap: 5, counts_by_requested, ..Api::of(rows(23)) }, number(), 10);
        assert_eq!((outcome.end, outcome.requests), (Ok(PagingStep::Done), 8), "{counts_by_requested}");
    }
}

/// "Not found" after the last page, and a repeated last page, are ends. A full page that is always repeated
/// is not.
#[test]
fn the_end_is_detected_by_the_response_after_the_last_page() {
    for kind in [number(), offset()] {
        for behind in [Behind::NotFound, Behind::Empty] {
            for count in [45, 40, 7, 10] {
                let outcome = read_still(Api { behind, ..Api::of(rows(count)) }, kind.clone(), 10);
                assert_eq!(outcome.end, Ok(PagingStep::Done), "{kind:?} {behind:?} {count}");
            }
        }
    }
    for count in [45, 40] {
        let outcome = read_still(Api { behind: Behind::LastPage, ..Api::of(rows(count)) }, number(), 10);
        assert_eq!(outcome.end, Ok(PagingStep::Done), "{count}");
    }
    for count in [10, 7] {
        let unheeded = read_still(Api { behind: Behind::LastPage, ..Api::of(rows(count)) }, number(), 10);
        assert_eq!(unheeded.end, Ok(PagingStep::Partial(Doubt::Unheeded("page".into()))), "{count}");
    }
}

#[test]
fn a_list_that_always_changes_is_partial() {
    for kind in [offset(), number()] {
        let mut fresh = 0;
        let pager = Pager::new(page_of(kind, Some(50)), true);
        let outcome = read(&mut Api::of((1000..1300).collect()), pager, |_, api| {
            fresh += 1;
            api.rows.insert(0, fresh);
        });
        assert_eq!(outcome.end, Ok(PagingStep::Partial(Doubt::Shifts)));
    }
}

/// A list that shrinks just before its end leaves an empty page where a known row should be; the last row,
/// which shifted before the overlap, is read all the same.
#[test]
fn an_empty_page_is_not_always_the_end() {
    let pager = Pager::new(page_of(offset(), Some(15)), true);
    let outcome = read(&mut Api::of(rows(142)), pager, |request, api| {
        for _ in 0..[3, 11, 11].iter().filter(|when| **when == request).count() {
            api.rows.remove(0);
        }
    });
    assert!(outcome.got.contains(&141) && outcome.end == Ok(PagingStep::Done));
}

/// A row that comes and goes again between two requests looks for a moment like offsets that are rounded. They were not, so
/// pages overlap when the list is read again, and later shifts are noticed.
#[test]
fn a_row_that_comes_and_goes_is_no_rounding() {
    let mut api = Api::of(rows(53));
    let outcome =
        read(&mut api, Pager::new(page_of(offset(), Some(13)), true), |request, api| match request {
            0 => api.rows.insert(0, 1_000),
            1 | 3 => drop(api.rows.remove(0)),
            _ => {}
        });
    assert_eq!(outcome.end, Ok(PagingStep::Done));
    assert!(api.rows.iter().all(|row| outcome.got.contains(row)), "{:?}", outcome.got);
}

/// A row that goes away while the service is found to round offsets shifts the next page, too, whatever a capped total says.
#[test]
fn a_shift_beside_rounded_offsets_is_read_again() {
    let mut api = Api { align: Align::Down, total: Total::Capped(20), ..Api::of(rows(22)) };
    let page = Paging { total: Some("total".into()), ..page_of(offset(), Some(3)) };
    let outcome = read(&mut api, Pager::new(page, true).verified(true), |request, api| match request {
        0 => drop(api.rows.remove(1)),
        2 => drop(api.rows.remove(0)),
        _ => {}
    });
    assert_eq!(outcome.end, Ok(PagingStep::Done));
    assert!(api.rows.iter().all(|row| outcome.got.contains(row)), "{:?}", outcome.got);
}

/// The same where the service answers "not found" in place of an empty page, at the first seam and at a later one.
#[test]
fn not_found_is_not_always_the_end() {
    for (count, at, gone) in [(74, 11, 2), (8, 0, 3)] {
        let mut api = Api { behind: Behind::NotFound, ..Api::of(rows(count)) };
        let pager = Pager::new(page_of(offset(), Some(7)), true);
        let outcome = read(&mut api, pager, |request, api| {
            if request == at {
                api.rows.drain(..gone);
            }
        });
        assert!(
            outcome.got.contains(&(count - 1)) && outcome.end == Ok(PagingStep::Done),
            "{count}: {outcome:?}"
        );
    }
}

/// "Not found" behind the end of a list that has shrunk says nothing of the page size that was asked for.
#[test]
fn not_found_behind_the_end_refuses_no_size() {
    let mut api = Api { behind: Behind::NotFound, ..Api::of(rows(300)) };
    let page = Paging { size_max: Some(80), ..page_of(offset(), Some(10)) };
    let outcome = read(&mut api, Pager::new(page, true), |request, api| {
        if request == 6 {
            api.rows.drain(..100);
        }
    });
    assert!(api.rows.iter().all(|row| outcome.got.contains(row)) && outcome.end == Ok(PagingStep::Done));
    assert_eq!(outcome.habits.sizes, PageSizes { worked: Some(80), ..PageSizes::default() });
}

/// Rows added before the current page push the last row of the previous page onto it: everything is read
/// again, because the added rows are on earlier pages. Rows that always share a key do not count as a shift.
#[test]
fn numbered_pages_detect_added_rows() {
    let mut api = Api::of(rows(45));
    let outcome = read(&mut api, Pager::new(page_of(number(), Some(10)), true), |request, api| {
        if request == 1 {
            api.rows.rotate_right(1);
        }
    });
    assert_eq!(outcome.end, Ok(PagingStep::Done));
    assert!(api.rows.iter().all(|row| outcome.got.contains(row)), "{:?}", outcome.got);
    let twins: Vec<u32> = (0..45).map(|row| if row == 10 { 9 } else { row }).collect();
    let outcome = read_still(Api::of(twins), number(), 10);
    assert_eq!((outcome.end, outcome.requests), (Ok(PagingStep::Done), 12));
}

/// Rows removed before a numbered page cannot be detected by its rows. If missing rows are marked deleted, a
/// second reading detects them.
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
        assert_eq!(outcome.end, Ok(PagingStep::Done));
        assert_eq!(outcome.got.contains(&20), verified, "{:?}", outcome.got);
    }
    // One short page may be the service's maximum, with a row that shifted onto it from the next page.
    let single = Pager::new(page_of(number(), Some(10)), true).verified(true);
    assert_eq!(read(&mut Api::of(rows(7)), single, |_, _| {}).requests, 4);
    let empty = Pager::new(page_of(number(), Some(10)), true).verified(true);
    assert_eq!(read(&mut Api::of(rows(0)), empty, |_, _| {}).requests, 1);
}

/// It means that rows shifted; there are three more readings at most.
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
            Ok(PagingStep::Next(_)) => {}
            other => break other,
        }
    };
    assert_eq!((end, requests), (Ok(PagingStep::Partial(Doubt::TotalChanges)), 8));
}

/// A hundred of them end the reading.
#[test]
fn an_empty_page_that_names_a_next_one_is_not_the_end() {
    let named = |records, next: u64| PageContent {
        records,
        next: Some(RawValue::new(next.to_string())),
        novelty: Novelty { new_rows: records, ..Novelty::default() },
        ..PageContent::default()
    };
    let mut pager = Pager::new(page_of(token(), None), true);
    for next in 1..=100 {
        assert!(matches!(pager.next(&named(0, next)), Ok(PagingStep::Next(_))));
    }
    assert!(matches!(pager.next(&named(5, 101)), Ok(PagingStep::Next(_))));
    for next in 102..202 {
        assert!(matches!(pager.next(&named(0, next)), Ok(PagingStep::Next(_))));
    }
    assert_eq!(pager.next(&named(0, 202)), Ok(PagingStep::Partial(Doubt::Empty)));
}

/// A repeated token or link is an error; the last page may name itself.
#[test]
fn pagination_loops_are_detected() {
    let links = PageKind::Link { next: Next::Path("links.next".into()) };
    for kind in [links, token()] {
        let content = |next: &str, new_rows| PageContent {
            records: 5,
            next: Some(RawValue::new(format!("\"{next}\""))),
            novelty: Novelty { new_rows, ..Novelty::default() },
            ..PageContent::default()
        };
        let mut pager = Pager::new(page_of(kind.clone(), None), true);
        assert!(matches!(pager.next(&content("a", 5)), Ok(PagingStep::Next(_))));
        assert!(matches!(pager.next(&content("b", 5)), Ok(PagingStep::Next(_))));
        assert_eq!(pager.clone().next(&content("a", 5)), Err(PagingError::Loop));
        // Itself, with new rows: requested once more, it has none. It is the last page only if it is not full
        // or is marked as the last.
        assert!(matches!(pager.next(&content("b", 5)), Ok(PagingStep::Next(_))));
        assert_eq!(pager.clone().next(&content("b", 0)), Err(PagingError::Loop));
        assert_eq!(pager.next(&PageContent { records: 3, ..content("b", 0) }), Ok(PagingStep::Done));
        let mut marked = content("b", 5);
        marked.signs.flag = Some((false, "has_more".into()));
        let mut pager = Pager::new(page_of(kind, None), true);
        assert!(matches!(pager.next(&content("b", 5)), Ok(PagingStep::Next(_))));
        assert_eq!(pager.next(&marked), Ok(PagingStep::Done));
    }
}

/// Soon if their rows are identical, later if known keys have other contents, as in a feed of changes.
#[test]
fn pages_without_new_rows_end_the_reading() {
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
        assert!(matches!(keyless.next(&seen(repeated)), Ok(PagingStep::Next(_))));
    }
    assert_eq!(keyless.next(&seen(true)), Err(PagingError::Unheeded("page".into())));
}

/// With a unique column the next page starts after the last value. Otherwise it starts after the previous
/// value, so that rows with the same value are not skipped; a whole page with one value is an error.
#[test]
fn keysets_advance_or_fail() {
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
        assert_eq!(outcome.end == Ok(PagingStep::Done), want, "{ties} {inclusive}: {outcome:?}");
        assert!(!want || api.rows.iter().all(|row| outcome.got.contains(row)), "{outcome:?}");
    }
    let mut unordered = Pager::new(page_of(kind(true), Some(2)), true);
    let content = PageContent { records: 2, disordered: true, ..PageContent::default() };
    assert_eq!(unordered.next(&content), Err(PagingError::Unordered("id".into())));
    let mut none = Pager::new(page_of(kind(true), Some(2)), true);
    let content = PageContent { records: 2, ..PageContent::default() };
    assert_eq!(none.next(&content), Err(PagingError::NoValue("id".into())));
}

/// They are not requested twice; rows that share a value are an error.
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
    assert_eq!(
        next(false),
        Ok(PagingStep::Next(PageRequest::Params(vec![("after".into(), RawValue::new("3"))])))
    );
    assert_eq!(next(true), Err(PagingError::Tied("n".into())));
}

#[test]
fn raw_values_are_sent_unchanged() {
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
