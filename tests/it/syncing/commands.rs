//! Connectors from stand-in servers into SQLite, manually and by the daemon: the real program, its exit codes and its
//! files.

use std::fs;
use std::path::Path;

use data_sources_monitor::testing::destinations::{Destination as _, RunStart, sqlite};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::processes::binary::{Running, output};
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource};
use stand_ins::statuscake::{self, Sizes, StatusCake, throttled};
use stand_ins::{Clock, Reply};

const SIZES: Sizes = Sizes { tests: 3, history: 120, periods: 3, alerts: 4 };

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn start() -> StatusCake {
    StatusCake::start(7, SIZES, &Clock::system())
}

fn vars(cake: &StatusCake) -> Vec<(&'static str, String)> {
    vec![("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()), ("STATUSCAKE_BASE_URL", cake.base_url())]
}

fn run(folder: &Path, args: &[&str], vars: &[(&str, String)]) -> (i32, String, String) {
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    output(folder, args, &vars)
}

fn count(folder: &Path, connector: &str, table: &str) -> u64 {
    let db = Connection::open(folder.join("data").join(format!("{connector}.db"))).unwrap();
    let count: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    count.unsigned_abs()
}

/// The first query that docs/connectors.md shows in a section.
pub(crate) fn documented_query(heading: &str) -> &'static str {
    let section = include_str!("../../../docs/connectors.md").split(heading).nth(1).unwrap();
    section.split("```sql").nth(1).unwrap().split("```").next().unwrap()
}

/// Runs the query that docs/connectors.md shows in a connector's section on that connector's file; it must find rows.
fn documented_query_works(folder: &Path, connector: &str, heading: &str) {
    let sql = documented_query(heading);
    let db = Connection::open(folder.join("data").join(format!("{connector}.db"))).unwrap();
    let mut query = db.prepare(sql).unwrap_or_else(|e| panic!("{heading}: {e}\n{sql}"));
    assert!(query.exists([]).unwrap(), "{heading} finds nothing: {sql}");
}

/// The first stores every row of the source; the run history has both.
#[test]
fn a_second_sync_changes_nothing() {
    let (cake, folder) = (start(), folder());
    let (code, out, err) = run(folder.path(), &["sync", "statuscake"], &vars(&cake));
    assert_eq!(code, 0, "{out}{err}");
    for table in ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"] {
        assert_eq!(
            count(folder.path(), "statuscake", table),
            cake.source_rows(table).len() as u64,
            "{table}"
        );
    }
    let (code, out, _) = run(folder.path(), &["sync", "statuscake"], &vars(&cake));
    assert_eq!(code, 0);
    let line = out.lines().find(|line| line.starts_with("uptime_test ")).unwrap();
    let counts: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert_eq!(counts, ["3", "0", "0", "3", "0", "0", "0"], "{out}");
    documented_query_works(folder.path(), "statuscake", "### StatusCake");
    let (code, out, _) = run(folder.path(), &["runs", "statuscake"], &[]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("CONNECTOR") && out.contains("statuscake   #2") && out.contains("statuscake   #1"),
        "{out}"
    );
    let (code, out, err) = run(folder.path(), &["runs", "--limit", "0"], &[]);
    assert_eq!((code, out.contains("no runs yet")), (2, false), "{out}{err}");
    assert!(!(out + &err).contains(statuscake::API_KEY));
}

/// SenSource and People.ai fill their tables.
#[test]
fn the_seeds_configuration_files_are_accepted() {
    let folder = folder();
    let clock = Clock::system();
    let opened = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let opened = opened.checked_sub(jiff::ToSpan::days(20)).unwrap();
    let vea = SenSource::start(5, 2, opened, &clock);
    let people = PeopleAi::start(3, 50, 300, &clock);
    let sensource = json!({
        "client_id": sensource::CLIENT_ID, "client_secret": sensource::CLIENT_SECRET,
        "start_year": "2026", "start_date": opened.to_string(),
        "base_url": vea.base_url(), "token_url": vea.token_url(),
    });
    let people_ai = json!({
        "api_key": people_ai::API_KEY, "api_secret": people_ai::API_SECRET,
        "base_url": people.base_url(), "token_url": people.token_url(),
    });
    for (name, configuration) in [("sensource", sensource), ("people_ai", people_ai)] {
        fs::write(folder.path().join("configuration.json"), configuration.to_string()).unwrap();
        let args = ["sync", name, "--configuration", "configuration.json"];
        let (code, out, err) = run(folder.path(), &args, &[]);
        assert_eq!(code, 0, "{out}{err}");
    }
    assert_eq!(count(folder.path(), "sensource", "zone"), 2);
    assert!(count(folder.path(), "sensource", "traffic") > 100);
    assert_eq!(count(folder.path(), "people_ai", "activity"), 50);
    let participants = people.source_rows("participants").len() as u64;
    assert_eq!(count(folder.path(), "people_ai", "participants"), participants);
    documented_query_works(folder.path(), "sensource", "### SenSource");
    documented_query_works(folder.path(), "people_ai", "### People.ai");
}

