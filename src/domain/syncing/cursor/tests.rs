//! Positions are parsed by meaning, and an order is used only if the rows prove it.

use super::*;

/// Without an offset, an instant is in UTC, never in the host's time zone.
#[test]
fn parses_positions() {
    let nine: Timestamp = "2026-05-02T09:10:00Z".parse().unwrap();
    for text in
        ["2026-05-02T09:10:00Z", "2026-05-02T11:10:00+02:00", "2026-05-02T09:10:00", "2026-05-02 09:10:00"]
    {
        assert_eq!(Position::read(text), Position::Time(nine), "{text}");
    }
    assert_eq!(Position::read("2026-05-02").written(&CursorFormat::Date), "2026-05-02");
    assert_eq!(Position::read("17"), Position::Int(17));
    assert_eq!(Position::read("b"), Position::Text("b".into()));
}

/// An empty value has no position.
#[test]
fn odd_values_do_not_become_the_watermark() {
    let (nine, odd) = (Position::read("2026-05-02T09:10:00Z"), Position::Text("n/a".into()));
    assert_eq!(nine.clone().later(odd.clone()), nine);
    assert_eq!(odd.clone().later(nine.clone()), nine);
    assert_eq!(Position::read("a").later(Position::read("b")), Position::read("b"));
    assert_eq!(Position::of("\"\"", &Spelling::default()), None);
    let after =
        |place: &Position, moment: &str| place.is_after(moment.parse().unwrap(), &CursorFormat::Rfc3339);
    assert!(after(&nine, "2026-05-02T09:09:59Z"));
    assert!(!after(&nine, "2026-05-02T09:10:00Z") && !after(&odd, "2000-01-01T00:00:00Z"));
}

/// No digit of an instant is lost in a request, and days compare with instants.
#[test]
fn keeps_digits_and_order() {
    let place = Position::read("2026-05-02T09:10:00.123456789Z");
    assert_eq!(place.written(&CursorFormat::Rfc3339), "2026-05-02T09:10:00.123456789Z");
    assert_eq!(place.written(&CursorFormat::EpochMillis), "1777713000123");
    let stored = serde_json::to_string(&place).unwrap();
    assert_eq!(serde_json::from_str::<Position>(&stored).unwrap(), place);
    assert_eq!(place.compare(&Position::read("2026-05-02")), Some(Ordering::Greater));
    assert_eq!(place.compare(&Position::Int(5)), None);
    let back = place.back(Duration::from_secs(1), &CursorFormat::Rfc3339);
    assert_eq!(back, Position::read("2026-05-02T09:09:59.123456789Z"));
    let millis = Position::Int(5_000).back(Duration::from_secs(1), &CursorFormat::EpochMillis);
    assert_eq!(millis, Position::Int(4_000));
}

fn of(raw: &str, kind: Option<ColumnKind>, letters: Option<&str>) -> Option<Position> {
    Position::of(raw, &Spelling { kind, letters: letters.map(str::to_owned) })
}

