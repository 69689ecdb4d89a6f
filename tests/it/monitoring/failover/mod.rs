//! Several daemons that share one state in PostgreSQL: one of them polls and writes, whatever happens to it.

mod binaries;
mod channels;
mod chaos;
mod daemon_group;
mod leases;
mod standby_banner;
mod state;
mod takeovers;

use std::time::Duration;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::store::lease::Lease;
use data_sources_monitor::testing::store::schema::Schema;

use crate::postgres::cluster::{self, Cluster};
use crate::postgres::pooler::Pooler;

/// A new database, or `None` where the machine has no server.
async fn database() -> Option<(Cluster, String)> {
    let cluster = cluster::shared()?;
    let name = cluster.database().await;
    let url = cluster.url("postgres", &name);
    Some((cluster, url))
}

/// Routes to a new database: direct, and through a pooler in transaction mode. Empty where the machine has no server.
async fn routes() -> Vec<Route> {
    let Some((cluster, url)) = database().await else { return Vec::new() };
    let pooler = Pooler::before(&cluster);
    let mut routes = Vec::new();
    if let Some(pooler) = pooler {
        let url = pooler.url(&cluster.database().await) + "&pooler=transaction";
        routes.push(Route { url, _cluster: cluster::shared(), _pooler: Some(pooler) });
    }
    routes.push(Route { url, _cluster: Some(cluster), _pooler: None });
    routes
}

/// Open until it is dropped.
struct Route {
    url: String,
    _pooler: Option<Pooler>,
    _cluster: Option<Cluster>,
}

fn at(url: &str) -> Database {
    Database::new(&url.into(), None, None).unwrap()
}

/// The lease of the monitor for a holder of this name.
fn lease(holder: &str, ttl: Duration) -> Lease {
    Lease { schema: Schema::SHARED, name: "monitor".into(), holder: holder.into(), ttl }
}