/// Activities of People.ai with their participants; without the setting, what is stored stays live.
#[test]
fn rows_called_deleted_are_soft_deleted_and_restored() {
    for (asked, [first, then, back]) in [("true", [1, 2, 1]), ("false", [0, 0, 0])] {
        let (folder, people) = (folder(), PeopleAi::start(3, 30, 300, &Clock::system()));
        let vars = [
            ("PEOPLE_AI_API_KEY", people_ai::API_KEY.to_owned()),
            ("PEOPLE_AI_API_SECRET", people_ai::API_SECRET.to_owned()),
            ("PEOPLE_AI_BASE_URL", people.base_url()),
            ("PEOPLE_AI_TOKEN_URL", people.token_url()),
            ("PEOPLE_AI_INCLUDE_DELETED", asked.to_owned()),
        ];
        people.change(|org| {
            org.rules.lists_deleted_people = true;
            org.mark(4, true);
        });
        let marked = |table: &str| {
            let (code, out, err) = run(folder.path(), &["sync", "people_ai"], &vars);
            assert_eq!(code, 0, "{out}{err}");
            let db = Connection::open(folder.path().join("data/people_ai.db")).unwrap();
            let sql = format!(
                "SELECT count(_deleted_at), count(*) FILTER (WHERE deleted), count(DISTINCT _deleted_at) FROM {table}"
            );
            db.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
        };
        assert_eq!(marked("activity"), (first, first, first), "{asked}");
        people.change(|org| org.mark(7, true));
        assert_eq!(marked("activity"), (then, then, then), "{asked}: each since its own run");
        let (_, called, _): (i64, i64, i64) = marked("participants");
        let live = people.source_rows("participants").len() as u64;
        assert_eq!(count(folder.path(), "people_ai", "participants WHERE _deleted_at IS NULL"), live);
        assert!(called > 1, "{asked}");
        people.change(|org| org.mark(4, false));
        assert_eq!(marked("activity"), (back, back, back), "{asked}");
        let (_, out, _) = run(folder.path(), &["schema", "people_ai"], &[]);
        assert_eq!(out.matches("boolean, marks deleted rows").count(), 2, "{out}");
        let (code, out, err) = run(folder.path(), &["connector", "explain", "people_ai"], &vars);
        assert_eq!(
            (code, out.matches(", marked deleted where deleted is true").count()),
            (0, 2),
            "{out}{err}"
        );
        people.assert_well_behaved();
    }
}

/// By `--full-refresh`. Until then nothing is deleted and the run says what to do; afterwards runs are complete.
#[test]
fn a_loss_of_most_rows_must_be_confirmed() {
    let (cake, folder) = (start(), folder());
    assert_eq!(run(folder.path(), &["sync", "statuscake"], &vars(&cake)).0, 0);
    cake.change(|account| {
        account.delete_test("6700001");
        account.delete_test("6700003");
    });
    let live = || count(folder.path(), "statuscake", "uptime_test WHERE _deleted_at IS NULL");
    let (code, out, err) = run(folder.path(), &["sync", "statuscake"], &vars(&cake));
    assert_eq!((code, live()), (4, 3), "{out}{err}");
    assert!((out + &err).contains("a sync with --full-refresh marks them"), "{err}");
    for args in [["sync", "statuscake", "--full-refresh"].as_slice(), &["sync", "statuscake"]] {
        let (code, out, err) = run(folder.path(), args, &vars(&cake));
        assert_eq!((code, live()), (0, 1), "{out}{err}");
    }
}

