//! Two real programs: one is killed during a run, and the other resumes it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{DailySource, assert_one_at_a_time, steps, toml};
use crate::postgres::cluster;
use crate::processes::binary::{Running, output};
use stand_ins::{Gate, Reply};

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("connectors/alpha.toml", &toml("alpha", "1h"));
    let monitor = "name = \"Alpha\"\nkind = \"sync\"\nconnector = \"alpha\"\nstale_after = \"2h\"\n";
    write("monitors/alpha.toml", monitor);
    folder
}

/// Within half a minute; meanwhile `runs` names who has the run. A manual run does not overlap with those of the
/// daemons.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_program_is_replaced_from_its_checkpoint() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let url = cluster.url("postgres", &name);
    let shelf = DailySource::start(Duration::from_millis(20));
    let shelf_url = shelf.url();
    let gate = Gate::new();
    let vars = |who: &'static str| {
        [("DATABASE_URL", url.as_str()), ("ALPHA_API_KEY", who), ("ALPHA_BASE_URL", shelf_url.as_str())]
    };
    let (one, two) = (folder(), folder());
    let session = cluster.session(&name).await;
    let mut first = Running::start(one.path(), &vars("first"));
    // It is offered with a delay of some seconds, so that a restart is no burst.
    first.until("Connectors on: alpha");
    while session.execute("UPDATE data_sources_monitor.job SET next_at = now()", &[]).await.unwrap_or(0) == 0
    {
        tokio::task::yield_now().await;
    }
    shelf.wait_until(|shelf| shelf.requests().len() >= 6).await;
    shelf.always_on("/item", Reply::usual().held_by(&gate));
    shelf.wait_until(|shelf| shelf.in_flight() > 0).await;
    let mut second = Running::start(two.path(), &vars("second"));
    second.until("Connectors on: alpha");
    let told = |folder: &Path, args: &[&str]| {
        let (code, out, err) = output(folder, args, &vars("hand"));
        (code, out + &err)
    };
    let (_, runs) = told(two.path(), &["runs", "alpha"]);
    assert!(runs.contains(" running ") && runs.contains(" by ") && runs.contains("process"), "{runs}");
    let (code, busy) = told(two.path(), &["sync", "alpha"]);
    assert!(code == 1 && busy.contains("in use by another sync"), "{busy}");
    let stored = "SELECT count(*) > 0 FROM alpha._state";
    while !session.query_one(stored, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }

    first.signal("-KILL");
    let killed = Instant::now();
    first.ended();
    shelf.as_usual();
    gate.open();
    second.until("alpha: took over from");
    second.until("alpha: complete");
    assert!(killed.elapsed() < Duration::from_secs(30));
    assert_one_at_a_time(&shelf);
    let steps = steps(&shelf);
    let taken = steps.iter().find(|step| step.who == "second").unwrap();
    assert!(taken.from > steps[0].from, "from its checkpoint: {steps:?}");
    let (_, runs) = told(two.path(), &["runs", "alpha"]);
    assert!(runs.contains("complete") && runs.contains("interrupted") && !runs.contains("running"), "{runs}");
    let rows: i64 = session.query_one("SELECT count(*) FROM alpha.item", &[]).await.unwrap().get(0);
    assert_eq!(rows.unsigned_abs(), shelf.read(DailySource::rows).len() as u64);
    second.signal("-TERM");
    assert_eq!(second.ended(), 0);
}
