//! Places are read for what they are, and an order is believed only where the rows prove it.

use super::*;

/// Text is read for what it is; without an offset it is UTC, never the host's zone.
#[test]
fn reads_places() {
    let nine: Timestamp = "2026-05-02T09:10:00Z".parse().unwrap();
    for text in
        ["2026-05-02T09:10:00Z", "2026-05-02T11:10:00+02:00", "2026-05-02T09:10:00", "2026-05-02 09:10:00"]
    {
        assert_eq!(Position::read(text), Position::Time(nine), "{text}");
    }
    assert_eq!(Position::read("2026-05-02").written(&Format::Date), "2026-05-02");
    assert_eq!(Position::read("17"), Position::Int(17));
    assert_eq!(Position::read("b"), Position::Text("b".into()));
}

/// A value that is no instant, among instants, is never the place to go on from; an empty one is none at all.
#[test]
fn odd_values_are_no_place_to_go_on_from() {
    let (nine, odd) = (Position::read("2026-05-02T09:10:00Z"), Position::Text("n/a".into()));
    assert_eq!(nine.clone().later(odd.clone()), nine);
    assert_eq!(odd.clone().later(nine.clone()), nine);
    assert_eq!(Position::read("a").later(Position::read("b")), Position::read("b"));
    assert_eq!(Position::of("\"\"", &Spelling::default()), None);
    let after = |place: &Position, moment: &str| place.is_after(moment.parse().unwrap(), &Format::Rfc3339);
    assert!(after(&nine, "2026-05-02T09:09:59Z"));
    assert!(!after(&nine, "2026-05-02T09:10:00Z") && !after(&odd, "2000-01-01T00:00:00Z"));
}

/// No digit of an instant is lost on its way into a request, and days compare with instants.
#[test]
fn keeps_digits_and_order() {
    let place = Position::read("2026-05-02T09:10:00.123456789Z");
    assert_eq!(place.written(&Format::Rfc3339), "2026-05-02T09:10:00.123456789Z");
    assert_eq!(place.written(&Format::EpochMillis), "1777713000123");
    let stored = serde_json::to_string(&place).unwrap();
    assert_eq!(serde_json::from_str::<Position>(&stored).unwrap(), place);
    assert_eq!(place.compare(&Position::read("2026-05-02")), Some(Ordering::Greater));
    assert_eq!(place.compare(&Position::Int(5)), None);
    let back = place.back(Duration::from_secs(1), &Format::Rfc3339);
    assert_eq!(back, Position::read("2026-05-02T09:09:59.123456789Z"));
    let millis = Position::Int(5_000).back(Duration::from_secs(1), &Format::EpochMillis);
    assert_eq!(millis, Position::Int(4_000));
}

fn of(raw: &str, kind: Option<Kind>, letters: Option<&str>) -> Option<Position> {
    Position::of(raw, &Spelling { kind, letters: letters.map(str::to_owned) })
}

