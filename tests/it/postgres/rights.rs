//! Schemas and the privileges they need.

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::destinations::{Destination, DestinationError, postgres};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{End, Write};
use data_sources_monitor::testing::store::schema::Schema;

use crate::postgres::cluster;
use crate::syncing::contract::{begin, counts, outcome, send, shape};

async fn sync(database: &Database, rows: i64) -> Result<[u64; 7], DestinationError> {
    let destination = postgres::open(database, "acme").await?;
    destination.begin(begin(0)).await?;
    let thing = shape(&[("id", ColumnType::Bigint)], &["id"], Write::Upsert);
    for from in (0..rows).step_by(1_000) {
        for op in send(&thing, (from..from + 1_000).map(|id| vec![Cell::Int(id)]).collect()) {
            destination.write(op).await?;
        }
    }
    let report = destination.end(outcome(0, End::Complete)).await;
    destination.close().await?;
    Ok(counts(&report?))
}

/// With only the grants of docs/postgresql.md everything works, also without the right to make temporary tables.
#[tokio::test]
async fn missing_privileges_are_named() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let user = cluster.user("some-pa55").await;
    let admin = cluster.session(&name).await;
    let run = async |sql: &str| admin.batch_execute(sql).await.unwrap();
    run(&format!("REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")).await;
    let url = cluster.url(&format!("{user}:some-pa55"), &name);
    let database = Database::new(&url.as_str().into(), None, None).unwrap();
    let mut told = Vec::new();
    let mut refused = async || match sync(&database, 1_000).await {
        Ok(_) => panic!("nobody refused it"),
        Err(error) => told.push(error.to_string()),
    };

    refused().await;
    run("CREATE SCHEMA acme").await;
    refused().await;
    run(&format!("GRANT USAGE ON SCHEMA acme TO {user}")).await;
    refused().await;
    run("CREATE TABLE acme.theirs (x int)").await;
    refused().await;
    run(&format!("DROP TABLE acme.theirs; GRANT CREATE ON SCHEMA acme TO {user}")).await;
    assert_eq!(sync(&database, 9_000).await.unwrap(), [9_000, 9_000, 0, 0, 0, 0, 0]);
    assert_eq!(sync(&database, 10_000).await.unwrap(), [10_000, 1_000, 0, 9_000, 0, 0, 0]);
    run("ALTER TABLE acme.thing OWNER TO postgres").await;
    refused().await;
    let told = told.join("\n").replace(&cluster.port.to_string(), "PORT");
    let told = told.replace(&name, "DATABASE").replace(&user, "USER");
    insta::assert_snapshot!(told, @r#"
    PostgreSQL at 127.0.0.1:PORT/DATABASE, preparing schema acme: permission denied for database DATABASE; docs/postgresql.md lists the grants
    cannot open 127.0.0.1:PORT/DATABASE, schema acme: schema acme belongs to role postgres and we may not use it: as postgres run GRANT USAGE, CREATE ON SCHEMA "acme" TO USER
    cannot open 127.0.0.1:PORT/DATABASE, schema acme: schema acme belongs to role postgres and we may not create tables in it: as postgres run GRANT USAGE, CREATE ON SCHEMA "acme" TO USER
    cannot open 127.0.0.1:PORT/DATABASE, schema acme: schema acme belongs to role postgres and holds tables that are not ours (theirs): rename it, or use another database
    PostgreSQL at 127.0.0.1:PORT/DATABASE, storing rows: permission denied for table thing; docs/postgresql.md lists the grants
    "#);
}

/// Made by the owner of the database it is enough.
#[tokio::test]
async fn the_state_schema_is_named_if_it_cannot_be_made() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let user = cluster.user("some-pa55").await;
    let url = cluster.url(&format!("{user}:some-pa55"), &name);
    let database = Database::new(&url.as_str().into(), None, None).unwrap();
    let mut connected = database.connect().await.unwrap();
    let refused = Schema::PREVIEW.prepare(&mut connected).await.unwrap_err().to_string();
    assert!(
        refused.contains("preparing schema data_sources_monitor_preview: permission denied"),
        "{refused}"
    );
    let make = format!("CREATE SCHEMA data_sources_monitor_preview AUTHORIZATION {user}");
    cluster.session(&name).await.batch_execute(&make).await.unwrap();
    Schema::PREVIEW.prepare(&mut connected).await.unwrap();
}

#[tokio::test]
async fn concurrent_programs_make_one_schema() {
    let Some(cluster) = cluster::shared() else { return };
    let name = cluster.database().await;
    let database = Database::new(&cluster.url("postgres", &name).as_str().into(), None, None).unwrap();
    let all = futures_util::future::join_all((0..8).map(|_| postgres::open(&database, "acme"))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert!(postgres::find(&database, "other").await.unwrap().is_none());
}
