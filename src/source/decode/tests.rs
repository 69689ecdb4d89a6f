//! Pages and the ops that they decode to.

use proptest::prelude::*;

use super::*;
use crate::domain::syncing::cell::Cell;
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::cell::ColumnType::*;
use crate::domain::syncing::definition::connector::ColumnKind;

fn layout(key: &[&str]) -> Layout {
    Layout {
        table: "thing".into(),
        records: vec!["data".into()],
        null_is_empty: None,
        total: None,
        key: key.iter().map(|column| Key::plain(*column)).collect(),
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

fn rule(name: Option<&str>, kind: Option<ColumnKind>, from: Option<&str>) -> ColumnRule {
    ColumnRule::Keep { name: name.map(Into::into), kind, from: from.map(Into::into) }
}

/// The ops of a page, in a form that is easy to compare.
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

#[test]
fn each_value_becomes_the_cell_that_represents_it_exactly() {
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

/// A value that does not fit keeps its JSON type.
#[test]
fn declared_types_convert_exact_values_and_widen_for_others() {
    use ColumnKind as C;
    for (kind, source, want, column) in [
        (C::Bigint, r#""12""#, Cell::Int(12), Bigint),
        (C::Bigint, "5.0", Cell::Int(5), Bigint),
        (C::Bigint, "5.5", Cell::Double(5.5), Double),
        (C::Bigint, r#""99999999999999999999""#, decimal("99999999999999999999"), Decimal),
        (C::Bigint, r#""n/a""#, text("n/a"), Text),
        (C::Bigint, "true", Cell::Int(1), Bigint),
        (C::Double, r#""42.5000""#, Cell::Double(42.5), Double),
        (C::Double, "7", Cell::Double(7.0), Double),
        (C::Double, "9007199254740993", decimal("9007199254740993"), Decimal),
        (C::Double, r#""""#, Cell::Null, Double),
        (C::Bigint, r#""  ""#, Cell::Null, Bigint),
        (C::Decimal, r#""""#, Cell::Null, Decimal),
        (C::Boolean, r#""""#, Cell::Null, Boolean),
        (C::Date, r#""0000-00-00""#, Cell::Null, Date),
        (C::Timestamp, r#""0000-00-00 00:00:00""#, Cell::Null, Timestamp),
        (C::Timestamp, r#""0000-00-00T00:00:00.000Z""#, Cell::Null, Timestamp),
        (C::Timestamp, r#""""#, Cell::Null, Timestamp),
        (C::EpochSeconds, r#""""#, Cell::Null, Timestamp),
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
        (C::EpochMillis, "1777713300123", stamp("2026-05-02T09:15:00.123Z"), Timestamp),
        (C::EpochMillis, r#""1777713300123""#, stamp("2026-05-02T09:15:00.123Z"), Timestamp),
        (C::EpochMillis, "99999999999999999", Cell::Int(99_999_999_999_999_999), Text),
        (C::EpochSeconds, "1777713300.5", stamp("2026-05-02T09:15:00.5Z"), Timestamp),
        (C::EpochSeconds, "-1", stamp("1969-12-31T23:59:59Z"), Timestamp),
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

#[test]
fn objects_are_flattened_and_rules_apply_to_nested_fields() {
    let mut layout = layout(&["id"]);
    layout.arrays = Arrays::Comma;
    layout.columns.insert("subject".into(), rule(Some("api_subject"), None, None));
    layout.columns.insert("owner.secret".into(), ColumnRule::Drop);
    layout.columns.insert("address".into(), rule(Some("addr"), None, None));
    layout.columns.insert("late".into(), rule(None, Some(ColumnKind::Timestamp), None));
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

/// There is one shape for a batch; earlier rows are padded with nulls.
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

#[test]
fn large_integers_stay_exact_in_a_column_with_doubles() {
    for values in [["9007199254740993", "0.5"], ["0.5", "9007199254740993"]] {
        let [a, b] = values;
        let got = read(layout(&["id"]), &format!(r#"{{"data":[{{"id":1,"v":{a}}},{{"id":2,"v":{b}}}]}}"#));
        assert_eq!(got.unwrap().kind("v"), Some(Decimal), "{values:?}");
    }
}

/// The error names both.
#[test]
fn two_names_for_one_column_are_an_error() {
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

#[test]
fn a_page_without_records_is_an_error_that_names_what_the_page_has() {
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
            r#"null at "data" where the records of table thing should be, and "total" states 3 rows: if null means no records, set null_is_empty = true"#,
        ),
        (
            r#"{"data":null,"error":"x"}"#,
            r#"null at "data" where the records of table thing should be, and the answer has "error": if null means no records, set null_is_empty = true"#,
        ),
        (r#"{"data":"x"}"#, r#"a text at "data" where the records of table thing should be"#),
    ] {
        assert_eq!(read(layout(&["id"]), body).unwrap_err().to_string(), want, "{body}");
    }
    let not_text = RowReader::facts(b"{\"a\":\"\xff\"}", &[]).unwrap_err();
    assert!(matches!(not_text, PageError::NotJson { .. }));
}

/// Records may be at the root, at nested paths, under keys with dots, or a single object.
#[test]
fn records_are_at_the_first_path_that_exists() {
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

/// The other rows of the page are stored.
#[test]
fn rows_that_cannot_be_stored_are_rejected_with_text_and_reason() {
    let got = read(
        layout(&["id"]),
        r#"{"data":[{"id":1},{"name":"no key"},7,null,[1],{"id":null},{"id":2,"t":"\ud800"},{"id":3}]}"#,
    )
    .unwrap();
    assert_eq!(got.rows.len(), 2);
    assert_eq!(got.read.records, 8);
    let rejected: Vec<_> = got.rejected.iter().map(|(raw, reason)| format!("{raw}: {reason}")).collect();
    insta::assert_snapshot!(rejected.join("\n"), @r#"
    {"name":"no key"}: key column id is absent or null
    7: the record is a number, not an object
    null: the record is null, not an object
    [1]: the record is a list, not an object
    {"id":null}: key column id is absent or null
    {"id":2,"t":"\ud800"}: t has a text that is not valid Unicode (unexpected end of hex escape at line 1 column 8)
    "#);
}

/// A null in a later part of a key becomes an empty string. Declared fallbacks replace a missing or empty e-mail address,
/// whose original value has a column of its own. One field fills the column of another.
#[test]
fn keys_have_no_nulls() {
    let mut history = layout(&["test_id", "created_at", "location"]);
    history.inherited = vec!["test_id".into()];
    history.columns.insert("created_at".into(), rule(None, Some(ColumnKind::Timestamp), None));
    let body = r#"{"data":[{"created_at":"2026-05-02T09:10:00+00:00","location":"FRA2"},{"created_at":"2026-05-02T09:10:00+00:00","location":null},{"location":"x"}]}"#;
    let got = read(history, body).unwrap();
    assert_eq!((got.read.empty_keys, got.rejected.len()), (1, 1));
    assert_eq!((got.cell(1, "location"), got.cell(1, "test_id")), (&text(""), &text("p1")));

    let mut people = layout(&["uid"]);
    people.key.push(Key {
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

#[test]
fn a_new_column_or_wider_type_of_a_frozen_table_is_an_error_that_names_it() {
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

#[test]
fn the_number_of_columns_and_the_depth_of_flattening_are_limited() {
    let wide: Vec<_> = (0..2_000).map(|i| format!(r#""k{i}":1"#)).collect();
    let error = read(layout(&[]), &format!(r#"{{"data":[{{{}}}]}}"#, wide.join(","))).unwrap_err();
    assert!(matches!(error, PageError::TooManyColumns { limit: 1000, .. }), "{error}");
    let deep = format!("{}1{}", r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
    let got = read(layout(&[]), &format!(r#"{{"data":[{{"x":{deep}}}]}}"#)).unwrap();
    assert_eq!(got.columns[0].1, Json);
}

#[test]
fn facts_distinguish_missing_from_null() {
    let body = br#"{"data":[{"meta":1}],"meta":{"total":3,"next":null},"@odata.nextLink":"u","error":{"a":[1]},"big":1e999}"#;
    let paths = ["meta.total", "meta.next", "meta.none", "@odata.nextLink", "error", "big", "data.x", "meta"];
    let facts = RowReader::facts(body, &paths).unwrap();
    assert_eq!(facts.root, page::Root::Object);
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
    assert_eq!(RowReader::facts(b"[1,2]", &["a"]).unwrap().root, page::Root::Array);
}

proptest! {
    #[test]
    fn no_body_causes_a_panic(body in "[\\[\\]{}\",:a0-9 .eE\\\\u-]{0,60}") {
        let _ = read(layout(&["a"]), &body);
        let _ = read(layout(&["a"]), &format!(r#"{{"data":[{body}]}}"#));
    }

    #[test]
    fn a_truncated_page_is_an_error(cut in 0_usize..62) {
        let page = r#"{"data":[{"id":1,"n":{"x":"\u00e9"}},{"id":2}],"meta":{"t":2}}"#;
        prop_assert_eq!(page.len(), 62);
        prop_assert!(RowReader::facts(&page.as_bytes()[..cut], &[]).is_err());
        prop_assert!(read(layout(&["id"]), &page[..cut]).is_err());
    }

    /// A printed double is read as that double; any other number keeps its text.
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

    #[test]
    fn the_order_of_fields_does_not_matter(order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle()) {
        let fields = [r#""id":1"#, r#""a":{"b":2,"c":{"d":"x"}}"#, r#""e":1.5"#, r#""f":[1]"#, r#""g":true"#];
        let shuffled: Vec<_> = order.iter().map(|&i| fields[i]).collect();
        let body = format!(r#"{{"data":[{{{}}},{{{}}}]}}"#, fields.join(","), shuffled.join(","));
        let got = read(layout(&["id"]), &body).unwrap();
        prop_assert_eq!(&got.rows[0], &got.rows[1]);
    }
}
