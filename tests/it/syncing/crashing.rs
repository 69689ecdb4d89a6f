//! The real program, killed (SIGKILL) repeatedly while it syncs, and restarted: at the end its tables equal the
//! source byte by byte, and at no moment do they hold anything else.
//!
//! `CRASH_KILLS=300` sets the number of kills per connector. Start at [`survives`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use data_sources_monitor::testing::domain::syncing::cell::Cell;
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use rusqlite::{Connection, types::Value as Stored};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::binary::{output, program};
use crate::syncing::engine::{Row, assert_holds};
use crate::syncing::services::people_ai::with_key;
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource};
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{Clock, Reply, Service, StandIn};

/// Kills per connector where `CRASH_KILLS` says nothing.
const FEW: usize = 6;
/// One run in so many reads from a source so slow that several commits fall into it.
const SLOW: u64 = 6;
/// How often the test checks whether it is time to kill.
const CHECK_INTERVAL: Duration = Duration::from_micros(200);

/// A source, and what the test needs to know about it.
struct Subject<S: Service> {
    name: &'static str,
    shipped: &'static str,
    server: StandIn<S>,
    vars: Vec<(&'static str, String)>,
    /// Rows join the source while it is read.
    grow: fn(&StandIn<S>),
    rows: fn(&StandIn<S>, &str) -> Vec<Value>,
    /// Table, key fields, fields that are renamed.
    tables: &'static [Listed],
}

type Listed = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

/// Child tables of many parents, each with a cursor of its own.
#[test]
fn statuscake_survives_kills() {
    let sizes = Sizes { tests: 12, history: 230, periods: 4, alerts: 3 };
    let cake = StatusCake::start(7, sizes, &without_growth());
    survives(&Subject {
        name: "statuscake",
        shipped: include_str!("../../../connectors/statuscake.toml"),
        vars: vec![
            ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
            ("STATUSCAKE_BASE_URL", cake.base_url()),
        ],
        server: cake,
        grow: |cake| {
            let ids = cake.test_ids();
            // Each at another second: two of one second and location would be one row.
            let seconds = cake.source_rows("uptime_test_history").len() as i64;
            cake.change(|account| {
                let later = Timestamp::now() + SignedDuration::from_secs(seconds);
                let row = serde_json::json!({"created_at": format!("{later:.0}"),
                    "location": "FRA2", "performance": 99, "status_code": 200});
                account.add_row(&ids[0], statuscake::List::History, row);
            });
        },
        rows: |cake, table| cake.source_rows(table),
        tables: &[
            ("uptime_test", &["id"], &[]),
            ("uptime_test_history", &["test_id", "created_at", "location"], &[]),
            ("uptime_test_period", &["test_id", "created_at"], &[]),
            ("uptime_test_alert", &["test_id", "triggered_at", "status"], &[]),
        ],
    });
}

/// Windows with a checkpoint after each.
#[test]
fn sensource_survives_kills() {
    let clock = without_growth();
    let opened = clock.now().to_zoned(TimeZone::UTC).date().checked_sub(70.days()).unwrap();
    let vea = SenSource::start(5, 2, opened, &clock);
    survives(&Subject {
        name: "sensource",
        shipped: include_str!("../../../connectors/sensource.toml"),
        vars: vec![
            ("SENSOURCE_CLIENT_ID", sensource::CLIENT_ID.to_owned()),
            ("SENSOURCE_CLIENT_SECRET", sensource::CLIENT_SECRET.to_owned()),
            ("SENSOURCE_START_DATE", opened.to_string()),
            ("SENSOURCE_BASE_URL", vea.base_url()),
            ("SENSOURCE_TOKEN_URL", vea.token_url()),
        ],
        server: vea,
        grow: |_| {},
        rows: |vea, table| vea.source_rows(table),
        tables: &[
            ("traffic", &["zoneId", "recordDate_hour_1"], &[]),
            ("occupancy", &["spaceId", "recordDate_hour_1"], &[]),
            ("location", &["locationId"], &[]),
            ("site", &["siteId"], &[]),
            ("zone", &["zoneId"], &[]),
            ("space", &["spaceId"], &[]),
        ],
    });
}

/// Offset pages in windows.
#[test]
fn people_ai_survives_kills() {
    let people = PeopleAi::start(3, 600, 700, &without_growth());
    survives(&Subject {
        name: "people_ai",
        shipped: include_str!("../../../connectors/people_ai.toml"),
        vars: vec![
            ("PEOPLE_AI_API_KEY", people_ai::API_KEY.to_owned()),
            ("PEOPLE_AI_API_SECRET", people_ai::API_SECRET.to_owned()),
            ("PEOPLE_AI_BASE_URL", people.base_url()),
            ("PEOPLE_AI_TOKEN_URL", people.token_url()),
        ],
        server: people,
        grow: |people| {
            people.change(|org| org.add(Timestamp::now() - SignedDuration::from_mins(5)));
        },
        rows: |people, table| {
            let rows = people.source_rows(table);
            if table == "participants" { rows.into_iter().map(with_key).collect() } else { rows }
        },
        tables: &[
            ("activity", &["uid"], &[("subject", "api_subject")]),
            ("participants", &["uid", "email"], &[("subject", "api_subject"), ("true_email", "api_email")]),
        ],
    });
}

/// Runs that are compared need a source that does not grow between them.
fn without_growth() -> Clock {
    let clock = Clock::system();
    clock.set(clock.now());
    clock
}

/// Kills the program at random moments and restarts it until it was killed often enough; whenever a run completes,
/// the tables must equal those of an undisturbed run and the source. Then it starts over.
fn survives<S: Service>(subject: &Subject<S>) {
    let kills: usize = std::env::var("CRASH_KILLS").map_or(FEW, |text| text.parse().unwrap());
    let mut random = KillRandom::new();
    let (mut killed, mut ended) = (0, 0);
    while killed < kills {
        let folder = folder(subject);
        let mut seen_on_the_way = Vec::new();
        // The first, in a folder of its own, also counts the requests of a whole run.
        let (before, _) = (subject.server.requests().len(), undisturbed(subject, &self::folder(subject)));
        let whole = subject.server.requests().len() - before;
        loop {
            let moment = random.moment(whole as u64);
            let slow = random.below(SLOW) == 0;
            if slow {
                let late = Duration::from_millis(5 + random.below(40));
                subject.server.always_on("GET ", Reply::usual().late(late));
            }
            let died = start_and_kill(subject, folder.path(), &moment, killed < kills);
            subject.server.as_usual();
            if !died {
                break;
            }
            killed += 1;
            seen_on_the_way.push((format!("{moment:?}"), left_behind(folder.path(), subject.name)));
            if random.below(3) == 0 {
                (subject.grow)(&subject.server);
            }
        }
        ended += 1;
        // A run under way when the source grew may have passed the place: the next one reads it.
        let told = undisturbed(subject, &folder);
        compare(subject, &folder, &seen_on_the_way);
        let again = undisturbed(subject, &folder);
        assert!(!again.contains(" rejected, see _rejected"), "{told}{again}");
        assert_nothing_changed(&folder, subject.name);
    }
    println!("{}: {killed} kills, {ended} times to the end", subject.name);
}

/// When to kill.
#[derive(Debug)]
enum Moment {
    /// The source has seen so many requests of this run, and so long after.
    Requests(u64, Duration),
    /// The log of the file has grown so often, and so long after.
    Writes(u64, Duration),
}

struct KillRandom(u64);

impl KillRandom {
    fn new() -> KillRandom {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = u64::from(now.subsec_nanos()) | 1;
        println!("seed {seed}");
        KillRandom(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    /// Anywhere in a run that makes so many requests.
    fn moment(&mut self, requests: u64) -> Moment {
        let after = Duration::from_micros(self.below(25_000));
        match self.below(3) {
            0 => Moment::Writes(1 + self.below(6), after),
            _ => Moment::Requests(self.below(requests + 1), after),
        }
    }
}

/// A folder with the shipped definition, but for the rate, which a test should not wait for, and with smaller pages and
/// windows, so that few rows make many moments.
fn folder<S: Service>(subject: &Subject<S>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let lines = subject.shipped.lines().filter(|line| !line.starts_with("rate "));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("size = 1000", "size = 60").replace("step = \"30d\"", "step = \"7d\"");
    fs::create_dir(folder.path().join("connectors")).unwrap();
    let file = folder.path().join("connectors").join(format!("{}.toml", subject.name));
    fs::write(file, text).unwrap();
    folder
}

fn vars<S: Service>(subject: &Subject<S>) -> Vec<(&str, &str)> {
    subject.vars.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A run to the end, which must be complete. Returns its output.
fn undisturbed<S: Service>(subject: &Subject<S>, folder: &TempDir) -> String {
    let (code, out, err) = output(folder.path(), &["sync", subject.name], &vars(subject));
    assert_eq!(code, 0, "{out}{err}\n{}", subject.server.dump());
    out
}

/// Starts a sync and kills it at the moment. `false` if it came to its end before, which must be a complete one.
fn start_and_kill<S: Service>(subject: &Subject<S>, folder: &Path, moment: &Moment, kill: bool) -> bool {
    let before = subject.server.requests().len() as u64;
    let mut command = program(folder, &["sync", subject.name], &vars(subject));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log = folder.join("data").join(format!("{}.db-wal", subject.name));
    let mut length = fs::metadata(&log).map_or(0, |meta| meta.len());
    let mut grown = 0;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}: {}", subject.server.dump());
            return false;
        }
        let now = fs::metadata(&log).map_or(0, |meta| meta.len());
        grown += u64::from(now > length);
        length = now;
        let (come, after) = match moment {
            Moment::Requests(count, after) => {
                (subject.server.requests().len() as u64 >= before + count, after)
            }
            Moment::Writes(count, after) => (grown >= *count, after),
        };
        if come && kill {
            std::thread::sleep(*after);
            return finish_off(child);
        }
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// SIGKILL; `false` if it had ended by itself.
fn finish_off(mut child: Child) -> bool {
    let _ = child.kill();
    let status = child.wait().unwrap();
    assert!(status.success() || status.code().is_none(), "{status}");
    !status.success()
}

/// What a killed run left, read from a copy: the program itself has to repair its file.
fn left_behind(folder: &Path, name: &str) -> BTreeSet<String> {
    let copy = tempfile::tempdir().unwrap();
    for ending in ["db", "db-wal"] {
        let file = format!("{name}.{ending}");
        // Killed before it was made, it is not there.
        let _ = fs::copy(folder.join("data").join(&file), copy.path().join(&file));
    }
    let file = copy.path().join(format!("{name}.db"));
    if !file.exists() {
        return BTreeSet::new();
    }
    let db = Connection::open(file).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    dump(&db)
}

/// The tables hold what an undisturbed run of the same program holds, byte by byte, and that is what the source has;
/// what killed runs left on the way was a part of it.
fn compare<S: Service>(subject: &Subject<S>, folder: &TempDir, on_the_way: &[(String, BTreeSet<String>)]) {
    let other = self::folder(subject);
    undisturbed(subject, &other);
    let open = |folder: &TempDir| Connection::open(file(folder, subject.name)).unwrap();
    let (db, clean) = (open(folder), dump(&open(&other)));
    let stored = dump(&db);
    let differ: Vec<&String> = stored.symmetric_difference(&clean).take(3).collect();
    assert!(
        differ.is_empty(),
        "{}: {} and {} rows differ: {differ:#?}",
        subject.name,
        stored.len(),
        clean.len()
    );
    for (moment, left) in on_the_way {
        let wrong: Vec<&String> = left.difference(&stored).take(3).collect();
        assert!(wrong.is_empty(), "{}: killed at {moment}, it left {wrong:#?}", subject.name);
    }
    for (table, key, rename) in subject.tables {
        let rows = rows(&db, table);
        assert_holds(
            table,
            &rows.iter().collect::<Vec<_>>(),
            &(subject.rows)(&subject.server, table),
            key,
            rename,
        );
    }
    let open_runs: i64 =
        db.query_row("SELECT count(*) FROM _runs WHERE outcome = 'running'", [], |row| row.get(0)).unwrap();
    assert_eq!(open_runs, 0, "runs without an end in the ledger");
}

/// The last run, over a source that stood still, wrote no row.
fn assert_nothing_changed(folder: &TempDir, name: &str) {
    let db = Connection::open(file(folder, name)).unwrap();
    let sql = "SELECT sum(inserted + updated + deleted + rejected) FROM _runs \
               WHERE run = (SELECT max(run) FROM _runs)";
    let changes: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(changes, 0, "{name}: a second sync changed rows");
}

fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("data").join(format!("{name}.db"))
}

/// The source's tables: name → column → declared type.
fn tables(db: &Connection) -> BTreeMap<String, BTreeMap<String, String>> {
    let sql = "SELECT m.name, c.name, c.type FROM sqlite_schema m, pragma_table_info(m.name) c \
               WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'";
    let mut query = db.prepare(sql).unwrap();
    let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for one in found {
        let (table, column, kind): (String, String, String) = one.unwrap();
        // When a row was stored is the one thing in which two syncs differ.
        if column != "_synced_at" {
            tables.entry(table).or_default().insert(column, kind);
        }
    }
    tables
}

/// Every row of every table, with the exact bytes and storage class of each value.
fn dump(db: &Connection) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (table, columns) in tables(db) {
        let values: Vec<String> =
            columns.keys().map(|name| format!("'{name}=' || quote(\"{name}\")")).collect();
        let sql = format!("SELECT {} FROM \"{table}\"", values.join(" || ' ' || "));
        let mut query = db.prepare(&sql).unwrap();
        let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        // A column that only later rows have is not there yet.
        all.extend(rows.map(|row| format!("{table}: {}", row.unwrap())));
    }
    all
}

/// The rows of a table as the types of its columns read them.
fn rows(db: &Connection, table: &str) -> Vec<Row> {
    let columns = tables(db).remove(table).unwrap_or_default();
    let names: Vec<String> = columns.keys().map(|name| format!("\"{name}\"")).collect();
    let mut query = db.prepare(&format!("SELECT {} FROM \"{table}\"", names.join(", "))).unwrap();
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Row> {
        let cells = columns
            .iter()
            .enumerate()
            .map(|(at, (name, kind))| Ok((name.clone(), cell(row.get::<_, Stored>(at)?, kind))));
        cells.collect()
    };
    query.query_map([], read).unwrap().map(Result::unwrap).collect()
}

fn cell(stored: Stored, kind: &str) -> Cell {
    match (stored, kind) {
        (Stored::Null, _) => Cell::Null,
        (Stored::Integer(value), "BOOLEAN") => Cell::Bool(value != 0),
        (Stored::Integer(value), "DOUBLE") => Cell::Double(value as f64),
        (Stored::Integer(value), _) => Cell::Int(value),
        (Stored::Real(value), _) => Cell::Double(value),
        (Stored::Text(text), "TIMESTAMP TEXT") => {
            Cell::Timestamp(format!("{}Z", text.replace(' ', "T")).parse().unwrap())
        }
        (Stored::Text(text), "JSON TEXT") => Cell::Json(text.into()),
        (Stored::Text(text), _) => Cell::Text(text.into()),
        (Stored::Blob(bytes), _) => panic!("a blob: {bytes:?}"),
    }
}
