//! Uploads and reloads by the daemon: the real program between StatusCake and a tenant.

use std::fs;

use jiff::SignedDuration;
use serde_json::Value;
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::tenant::data::ASK_RELOAD;
use stand_ins::tenant::{API_KEY, Tenant};
use stand_ins::{Clock, Reply};
use tempfile::TempDir;

use super::{APP, SPACE};
use crate::http_client::client;
use crate::postgres::cluster;
use crate::processes::binary::{Running, output, watching};

const SIZES: Sizes = Sizes { tests: 3, history: 12, periods: 2, alerts: 1 };

struct Desk {
    tenant: Tenant,
    cake: StatusCake,
    folder: TempDir,
    vars: Vec<(String, String)>,
}

impl Desk {
    fn with(more: &[(&str, &str)]) -> Desk {
        let tenant = Tenant::start();
        tenant.change(|state| {
            state.data.add_space(SPACE);
            state.data.add_app(APP);
        });
        let cake = StatusCake::start(7, SIZES, &Clock::system());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("monitors")).unwrap();
        let (base, url) = (cake.base_url(), tenant.url());
        let usual = [
            ("STATUSCAKE_API_KEY", statuscake::API_KEY),
            ("STATUSCAKE_BASE_URL", base.as_str()),
            ("STATUSCAKE_EVERY", "1s"),
            ("QLIK_TENANT_URL", url.as_str()),
            ("QLIK_API_KEY", API_KEY),
        ];
        let vars = usual.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Desk { tenant, cake, folder, vars }
    }

    fn vars(&self) -> Vec<(&str, &str)> {
        self.vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn daemon(&self) -> Running {
        Running::start(self.folder.path(), &self.vars())
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let (code, out, said) = output(self.folder.path(), args, &self.vars());
        (code, out + &said)
    }

    fn files(&self) -> Vec<String> {
        self.tenant.read(|state| state.data.contents().into_keys().collect())
    }

    fn writes(&self) -> usize {
        self.tenant.read(|state| state.data.writes().values().sum())
    }
}

fn address(daemon: &mut Running) -> String {
    let line = daemon.until("Listening on ");
    line.split("Listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

async fn shown(address: &str, path: &str) -> String {
    client().get(format!("{address}{path}")).send().await.unwrap().text().await.unwrap()
}

/// Each change of the rows is in the space before the app is reloaded once; runs without a change reload nothing.
#[tokio::test]
async fn every_change_of_the_tables_is_in_the_app_once() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_RELOAD", APP)]);
    let mut daemon = desk.daemon();
    let address = address(&mut daemon);
    daemon.until("4 files uploaded to space Sales data, 1 app reloaded");
    for _ in 0..3 {
        daemon.until("statuscake: complete");
    }
    assert_eq!((desk.files().len(), desk.writes(), desk.tenant.reloads().len()), (4, 4, 1));
    let test = desk.cake.test_ids().remove(0);
    desk.cake.change(|account| account.set(&test, "name", "renamed".into()));
    desk.tenant
        .wait_until(|tenant| tenant.reloads().iter().filter(|one| one.ended_at.is_some()).count() == 2)
        .await;
    daemon.until("1 file uploaded to space Sales data, 1 app reloaded");
    assert_eq!(desk.writes(), 5, "only the table that changed");
    for reload in desk.tenant.reloads() {
        assert_eq!(reload.read[0], reload.read[1], "an app saw a commit");
        assert_eq!(reload.read[0].len(), 4);
    }
    let connectors: Value = serde_json::from_str(&shown(&address, "/api/v1/connectors").await).unwrap();
    let in_qlik = &connectors["connectors"][0]["in_qlik"]["default"];
    assert!(
        in_qlik["data_as_of"].is_string() && in_qlik["apps"][APP]["outcome"] == "succeeded",
        "{in_qlik:#}"
    );
    let page = shown(&address, "/connectors/statuscake").await;
    assert!(page.contains("Data in Qlik") && page.contains(SPACE) && page.contains("succeeded"), "{page}");
    assert!(shown(&address, "/metrics").await.contains(
        "dsm_reload_ends_total{tenant=\"default\",connector=\"statuscake\",outcome=\"succeeded\"} 2"
    ));
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    let (_, runs) = desk.run(&["runs", "statuscake", "--tables"]);
    assert!(runs.contains("(upload to default)"), "{runs}");
}

/// A reload that began before the files were there is awaited, and another one follows.
#[tokio::test]
async fn an_app_that_is_reloaded_twice_is_counted_once() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_RELOAD", APP)]);
    desk.tenant.change(|state| {
        (state.data.rules.locks, state.data.rules.runs_for) = (false, SignedDuration::from_secs(5));
        state.data.queue_reload(APP, Clock::system().now());
    });
    let mut daemon = desk.daemon();
    let line = daemon.until("4 files uploaded to space Sales data, ");
    assert!(line.contains(", 1 app reloaded"), "{line}");
    assert_eq!(desk.tenant.reloads().len(), 2);
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}

