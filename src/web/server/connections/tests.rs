use axum::routing::get;
use futures_util::{StreamExt, stream};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// More than the socket buffers of a loopback connection.
const LARGE: usize = 12 << 20;

/// `/` is short, `/large` large, `/never` never responds, `/stream` pauses for five minutes.
async fn start() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let large = || async { vec![b'x'; LARGE] };
    let streamed = || async {
        let parts = stream::iter(["begin", "end"].into_iter().enumerate());
        Body::from_stream(parts.then(|(place, part)| async move {
            sleep(Duration::from_secs(300) * u32::try_from(place).unwrap()).await;
            Ok::<_, io::Error>(part)
        }))
    };
    let mine = || async { (axum::Extension(AuthenticatedClient), vec![b'x'; LARGE]) };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/healthz", get(|| async { "hello" }))
        .route("/large", get(large))
        .route("/mine", get(mine))
        .route("/never", get(std::future::pending::<()>))
        .route("/stream", get(streamed));
    (address, tokio::spawn(serve(listener, router)))
}

async fn connect(address: SocketAddr, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    connect(address, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await
}

/// Reads until the received bytes end with `end`; `false` if the connection ends before.
async fn receives(stream: &mut TcpStream, end: &[u8]) -> bool {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

/// Reads until the connection ends, which some systems report as a reset.
async fn rest(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_ten_seconds_after_its_last_finished_request() {
    let (address, _) = start().await;
    for first in [&b""[..], &REQUEST[..9], REQUEST] {
        let mut stream = connect(address, first).await;
        if first == REQUEST {
            assert!(receives(&mut stream, b"hello").await);
        }
        let started = Instant::now();
        let (mut reading, mut writing) = stream.split();
        let drip = async {
            for byte in REQUEST.iter().cycle() {
                sleep(Duration::from_secs(4)).await;
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        };
        let end = async { while reading.read_u8().await.is_ok() {} };
        tokio::select! { () = drip => {}, () = end => {} }
        let took = started.elapsed();
        assert!(took >= REQUEST_TIMEOUT && took < REQUEST_TIMEOUT + Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn a_new_client_is_answered_at_the_connection_limit() {
    let half = [REQUEST, &REQUEST[..9]].concat();
    for said in [&b""[..], &REQUEST[..9], REQUEST, &half, b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let (address, _) = start().await;
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(address, said).await;
            if said.starts_with(REQUEST) {
                assert!(receives(&mut stream, b"hello").await);
            }
            all.push(stream);
        }
        for _ in 0..3 {
            let started = Instant::now();
            let mut late = ask(address, "/healthz").await;
            assert!(receives(&mut late, b"hello").await);
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    }
}

#[tokio::test]
async fn a_slow_response_to_an_authenticated_client_is_not_evicted() {
    let (address, _) = start().await;
    let mut mine = ask(address, "/mine").await;
    assert_eq!(mine.read_u8().await.unwrap(), b'H');
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS + 20 {
        all.push(ask(address, "/never").await);
    }
    let mut last = ask(address, "/healthz").await;
    assert!(receives(&mut last, b"hello").await);
    let mut size = 0;
    let mut buffer = vec![0; 1 << 16];
    while size < LARGE {
        let read = mine.read(&mut buffer).await.unwrap();
        assert!(read > 0, "cut off after {size} bytes");
        size += read;
    }
}

/// Beyond the limit a large response is refused, a small one is not.
#[tokio::test]
async fn unread_responses_use_a_bounded_amount_of_memory() {
    let (address, _) = start().await;
    let mut slow = ask(address, "/large").await;
    assert_eq!(slow.read_u8().await.unwrap(), b'H');
    let mut next = ask(address, "/large").await;
    let mut head = [0; 12];
    next.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 503");
    let mut small = connect(address, REQUEST).await;
    assert!(receives(&mut small, b"hello").await);
    drop(slow);
    loop {
        let mut again = ask(address, "/large").await;
        again.read_exact(&mut head).await.unwrap();
        if &head == b"HTTP/1.1 200" {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unread_response_ends_after_a_minute_and_a_stream_continues() {
    let (address, _) = start().await;
    let mut stream = ask(address, "/stream").await;
    assert!(receives(&mut stream, b"end\r\n0\r\n\r\n").await);
    let mut unread = ask(address, "/large").await;
    unread.read_exact(&mut [0; 12]).await.unwrap();
    sleep(RESPONSE_TIMEOUT + Duration::from_secs(1)).await;
    assert!(rest(&mut unread).await.len() < LARGE);
}

/// HTTP/2 is refused, with prior knowledge and as an upgrade.
#[tokio::test]
async fn speaks_http_1_1_only() {
    let (address, _) = start().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = rest(&mut connect(address, preface).await).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    let upgrade = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let mut asked = connect(address, upgrade.as_bytes()).await;
    let mut head = [0; 12];
    asked.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

/// Pipelined requests are all answered, HEAD has no body, a request's own body is not read, and too large a head is
/// refused.
#[tokio::test]
async fn answers_what_clients_may_send() {
    let (address, _) = start().await;
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let last = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let sending = tokio::spawn(async move {
        writing.write_all(&[&REQUEST.repeat(999)[..], last].concat()).await.unwrap();
        writing
    });
    let mut received = String::new();
    reading.read_to_string(&mut received).await.unwrap();
    assert_eq!(received.matches("hello").count(), 1_000);
    drop(sending.await.unwrap());
    for (request, want) in [
        ("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(), "200"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\nxx".to_owned(), "405"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(2 * BUFFER_BYTES)), "431"),
    ] {
        let answer = rest(&mut connect(address, request.as_bytes()).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {want}")) && !answer.ends_with("hello"), "{answer}");
    }
}

#[tokio::test]
async fn stopping_the_server_ends_every_connection() {
    let (address, server) = start().await;
    let mut all = Vec::new();
    for path in ["/", "/never", "/stream"] {
        all.push(ask(address, path).await);
    }
    assert!(receives(&mut all[0], b"hello").await);
    server.abort();
    for stream in &mut all {
        rest(stream).await;
    }
}
