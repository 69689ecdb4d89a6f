//! Days of 23 and 25 hours: the real program in a time zone with daylight saving, and a service that counts days in
//! UTC or in that zone.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rusqlite::Connection;

use crate::processes::binary::output;
use stand_ins::Clock;
use stand_ins::sensource::{CLIENT_ID, CLIENT_SECRET, SenSource};

/// Clocks change at night; in the last one at midnight, so that a day starts at one o'clock.
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "America/Santiago"];

fn sync(folder: &Path, vea: &SenSource, zone: &str, start: Date) -> String {
    let (base_url, token_url, start) = (vea.base_url(), vea.token_url(), start.to_string());
    let vars = [
        ("TZ", zone),
        ("SENSOURCE_CLIENT_ID", CLIENT_ID),
        ("SENSOURCE_CLIENT_SECRET", CLIENT_SECRET),
        ("SENSOURCE_BASE_URL", &base_url),
        ("SENSOURCE_TOKEN_URL", &token_url),
        ("SENSOURCE_START_DATE", &start),
    ];
    let args = ["sync", "sensource", "--table", "traffic", "--table", "occupancy"];
    let (code, out, err) = output(folder, &args, &vars);
    assert_eq!(code, 0, "{out}{err}");
    out
}

/// (hour as stored, first figure) of every row, how often it is there.
fn stored(folder: &Path, table: &str, figure: &str) -> BTreeMap<(String, i64), usize> {
    let db = Connection::open(folder.join("data/sensource.db")).unwrap();
    let mut query = db.prepare(&format!("SELECT record_date_hour_1, {figure} FROM {table}")).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.fold(BTreeMap::new(), |mut all, row| {
        *all.entry(row.unwrap()).or_default() += 1;
        all
    })
}

/// With a start date and with the overlap of two windows on such a day: every hour is stored once, as its instant,
/// and a second sync changes nothing. The program's own zone does not matter.
#[test]
fn no_hour_is_missing_or_duplicated_when_clocks_change() {
    let clock = Clock::system();
    clock.set(clock.now());
    let today = clock.now().to_zoned(TimeZone::UTC).date();
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let changes: Vec<Timestamp> = zone.preceding(clock.now()).take(2).map(|at| at.timestamp()).collect();
        assert_eq!(changes.len(), 2, "{name}");
        for day in changes.iter().map(|at| at.to_zoned(zone.clone()).date()) {
            // A window is 30 days long, so the second begins on the day.
            for (start, read_in) in [(day, &TimeZone::UTC), (day - 30.days(), &zone)] {
                let vea = SenSource::start(5, 1, start - 2.days(), &clock);
                vea.change(|venue| venue.rules.zone = read_in.clone());
                let folder = tempfile::tempdir().unwrap();
                sync(folder.path(), &vea, name, start);
                let [from, end] = [start, today.tomorrow().unwrap()]
                    .map(|day| day.to_zoned(read_in.clone()).unwrap().timestamp());
                for (table, figure) in [("traffic", "sumins"), ("occupancy", "maxoccupancy")] {
                    let mut want = BTreeMap::new();
                    for row in vea.source_rows(table) {
                        let hour: Timestamp = row["recordDate_hour_1"].as_str().unwrap().parse().unwrap();
                        if (from..end).contains(&hour) {
                            let hour = hour.strftime("%Y-%m-%d %H:%M:%S").to_string();
                            want.insert((hour, row[figure].as_i64().unwrap()), 1);
                        }
                    }
                    assert!(!want.is_empty());
                    let got = stored(folder.path(), table, figure);
                    assert_eq!(got, want, "{name}: {table} since {start}, {}", vea.dump());
                }
                let bounds = vea.requests_on("/data/traffic");
                let bounds: Vec<_> =
                    bounds.iter().map(|one| (one.param("startDate"), one.param("endDate"))).collect();
                assert_eq!(bounds[0].0, Some(start.to_string().as_str()));
                assert!(bounds.windows(2).all(|pair| pair[0].1 == pair[1].0), "{bounds:?}");
                sync(folder.path(), &vea, name, start);
                let db = Connection::open(folder.path().join("data/sensource.db")).unwrap();
                let sql = "SELECT sum(inserted + updated + rejected + deleted) FROM _runs WHERE run = 2";
                assert_eq!(db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
            }
        }
    }
}
