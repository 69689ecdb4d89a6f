//! PostgreSQL for the bench: a throwaway server of the machine's own binaries, and the bare loop that writes into it.
//! Nothing is synced to disk in either case.

use data_sources_monitor::testing::domain::syncing::op::Rows;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Client;

use crate::cluster::{self, Cluster};
use crate::copy::Floor;

/// Rows are decoded so many at a time, and the time for that isn't counted.
const DECODED: usize = 10_000;

pub(crate) struct Server {
    cluster: Cluster,
    runtime: Runtime,
}

/// A database of its own for a series of syncs.
pub(crate) struct Database<'a> {
    pub(crate) url: String,
    session: Client,
    runtime: &'a Runtime,
}

impl Server {
    /// `None`, with a message, where the machine has no server.
    pub(crate) fn start() -> anyhow::Result<Option<Server>> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(cluster::own().map(|cluster| Server { cluster, runtime }))
    }

    /// Copies and merges rows into a new database.
    pub(crate) fn floor(&self, rows: impl Iterator<Item = Rows>) -> anyhow::Result<Floor> {
        let url = self.database()?.url;
        let floor = self.runtime.block_on(async {
            let mut floor = Floor::connect(&url).await;
            let (mut waiting, mut count) = (Vec::new(), 0);
            for page in rows {
                count += page.rows.len();
                waiting.push(page);
                if count >= DECODED {
                    floor.copy(&waiting).await;
                    waiting.clear();
                    count = 0;
                }
            }
            floor.copy(&waiting).await;
            floor.finish().await;
            floor
        });
        self.settle()?;
        Ok(floor)
    }

    pub(crate) fn database(&self) -> anyhow::Result<Database<'_>> {
        self.settle()?;
        let name = self.runtime.block_on(self.cluster.database());
        let session = self.runtime.block_on(self.cluster.session(&name));
        Ok(Database { url: self.cluster.url("postgres", &name), session, runtime: &self.runtime })
    }

    /// Flushes what one case left to write, so that the next one does not pay for it.
    fn settle(&self) -> anyhow::Result<()> {
        let checkpoint = async { self.cluster.session("postgres").await.batch_execute("CHECKPOINT").await };
        Ok(self.runtime.block_on(checkpoint)?)
    }
}

impl Database<'_> {
    /// The number that a query in the connector's schema returns.
    pub(crate) fn count(&self, sql: &str) -> anyhow::Result<u64> {
        let ask = async {
            self.session.batch_execute("SET search_path = people_ai").await?;
            self.session.query_one(sql, &[]).await
        };
        let count: i64 = self.runtime.block_on(ask)?.get(0);
        Ok(count.unsigned_abs())
    }
}
