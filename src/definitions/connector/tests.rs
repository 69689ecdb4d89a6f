//! The messages for invalid definitions, and the values read from valid ones.

use super::*;
use crate::domain::syncing::definition::connector::{Auth, ColumnKind};

fn errors(text: &str) -> Vec<String> {
    match read_one("acme.toml", text, &BTreeMap::new()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

const MINIMAL: &str = r#"
format = 1
[connector]
name = "acme"
base_url = "https://api.acme.test"
[[table]]
name = "things"
path = "/things"
key = ["id"]
"#;

#[test]
fn shipped_definitions_are_valid() {
    let example = include_str!("../../../connectors/example.toml").to_owned();
    let all = read_all(&[("example.toml".into(), example)])
        .map_err(|m| m.iter().map(ToString::to_string).collect::<Vec<_>>());
    let names: Vec<String> = all.unwrap().into_iter().map(|d| d.name).collect();
    assert_eq!(names, ["example", "people_ai", "sensource", "statuscake"]);
}

/// Omitted keys have defaults, and the tables have the names of the program's predecessors.
#[test]
fn reads_tables() {
    assert_eq!(errors(MINIMAL), Vec::<String>::new());
    let built_in = read_all(&[]).unwrap();
    let tables = |name: &str| {
        let definition = built_in.iter().find(|d| d.name == name).unwrap();
        let one = |table: &crate::domain::syncing::definition::connector::Table| {
            let shape = table.declared_shape();
            format!("{} ({})", shape.table, shape.key.join(", "))
        };
        definition.tables.iter().map(one).collect::<Vec<_>>().join(" · ")
    };
    insta::assert_snapshot!(tables("statuscake"), @"uptime_test (id) · uptime_test_history (test_id, created_at, location) · uptime_test_period (test_id, created_at) · uptime_test_alert (test_id, triggered_at, status)");
    insta::assert_snapshot!(tables("sensource"), @"traffic (zone_id, record_date_hour_1) · occupancy (space_id, record_date_hour_1) · location (location_id) · site (site_id) · zone (zone_id) · space (space_id) · sensor (sensor_id)");
    insta::assert_snapshot!(tables("people_ai"), @"activity (uid) · participants (uid, email)");
}

#[test]
fn reports_every_error_at_once() {
    let text = r#"format = 1
[connector]
name = "Acme Inc"
base_url = "https://api.acme.test/${config.region}"
evry = "15m"
[config]
api_key = { type = "sekret" }
[http]
rate = "fast"
rules = [{ status = 9000, then = "panic" }]
[[table]]
name = "things"
path = "/things/{thing_id}"
page = { kind = "ofset" }
columns = { a = "dorp", id = { tpye = "text" } }
[[table]]
name = "things"
path = "/x"
key = ["id"]
parent = { table = "nobody", as = { a = "b" } }
enabled = { list = "lists", has = "x" }
cursor = { field = "at", order = "asc" }
"#;
    insta::assert_snapshot!(errors(text).join("\n"), @r#"
    acme.toml:3:8: `name` must be a-z, 0-9 and _, begin with a letter and have at most 40 characters; "Acme Inc" is not
    acme.toml:4:35: ${config.region} is not in [config]; known there: api_key
    acme.toml:5:1: unknown key `evry`; known here: name, extends, base_url, check, every, arrays
    acme.toml:7:20: `type` is "sekret"; it must be one of secret, string, integer, boolean, date, list
    acme.toml:9:8: `rate` must be a text such as "5/s" or "60/m", or a list of such
    acme.toml:10:21: `status` must be an HTTP status, 100 to 599, a class such as "4xx", or a list of such
    acme.toml:10:34: `then` is "panic"; it must be one of empty, end, skip, retry, limited, renew, halve, fail
    acme.toml:11:1: `key` is missing; a table without one needs write = "append" or "replace"
    acme.toml:11:1: table things: `{thing_id}` is not a column named in `parent.as`
    acme.toml:14:8: `kind` of a page is "ofset"; it must be one of none, page, offset, cursor, link, keyset
    acme.toml:15:17: the column `a` must be "drop" or a table with name, type or from
    acme.toml:15:32: unknown key `tpye`; known here: name, type, from
    acme.toml:16:1: two tables are named "things"
    acme.toml:16:1: table things: its parent "nobody" is not a table of this definition
    acme.toml:16:1: table things: `enabled.list` names "lists", which is not a list in [config]
    acme.toml:22:10: a cursor without `param` can only stop at stored rows, which needs order = "desc"
    "#);
}

#[test]
fn a_page_size_grows_only_with_offsets_and_a_key() {
    let page = |page: &str| MINIMAL.replace("[[table]]", &format!("[[table]]\npage = {{ {page} }}"));
    for (text, words) in [
        (
            "kind = \"page\", at_param = \"p\", size_param = \"n\", size = 10, size_max = 20",
            "needs kind = \"offset\"",
        ),
        ("kind = \"offset\", at_param = \"p\", size_max = 20", "needs `size`"),
        (
            "kind = \"offset\", at_param = \"p\", size_param = \"n\", size = 10, size_max = 9",
            "is less than `size`",
        ),
    ] {
        let reported = errors(&page(text)).join("\n");
        assert!(reported.contains(&format!("`size_max` {words}")), "{reported}");
    }
    let fine = "kind = \"offset\", at_param = \"p\", size_param = \"n\", size = 10, size_max = 10";
    assert!(read_all(&[("acme.toml".into(), page(fine))]).is_ok());
}

#[test]
fn reports_errors_of_rules_and_bodies() {
    let text = MINIMAL.replace(
        "[[table]]",
        "[http]\nrules = [
{ then = \"empty\" },
{ status = \"6xx\", then = \"end\" },
{ equals = \"x\", then = \"end\" },
{ header = 5, then = \"renew\" },
{ status = [429, \"4xx\"], then = \"retry\", wait = { header = \"x\" } },
{ has = \"x\", then = \"limited\", wait = { unit = \"h\" } },
]
[[table]]
method = \"POST\"
body = { ok = true, bad = nan, deep = { big = [1e999] } }",
    );
    insta::assert_snapshot!(errors(&text).join("\n"), @r#"
    acme.toml: then = "renew" needs [auth] of kind oauth2: other credentials are not renewed
    acme.toml:8:1: a rule needs one of status, has, absent, null, equals, empty_body, header
    acme.toml:9:12: `status` must be an HTTP status, 100 to 599, a class such as "4xx", or a list of such
    acme.toml:10:12: `equals` must be a table
    acme.toml:11:12: `header` must be a name in quotes or a table: { "x-ratelimit-remaining" = "0" }
    acme.toml:12:49: `wait` is allowed only with then = "limited"
    acme.toml:13:39: `wait` needs either `header` or `path`
    acme.toml:13:48: `unit` is "h"; it must be one of s, ms, date
    acme.toml:17:27: `body`: JSON cannot represent the number nan
    acme.toml:17:48: `body`: JSON cannot represent the number 1e999
    "#);
}

/// Otherwise children of parents that were not read would be marked deleted.
#[test]
fn snapshots_need_all_parents() {
    let tables = |cursor: &str| {
        format!(
            "format = 1\n[connector]\nname = \"acme\"\nbase_url = \"https://acme.test\"\n[auth]\nkind = \"none\"
[[table]]\nname = \"a\"\npath = \"/a\"\nkey = [\"id\"]\n{cursor}
[[table]]\nname = \"b\"\npath = \"/b/{{a}}\"\nkey = [\"id\"]\nparent = {{ table = \"a\", as = {{ a = \"id\" }} }}
[[table]]\nname = \"c\"\npath = \"/c/{{b}}\"\nkey = [\"id\"]\ndeletes = \"snapshot\"\nparent = {{ table = \"b\", as = {{ b = \"id\" }} }}\n"
        )
    };
    let whole = read_all(&[("acme.toml".into(), tables(""))]);
    assert!(whole.is_ok(), "{whole:?}");
    let reported = errors(&tables("cursor = { field = \"at\", param = \"since\" }"));
    assert!(
        reported[0]
            .ends_with("table c: deletes = \"snapshot\" needs parents that are read completely in each run"),
        "{reported:?}"
    );
}

/// A second account of a source takes everything from the other definition except its name.
#[test]
fn extends_another_definition() {
    let eu = "format = 1\n[connector]\nname = \"statuscake_eu\"\nextends = \"statuscake\"\n";
    let all = read_all(&[("eu.toml".into(), eu.into())]).unwrap();
    let find = |name: &str| all.iter().find(|d| d.name == name).unwrap();
    assert_eq!(find("statuscake_eu").tables, find("statuscake").tables);
    assert_eq!(find("statuscake_eu").base_url, find("statuscake").base_url);
    let bad = "format = 1\n[connector]\nname = \"x\"\nextends = \"nobody\"\n";
    let text = read_all(&[("x.toml".into(), bad.into())]).unwrap_err()[0].to_string();
    assert_eq!(text, "x.toml:4:11: `extends` names \"nobody\", which is not another connector");
}

#[test]
fn rejects_reserved_and_duplicate_names() {
    let reserved = MINIMAL.replace("acme\"", "monitor\"");
    assert_eq!(
        errors(&reserved),
        ["acme.toml:4:8: the name `monitor` is reserved for the program's own database"]
    );
    let shared = MINIMAL.replace("acme\"", "data_sources_monitor\"");
    assert!(errors(&shared)[0].contains("is reserved"), "{:?}", errors(&shared));
    let table = MINIMAL.replace("\"things\"", "\"sqlite_things\"");
    let reported = errors(&table);
    assert!(reported[0].contains("the table \"sqlite_things\" needs another name"), "{reported:?}");
    let twice = [("a.toml".to_owned(), MINIMAL.to_owned()), ("b.toml".to_owned(), MINIMAL.to_owned())];
    assert_eq!(
        read_all(&twice).unwrap_err()[0].to_string(),
        "b.toml: the name `acme` is already used by a.toml; names must be unique"
    );
}

#[test]
fn a_file_replaces_the_built_in_connector_of_its_name() {
    let own = MINIMAL.replace("\"acme\"", "\"statuscake\"");
    let all = read_all(&[("mine.toml".into(), own)]).unwrap();
    let statuscake = all.iter().find(|d| d.name == "statuscake").unwrap();
    assert_eq!((statuscake.tables.len(), statuscake.auth == Auth::None), (1, true));
}

#[test]
fn declared_columns_have_types_before_the_first_row() {
    let all = read_all(&[]).unwrap();
    let people = all.iter().find(|d| d.name == "people_ai").unwrap();
    let shape = people.table("activity").unwrap().declared_shape();
    let column = |name: &str| shape.columns.iter().find(|c| c.name == name).map(|c| c.kind);
    assert_eq!(column("activity_timestamp"), Some(ColumnKind::EpochMillis.column_type()));
    assert_eq!((column("api_subject").is_some(), column("subject")), (true, None));
}

/// It is declared as a boolean, under its final name.
#[test]
fn the_deletion_column_exists_before_the_first_row() {
    let with = |lines: &str| MINIMAL.replace("key = [\"id\"]\n", &format!("key = [\"id\"]\n{lines}\n"));
    for (lines, column) in [
        ("deleted_if = \"deleted\"", "deleted"),
        ("deleted_if = \"isGone\"\ncolumns = { isGone = { name = \"Gone Now\" } }", "gone_now"),
        ("deleted_if = \"state.isGone\"\ncolumns = { state = { name = \"s\" } }", "s_is_gone"),
    ] {
        let read = read_one("acme.toml", &with(lines), &BTreeMap::new()).unwrap();
        let shape = read.tables[0].declared_shape();
        assert_eq!(shape.deleted_if.as_deref(), Some(column));
    }
    for (lines, why) in [
        ("deleted_if = 1", "10:14: `deleted_if` must be a text in quotes"),
        ("deleted_if = \"\"", "10:14: `deleted_if` names no field"),
        ("deleted_if = \"ID\"", "10:14: `deleted_if` names a column of the key"),
        (
            "deleted_if = \"gone\"\ncolumns = { gone = \"drop\" }",
            "10:14: `deleted_if` names a field that `columns` drops",
        ),
        (
            "deleted_if = \"a.gone\"\ncolumns = { a = \"drop\" }",
            "10:14: `deleted_if` names a field that `columns` drops",
        ),
        (
            "deleted_if = \"gone\"\ncolumns = { gone = { type = \"date\" } }",
            "10:14: `deleted_if` names a field that `columns` declares with a type other than boolean",
        ),
        (
            "deleted_if = \"a.gone\"\nnested = \"json\"",
            "10:14: `deleted_if` cannot name a field inside an object that nested = \"json\" stores as one column",
        ),
        (
            "deleted_if = \"gone\"\nwrite = \"replace\"",
            "10:14: `deleted_if` needs write = \"upsert\": only upserted rows can be marked deleted",
        ),
    ] {
        assert_eq!(errors(&with(lines)), [format!("acme.toml:{why}")]);
    }
    let built_in = read_all(&[]).unwrap();
    let people = built_in.iter().find(|d| d.name == "people_ai").unwrap();
    let telling = people.tables.iter().map(|table| table.declared_shape().deleted_place().is_some());
    assert_eq!(telling.collect::<Vec<_>>(), [true, true]);
}
