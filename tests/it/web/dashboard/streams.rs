//! Event streams: their content, their number, their end.

use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::severity::Severity;

use super::{TestServer, add};

/// The limit of open streams.
const STREAMS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(20);

/// The next chunk of a stream; empty at its end.
async fn next(stream: &mut reqwest::Response) -> String {
    let piece = tokio::time::timeout(TIMEOUT, stream.chunk()).await.expect("nothing came").unwrap();
    piece.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
}

/// The first event comes at once.
#[tokio::test]
async fn a_stream_has_one_event_per_visible_change() {
    let served = TestServer::open(|board| add(board, "Alpha", Severity::None, "fine")).await;
    let mut stream = served.get("/events").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = next(&mut stream).await;
    assert!(first.starts_with("event: changed\ndata: "), "{first}");
    served.board.update(|board| board.monitors.get_mut("Alpha").unwrap().polls += 1);
    served.board.update(|board| add(board, "Alpha", Severity::Major, "down"));
    let second = next(&mut stream).await;
    assert!(second.starts_with("event: changed\n") && second != first, "{second}");
}

/// Others are asked to come back, and succeed once a stream is closed. Pages and board work meanwhile, although no
/// one reads the streams.
#[tokio::test]
async fn the_number_of_streams_is_limited() {
    let served = TestServer::open(|board| add(board, "Alpha", Severity::None, "fine")).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        let stream = served.get("/events").await;
        assert_eq!(stream.status(), 200);
        open.push(stream);
    }
    let refused = served.get("/events").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "30"));
    for i in 0..1_000 {
        served.board.update(|board| add(board, "Alpha", Severity::Minor, &format!("change {i}")));
    }
    assert!(served.page("/").await.contains("change 999"));
    drop(open.pop());
    let mut again = served.get("/events").await;
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while again.status() == 503 && tokio::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
        again = served.get("/events").await;
    }
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn a_stop_ends_all_streams() {
    let served = TestServer::open(|_| {}).await;
    let mut stream = served.get("/events").await;
    next(&mut stream).await;
    served.stop.cancel();
    assert_eq!(next(&mut stream).await, "");
}
