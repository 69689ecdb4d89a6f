//! What becomes of pages: seen from outside, as the ops that a page gives.

use proptest::prelude::*;

use super::*;
use crate::domain::cell::Cell;
use crate::domain::cell::ColumnType::{self, *};

fn layout(key: &[&str]) -> Layout {
    Layout {
        table: "thing".into(),
        records: vec!["data".into()],
        null_is_empty: None,
        total: None,
        key: key.iter().map(|column| KeyColumn::plain(*column)).collect(),
        write: Write::Upsert,
        nested: Nested::Flatten,
        arrays: Arrays::Json,
        columns: BTreeMap::new(),
        inherited: Vec::new(),
        freeze: false,
        deleted_if: None,
        raw: Vec::new(),
    }
}

fn rule(name: Option<&str>, kind: Option<Coerce>, from: Option<&str>) -> ColumnRule {
    ColumnRule::Rule { name: name.map(Into::into), kind, from: from.map(Into::into) }
}

/// What a page gave, in a form that is easy to look at.
#[derive(Debug, Default)]
struct Got {
    columns: Vec<(String, ColumnType)>,
    rows: Vec<Vec<Cell>>,
    rejected: Vec<(String, String)>,
    read: PageRead,
    shapes: usize,
}

impl Got {
    fn cell(&self, row: usize, column: &str) -> &Cell {
        let at = self.columns.iter().position(|(name, _)| name == column).unwrap();
        self.rows[row].get(at).unwrap_or(&Cell::Null)
    }

    fn kind(&self, column: &str) -> Option<ColumnType> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind)
    }
}

fn read_on(reader: &mut RowReader, body: &str, inherited: &[Cell]) -> Result<Got, PageError> {
    let mut got = Got::default();
    let inherited: Vec<Sourced> = inherited.iter().cloned().map(Sourced::from).collect();
    let read = reader.read(body.as_bytes(), &inherited, &mut |op| match op {
        Op::Shape(shape) => {
            got.shapes += 1;
            got.columns = shape.columns.iter().map(|c| (c.name.clone(), c.kind)).collect();
        }
        Op::Rows(rows) => {
            assert!(rows.rows.iter().all(|row| row.len() == rows.shape.columns.len()));
            got.columns = rows.shape.columns.iter().map(|c| (c.name.clone(), c.kind)).collect();
            got.rows.extend(rows.rows.into_iter().map(Vec::from));
        }
        Op::Rejected(rows) => got.rejected.extend(rows.into_iter().map(|r| (r.raw, r.reason))),
        other => panic!("unexpected {other:?}"),
    })?;
    got.read = read;
    Ok(got)
}

fn read(layout: Layout, body: &str) -> Result<Got, PageError> {
    let cells = vec![Cell::Text("p1".into()); layout.inherited.len()];
    read_on(&mut RowReader::new(layout, None)?, body, &cells)
}

fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

fn decimal(value: &str) -> Cell {
    Cell::Decimal(value.into())
}

fn stamp(value: &str) -> Cell {
    Cell::Timestamp(value.parse().unwrap())
}