/// A person adds the bot to the space and asks for a reload of the configuration.
#[tokio::test]
async fn what_the_tenant_refuses_is_said_and_delivered_once_it_is_allowed() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_RELOAD", APP)]);
    desk.tenant.change(|state| state.data.rules.member = false);
    let mut daemon = desk.daemon();
    let address = address(&mut daemon);
    let refused = daemon.until("statuscake: nothing is uploaded:");
    assert!(refused.contains(SPACE) && refused.contains("member"), "{refused}");
    daemon.until("statuscake: complete");
    let page = shown(&address, "/connectors/statuscake").await;
    assert!(page.contains("none yet") && page.contains("member"), "{page}");
    let (code, said) = desk.run(&["tenant", "check"]);
    assert!(code == 1 && said.contains("default: statuscake: ") && said.contains("member"), "{said}");
    desk.tenant.change(|state| state.data.rules.member = true);
    let (code, said) = desk.run(&["tenant", "check"]);
    let takes = "default: the space Sales data takes the parquet files of statuscake";
    assert!(code == 0 && said.contains(takes), "{said}");
    daemon.signal("-HUP");
    daemon.until("4 files uploaded to space Sales data, 1 app reloaded");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    assert_eq!(daemon.count("nothing is uploaded"), 1);
    assert_eq!((desk.writes(), desk.tenant.reloads().len()), (4, 1));
}

/// What was uploaded stays so; the reload that was not accepted is asked for again.
#[tokio::test]
async fn a_delivery_goes_on_after_the_daemon_was_killed() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_RELOAD", APP)]);
    for _ in 0..2 {
        desk.tenant.next_on(ASK_RELOAD, Reply::status(503));
    }
    let mut daemon = desk.daemon();
    daemon.until("the data in Qlik is not up to date");
    daemon.signal("-KILL");
    daemon.ended();
    assert_eq!((desk.writes(), desk.tenant.reloads().len()), (4, 0));
    let mut daemon = desk.daemon();
    assert!(daemon.until("1 app reloaded").contains(": 1 app reloaded"), "all files were there");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    assert_eq!((desk.writes(), desk.tenant.reloads().len()), (4, 1));
}

#[tokio::test]
async fn a_tenant_without_parquet_gets_csv_files() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_TABLES", "uptime_test")]);
    desk.tenant.change(|state| state.data.rules.extensions = vec!["csv".into(), "qvd".into()]);
    let mut daemon = desk.daemon();
    daemon.until("default accepts no .parquet files; CSV files are uploaded instead.");
    daemon.until("1 file uploaded to space Sales data");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    assert_eq!(desk.files(), ["statuscake-uptime_test.csv"]);
}

/// Two tenants of definitions: one gets files, the other only reloads; a rule that is removed has no effect any more.
#[tokio::test]
async fn tenants_have_rules_of_their_own() {
    let mut desk = Desk::with(&[("TENANT_TEST_API_KEY", API_KEY)]);
    let test = Tenant::start();
    test.change(|state| state.data.add_app(APP));
    desk.vars.retain(|(name, _)| name != "QLIK_TENANT_URL");
    let define = |name: &str, url: &str, data: &str| {
        fs::create_dir_all(desk.folder.path().join("tenants")).unwrap();
        let text = format!("name = \"{name}\"\nurl = \"{url}\"\n{data}");
        fs::write(desk.folder.path().join(format!("tenants/{name}.toml")), text).unwrap();
    };
    let data = format!("[[data]]\nconnector = \"statuscake\"\nspace = \"{SPACE}\"\n");
    define("prod", &desk.tenant.url(), &data);
    define("test", &test.url(), &format!("[[data]]\nconnector = \"statuscake\"\nreload = [\"{APP}\"]\n"));
    let mut daemon = desk.daemon();
    desk.tenant.wait_until(|tenant| tenant.read(|state| state.data.contents().len()) == 4).await;
    test.wait_until(|tenant| tenant.reloads().iter().any(|reload| reload.ended_at.is_some())).await;
    define("prod", &desk.tenant.url(), "");
    daemon.until("Tenant definitions reloaded: changed prod.");
    let id = desk.cake.test_ids().remove(0);
    desk.cake.change(|account| account.set(&id, "name", "renamed".into()));
    test.wait_until(|tenant| tenant.reloads().len() == 2).await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    assert_eq!((desk.writes(), test.read(|state| state.data.contents().len())), (4, 0));
    let files = desk.folder.path().join("data/upload/prod");
    assert!(files.exists() && !files.join("statuscake").exists(), "files of the removed rule stay");
}