/// 78 without or with half of the configuration, 1 with wrong credentials, 75 when the rate limit asks for a longer
/// wait than allowed, 4 when a row was rejected.
#[test]
fn exit_codes_show_the_outcome() {
    let (cake, folder) = (start(), folder());
    let path = folder.path();
    let (code, _, err) = run(path, &["sync", "statuscake"], &[]);
    assert_eq!((code, err.contains("STATUSCAKE_API_KEY")), (78, true), "{err}");
    let half = [("PEOPLE_AI_API_KEY", "x-key".to_owned())];
    let (code, _, err) = run(path, &["sync", "--all"], &half);
    assert_eq!((code, err.contains("PEOPLE_AI_API_SECRET")), (78, true), "{err}");
    let mut wrong = vars(&cake);
    wrong[0].1 = "not-the-key".into();
    for command in ["test", "sync"] {
        let (code, out, err) = run(path, &[command, "statuscake"], &wrong);
        assert_eq!(code, 1, "{out}{err}");
        assert!((out.clone() + &err).contains("check STATUSCAKE_API_KEY"), "{out}{err}");
        assert!(!err.contains("uptime_test: read, "), "it was not: {err}");
        assert!(!(out + &err).contains("not-the-key"));
    }
    let asked = cake.requests().len();
    wrong[0].1 = "pasted-with\na-break".into();
    for command in ["test", "sync"] {
        let (code, _, err) = run(path, &[command, "statuscake"], &wrong);
        assert_eq!((code, err.contains("STATUSCAKE_API_KEY: contains a line break")), (78, true), "{err}");
        assert!(!err.contains("pasted-with") && !err.contains("a-break"), "{err}");
    }
    assert_eq!(cake.requests().len(), asked, "it could not be sent at all");
    assert_eq!(run(path, &["test", "statuscake"], &vars(&cake)).0, 0);
    cake.next_on("/periods", throttled(5000));
    let (code, out, _) = run(path, &["sync", "statuscake"], &vars(&cake));
    assert_eq!(code, 75, "{out}");
    let id = cake.test_ids()[0].clone();
    cake.change(|account| {
        account.add_row(&id, statuscake::List::Alerts, json!({ "id": id, "status": "up" }))
    });
    let (code, out, _) = run(path, &["sync", "statuscake"], &vars(&cake));
    assert_eq!(code, 4, "{out}");
    assert_eq!(run(path, &["sync", "statuscake", "--table", "nonsense"], &vars(&cake)).0, 78);
}

/// It is named; the run history of the others is still shown.
#[test]
fn one_damaged_file_stops_no_other_connector() {
    let (cake, folder) = (start(), folder());
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/people_ai.db"), "no database, and longer than a header ".repeat(9))
        .unwrap();
    let mut all = vars(&cake);
    all.extend([
        ("PEOPLE_AI_API_KEY", people_ai::API_KEY.to_owned()),
        ("PEOPLE_AI_API_SECRET", people_ai::API_SECRET.to_owned()),
    ]);
    let (code, out, err) = run(folder.path(), &["sync", "--all"], &all);
    assert_eq!((code, err.contains("data/people_ai.db is corrupt")), (1, true), "{out}{err}");
    assert_eq!(count(folder.path(), "statuscake", "uptime_test"), 3, "{out}{err}");
    let (code, out, err) = run(folder.path(), &["runs"], &all);
    assert_eq!((code, err.contains("data/people_ai.db is corrupt")), (1, true), "{out}{err}");
    assert!(out.contains("statuscake   #1"), "{out}{err}");
}

/// It does not count as complete data.
#[test]
fn a_run_of_some_tables_is_named_in_the_history() {
    let (cake, folder) = (start(), folder());
    let only = ["sync", "statuscake", "--table", "uptime_test"];
    let (code, out, err) = run(folder.path(), &only, &vars(&cake));
    assert_eq!((code, out.contains("only uptime_test was selected")), (0, true), "{out}{err}");
    let (_, out, _) = run(folder.path(), &["runs", "statuscake"], &[]);
    assert!(out.lines().nth(1).unwrap().ends_with("  only uptime_test was selected"), "{out}");
    let monitor = "name = \"Cake\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\nseverity = \"minor\"\n";
    fs::create_dir(folder.path().join("monitors")).unwrap();
    fs::write(folder.path().join("monitors/cake.toml"), monitor).unwrap();
    let (code, out, err) = run(folder.path(), &["check"], &[]);
    assert_eq!((code, out.contains("no complete run yet")), (3, true), "{out}{err}");
    let every = ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"];
    let all: Vec<&str> = every.iter().flat_map(|table| ["--table", table]).collect();
    let (code, out, err) = run(folder.path(), &[&["sync", "statuscake"], &*all].concat(), &vars(&cake));
    assert_eq!((code, out.contains("selected")), (0, false), "{out}{err}");
    let (code, out, err) = run(folder.path(), &["check"], &[]);
    assert_eq!((code, out.contains("data is fresh")), (0, true), "{out}{err}");
}

