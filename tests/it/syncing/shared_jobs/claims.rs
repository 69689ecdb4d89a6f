//! The job table: the guarantees of a claim.

use std::time::Duration;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::store::jobs::{Jobs, Offer};
use tokio_postgres::Client;

use crate::postgres::cluster::{self, Cluster};

const MINUTE: Duration = Duration::from_secs(60);
const AT_ONCE: Offer = Offer { every: MINUTE, first_in: Duration::ZERO };

struct Bench {
    database: Database,
    session: Client,
    _cluster: Cluster,
}

impl Bench {
    async fn start() -> Option<Bench> {
        let cluster = cluster::shared()?;
        let name = cluster.database().await;
        let database = Database::new(&cluster.url("postgres", &name).into(), None, None).unwrap();
        let session = cluster.session(&name).await;
        Some(Bench { database, session, _cluster: cluster })
    }

    fn daemon(&self, name: &str, lease: Duration) -> Jobs {
        Jobs::new(self.database.clone(), name.to_owned(), lease)
    }

    /// Lets time pass for a connector.
    async fn pass(&self, seconds: f64) {
        let sql = format!(
            "UPDATE data_sources_monitor.job SET next_at = next_at - interval '{seconds} s',
             lease_until = lease_until - interval '{seconds} s', started_at = started_at - interval '{seconds} s'"
        );
        self.session.batch_execute(&sql).await.unwrap();
    }
}

/// No one else gets it while it is renewed; after a release it is due at the given time; an expired one is taken over
/// with a greater token, after which the former daemon can neither renew nor release it.
#[tokio::test]
async fn one_daemon_at_a_time_has_a_claim() {
    let Some(bench) = Bench::start().await else { return };
    let daemons: Vec<Jobs> = (0..8).map(|i| bench.daemon(&format!("daemon {i}"), MINUTE)).collect();
    daemons[0].offer("alpha", AT_ONCE).await.unwrap();
    let all = daemons.iter().map(|daemon| daemon.claim("alpha"));
    let claims: Vec<_> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    let winner = claims.iter().position(Option::is_some).unwrap();
    assert_eq!(claims.iter().flatten().count(), 1);
    let (first, winner) = (claims[winner].clone().unwrap(), &daemons[winner]);
    assert_eq!((first.failures, first.taken_from.clone()), (0, None));
    let shown = daemons[0].look().await.unwrap();
    assert_eq!(shown[0].holder.as_deref(), Some(winner.holder()));

    bench.pass(59.0).await;
    assert!(winner.renew(&first).await.unwrap());
    bench.pass(59.0).await;
    assert_eq!(daemons[1].claim("alpha").await.unwrap(), None);
    bench.pass(2.0).await;
    let second = daemons[1].claim("alpha").await.unwrap().unwrap();
    assert!(second.token > first.token);
    assert_eq!(second.taken_from.as_deref(), Some(winner.holder()));
    assert!(!winner.renew(&first).await.unwrap());
    assert!(!winner.release(&first, Duration::ZERO, 0).await.unwrap());

    assert!(daemons[1].release(&second, MINUTE, 3).await.unwrap());
    let shown = daemons[0].look().await.unwrap();
    assert_eq!(shown[0].holder, None);
    assert!(shown[0].free_in > MINUTE / 2 && shown[0].ended.is_some(), "{shown:?}");
    assert_eq!(winner.claim("alpha").await.unwrap(), None);
    bench.pass(60.0).await;
    assert_eq!(winner.claim("alpha").await.unwrap().unwrap().failures, 3);
    assert_eq!(winner.claim("beta").await.unwrap(), None, "nobody offers it");
}

/// A replica that is promoted without the last commits issues a token again: the daemon that had it before can
/// neither renew nor release with it.
#[tokio::test]
async fn a_reissued_claim_token_is_not_taken_for_ones_own() {
    let Some(bench) = Bench::start().await else { return };
    let (ann, bob) = (bench.daemon("ann", MINUTE), bench.daemon("bob", MINUTE));
    ann.offer("alpha", AT_ONCE).await.unwrap();
    let lost = ann.claim("alpha").await.unwrap().unwrap();
    let promoted = "UPDATE data_sources_monitor.job SET holder = NULL, token = token - 1";
    bench.session.batch_execute(promoted).await.unwrap();
    let claim = bob.claim("alpha").await.unwrap().unwrap();
    assert_eq!(claim.token, lost.token);
    assert!(!ann.renew(&lost).await.unwrap());
    assert!(!ann.release(&lost, Duration::ZERO, 0).await.unwrap());
    assert!(bob.renew(&claim).await.unwrap());
}

/// Except for a changed `every`, which counts from the last start, and after a failure, which is retried soon.
#[tokio::test]
async fn an_offer_keeps_the_schedule() {
    let Some(bench) = Bench::start().await else { return };
    let jobs = bench.daemon("one", MINUTE);
    let due = async || jobs.look().await.unwrap()[0].free_in.as_secs_f64().round();
    jobs.offer("alpha", Offer { every: 10 * MINUTE, first_in: Duration::from_secs(5) }).await.unwrap();
    assert_eq!(due().await, 5.0);
    bench.pass(5.0).await;
    let claim = jobs.claim("alpha").await.unwrap().unwrap();
    jobs.release(&claim, 10 * MINUTE, 0).await.unwrap();
    for (offer, wait) in [
        (Offer { every: 10 * MINUTE, first_in: Duration::ZERO }, 600.0),
        (Offer { every: 2 * MINUTE, first_in: Duration::ZERO }, 120.0),
        (Offer { every: 30 * MINUTE, first_in: Duration::ZERO }, 1800.0),
    ] {
        jobs.offer("alpha", offer).await.unwrap();
        assert_eq!(due().await, wait, "{offer:?}");
        jobs.still_offer("alpha", AT_ONCE).await.unwrap();
        assert_eq!(due().await, wait, "{offer:?} again");
    }
    bench.pass(1800.0).await;
    let claim = jobs.claim("alpha").await.unwrap().unwrap();
    jobs.release(&claim, 360 * MINUTE, 4).await.unwrap();
    jobs.offer("alpha", Offer { every: 30 * MINUTE, first_in: MINUTE }).await.unwrap();
    assert_eq!(due().await, 60.0);
}