/// The tables are fresh, and the app is not: its reload fails.
#[tokio::test]
async fn late_data_in_qlik_is_in_the_banner() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_RELOAD", APP)]);
    let monitor = "name = \"Sales app\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstage = \"qlik\"\nstale_after = \"4s\"\n";
    fs::write(desk.folder.path().join("monitors/app.toml"), monitor).unwrap();
    let mut daemon = desk.daemon();
    daemon.until("1 app reloaded");
    let error = "Table 'ORDERS' not found".to_owned();
    desk.tenant.change(|state| drop(state.data.rules.script_errors.insert(APP.to_owned(), error)));
    let id = desk.cake.test_ids().remove(0);
    desk.cake.change(|account| account.set(&id, "name", "renamed".into()));
    let line = daemon.until("the data in Qlik is not up to date");
    assert!(line.contains("the reload of app app-1 ended failed: Table 'ORDERS' not found"), "{line}");
    desk.tenant
        .wait_until(|tenant| {
            tenant.visible().is_some_and(|banner| banner.message.contains("no new data in Qlik"))
        })
        .await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}

#[test]
fn validate_names_rules_and_monitors_without_effect() {
    let desk = Desk::with(&[("STATUSCAKE_QLIK_TABLES", "uptime_test")]);
    let (code, said) = desk.run(&["validate"]);
    assert!(
        code == 78 && said.contains("STATUSCAKE_QLIK_SPACE, STATUSCAKE_QLIK_RELOAD: the rule names neither"),
        "{said}"
    );
    let mut desk = Desk::with(&[("STATUSCAKE_QLIK_RELOAD", APP)]);
    let monitor = "name = \"App\"\nkind = \"sync\"\nconnector = \"sensource\"\nstage = \"qlik\"\nstale_after = \"4h\"\n";
    fs::write(desk.folder.path().join("monitors/app.toml"), monitor).unwrap();
    let (code, said) = desk.run(&["validate"]);
    assert!(
        code == 78 && said.contains("monitor App: `stage` is qlik, but no tenant gets the data of sensource"),
        "{said}"
    );
    desk.vars.retain(|(name, _)| !name.starts_with("QLIK"));
    let (code, said) = desk.run(&["validate"]);
    assert!(
        code == 78 && said.contains("STATUSCAKE_QLIK_RELOAD: has no effect without QLIK_TENANT_URL"),
        "{said}"
    );
    let folder = desk.folder.path().join("tenants");
    fs::create_dir(&folder).unwrap();
    let text = "name = \"a\"\nurl = \"https://a.test\"\n[[data]]\nconnector = \"shopp\"\nreload = [\"x\"]\n";
    fs::write(folder.join("a.toml"), text).unwrap();
    desk.vars.push(("TENANT_A_API_KEY".into(), API_KEY.into()));
    let (code, said) = desk.run(&["validate"]);
    assert!(
        code == 78 && said.contains("STATUSCAKE_QLIK_RELOAD: has no effect beside definitions of tenants"),
        "{said}"
    );
    assert!(said.contains("tenant a: [[data]] of an unknown connector \"shopp\""), "{said}");
}

/// The new leader exports from the common database, so the daemons share no folder. A standby shows what the leader saved.
#[tokio::test]
async fn a_new_leader_goes_on_with_uploads() {
    let Some(cluster) = cluster::shared() else { return };
    let csv = ("STATUSCAKE_QLIK_FORMAT", "csv");
    let mut desk = Desk::with(&[("STATUSCAKE_QLIK_SPACE", SPACE), ("STATUSCAKE_QLIK_RELOAD", APP), csv]);
    let database = cluster.url("postgres", &cluster.database().await);
    desk.vars.push(("DATABASE_URL".into(), database));
    let mut ann = desk.daemon();
    ann.until("4 files uploaded to space Sales data, 1 app reloaded");
    let folder = watching(&[]);
    let mut bob = Running::start(folder.path(), &desk.vars());
    let address = address(&mut bob);
    bob.until("Standby: ");
    let mut connectors = String::new();
    for _ in 0..30 {
        connectors = shown(&address, "/api/v1/connectors").await;
        if connectors.contains("\"outcome\":\"succeeded\"") {
            break;
        }
        bob.until("statuscake: ");
    }
    assert!(connectors.contains("\"outcome\":\"succeeded\""), "{connectors}");
    ann.signal("-TERM");
    assert_eq!(ann.ended(), 0);
    bob.until("This daemon is now the leader");
    let id = desk.cake.test_ids().remove(0);
    desk.cake.change(|account| account.set(&id, "name", "renamed".into()));
    bob.until("1 app reloaded");
    let text =
        |tenant: &Tenant| tenant.read(|state| state.data.contents()["statuscake-uptime_test.csv"].clone());
    desk.tenant.wait_until(|tenant| String::from_utf8(text(tenant)).unwrap().contains("renamed")).await;
    bob.signal("-TERM");
    assert_eq!(bob.ended(), 0);
    for reload in desk.tenant.reloads() {
        assert_eq!(reload.read[0], reload.read.last().unwrap().clone(), "an app saw a commit");
    }
}