/// Every JSON value becomes the cell that holds it exactly, without a guess at what a text might mean.
#[test]
fn values_keep_what_the_source_wrote() {
    for (source, want) in [
        ("1", Cell::Int(1)),
        ("-0", Cell::Int(0)),
        ("9007199254740993", Cell::Int(9_007_199_254_740_993)),
        ("9223372036854775807", Cell::Int(i64::MAX)),
        ("-9223372036854775808", Cell::Int(i64::MIN)),
        ("9223372036854775808", decimal("9223372036854775808")),
        ("123456789012345678901234567890", decimal("123456789012345678901234567890")),
        ("0.1", Cell::Double(0.1)),
        ("42.5000", Cell::Double(42.5)),
        ("0.30000000000000004", Cell::Double(0.300_000_000_000_000_04)),
        ("0.1000000000000000055", decimal("0.1000000000000000055")),
        ("9007199254740993.0", decimal("9007199254740993.0")),
        ("1e5", Cell::Double(1e5)),
        ("1E400", decimal("1E400")),
        ("1e-400", decimal("1e-400")),
        ("0.0e999999999999999999999", decimal("0.0e999999999999999999999")),
        ("true", Cell::Bool(true)),
        (r#""2024-01-01T00:00:00Z""#, text("2024-01-01T00:00:00Z")),
        (r#""a\u00e9\n\ud83d\ude00""#, text("aé\n😀")),
        (r#"[1, {"a" : "x y\" z"}]"#, Cell::Json(r#"[1,{"a":"x y\" z"}]"#.into())),
    ] {
        let got = read(layout(&["id"]), &format!(r#"{{"data":[{{"id":1,"v": {source} }}]}}"#)).unwrap();
        assert_eq!(got.cell(0, "v"), &want, "{source}");
        assert_eq!(got.kind("v"), Some(want.column_type()), "{source}");
    }
}

/// A declared kind converts what fits exactly; what does not fit stays as it came, and the column widens to hold it.
#[test]
fn declared_kinds_convert_or_widen() {
    use Coerce as C;
    for (kind, source, want, column) in [
        (C::Integer, r#""12""#, Cell::Int(12), Bigint),
        (C::Integer, "5.0", Cell::Int(5), Bigint),
        (C::Integer, "5.5", Cell::Double(5.5), Double),
        (C::Integer, r#""99999999999999999999""#, decimal("99999999999999999999"), Decimal),
        (C::Integer, r#""n/a""#, text("n/a"), Text),
        (C::Integer, "true", Cell::Int(1), Bigint),
        (C::Double, r#""42.5000""#, Cell::Double(42.5), Double),
        (C::Double, "7", Cell::Double(7.0), Double),
        (C::Double, "9007199254740993", decimal("9007199254740993"), Decimal),
        (C::Double, r#""""#, Cell::Null, Double),
        (C::Integer, r#""  ""#, Cell::Null, Bigint),
        (C::Decimal, r#""""#, Cell::Null, Decimal),
        (C::Boolean, r#""""#, Cell::Null, Boolean),
        (C::Date, r#""0000-00-00""#, Cell::Null, Date),
        (C::Timestamp, r#""0000-00-00 00:00:00""#, Cell::Null, Timestamp),
        (C::Timestamp, r#""0000-00-00T00:00:00.000Z""#, Cell::Null, Timestamp),
        (C::Timestamp, r#""""#, Cell::Null, Timestamp),
        (C::EpochS, r#""""#, Cell::Null, Timestamp),
        (C::Text, r#""""#, text(""), Text),
        (C::Timestamp, r#""9999-12-31T00:00:00Z""#, Cell::Date("9999-12-31".parse().unwrap()), Timestamp),
        (C::Timestamp, r#""9999-12-31T23:59:59Z""#, text("9999-12-31T23:59:59Z"), Text),
        (C::Timestamp, r#""0001-01-01T00:00:00Z""#, stamp("0001-01-01T00:00:00Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01T24:00:00+02:00""#, stamp("2026-05-01T22:00:00Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01 24:00""#, stamp("2026-05-02T00:00:00Z"), Timestamp),
        (C::Date, r#""9999-12-31""#, Cell::Date("9999-12-31".parse().unwrap()), Date),
        (C::Decimal, "12.340", decimal("12.340"), Decimal),
        (C::Decimal, r#""0.10""#, decimal("0.10"), Decimal),
        (C::Boolean, r#""TRUE""#, Cell::Bool(true), Boolean),
        (C::Boolean, "0", Cell::Bool(false), Boolean),
        (C::Boolean, "2", Cell::Int(2), Text),
        (C::Text, "12.50", text("12.50"), Text),
        (C::Text, r#"{"a": 1}"#, text(r#"{"a":1}"#), Text),
        (C::Date, r#""2024-02-29""#, Cell::Date("2024-02-29".parse().unwrap()), Date),
        (C::Date, r#""2024-02-29T00:00:00Z""#, Cell::Date("2024-02-29".parse().unwrap()), Date),
        (C::Date, r#""2024-02-29T01:00:00Z""#, text("2024-02-29T01:00:00Z"), Text),
        (C::Date, r#""2023-02-29""#, text("2023-02-29"), Text),
        (C::Timestamp, r#""2026-05-02T09:10:00+02:00""#, stamp("2026-05-02T07:10:00Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01T15:00:00.123Z""#, stamp("2026-05-01T15:00:00.123Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01T15:00:00""#, stamp("2026-05-01T15:00:00Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01 15:00:00""#, stamp("2026-05-01T15:00:00Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01""#, stamp("2026-05-01T00:00:00Z"), Timestamp),
        (C::Timestamp, r#""2026-05-01T15:00:00+99:99""#, text("2026-05-01T15:00:00+99:99"), Text),
        (C::Timestamp, "1777713300", Cell::Int(1_777_713_300), Text),
        (C::EpochMs, "1777713300123", stamp("2026-05-02T09:15:00.123Z"), Timestamp),
        (C::EpochMs, r#""1777713300123""#, stamp("2026-05-02T09:15:00.123Z"), Timestamp),
        (C::EpochMs, "99999999999999999", Cell::Int(99_999_999_999_999_999), Text),
        (C::EpochS, "1777713300.5", stamp("2026-05-02T09:15:00.5Z"), Timestamp),
        (C::EpochS, "-1", stamp("1969-12-31T23:59:59Z"), Timestamp),
        (C::Json, r#""{\"X-Env\": \"prod\"}""#, Cell::Json(r#"{"X-Env":"prod"}"#.into()), Json),
        (C::Json, r#""{broken""#, Cell::Json(r#""{broken""#.into()), Json),
        (C::Json, r#"{"a":[]}"#, Cell::Json(r#"{"a":[]}"#.into()), Json),
    ] {
        let mut layout = layout(&["id"]);
        layout.columns.insert("v".into(), rule(None, Some(kind), None));
        let got = read(layout, &format!(r#"{{"data":[{{"id":1,"v":{source}}}]}}"#)).unwrap();
        assert_eq!(got.cell(0, "v"), &want, "{kind:?} {source}");
        assert_eq!(got.kind("v"), Some(column), "{kind:?} {source}");
        assert_eq!(got.read.notes.len(), usize::from(column != kind.column_type()), "{kind:?} {source}");
    }
}

/// Nested objects become columns, arrays what the definition says, names follow the naming rules, and the rules of
/// a definition reach into nested fields.
#[test]
fn objects_flatten_and_rules_apply() {
    let mut layout = layout(&["id"]);
    layout.arrays = Arrays::Comma;
    layout.columns.insert("subject".into(), rule(Some("api_subject"), None, None));
    layout.columns.insert("owner.secret".into(), ColumnRule::Drop);
    layout.columns.insert("address".into(), rule(Some("addr"), None, None));
    layout.columns.insert("late".into(), rule(None, Some(Coerce::Timestamp), None));
    let got = read(
        layout,
        r#"{"data":[{"id":"a","subject":"s","owner":{"secret":1,"userName":"u","more":{"x":1}},"address":{"city":"c"},
           "tags":["prod","web"],"none":[],"mixed":[1,null,true],"servers":[{"ip":"1"}],"_synced_at":"x"}]}"#,
    )
    .unwrap();
    let names: Vec<_> = got.columns.iter().map(|(name, _)| name.as_str()).collect();
    insta::assert_snapshot!(names.join(" "), @"id api_subject owner_user_name owner_more_x addr_city tags none mixed servers source_synced_at late");
    assert_eq!(got.cell(0, "tags"), &text("prod,web"));
    assert_eq!(got.cell(0, "none"), &text(""));
    assert_eq!(got.cell(0, "mixed"), &text("1,,true"));
    assert_eq!(got.cell(0, "servers"), &Cell::Json(r#"[{"ip":"1"}]"#.into()));
    assert_eq!(got.kind("late"), Some(Timestamp));
}

/// Columns appear with their first value, in one shape for a batch; rows before that are padded with nulls.
#[test]
fn columns_appear_and_widen_before_their_rows() {
    let mut reader = RowReader::new(layout(&["id"]), None).unwrap();
    let got =
        read_on(&mut reader, r#"{"data":[{"id":1,"n":null},{"id":2,"n":5},{"id":3,"n":3.7}]}"#, &[]).unwrap();
    assert_eq!((got.shapes, got.kind("n")), (1, Some(Double)));
    assert_eq!(got.rows[0].len(), 2);
    let got = read_on(&mut reader, r#"{"data":[{"id":4,"n":1}]}"#, &[]).unwrap();
    assert_eq!((got.shapes, got.cell(0, "n")), (0, &Cell::Int(1)));
    let got = read_on(&mut reader, r#"{"data":[{"id":4,"n":"x","m":true}]}"#, &[]).unwrap();
    assert_eq!((got.shapes, got.kind("n"), got.kind("m")), (1, Some(Text), Some(Boolean)));
    assert_eq!(*reader.shape(), *RowReader::new(layout(&["id"]), Some(&reader.shape())).unwrap().shape());
}

/// An integer that no double holds keeps its digits when its column turns into one of doubles, in either order.
#[test]
fn large_integers_stay_exact_beside_doubles() {
    for values in [["9007199254740993", "0.5"], ["0.5", "9007199254740993"]] {
        let [a, b] = values;
        let got = read(layout(&["id"]), &format!(r#"{{"data":[{{"id":1,"v":{a}}},{{"id":2,"v":{b}}}]}}"#));
        assert_eq!(got.unwrap().kind("v"), Some(Decimal), "{values:?}");
    }
}

/// Two source names that meet in one column are an error that names both, wherever they come from.
#[test]
fn names_that_meet_are_an_error() {
    for (body, names) in [
        (r#"{"userData":1,"user_data":2}"#, ["userData", "user_data"]),
        (r#"{"user":{"data":1},"user.data":2}"#, ["user.data", "\"user.data\""]),
        (r#"{"Größe":1,"grosse":2}"#, ["Größe", "grosse"]),
    ] {
        let error = read(layout(&[]), &format!(r#"{{"data":[{body}]}}"#)).unwrap_err().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    let mut child = layout(&["test_id"]);
    child.inherited = vec!["test_id".into()];
    let error = read(child, r#"{"data":[{"testId":1}]}"#).unwrap_err();
    assert!(matches!(error, PageError::Collision { .. }), "{error}");
}

/// No list is not an empty list: each wrong page is told apart, and the keys that are there are named.
#[test]
fn wrong_pages_are_errors() {
    for (body, want) in [
        ("", "the answer is empty where JSON was expected"),
        ("  \n", "the answer is empty where JSON was expected"),
        (
            "<!DOCTYPE html><title>Sign in</title>",
            r#"the answer is HTML where JSON was expected (begins with "<!DOCTYPE html><title>Sign in</title>"): check the address and the credentials"#,
        ),
        (r#"{"data":[{"id":1},"#, "the answer is cut off after 18 bytes"),
        (r#"{"data":[{"id":1}] x}"#, "the answer is not JSON: expected `,` or `}` at line 1 column 20"),
        (r#"{"data":[{"id":NaN}]}"#, "the answer is not JSON: expected value at line 1 column 16"),
        (
            r#"{"items":[],"meta":{}}"#,
            "no records at data in the answer, which has items, meta: correct `records` of table thing",
        ),
        (
            "[]",
            "no records at data in the answer, which has a list at its root: correct `records` of table thing",
        ),
        ("{}", "no records at data in the answer, which has no keys: correct `records` of table thing"),
        (
            "7",
            "no records at data in the answer, which has a bare value at its root: correct `records` of table thing",
        ),
        (
            r#"{"data":null,"total":3}"#,
            r#"null at "data" where the records of table thing should be, and "total" states 3 rows: if null means none there, set null_is_empty = true"#,
        ),
        (
            r#"{"data":null,"error":"x"}"#,
            r#"null at "data" where the records of table thing should be, and the answer has "error": if null means none there, set null_is_empty = true"#,
        ),
        (r#"{"data":"x"}"#, r#"a text at "data" where the records of table thing should be"#),
    ] {
        assert_eq!(read(layout(&["id"]), body).unwrap_err().to_string(), want, "{body}");
    }
    let not_text = RowReader::facts(b"{\"a\":\"\xff\"}", &[]).unwrap_err();
    assert!(matches!(not_text, PageError::NotJson { .. }));
}

/// The first path that exists counts; the root, nested paths, keys with dots and single objects are records too.
#[test]
fn records_are_found() {
    for (paths, body, rows) in [
        (&["data", "."][..], r#"[{"id":1},{"id":2}]"#, 2),
        (&["data", "."], r#"{"data":[{"id":1}]}"#, 1),
        (&["results", "items"], r#"{"items":[{"id":1},{"id":2}],"results":[{"id":1}]}"#, 1),
        (&["results", "items"], r#"{"items":[{"id":1},{"id":2}]}"#, 2),
        (&["a.b.c"], r#"{"x":[1],"a":{"b":{"c":[{"id":1}]}}}"#, 1),
        (&["@odata.value"], r#"{"@odata.value":[{"id":1}]}"#, 1),
        (&["data"], "\u{feff} {\"data\":{\"id\":1}} ", 1),
        (&["."], r#"{"id":1}"#, 1),
        (&["data"], r#"{"data":[]}"#, 0),
    ] {
        let mut layout = layout(&["id"]);
        layout.records = paths.iter().map(|path| (*path).into()).collect();
        let got = read(layout, body).unwrap();
        assert_eq!((got.rows.len(), got.read.records), (rows, rows as u64), "{body}");
    }
}

/// A row that cannot be stored is kept with its text and a reason, and its neighbours are stored.
#[test]
fn rows_that_cannot_be_stored_are_kept_aside() {
    let got = read(
        layout(&["id"]),
        r#"{"data":[{"id":1},{"name":"no key"},7,null,[1],{"id":null},{"id":2,"t":"\ud800"},{"id":3}]}"#,
    )
    .unwrap();
    assert_eq!(got.rows.len(), 2);
    assert_eq!(got.read.records, 8);
    let told: Vec<_> = got.rejected.iter().map(|(raw, reason)| format!("{raw}: {reason}")).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    {"name":"no key"}: key column id is absent or null
    7: the record is a number, not an object
    null: the record is null, not an object
    [1]: the record is a list, not an object
    {"id":null}: key column id is absent or null
    {"id":2,"t":"\ud800"}: t has a text that is not valid Unicode (unexpected end of hex escape at line 1 column 8)
    "#);
}

/// A null in a later part of a key is the empty string; declared fallbacks stand in for an absent or empty e-mail, the
/// true value is shown beside, and one field fills another's column.
#[test]
fn keys_have_no_nulls() {
    let mut history = layout(&["test_id", "created_at", "location"]);
    history.inherited = vec!["test_id".into()];
    history.columns.insert("created_at".into(), rule(None, Some(Coerce::Timestamp), None));
    let body = r#"{"data":[{"created_at":"2026-05-02T09:10:00+00:00","location":"FRA2"},{"created_at":"2026-05-02T09:10:00+00:00","location":null},{"location":"x"}]}"#;
    let got = read(history, body).unwrap();
    assert_eq!((got.read.empty_keys, got.rejected.len()), (1, 1));
    assert_eq!((got.cell(1, "location"), got.cell(1, "test_id")), (&text(""), &text("p1")));

    let mut people = layout(&["uid"]);
    people.key.push(KeyColumn {
        column: "email".into(),
        fallbacks: vec![("phone:".into(), "phone_number".into()), ("id:".into(), "id".into())],
        show: Some("api_email".into()),
    });
    people.columns.insert("uid".into(), rule(None, None, Some("activity_uid")));
    let body = r#"{"data":[{"activity_uid":"a","uid":"b","email":"e@x.test","id":1},{"activity_uid":"a","phone_number":"+1","id":2},
        {"activity_uid":"a","id":3},{"activity_uid":"a","email":"","phone_number":"","id":4},{"activity_uid":"a"}]}"#;
    let got = read(people, body).unwrap();
    let column =
        |name| (0..4).map(|row| got.cell(row, name).to_text().unwrap_or("-".into())).collect::<Vec<_>>();
    assert_eq!(column("uid"), ["b", "a", "a", "a"]);
    assert_eq!(column("activity_uid"), ["a", "a", "a", "a"]);
    assert_eq!(column("email"), ["e@x.test", "phone:+1", "id:3", "id:4"]);
    assert_eq!(column("api_email"), ["e@x.test", "-", "-", ""]);
    assert_eq!((got.read.empty_keys, got.rejected.len()), (3, 1));
}

/// A frozen table takes no new column and no wider type, and says which.
#[test]
fn frozen_tables_do_not_change() {
    let mut first = RowReader::new(layout(&["id"]), None).unwrap();
    read_on(&mut first, r#"{"data":[{"id":1,"n":1}]}"#, &[]).unwrap();
    let mut frozen = layout(&["id"]);
    frozen.freeze = true;
    for (body, named) in [(r#"{"id":1,"m":1}"#, "column m"), (r#"{"id":1,"n":"x"}"#, "bigint column n")] {
        let mut reader = RowReader::new(frozen.clone(), Some(&first.shape())).unwrap();
        let error = read_on(&mut reader, &format!(r#"{{"data":[{body}]}}"#), &[]).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

/// Objects keyed by ids do not become thousands of columns, and no depth of nesting exhausts the stack.
#[test]
fn wide_and_deep_objects_are_bounded() {
    let wide: Vec<_> = (0..2_000).map(|i| format!(r#""k{i}":1"#)).collect();
    let error = read(layout(&[]), &format!(r#"{{"data":[{{{}}}]}}"#, wide.join(","))).unwrap_err();
    assert!(matches!(error, PageError::TooManyColumns { limit: 1000, .. }), "{error}");
    let deep = format!("{}1{}", r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
    let got = read(layout(&[]), &format!(r#"{{"data":[{{"x":{deep}}}]}}"#)).unwrap();
    assert_eq!(got.columns[0].1, Json);
}

/// The facts of a page are there beside the rows, and absent is told apart from null.
#[test]
fn facts_are_read_beside_the_rows() {
    let body = br#"{"data":[{"meta":1}],"meta":{"total":3,"next":null},"@odata.nextLink":"u","error":{"a":[1]},"big":1e999}"#;
    let paths = ["meta.total", "meta.next", "meta.none", "@odata.nextLink", "error", "big", "data.x", "meta"];
    let facts = RowReader::facts(body, &paths).unwrap();
    assert_eq!(facts.root, Root::Object);
    assert_eq!(facts.keys, ["data", "meta", "@odata.nextLink", "error", "big"]);
    let found: Vec<_> = paths.iter().map(|path| facts.value(path).map(ToString::to_string)).collect();
    insta::assert_json_snapshot!(found, @r#"
    [
      "3",
      "null",
      null,
      "\"u\"",
      "{\"a\":[1]}",
      "\"1e999\"",
      null,
      "{\"next\":null,\"total\":3}"
    ]
    "#);
    assert_eq!(RowReader::facts(b"[1,2]", &["a"]).unwrap().root, Root::Array);
}

proptest! {
    /// Whatever a body is, reading it gives rows or an error, never a panic; cut off anywhere, it is an error.
    #[test]
    fn no_body_is_too_strange(body in "[\\[\\]{}\",:a0-9 .eE\\\\u-]{0,60}") {
        let _ = read(layout(&["a"]), &body);
        let _ = read(layout(&["a"]), &format!(r#"{{"data":[{body}]}}"#));
    }

    /// A page cut off at any byte is never taken for a whole one.
    #[test]
    fn a_cut_page_is_an_error(cut in 0_usize..62) {
        let page = r#"{"data":[{"id":1,"n":{"x":"\u00e9"}},{"id":2}],"meta":{"t":2}}"#;
        prop_assert_eq!(page.len(), 62);
        prop_assert!(RowReader::facts(&page.as_bytes()[..cut], &[]).is_err());
        prop_assert!(read(layout(&["id"]), &page[..cut]).is_err());
    }

    /// A double that the source printed comes back as that double; any other number keeps its text.
    #[test]
    fn numbers_round_trip(value in any::<f64>().prop_filter("finite", |v| v.is_finite()), digits in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?") {
        let printed = format!("{value:?}");
        prop_assert_eq!(value::number(&printed), Cell::Double(value));
        match value::number(&digits) {
            Cell::Int(v) => prop_assert_eq!(v, digits.parse::<i64>().unwrap()),
            Cell::Double(v) => {
                let plain = |t: &str| t.trim_start_matches('-').trim_end_matches('0').trim_end_matches('.').to_owned();
                prop_assert_eq!(plain(&format!("{v}.")), plain(&digits));
            }
            Cell::Decimal(text) => prop_assert_eq!(&*text, digits.as_str()),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Flattening and the order of fields lose nothing: records with fields in any order give the same values.
    #[test]
    fn order_of_fields_does_not_matter(order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle()) {
        let fields = [r#""id":1"#, r#""a":{"b":2,"c":{"d":"x"}}"#, r#""e":1.5"#, r#""f":[1]"#, r#""g":true"#];
        let shuffled: Vec<_> = order.iter().map(|&i| fields[i]).collect();
        let body = format!(r#"{{"data":[{{{}}},{{{}}}]}}"#, fields.join(","), shuffled.join(","));
        let got = read(layout(&["id"]), &body).unwrap();
        prop_assert_eq!(&got.rows[0], &got.rows[1]);
    }
}
