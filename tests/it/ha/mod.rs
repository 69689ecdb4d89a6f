//! Several daemons that share one memory in PostgreSQL: one of them watches and writes, whatever happens to it.

mod binaries;
mod chaos;
mod crew;
mod leases;
mod memory;
mod stories;

use std::time::Duration;

use data_sources_monitor::database::Database;
use data_sources_monitor::store::lease::Lease;
use data_sources_monitor::store::schema::Schema;

use crate::cluster::{self, Cluster};
use crate::pooler::Pooler;

/// A database of one's own, or `None` where the machine has no server.
async fn database() -> Option<(Cluster, String)> {
    let cluster = cluster::shared()?;
    let name = cluster.database().await;
    let url = cluster.url("postgres", &name);
    Some((cluster, url))
}

/// The ways to a database of one's own: straight, and through a pooler in transaction mode. None where the machine has
/// no server.
async fn ways() -> Vec<Way> {
    let Some((cluster, url)) = database().await else { return Vec::new() };
    let pooler = Pooler::before(&cluster);
    let mut ways = Vec::new();
    if let Some(pooler) = pooler {
        let url = pooler.url(&cluster.database().await) + "&pooler=transaction";
        ways.push(Way { url, _cluster: cluster::shared(), _pooler: Some(pooler) });
    }
    ways.push(Way { url, _cluster: Some(cluster), _pooler: None });
    ways
}

/// Open as long as this is kept.
struct Way {
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
