//! The lease in the database: one leader at a time, growing fencing tokens, the server's clock.

use std::time::Duration;

use data_sources_monitor::testing::database::Connected;
use data_sources_monitor::testing::store::lease::{Lease, Taken};
use data_sources_monitor::testing::store::schema::Schema;

use super::{Route, at, database, lease, routes};

const LONG: Duration = Duration::from_secs(600);

async fn connect(url: &str) -> Connected {
    let mut connected = at(url).connect().await.unwrap();
    Schema::SHARED.prepare(&mut connected).await.unwrap();
    connected
}

async fn take(lease: &Lease, db: &Connected, expired_too: bool) -> String {
    match lease.take(&db.client, expired_too).await.unwrap() {
        Taken::Ours(token) => format!("{} holds it under {token}", lease.holder),
        Taken::Theirs(Some(holder)) if holder.over => {
            format!("{} had it under {}", holder.name, holder.token)
        }
        Taken::Theirs(Some(holder)) => format!("{} has it under {}", holder.name, holder.token),
        Taken::Theirs(None) => "somebody was quicker".into(),
    }
}

/// An expired one can be renewed by its holder until another takes it, and another takes it only if it may.
#[tokio::test]
async fn a_lease_is_held_until_it_is_released_or_expires() {
    for Route { url, .. } in &routes().await {
        let db = connect(url).await;
        let (ann, bob) = (lease("ann", LONG), lease("bob", LONG));
        assert_eq!(take(&ann, &db, false).await, "ann holds it under 1");
        assert_eq!(take(&bob, &db, true).await, "ann has it under 1");
        assert!(ann.renew(&db.client, 1).await.unwrap());
        ann.release(&db.client, 1).await.unwrap();
        assert!(!ann.renew(&db.client, 1).await.unwrap(), "given back is given back");
        assert_eq!(take(&bob, &db, false).await, "bob holds it under 2");
        let brief = lease("bob", Duration::ZERO);
        assert!(brief.renew(&db.client, 2).await.unwrap());
        assert_eq!(take(&ann, &db, false).await, "bob had it under 2");
        assert!(brief.renew(&db.client, 2).await.unwrap(), "nobody took it meanwhile");
        assert_eq!(take(&ann, &db, true).await, "ann holds it under 3");
        assert!(!bob.renew(&db.client, 2).await.unwrap());
        bob.release(&db.client, 2).await.unwrap();
        assert_eq!(take(&bob, &db, true).await, "ann has it under 3");
    }
}

#[tokio::test]
async fn one_of_many_candidates_gets_a_free_lease() {
    let Some((_cluster, url)) = database().await else { return };
    drop(connect(&url).await);
    let tries = (0..12).map(|number| {
        let url = url.clone();
        tokio::spawn(async move {
            let db = connect(&url).await;
            take(&lease(&format!("daemon {number}"), LONG), &db, true).await
        })
    });
    let mut winners = 0;
    for one in tries.collect::<Vec<_>>() {
        winners += usize::from(one.await.unwrap().ends_with("holds it under 1"));
    }
    assert_eq!(winners, 1);
}

/// While a transaction with the right to write is open the lease cannot change hands; the next leader gets it when
/// that ends, and from then on the old token is rejected.
#[tokio::test]
async fn a_former_leader_cannot_write() {
    for Route { url, .. } in &routes().await {
        let (mut writing, other) = (connect(url).await, connect(url).await);
        let (ann, bob) = (lease("ann", Duration::ZERO), lease("bob", LONG));
        assert_eq!(take(&ann, &writing, true).await, "ann holds it under 1");
        let tx = writing.transaction().await.unwrap();
        assert!(ann.confirm(&tx, 1).await.unwrap());
        let taking = tokio::spawn(async move { take(&bob, &other, true).await });
        tx.batch_execute("SELECT pg_sleep(0.3)").await.unwrap();
        assert!(!taking.is_finished(), "taken from under an open transaction");
        tx.commit().await.unwrap();
        assert_eq!(taking.await.unwrap(), "bob holds it under 2");
        let tx = writing.transaction().await.unwrap();
        assert!(!ann.confirm(&tx, 1).await.unwrap());
    }
}

/// A replica that is promoted without the last commits issues a token again: the daemon that had it before can
/// neither renew nor write nor release with it.
#[tokio::test]
async fn a_reissued_token_is_not_taken_for_ones_own() {
    for Route { url, .. } in &routes().await {
        let mut db = connect(url).await;
        let (ann, bob) = (lease("ann", LONG), lease("bob", LONG));
        assert_eq!(take(&ann, &db, true).await, "ann holds it under 1");
        let promoted = "UPDATE data_sources_monitor.lease SET holder = 'eve', token = 0, released = true";
        db.client.batch_execute(promoted).await.unwrap();
        assert_eq!(take(&bob, &db, false).await, "bob holds it under 1");
        assert!(!ann.renew(&db.client, 1).await.unwrap());
        ann.release(&db.client, 1).await.unwrap();
        let tx = db.transaction().await.unwrap();
        assert!(!ann.confirm(&tx, 1).await.unwrap() && bob.confirm(&tx, 1).await.unwrap());
    }
}