/// Text other than instants, days and numbers has no order.
#[test]
fn values_are_compared_by_meaning() {
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
        ("999999999", "1000000000.5", Some(ColumnKind::EpochSeconds), None),
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

fn order(of: CursorOrder, known: Option<i64>, bound: Option<i64>) -> RowOrder {
    let place = |n: Option<i64>| n.map(Position::Int);
    let until = Timestamp::from_second(1_000).unwrap();
    RowOrder::new(of, CursorFormat::EpochSeconds, Spelling::default(), (place(known), place(bound)), until)
}

fn page(order: &mut RowOrder, values: &[i64]) -> bool {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    order.page(texts.iter().map(|text| Some(text.as_str())))
}

#[test]
fn newest_first_stops_after_a_whole_page_of_stored_rows() {
    // Pages, and the page after which the reading stops; the cursor is 50, its look-back 40.
    for (pages, stops) in [
        (&[&[50, 45, 39][..]][..], Some(0)),
        (&[&[60, 50, 39], &[38, 37, 36]], Some(1)),
        // An old row pinned at the start, at the end, and in the middle.
        (&[&[10, 60, 55], &[54, 53, 52], &[51, 50, 49], &[48, 47, 30]], Some(3)),
        (&[&[60, 55, 10], &[54, 50, 39], &[38, 37, 36]], Some(2)),
        (&[&[60, 10, 55], &[54, 53, 52]], None),
        // A whole page of pinned rows is not the start of the list.
        (&[&[12, 11, 10], &[60, 55, 54], &[53, 52, 51]], None),
        // Equal values at the cursor, and stored rows within the look-back.
        (&[&[50, 50, 50], &[50, 50, 50], &[50, 41, 40], &[40, 39, 39]], Some(3)),
        // A row from the future, far from all others.
        (&[&[9_999, 60, 50], &[49, 48, 39]], Some(1)),
        // No order within a page of stored rows.
        (&[&[60, 50, 49], &[30, 35, 20]], None),
    ] {
        let mut order = order(CursorOrder::Descending, Some(50), Some(40));
        let stopped = pages.iter().position(|values| page(&mut order, values));
        assert_eq!(stopped, stops, "{pages:?}");
    }
    let mut ascending = order(CursorOrder::Ascending, Some(50), Some(40));
    assert!(!page(&mut ascending, &[30, 20, 10]));
    // Without an order the reading does not stop.
    let mut text = RowOrder::new(
        CursorOrder::Descending,
        CursorFormat::Rfc3339,
        Spelling::default(),
        (Some(Position::Text("v9".into())), Some(Position::Text("v9".into()))),
        Timestamp::MAX,
    );
    assert!(!text.page(["\"v1\"", "\"v0\""].into_iter().map(Some)));
}

/// A checkpoint covers only values whose rows have all been read; the first row out of order stops
/// checkpoints.
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
        let mut order = order(CursorOrder::Ascending, None, None);
        for values in pages {
            page(&mut order, values);
        }
        let at = order.checkpoint().map(|(place, _)| place.clone());
        assert_eq!((at, order.is_broken()), (checkpoint.map(Position::Int), broken), "{pages:?}");
    }
}

#[test]
fn checkpoints_of_rows_without_a_key_cover_all_rows_read() {
    let mut order = order(CursorOrder::Ascending, None, None).once(true);
    page(&mut order, &[1]);
    assert_eq!(order.checkpoint().map(|(place, _)| place.clone()), Some(Position::Int(1)));
}

/// Neither a single row from the future nor a value of another kind becomes the watermark.
#[test]
fn the_watermark_is_not_in_the_future() {
    let mut future = order(CursorOrder::Unknown, None, None);
    page(&mut future, &[5, 1_001, 7]);
    assert_eq!(future.end().unwrap().0, Position::Int(7));
    future.allow_until(Timestamp::from_second(1_001).unwrap());
    page(&mut future, &[1_001]);
    assert_eq!(future.end().unwrap().0, Position::Int(1_001));
    let mut odd = order(CursorOrder::Unknown, None, None);
    odd.page(["5", "\"n/a\"", "7", "null"].into_iter().map(Some));
    assert_eq!(odd.end().unwrap().0, Position::Int(7));
}

/// The declared order selects the value. All rows were read, so every value is safe.
#[test]
fn values_without_an_order_still_advance_the_watermark() {
    for (of, want) in [(CursorOrder::Ascending, "v10"), (CursorOrder::Descending, "v8")] {
        let until = Timestamp::MAX;
        let mut order = RowOrder::new(of, CursorFormat::Plain, Spelling::default(), (None, None), until);
        order.page(["\"v8\"", "\"v9\"", "\"v10\""].into_iter().map(Some));
        assert!(order.is_unordered() && order.checkpoint().is_none());
        assert_eq!(order.end().unwrap().0, Position::Text(want.into()));
        let known = CursorState { at: Some(Position::Text("v9".into())), ..CursorState::default() };
        let moved = known.moved_to(order.end(), &CursorFormat::Plain);
        assert_eq!(
            (moved.at, moved.raw.as_deref()),
            (Some(Position::Text(want.into())), Some(&*format!("\"{want}\"")))
        );
    }
}
