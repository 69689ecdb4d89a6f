//! Lists of runs and monitors, and the commands that are grouped.

use serde_json::Value;

use crate::processes::binary::{output, watching};
use stand_ins::Clock;
use stand_ins::status_page::StatusPage;
use stand_ins::statuscake::{self, Sizes, StatusCake};

#[test]
fn runs_are_listed_as_a_table_and_as_json() {
    let sizes = Sizes { tests: 3, history: 20, periods: 3, alerts: 4 };
    let (cake, folder) = (StatusCake::start(7, sizes, &Clock::system()), watching(&[]));
    let url = cake.base_url();
    let vars = [("STATUSCAKE_API_KEY", statuscake::API_KEY), ("STATUSCAKE_BASE_URL", url.as_str())];
    let args = ["connector", "sync", "statuscake", "--table", "uptime_test"];
    assert_eq!(output(folder.path(), &args, &vars).0, 0);
    let (code, out, _) = output(folder.path(), &["connector", "runs"], &[]);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, lines.len()), (0, 2), "{out}");
    assert_eq!(lines[0][..5], ["CONNECTOR", "RUN", "STARTED", "TOOK", "OUTCOME"]);
    assert_eq!(lines[1][..2], ["statuscake", "#1"]);
    assert!(out.contains(" complete ") && out.contains("only uptime_test was selected"), "{out}");
    let (_, tables, _) = output(folder.path(), &["runs", "statuscake", "--tables"], &[]);
    let line = tables.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(line.starts_with("statuscake #1 uptime_test complete 3 3 0 0 0 0 0 "), "{tables}");
    let (_, document, _) = output(folder.path(), &["runs", "--json"], &[]);
    let document: Value = serde_json::from_str(&document).unwrap();
    let run = &document["runs"][0];
    assert_eq!((&run["connector"], &run["number"]), (&"statuscake".into(), &1.into()));
    assert_eq!((&run["end"], &run["holder"]), (&"complete".into(), &Value::Null));
    assert_eq!(run["tables"]["uptime_test"]["rows"]["seen"], 3, "{document:#}");
    let (code, nothing, _) = output(folder.path(), &["runs", "people_ai", "--json"], &[]);
    assert_eq!((code, nothing.as_str()), (0, "{\n  \"runs\": []\n}\n"));
}

/// Commands that were at the top level before still work there.
#[test]
fn grouped_commands_and_their_old_names_print_the_same() {
    let folder = watching(&[]);
    for (old, new) in [
        (vec!["test", "statuscake"], vec!["connector", "test", "statuscake"]),
        (vec!["schema", "statuscake"], vec!["connector", "schema", "statuscake"]),
        (vec!["sync", "statuscake"], vec!["connector", "sync", "statuscake"]),
        (vec!["runs"], vec!["connector", "runs"]),
    ] {
        assert_eq!(output(folder.path(), &old, &[]), output(folder.path(), &new, &[]), "{old:?}");
    }
}

#[test]
fn connectors_are_listed_as_a_table_and_as_json() {
    let folder = watching(&[]);
    let vars = [("STATUSCAKE_API_KEY", statuscake::API_KEY), ("PEOPLE_AI_API_KEY", "only-the-key")];
    let (code, out, _) = output(folder.path(), &["connector", "list"], &vars);
    insta::assert_snapshot!(out, @"
    CONNECTOR   TABLES  STATUS
    people_ai        2  misconfigured  api_secret is missing (variable PEOPLE_AI_API_SECRET)
    sensource        7  off            set SENSOURCE_CLIENT_ID, SENSOURCE_CLIENT_SECRET
    statuscake       4  on
    ");
    assert_eq!(code, 0);
    let (_, document, _) = output(folder.path(), &["connector", "list", "--json"], &vars);
    let document: Value = serde_json::from_str(&document).unwrap();
    let listed = document["connectors"].as_array().unwrap();
    let states: Vec<&str> = listed.iter().map(|listed| listed["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["misconfigured", "off", "on"]);
    assert_eq!((&listed[2]["name"], &listed[2]["tables"]), (&"statuscake".into(), &4.into()));
}

#[test]
fn sync_without_a_name_mentions_all() {
    let folder = watching(&[]);
    let (code, _, said) = output(folder.path(), &["sync"], &[]);
    assert!(code == 2 && said.contains("sync <NAME|--all>"), "{said}");
    assert_eq!(output(folder.path(), &["sync", "statuscake", "--all"], &[]).0, 2);
}

#[test]
fn monitors_are_listed_and_polled_by_name() {
    let (good, bad) = (StatusPage::start(), StatusPage::start());
    bad.set_indicator("major", "Partial System Outage");
    let folder = watching(&[("Good", &good), ("Bad", &bad)]);
    let (code, out, _) = output(folder.path(), &["monitor", "list"], &[]);
    assert!(code == 0 && out.lines().count() == 3 && out.contains(&good.url()), "{out}");
    let (_, document, _) = output(folder.path(), &["monitor", "list", "--json"], &[]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["monitors"][1]["name"], "Good", "{document:#}");
    assert_eq!(output(folder.path(), &["monitor", "check", "good"], &[]).0, 0);
    assert_eq!(output(folder.path(), &["check", "Good", "Bad"], &[]).0, 2);
    let (code, _, said) = output(folder.path(), &["check", "Ugly"], &[]);
    assert!(code == 78 && said.contains("unknown monitor \"Ugly\"; known monitors: Bad, Good"), "{said}");
}
