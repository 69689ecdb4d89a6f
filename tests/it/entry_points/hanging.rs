//! Streams of the gRPC service that do not run to their end: the client does not read, is gone, or the service stops.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::Op;

use super::fivetran::{TestServer, served, update};
use super::grpc::{Call, Client};
use super::{Scripted, rows, shape};

/// A stream of more rows than fit anywhere, of which one message is read.
async fn much() -> (TestServer, Call) {
    let of = shape("contacts", &[("s", ColumnType::Text)]);
    let page = rows(&of, 0..100, &[Cell::Text("x".repeat(1000).into())]);
    let served = served(Scripted::new(vec![Op::Shape(Arc::clone(&of)), page]).rounds(100_000)).await;
    let mut call = served.client.call("Update", &update("{}")).await;
    call.next().await.unwrap();
    (served, call)
}

#[tokio::test]
async fn a_slow_client_pauses_the_connector_and_a_gone_client_stops_it() {
    let (served, call) = much().await;
    // It fills the bounded buffers and then waits for room, while other calls proceed on the same thread.
    let other = Client::connect(served.address).await;
    let mut sent = 0;
    loop {
        for _ in 0..20 {
            other.one("ConfigurationForm", b"").await;
        }
        let before = std::mem::replace(&mut sent, served.heard.sent.load(Ordering::Relaxed));
        assert!(sent < 100, "{sent} ops were taken although nobody reads");
        if sent > 0 && sent == before {
            break;
        }
    }
    call.cancel();
    tokio::time::timeout(Duration::from_secs(30), served.heard.over.cancelled()).await.unwrap();
}

/// As after a pulled cable.
#[tokio::test]
async fn an_unreachable_client_is_given_up() {
    let (served, _call) = much().await;
    served.client.freeze();
    tokio::time::pause();
    tokio::time::timeout(Duration::from_secs(600), served.heard.over.cancelled()).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_streams_with_a_status_to_retry() {
    let of = shape("contacts", &[]);
    let source = Scripted::new(vec![Op::Shape(Arc::clone(&of)), rows(&of, 0..100, &[])]).rounds(usize::MAX);
    let served = served(source).await;
    let mut call = served.client.call("Update", &update("{}")).await;
    call.next().await.unwrap();
    served.stop.cancel();
    while call.next().await.is_some() {}
    assert_eq!(call.status().await, (14, "stopped".to_owned()));
}
