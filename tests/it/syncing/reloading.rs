//! Connectors follow their folder and their variables while the daemon runs: the real program, with and without
//! SIGHUP.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::processes::binary::Running;
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{Clock, Gate, Reply, Request};

const LIST: &str = "GET /v1/uptime ";

/// A second account of StatusCake, as a user would add it.
fn define(folder: &Path, cake: &StatusCake, more: &str) {
    let text = format!(
        "format = 1\n[connector]\nname = \"second\"\nextends = \"statuscake\"\nbase_url = \"{}\"\n{more}\n",
        cake.base_url()
    );
    fs::create_dir_all(folder.join("connectors")).unwrap();
    fs::write(folder.join("connectors/second.toml"), text).unwrap();
}

fn start() -> (StatusCake, TempDir) {
    let sizes = Sizes { tests: 2, history: 3, periods: 1, alerts: 1 };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("monitors")).unwrap();
    let monitor = "name = \"Cake\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\n";
    fs::write(folder.path().join("monitors/cake.toml"), monitor).unwrap();
    (StatusCake::start(7, sizes, &Clock::system()), folder)
}

/// A new one starts when its variables are set; a broken file changes nothing and is reported once.
#[test]
fn connectors_are_added_and_removed_without_a_restart() {
    let (cake, folder) = start();
    let (first, _) = start();
    let first_url = first.base_url();
    let vars = [
        ("STATUSCAKE_API_KEY", statuscake::API_KEY),
        ("STATUSCAKE_BASE_URL", first_url.as_str()),
        ("STATUSCAKE_EVERY", "1s"),
    ];
    let mut daemon = Running::start(folder.path(), &vars);
    daemon.until("Connectors on: statuscake every 1s");
    define(folder.path(), &cake, "every = \"1s\"");
    daemon.until("off (not configured): people_ai, second, sensource");
    fs::write(folder.path().join(".env"), format!("SECOND_API_KEY={}\n", statuscake::API_KEY)).unwrap();
    daemon.signal("-HUP");
    daemon.until("Connector definitions reloaded: added second");
    daemon.until("second: complete");
    define(folder.path(), &cake, "evry = \"1s\"");
    let told = daemon.until("connectors/second.toml:");
    assert!(told.contains("evry"), "{told}");
    daemon.until("The connector definitions were not reloaded; the last valid set stays in use.");
    for _ in 0..2 {
        daemon.until("second: complete");
        daemon.until("statuscake: complete");
    }
    define(folder.path(), &cake, "every = \"2s\"");
    let told = daemon.until("onnector");
    assert!(told.contains("Connector definitions reloaded: changed second."), "told again: {told}");
    daemon.until("second: complete");
    fs::remove_file(folder.path().join("connectors/second.toml")).unwrap();
    daemon.until("Connector definitions reloaded: removed second");
    daemon.until("statuscake: complete");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}

/// Only then does the next run start.
#[test]
fn a_run_ends_under_the_definition_it_started_with() {
    let (cake, folder) = start();
    // Each run starts with the first page.
    let first = |request: &Request| request.param("page").is_none_or(|page| page == "1");
    let runs = || cake.requests_on(LIST).iter().filter(|request| first(request)).count();
    let gate = Gate::new();
    cake.next_on("/history", Reply::usual().held_by(&gate));
    define(folder.path(), &cake, "every = \"1s\"");
    let mut daemon = Running::start(folder.path(), &[("SECOND_API_KEY", statuscake::API_KEY)]);
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(cake.wait_until(|cake| !cake.requests_on("/history").is_empty()));
    define(folder.path(), &cake, "every = \"1d\"");
    daemon.signal("-HUP");
    daemon.until("Connector definitions reloaded: changed second");
    assert_eq!(runs(), 1);
    gate.open();
    daemon.until("second: complete");
    assert_eq!(runs(), 1);
    daemon.until("second: complete");
    assert_eq!(runs(), 2);
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}