/// Every form in which sources write moments and numbers is compared as what it means; other text has no order.
#[test]
fn forms_of_values_are_compared_as_what_they_mean() {
    let later = |a: &str, b: &str, kind, letters: Option<&str>| {
        let (a, b) = (of(a, kind, letters).unwrap(), of(b, kind, letters).unwrap());
        a.compare(&b)
    };
    for (a, b, kind, letters) in [
        (r#""Fri, 02 Jan 2026 10:00:00 GMT""#, r#""Tue, 06 Jan 2026 10:00:00 GMT""#, None, None),
        (r#""/Date(999943200000)/""#, r#""/Date(1000288800000+0200)/""#, None, None),
        (r#""9.5""#, r#""10.5""#, None, None),
        ("9", "10.25", None, None),
        ("-10.5", "-9", None, None),
        (r#""9""#, r#""10""#, None, None),
        ("999999999", "1000000000.5", Some(Kind::EpochSeconds), None),
        (r#""12/31/2025""#, r#""01/05/2026""#, None, Some("%m/%d/%Y")),
        (r#""2026-05-02T01:00:00+02:00""#, r#""2026-05-02T00:00:00Z""#, None, None),
        (r#""2026-05-02""#, r#""2026-05-02T00:00:01Z""#, None, None),
    ] {
        assert_eq!(later(a, b, kind, letters), Some(Ordering::Less), "{a} {b}");
        assert_eq!(later(b, a, kind, letters), Some(Ordering::Greater), "{a} {b}");
    }
    for (a, b) in [(r#""v9""#, r#""v10""#), (r#""12/31/2025""#, r#""01/05/2026""#)] {
        assert_eq!(later(a, b, None, None), None, "{a} {b}");
    }
    assert_eq!((of("null", None, None), of("{}", None, None), of("true", None, None)), (None, None, None));
}

fn order(of: Order, known: Option<i64>, bound: Option<i64>) -> RowOrder {
    let place = |n: Option<i64>| n.map(Position::Int);
    let until = Timestamp::from_second(1_000).unwrap();
    RowOrder::new(of, Format::EpochSeconds, Spelling::default(), (place(known), place(bound)), until)
}

fn page(order: &mut RowOrder, values: &[i64]) -> bool {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    order.page(texts.iter().map(|text| Some(text.as_str())))
}

/// A reading newest first stops behind a whole page of known rows in order, and behind nothing less.
#[test]
fn newest_first_stops_behind_a_whole_known_page() {
    // Pages, and behind which of them the reading stops; 50 is the cursor, 40 its look-back.
    for (pages, stops) in [
        (&[&[50, 45, 39][..]][..], Some(0)),
        (&[&[60, 50, 39], &[38, 37, 36]], Some(1)),
        // An old row pinned at the head, at the end, and in the middle.
        (&[&[10, 60, 55], &[54, 53, 52], &[51, 50, 49], &[48, 47, 30]], Some(3)),
        (&[&[60, 55, 10], &[54, 50, 39], &[38, 37, 36]], Some(2)),
        (&[&[60, 10, 55], &[54, 53, 52]], None),
        // A whole page of pinned rows is not where the list begins.
        (&[&[12, 11, 10], &[60, 55, 54], &[53, 52, 51]], None),
        // Ties at the cursor, and known rows within the look-back.
        (&[&[50, 50, 50], &[50, 50, 50], &[50, 41, 40], &[40, 39, 39]], Some(3)),
        // A row from the future, far from all others.
        (&[&[9_999, 60, 50], &[49, 48, 39]], Some(1)),
        // No order within a known page.
        (&[&[60, 50, 49], &[30, 35, 20]], None),
    ] {
        let mut order = order(Order::Descending, Some(50), Some(40));
        let stopped = pages.iter().position(|values| page(&mut order, values));
        assert_eq!(stopped, stops, "{pages:?}");
    }
    let mut ascending = order(Order::Ascending, Some(50), Some(40));
    assert!(!page(&mut ascending, &[30, 20, 10]));
    // Without an order nothing stops.
    let mut text = RowOrder::new(
        Order::Descending,
        Format::Rfc3339,
        Spelling::default(),
        (Some(Position::Text("v9".into())), Some(Position::Text("v9".into()))),
        Timestamp::MAX,
    );
    assert!(!text.page(["\"v1\"", "\"v0\""].into_iter().map(Some)));
}

/// A checkpoint covers only values whose rows must all have come, and the first row out of order ends checkpoints.
#[test]
fn checkpoints_need_proof() {
    for (pages, checkpoint, broken) in [
        (&[&[1][..]][..], None, false),
        (&[&[1, 1], &[1, 1]], None, false),
        (&[&[1, 2], &[2, 3]], Some(2), false),
        (&[&[9, 8]], None, true),
        (&[&[9], &[8], &[10]], None, true),
        (&[&[1, 2], &[3, 1], &[4, 5]], None, true),
    ] {
        let mut order = order(Order::Ascending, None, None);
        for values in pages {
            page(&mut order, values);
        }
        let at = order.checkpoint().map(|(place, _)| place.clone());
        assert_eq!((at, order.is_broken()), (checkpoint.map(Position::Int), broken), "{pages:?}");
    }
}

/// Rows without a key are never read again because of a checkpoint.
#[test]
fn checkpoints_of_rows_without_a_key_cover_them_all() {
    let mut order = order(Order::Ascending, None, None).once(true);
    page(&mut order, &[1]);
    assert_eq!(order.checkpoint().map(|(place, _)| place.clone()), Some(Position::Int(1)));
}

/// One row from the future is never the place to go on from, and neither is a value of another kind.
#[test]
fn a_cursor_stays_behind_the_present() {
    let mut future = order(Order::Unknown, None, None);
    page(&mut future, &[5, 1_001, 7]);
    assert_eq!(future.end().unwrap().0, Position::Int(7));
    future.allow_until(Timestamp::from_second(1_001).unwrap());
    page(&mut future, &[1_001]);
    assert_eq!(future.end().unwrap().0, Position::Int(1_001));
    let mut odd = order(Order::Unknown, None, None);
    odd.page(["5", "\"n/a\"", "7", "null"].into_iter().map(Some));
    assert_eq!(odd.end().unwrap().0, Position::Int(7));
}

/// Of values without an order the one that the declared order makes the furthest is kept: all rows were read, so any is
/// safe.
#[test]
fn values_without_an_order_still_move_on() {
    for (of, want) in [(Order::Ascending, "v10"), (Order::Descending, "v8")] {
        let until = Timestamp::MAX;
        let mut order = RowOrder::new(of, Format::Plain, Spelling::default(), (None, None), until);
        order.page(["\"v8\"", "\"v9\"", "\"v10\""].into_iter().map(Some));
        assert!(order.is_unordered() && order.checkpoint().is_none());
        assert_eq!(order.end().unwrap().0, Position::Text(want.into()));
        let known = CursorState { at: Some(Position::Text("v9".into())), ..CursorState::default() };
        let moved = known.moved_to(order.end(), &Format::Plain);
        assert_eq!(
            (moved.at, moved.raw.as_deref()),
            (Some(Position::Text(want.into())), Some(&*format!("\"{want}\"")))
        );
    }
}
