//! Which responses are compressed, and that compression changes nothing else.

use std::io::Read;

use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::web::server::security::AccessMode;
use flate2::read::GzDecoder;
use reqwest::Response;

use super::{StoredRecords, TestServer, add};

const TOKEN: &str = "correct horse battery";

async fn accepting(served: &TestServer, method: &str, path: &str, encoding: &str) -> Response {
    let request = served.ask(method, path).header("accept-encoding", encoding).bearer_auth(TOKEN);
    request.send().await.unwrap()
}

fn unzipped(body: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    text
}

fn vary(response: &Response) -> Vec<&str> {
    response.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_and_api_are_compressed_for_clients_that_accept_gzip() {
    let served = TestServer::open(|board| add(board, "Alpha", Severity::None, &"fine ".repeat(300))).await;
    for (path, within) in [
        ("/", "</html>"),
        ("/monitors/Alpha", "</html>"),
        ("/api/openapi.json", "/api/v1/status"),
        ("/api/v1/monitors/Alpha", "\"name\":\"Alpha\""),
    ] {
        let response = accepting(&served, "GET", path, "br, gzip;q=0.8").await;
        assert_eq!(response.headers()["content-encoding"], "gzip", "{path}");
        assert_eq!(vary(&response), ["accept-encoding"], "{path}");
        let length = response.headers()["content-length"].to_str().unwrap().to_owned();
        let body = response.bytes().await.unwrap();
        assert_eq!(length, body.len().to_string(), "{path}: connections need the exact size");
        let text = unzipped(&body);
        assert!(text.contains(within) && text.len() > body.len(), "{path}: {text}");
        let head = accepting(&served, "HEAD", path, "gzip").await;
        assert_eq!(head.headers()["content-encoding"], "gzip", "HEAD {path}");
        for encoding in ["identity", "br", "gzip;q=0"] {
            let response = accepting(&served, "GET", path, encoding).await;
            assert!(!response.headers().contains_key("content-encoding"), "{path} {encoding}");
            assert_eq!(vary(&response), ["accept-encoding"], "{path} {encoding}");
            assert!(response.text().await.unwrap().contains(within), "{path} {encoding}");
        }
    }
    let small = accepting(&served, "GET", "/api/v2/status.json", "gzip").await;
    assert!(!small.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn streams_and_refusals_are_not_compressed() {
    let served = TestServer::open(|_| {}).await;
    let mut stream = accepting(&served, "GET", "/events", "gzip").await;
    assert!(!stream.headers().contains_key("content-encoding"));
    let first = stream.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: changed\n"), "{first:?}");
    for path in ["/nowhere", "/api/v1/monitors/nowhere", "/api/nowhere", "/api/v1/monitors/%ff"] {
        let refused = accepting(&served, "GET", path, "gzip").await;
        assert!(!refused.headers().contains_key("content-encoding"), "{path}");
        assert!(refused.text().await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn each_encoding_has_its_own_etag() {
    let served = TestServer::open(|_| {}).await;
    let path = "/api/openapi.json";
    let tag = |response: &Response| response.headers()["etag"].to_str().unwrap().to_owned();
    let plain = tag(&served.get(path).await);
    let zipped = tag(&accepting(&served, "GET", path, "gzip").await);
    assert_ne!(plain, zipped);
    let request = served.ask("GET", path).header("accept-encoding", "gzip");
    let unchanged = request.header("if-none-match", &zipped).send().await.unwrap();
    assert_eq!((unchanged.status().as_u16(), tag(&unchanged)), (304, zipped));
    assert_eq!(vary(&unchanged), ["accept-encoding"]);
    assert!(!unchanged.headers().contains_key("content-encoding"));
}

/// Compression reveals parts of a body by its size, so the token must not be in one.
#[tokio::test]
async fn compressed_responses_to_authenticated_clients_hold_no_secret() {
    let mode = AccessMode::Token(TOKEN.to_owned().into());
    let served = TestServer::with(StoredRecords::default(), mode, |board| {
        add(board, "Alpha", Severity::Minor, &"slow ".repeat(300));
    })
    .await;
    for path in ["/", "/?q=Alpha", "/monitors/Alpha", "/api/v1/monitors/Alpha", "/api/openapi.json"] {
        let response = accepting(&served, "GET", path, "gzip").await;
        assert_eq!(response.headers()["content-encoding"], "gzip", "{path}");
        assert_eq!(vary(&response), ["authorization, cookie", "accept-encoding"], "{path}");
        assert!(!unzipped(&response.bytes().await.unwrap()).contains(TOKEN), "{path}");
    }
}
