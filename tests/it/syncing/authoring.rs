//! A new connector as its author makes it: `connector new`, `check` and `explain` of the real program.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::processes::binary::output;
use stand_ins::Reply;
use stand_ins::library::{API_KEY, Library};
use stand_ins::made_up::serve;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn run(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> (i32, String, String) {
    output(folder, args, vars)
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// It never overwrites an existing file.
#[test]
fn a_starter_definition_is_valid() {
    let folder = folder();
    let new = ["connector", "new", "acme", "--base-url", "https://api.acme.test/v1/"];
    let (code, out, err) = run(folder.path(), &new, &[]);
    assert!(code == 0 && out.contains("Wrote connectors/acme.toml"), "{out}{err}");
    let (code, out, err) = run(folder.path(), &["connector", "check", "connectors/acme.toml"], &[]);
    assert_eq!(
        (code, out.as_str()),
        (0, "connectors/acme.toml: valid: connector acme, tables items\n"),
        "{err}"
    );
    let text = fs::read_to_string(folder.path().join("connectors/acme.toml")).unwrap();
    assert!(
        text.contains("base_url = \"https://api.acme.test/v1\"")
            && text.contains("api_key = { type = \"secret\"")
    );
    fs::write(folder.path().join("connectors/acme.toml"), format!("{text}# mine\n")).unwrap();
    let (code, _, err) = run(folder.path(), &new, &[]);
    assert!(code == 78 && err.contains("connector acme already exists"), "{err}");
    // Also where the file defines another connector than its name says.
    fs::write(folder.path().join("connectors/beta.toml"), text.replace("\"acme\"", "\"gamma\"")).unwrap();
    let (code, _, err) =
        run(folder.path(), &["connector", "new", "beta", "--base-url", "https://b.test"], &[]);
    assert!(code == 78 && err.contains("beta.toml already exists and was not changed"), "{err}");
    for (name, url, want) in [
        ("statuscake", "https://a.test", "connector statuscake already exists"),
        ("Acme Inc", "https://a.test", "must be a-z, 0-9 and _"),
        ("monitor", "https://a.test", "reserved"),
        ("delta", "http://a.test", "only sent over https"),
        ("delta", "a.test", "not a URL"),
    ] {
        let (code, _, err) = run(folder.path(), &["connector", "new", name, "--base-url", url], &[]);
        assert!(code == 78 && err.contains(want), "{name} {url}: {err}");
    }
    assert_eq!(files(&folder.path().join("connectors")), ["acme.toml", "beta.toml"]);
}

/// The proposal made from one page of a live API is checked, explained and synced unchanged.
#[test]
fn a_definition_from_a_sample_can_be_synced() {
    let (library, folder) = (Library::open(), folder());
    let base = format!("{}/v1", library.url());
    let key = [("SHELF_API_KEY", API_KEY)];
    let new = ["connector", "new", "shelf", "--base-url", &base, "--sample", "/branches?page=1&per_page=2"];
    let (code, _, err) = run(folder.path(), &new, &[]);
    assert!(code == 78 && err.contains("SHELF_API_KEY"), "{err}");
    let (code, _, err) = run(folder.path(), &new, &[("SHELF_API_KEY", "stand-in-wrong-key")]);
    assert!(code == 1 && err.contains("401") && err.contains("nothing was written"), "{err}");
    assert!(!err.contains("stand-in-wrong-key") && files(folder.path()).is_empty(), "{err}");
    let asked = library.requests().len();
    let (code, out, err) = run(folder.path(), &new, &key);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!(out.replace(&base, "BASE"), @r#"
    Wrote connectors/shelf.toml from one page of BASE/branches?page=1&per_page=2. Verify:
      table    branches (2 records read)
      records  data
      key      id
      paging   { kind = "page", at_param = "page", size_param = "per_page", size = 2, pages = "meta.page_count" }
      columns  7
    Next: data-sources-monitor connector check connectors/shelf.toml && data-sources-monitor connector explain shelf
    "#);
    assert_eq!(library.requests().len(), asked + 1, "one page is read");
    let file = folder.path().join("connectors/shelf.toml");
    insta::assert_snapshot!(fs::read_to_string(&file).unwrap().split("[[table]]").nth(1).unwrap(), @r#"

    name    = "branches"
    path    = "/branches"
    records = ["data"]    # a list of 2
    key     = ["id"]    # in every one of 2 records, and different in each
    page    = { kind = "page", at_param = "page", size_param = "per_page", size = 2, pages = "meta.page_count" }    # the sample request has page=1

    # Columns as the page shows them. Types follow the values and only ever widen; a rule fixes one.
    # A rule: "drop", or { name = "other_name", type = "…" }.
    [table.columns]
    # "address.street": text
    # "address.zip": bigint
    # id: bigint
    # name: text
    opened = { type = "date" }    # every text is a day
    # photo: text
    # tags: json
    "#);
    let (code, out, err) = run(folder.path(), &["connector", "explain", "shelf"], &key);
    assert_eq!(code, 0, "{out}{err}");
    insta::assert_snapshot!(out.replace(&base, "BASE"), @"
    shelf: every 15m, into shelf.db
      SHELF_API_KEY            [redacted]
      no state: a run reads everything

    branches
      request  GET BASE/branches?per_page=2&page=1 (Authorization: [redacted])
      then     GET BASE/branches?per_page=2&page=2 (Authorization: [redacted])
      rows     2 on this page
      table    branches (key: id), written by its key
        id                             bigint
        address_street                 text
        address_zip                    bigint
        name                           text
        opened                         date
        photo                          text
        tags                           json

    Nothing was stored. Only the first page of each table was read; a run reads all pages.
    ");
    assert_eq!(files(folder.path()), ["connectors"], "nothing is stored");
    let (code, out, err) = run(folder.path(), &["sync", "shelf"], &key);
    assert!(code == 0 && out.contains("shelf: complete"), "{out}{err}");
}

/// For the documented example, also with the state of a run; no secret is shown.
#[test]
fn explain_shows_requests_state_and_rows_of_every_kind_of_table() {
    let (library, folder) = (Library::open(), folder());
    let page = include_str!("../../../docs/connectors.md").split("## A worked example").nth(1).unwrap();
    let toml = page.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    fs::write(folder.path().join("library.toml"), toml).unwrap();
    let base = format!("{}/v1", library.url());
    let vars = [("LIBRARY_API_KEY", API_KEY), ("LIBRARY_BASE_URL", &base), ("LIBRARY_START", "2026-01-01")];
    let (code, out, err) = run(folder.path(), &["connector", "explain", "--file", "library.toml"], &vars);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(library.requests().len(), 4, "one page of each table: {}", library.dump());
    assert!(!out.contains(API_KEY));
    insta::assert_snapshot!(out.replace(&base, "BASE"), @"
    library: every 1h, into library.db
      LIBRARY_API_KEY          [redacted]
      LIBRARY_START            2026-01-01
      LIBRARY_BASE_URL         BASE
      no state: a run reads everything

    branches
      request  GET BASE/branches?per_page=2&page=1 (Authorization: [redacted])
      then     GET BASE/branches?per_page=2&page=2 (Authorization: [redacted])
      rows     2 on this page
      table    branches (key: id), written by its key, missing rows are marked deleted
        id                             bigint
        address_street                 text
        address_zip                    text
        name                           text
        opened                         date
        tags                           text

    loans
      once for each row of branches; shown for the first one
      request  GET BASE/branches/1/loans (Authorization: [redacted])
      then     GET BASE/branches/1/loans?after=t-3 (Authorization: [redacted])
      rows     3 on this page
      table    loans (key: branch_id, number), written by its key
        branch_id                      bigint
        number                         bigint
        fee                            decimal
        late                           boolean
        lent_at                        timestamp

    books
      request  GET BASE/books?sort=changed&changed_since=2026-01-01T00%3A00%3A00Z (Authorization: [redacted])
      then     GET BASE/books?changed_since=2026-01-01T00:00:00Z&from=3&sort=changed (Authorization: [redacted])
      rows     3 on this page
      table    books (key: isbn), written by its key
        isbn                           text
        author                         json
        changed                        timestamp
        pages                          bigint
        topic                          text

    visits
      request  GET BASE/visits?from=2026-01-01&to=2026-03-02 (Authorization: [redacted])
      then     nothing: this is the last page of its window
      rows     19 on this page
      table    visits (key: branch, day), written by its key
        branch                         bigint
        day                            date
        visitors                       bigint

    Nothing was stored. Only the first page of each table was read; a run reads all pages.
    ");
    fs::create_dir(folder.path().join("connectors")).unwrap();
    fs::copy(folder.path().join("library.toml"), folder.path().join("connectors/library.toml")).unwrap();
    let (code, out, err) = run(folder.path(), &["sync", "library"], &vars);
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = run(folder.path(), &["connector", "explain", "library", "--table", "books"], &vars);
    assert!(
        out.contains("changed_since=2026-03-07T23%3A00%3A00Z")
            && out.contains("  state    {\"at\":{\"time\""),
        "{out}"
    );
    let (code, _, err) = run(folder.path(), &["connector", "explain", "library", "--table", "films"], &vars);
    assert!(code == 78 && err.contains("no table \"films\""), "{err}");
}

/// The other tables are still explained.
#[test]
fn explain_shows_an_error_beside_its_request() {
    let folder = folder();
    let acme = serve(|request| match request.path.as_str() {
        "/fine" => Reply::json(&json!({ "data": [{ "id": 1 }, { "no": 1 }] })),
        "/html" => Reply::html(),
        "/wrong" => Reply::json(&json!({ "items": [] })),
        "/none" => Reply::json(&json!({ "data": [] })),
        _ => Reply::json(&json!({ "message": "hush-hush is not known" })).with_status(422),
    });
    let table = |name: &str| {
        format!("[[table]]\nname = \"{name}\"\npath = \"/{name}\"\nrecords = [\"data\"]\nkey = [\"id\"]\n")
    };
    let head = "format = 1\n[connector]\nname = \"acme\"\nbase_url = \"https://acme.test\"\n[config]\nkey = { type = \"secret\" }\n\
                [auth]\nkind = \"query\"\nname = \"key\"\nvalue = \"${config.key}\"\n[http]\nretry = { tries = 1 }\n";
    let tables = ["fine", "html", "wrong", "none", "other"].map(table).concat();
    let tables = tables.replacen("key =", "deleted_if = \"gone\"\nkey =", 1);
    let child = table("child")
        .replace("/child", "/none/{of}")
        .replace("key =", "parent = { table = \"none\", as = { of = \"id\" } }\nkey =");
    fs::write(folder.path().join("acme.toml"), format!("{head}{tables}{child}")).unwrap();
    let url = acme.url();
    let vars = [("ACME_KEY", "hush-hush"), ("ACME_BASE_URL", url.as_str())];
    let (code, out, _) = run(folder.path(), &["connector", "explain", "--file", "acme.toml"], &vars);
    assert_eq!(code, 1, "{out}");
    assert!(!out.contains("hush-hush"), "{out}");
    insta::assert_snapshot!(out.replace(&url, "BASE"), @r#"
    acme: every 15m, into acme.db
      ACME_KEY                 [redacted]
      ACME_BASE_URL            BASE
      no state: a run reads everything

    fine
      request  GET BASE/fine (and key=[redacted])
      then     nothing: this is the last page
      rows     1 on this page
      rejected 1; the first: key column id is absent or null
      table    fine (key: id), written by its key, marked deleted where gone is true: none of these rows has it
        id                             bigint
        no                             from the first value
        gone                           boolean

    html
      request  GET BASE/html (and key=[redacted])
      error    the answer is HTML where JSON was expected (begins with "<!doctype html><html><head><title>Welcome</title></head><body>Hello {}</body></h"): check the address and the credentials (tried once) (at BASE/html)

    wrong
      request  GET BASE/wrong (and key=[redacted])
      error    no records at data in the answer, which has items: correct `records` of table wrong (at BASE/wrong)

    none
      request  GET BASE/none (and key=[redacted])
      then     nothing: this is the last page
      rows     0 on this page
      table    none (key: id), written by its key
        id                             from the first value

    other
      request  GET BASE/other (and key=[redacted])
      error    the source answered 422: "[redacted] is not known" (at BASE/other)

    child
      once for each row of none; shown for the first one
      error    the first page of its parent has no rows, so no request is possible

    Nothing was stored. Only the first page of each table was read; a run reads all pages.
    "#);
}

/// With line and column, and exit code 78.
#[test]
fn check_reports_all_errors_of_the_given_files() {
    let folder = folder();
    fs::create_dir(folder.path().join("connectors")).unwrap();
    fs::write(folder.path().join("connectors/other.toml"), "broken").unwrap();
    let wrong = "format = 1\n[connector]\nname = \"Acme\"\nbase_url = \"ftp://acme.test\"\n[auth]\nkind = \"magic\"\n[http]\nrate = 5\n\
                 [[table]]\nname = \"things\"\npath = \"/things\"\nkee = [\"id\"]\n";
    fs::write(folder.path().join("wrong.toml"), wrong).unwrap();
    fs::write(folder.path().join("syntax.toml"), "format = \n").unwrap();
    let eu = "format = 1\n[connector]\nname = \"cake_eu\"\nextends = \"statuscake\"\nbase_url = \"http://cake.test\"\n";
    fs::write(folder.path().join("eu.toml"), eu).unwrap();
    let args = ["connector", "check", "wrong.toml", "syntax.toml", "none.toml", "eu.toml"];
    let (code, _, err) = run(folder.path(), &args, &[]);
    assert_eq!(code, 78);
    insta::assert_snapshot!(err, @r#"
    wrong.toml:3:8: `name` must be a-z, 0-9 and _, begin with a letter and have at most 40 characters; "Acme" is not
    wrong.toml:4:12: `base_url`: ftp is not https
    wrong.toml:6:8: "magic" is not a kind of [auth]: none, header, query, basic or oauth2
    wrong.toml:8:8: `rate` must be a text such as "5/s" or "60/m", or a list of such
    wrong.toml:9:1: `key` is missing; a table without one needs write = "append" or "replace"
    wrong.toml:12:1: unknown key `kee`; known here: name, path, columns, nested, write, key, deleted_if, parent, method, params, body, records, null_is_empty, page, cursor, window, deletes, max_share, schema, rules, enabled
    syntax.toml:1:10: string values must be quoted, expected literal string
    none.toml: cannot be read: No such file or directory (os error 2)
    eu.toml:5:12: `base_url`: credentials are only sent over https (plain http only to this machine)
    "#);
    fs::write(folder.path().join("eu.toml"), eu.replace("http:", "https:")).unwrap();
    let (code, out, err) = run(folder.path(), &["connector", "check", "eu.toml"], &[]);
    assert!(code == 0 && out.starts_with("eu.toml: valid: connector cake_eu, tables uptime_test"), "{err}");
}

#[test]
fn the_document_describes_every_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/connectors.md")).unwrap();
    let folder = root.join("src/definitions/connector");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root.join("src/definitions/connector.rs"));
    let mut missing = Vec::new();
    let mut known = 0;
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let code = fs::read_to_string(file).unwrap();
        let calls = ["keys.", "(keys, ", "(&mut keys, "];
        for (at, call) in calls.iter().flat_map(|call| code.match_indices(call)) {
            let rest = &code[at + call.len()..];
            let rest = if call == "keys." { rest.split_once('(').map_or("", |(_, rest)| rest) } else { rest };
            let Some((key, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
                continue;
            };
            if !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                continue;
            }
            known += 1;
            let forms =
                [format!("`{key}`"), format!("`[{key}]`"), format!("`[[{key}]]`"), format!("{key} = ")];
            if !forms.iter().any(|form| document.contains(form)) {
                missing.push(key.to_owned());
            }
        }
    }
    assert!(known > 60, "only {known} keys were found in the code");
    assert!(missing.is_empty(), "docs/connectors.md says nothing of {missing:?}");
}
