//! The real program with `DATABASE_URL`: commands and the daemon, and the same tables as in files.

use std::path::Path;

use crate::postgres::cluster;
use crate::processes::binary::{Running, output};
use crate::syncing::commands::documented_query;
use crate::syncing::contract::{rows, server_rows};
use stand_ins::Clock;
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource};
use stand_ins::statuscake::{self, Sizes, StatusCake};

const TABLES: [&str; 4] = ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"];

fn run(folder: &Path, args: &[&str], vars: &[(&str, String)]) -> (i32, String, String) {
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    output(folder, args, &vars)
}

/// Row for row and column for column, by a manual sync and by the daemon; `runs` and `schema` read them, the password
/// is not shown, and no file is made.
#[tokio::test]
async fn tables_in_postgresql_equal_those_in_files() {
    let Some(cluster) = cluster::shared() else { return };
    let sizes = Sizes { tests: 3, history: 120, periods: 3, alerts: 4 };
    let cake = StatusCake::start(7, sizes, &Clock::system());
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = cluster.database().await;
    let user = cluster.user("some-pa55word").await;
    let session = cluster.session(&name).await;
    session.batch_execute(&format!("GRANT CREATE ON DATABASE {name} TO {user}")).await.unwrap();
    let mut vars = vec![
        ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
        ("STATUSCAKE_BASE_URL", cake.base_url()),
        ("STATUSCAKE_EVERY", "1s".to_owned()),
    ];
    let (code, out, err) = run(files.path(), &["sync", "statuscake"], &vars);
    assert_eq!(code, 0, "{out}{err}");

    vars.push(("DATABASE_URL", cluster.url(&user, &name)));
    let password = folder.path().join("password");
    std::fs::write(&password, "some-pa55word\n").unwrap();
    vars.push(("DATABASE_PASSWORD_FILE", password.display().to_string()));
    let (code, _, said) = run(folder.path(), &["runs"], &vars);
    assert_eq!((code, said.as_str()), (0, ""));
    let mut told = String::new();
    for counted in ["3 3 0 0 0 0 0", "3 0 0 3 0 0 0"] {
        let (code, out, err) = run(folder.path(), &["sync", "statuscake"], &vars);
        assert_eq!(code, 0, "{out}{err}");
        let line = out.lines().find(|line| line.starts_with("uptime_test ")).unwrap();
        assert_eq!(line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "), counted, "{out}");
        told += &(out + &err);
    }
    session.batch_execute("SET search_path TO statuscake; SET timezone TO 'UTC'").await.unwrap();
    for table in TABLES {
        let columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'statuscake'
                       AND table_name = $1 AND column_name <> '_synced_at' ORDER BY ordinal_position";
        let columns = session.query(columns, &[&table]).await.unwrap();
        let columns: Vec<String> =
            columns.iter().map(|row| format!("\"{}\"", row.get::<_, String>(0))).collect();
        let sql = format!("SELECT {} FROM {table}", columns.join(", "));
        let mut here = server_rows(&session, &sql).await;
        let mut there = rows(&files.path().join("data/statuscake.db"), &sql);
        here.sort();
        there.sort();
        assert_eq!(here, there, "{table}");
        assert!(!here.is_empty(), "{table}");
    }
    let (_, out, _) = run(folder.path(), &["runs", "statuscake"], &vars);
    assert!(out.contains("statuscake   #2") && out.contains("statuscake   #1"), "{out}");
    let (_, schema, _) = run(folder.path(), &["schema", "statuscake"], &vars);
    let (_, of_files, _) = run(files.path(), &["schema", "statuscake"], &vars[..3]);
    assert_eq!(schema, of_files);
    let (code, out, _) = run(folder.path(), &["validate"], &vars);
    assert!(code == 0 && out.contains("tables: PostgreSQL at 127.0.0.1:"), "{out}");

    let all: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    std::fs::create_dir(folder.path().join("monitors")).unwrap();
    std::fs::write(
        folder.path().join("monitors/cake.toml"),
        "name = \"StatusCake\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\nseverity = \"minor\"\n",
    )
    .unwrap();
    let mut daemon = Running::start(folder.path(), &all);
    daemon.until("statuscake: complete");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    let done = "SELECT count(*) >= 3 FROM _runs WHERE table_name = '' AND outcome = 'complete'";
    assert_eq!(server_rows(&session, done).await, ["1"]);
    assert!(!folder.path().join("data/statuscake.db").exists());
    assert!(!told.contains("pa55word"));

    let wrong = [("DATABASE_URL", "mysql://a:pa55word@b/c".to_owned())];
    let (code, _, said) = run(folder.path(), &["runs"], &wrong);
    assert_eq!(code, 78);
    insta::assert_snapshot!(said.trim_end(), @"DATABASE_URL must begin with postgres:// (postgres://user@host:5432/database)");
}

/// Those of docs/connectors.md, as in a file.
#[tokio::test]
async fn the_documented_queries_find_rows() {
    let Some(cluster) = cluster::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let opened = today.checked_sub(jiff::ToSpan::days(5)).unwrap();
    let cake = StatusCake::start(7, Sizes { tests: 3, history: 5, periods: 3, alerts: 2 }, &clock);
    let vea = SenSource::start(5, 2, opened, &clock);
    let people = PeopleAi::start(3, 20, 60, &clock);
    let name = cluster.database().await;
    let vars = [
        ("DATABASE_URL", cluster.url("postgres", &name)),
        ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
        ("STATUSCAKE_BASE_URL", cake.base_url()),
        ("SENSOURCE_CLIENT_ID", sensource::CLIENT_ID.to_owned()),
        ("SENSOURCE_CLIENT_SECRET", sensource::CLIENT_SECRET.to_owned()),
        ("SENSOURCE_START_DATE", opened.to_string()),
        ("SENSOURCE_BASE_URL", vea.base_url()),
        ("SENSOURCE_TOKEN_URL", vea.token_url()),
        ("PEOPLE_AI_API_KEY", people_ai::API_KEY.to_owned()),
        ("PEOPLE_AI_API_SECRET", people_ai::API_SECRET.to_owned()),
        ("PEOPLE_AI_BASE_URL", people.base_url()),
        ("PEOPLE_AI_TOKEN_URL", people.token_url()),
    ];
    let (code, out, err) = run(folder.path(), &["sync", "--all"], &vars);
    assert_eq!(code, 0, "{out}{err}");
    let session = cluster.session(&name).await;
    for (schema, heading) in
        [("statuscake", "### StatusCake"), ("sensource", "### SenSource"), ("people_ai", "### People.ai")]
    {
        session.batch_execute(&format!("SET search_path TO {schema}")).await.unwrap();
        let found = session.query(documented_query(heading), &[]).await;
        assert!(!found.unwrap_or_else(|e| panic!("{heading}: {e:?}")).is_empty(), "{heading}");
    }
}
