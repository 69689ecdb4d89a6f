//! Streams of events: what they tell, how many there may be, and that they end.

use std::time::Duration;

use data_sources_monitor::domain::severity::Severity;

use super::{Served, add};

/// Streams that may be open.
const STREAMS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

/// The next piece of a stream; empty at its end.
async fn next(stream: &mut reqwest::Response) -> String {
    let piece = tokio::time::timeout(PATIENCE, stream.chunk()).await.expect("nothing came").unwrap();
    piece.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
}

/// The first event comes at once; then one for each change that shows, and none for what does not.
#[tokio::test]
async fn changes_are_told() {
    let served = Served::open(|board| add(board, "Alpha", Severity::None, "fine")).await;
    let mut stream = served.get("/events").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = next(&mut stream).await;
    assert!(first.starts_with("event: changed\ndata: "), "{first}");
    served.board.update(|board| board.monitors.get_mut("Alpha").unwrap().looks += 1);
    served.board.update(|board| add(board, "Alpha", Severity::Major, "down"));
    let second = next(&mut stream).await;
    assert!(second.starts_with("event: changed\n") && second != first, "{second}");
}

/// So many streams and no more; the others are told to come back, and do once one is closed. Pages and the board go on
/// meanwhile, although nobody reads the streams.
#[tokio::test]
async fn streams_are_bounded() {
    let served = Served::open(|board| add(board, "Alpha", Severity::None, "fine")).await;
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
    let patience = tokio::time::Instant::now() + PATIENCE;
    while again.status() == 503 && tokio::time::Instant::now() < patience {
        tokio::task::yield_now().await;
        again = served.get("/events").await;
    }
    assert_eq!(again.status(), 200);
}

/// A stop ends the streams at once.
#[tokio::test]
async fn a_stop_ends_streams() {
    let served = Served::open(|_| {}).await;
    let mut stream = served.get("/events").await;
    next(&mut stream).await;
    served.stop.cancel();
    assert_eq!(next(&mut stream).await, "");
}