/// The job runs after it.
#[tokio::test]
async fn a_manual_sync_does_not_fail_the_job() {
    let (cake, folder) = (start(), folder());
    fs::create_dir_all(folder.path().join("data")).unwrap();
    let by_hand = sqlite::open(&folder.path().join("data/statuscake.db"), "statuscake").unwrap();
    let begin =
        RunStart { started: Clock::system().now(), full_refresh: Vec::new(), sweeping: Default::default() };
    by_hand.begin(begin).await.unwrap();
    let all = vars(&cake);
    let mut all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.push(("STATUSCAKE_EVERY", "1s"));
    let mut daemon = Running::start(folder.path(), &all);
    let line = daemon.until("in use by another sync");
    assert!(line.contains(" - INFO - ") && !line.contains("failed"), "{line}");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}

/// It makes no file.
#[test]
fn a_dry_run_counts_and_stores_nothing() {
    let (cake, folder) = (start(), folder());
    let args = ["sync", "statuscake", "--dry-run", "--table", "uptime_test"];
    let (code, out, err) = run(folder.path(), &args, &vars(&cake));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("uptime_test          3"), "{out}");
    assert!(!folder.path().join("data/statuscake.db").exists());
    assert!(cake.requests_on("/history").is_empty());
}

/// Tables before and after a sync.
#[test]
fn connectors_definitions_and_schemas_are_shown() {
    let (cake, folder) = (start(), folder());
    let path = folder.path();
    let (_, out, _) = run(path, &["connector", "list"], &vars(&cake));
    assert!(out.contains("statuscake       4  on"), "{out}");
    assert!(out.contains("off     set PEOPLE_AI_API_KEY, PEOPLE_AI_API_SECRET"), "{out}");
    let (_, shown, _) = run(path, &["connector", "show", "statuscake"], &[]);
    assert_eq!(shown, include_str!("../../../connectors/statuscake.toml"));
    let columns = |out: &str| {
        let schema: serde_json::Value = serde_json::from_str(out).unwrap();
        schema["tables"][0]["columns"].as_array().unwrap().len()
    };
    let before = columns(&run(path, &["schema", "statuscake", "--json"], &[]).1);
    assert_eq!(run(path, &["sync", "statuscake", "--table", "uptime_test"], &vars(&cake)).0, 0);
    let after = columns(&run(path, &["schema", "statuscake", "--json"], &[]).1);
    assert!(after > before, "{before} {after}");
}

/// Another that fails does not matter; a signal stops it cleanly.
#[test]
fn the_daemon_runs_connectors_soon_after_the_start_and_when_due() {
    let (cake, folder) = (start(), folder());
    let people = PeopleAi::start(3, 20, 100, &Clock::system());
    people.always_on(people_ai::TOKEN, Reply::status(401));
    fs::create_dir(folder.path().join("monitors")).unwrap();
    fs::write(
        folder.path().join("monitors/cake.toml"),
        "name = \"StatusCake\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\nseverity = \"minor\"\n",
    )
    .unwrap();
    let mut all = vars(&cake);
    all.extend([
        ("STATUSCAKE_EVERY", "1s".to_owned()),
        ("PEOPLE_AI_API_KEY", "wrong-key".to_owned()),
        ("PEOPLE_AI_API_SECRET", "wrong-secret".to_owned()),
        ("PEOPLE_AI_BASE_URL", people.base_url()),
        ("PEOPLE_AI_TOKEN_URL", people.token_url()),
        ("PEOPLE_AI_EVERY", "1s".to_owned()),
    ]);
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut daemon = Running::start(folder.path(), &all);
    daemon.until("statuscake: complete");
    daemon.until("check PEOPLE_AI_API_KEY");
    daemon.until("statuscake: complete");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    for table in ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"] {
        assert_eq!(
            count(folder.path(), "statuscake", table),
            cake.source_rows(table).len() as u64,
            "{table}"
        );
    }
}
