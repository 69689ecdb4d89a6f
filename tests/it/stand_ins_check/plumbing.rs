//! What all stand-in servers share: scripts, recorded requests, waits, and broken responses.

use std::time::Duration;

use serde_json::{Value, json};

use stand_ins::status_page::StatusPage;
use stand_ins::{Clock, Gate, Reply};

use crate::http_client::client;

const STATUS: &str = "/api/v2/status.json";

async fn get(url: &str) -> Result<(u16, Vec<u8>), reqwest::Error> {
    let answer = client().get(url).timeout(Duration::from_secs(30)).send().await?;
    let status = answer.status().as_u16();
    Ok((status, answer.bytes().await?.to_vec()))
}

/// Only for the requests they name; afterwards the model answers again.
#[tokio::test]
async fn scripted_responses_come_in_order() {
    let page = StatusPage::start();
    let url = page.url() + STATUS;
    page.next_on("summary", Reply::status(418));
    page.next(Reply::status(500));
    page.next(Reply::too_many(Some(13)));
    page.always_on("GET /api", Reply::too_many(None));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(get(&url).await.unwrap().0);
    }
    page.as_usual();
    statuses.push(get(&url).await.unwrap().0);
    assert_eq!(statuses, [500, 429, 429, 200]);
    assert_eq!((page.answered(429), page.requests_on("summary").len()), (2, 0));
}

/// It affects no other response.
#[tokio::test]
async fn each_broken_response_breaks_in_its_way() {
    let page = StatusPage::start();
    let url = page.url() + STATUS;
    page.next(Reply::dropped());
    page.next(Reply::usual().reset());
    page.next(Reply::usual().cut_off());
    for _ in 0..3 {
        get(&url).await.unwrap_err();
    }
    page.next(Reply::usual().bom());
    page.next(Reply::usual().half());
    page.next(Reply::usual().not_utf8());
    page.next(Reply::html());
    for _ in 0..4 {
        let (status, body) = get(&url).await.unwrap();
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&body).unwrap_err();
    }
    page.next(Reply::usual().padded_to(5 << 20));
    let (_, body) = get(&url).await.unwrap();
    assert_eq!(body.len(), 5 << 20);
    serde_json::from_slice::<Value>(&body).unwrap();
    let statuses: Vec<_> = page.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, None, Some(200), Some(200), Some(200), Some(200), Some(200), Some(200)]);
}

/// The head first for a slow body, nothing at all for slow headers.
#[tokio::test]
async fn slow_responses_arrive_whole_in_pieces() {
    let page = StatusPage::start();
    let url = page.url() + STATUS;
    page.next(Reply::usual().drip(16, Duration::from_millis(1)));
    let mut answer = client().get(&url).send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    assert!(first.len() <= 32, "the first piece had {} bytes", first.len());
    let mut whole = first.to_vec();
    while let Some(piece) = answer.chunk().await.unwrap() {
        whole.extend_from_slice(&piece);
    }
    serde_json::from_slice::<Value>(&whole).unwrap();

    page.next(Reply::usual().slow_headers(Duration::from_secs(60)));
    let slow = client().get(&url).timeout(Duration::from_millis(50)).send().await;
    assert!(slow.unwrap_err().is_timeout());
    page.next(Reply::usual().late(Duration::from_millis(1)));
    assert_eq!(get(&url).await.unwrap().0, 200);
}

/// Decoded.
#[tokio::test]
async fn requests_are_recorded_as_sent() {
    let page = StatusPage::start();
    let form = [("grant_type", "client_credentials"), ("client_secret", "a&b=c")];
    let post = client().post(page.url() + "/token?page=1&page=2&tag=a%20b").bearer_auth("abc");
    post.try_clone().unwrap().form(&form).send().await.unwrap();
    post.json(&json!({"a": 1})).send().await.unwrap();
    let [first, second] = &page.requests_on("POST /token")[..] else { panic!("{}", page.dump()) };
    assert_eq!(
        (first.param("page"), first.param("tag"), first.bearer()),
        (Some("2"), Some("a b"), Some("abc"))
    );
    assert_eq!(first.form().unwrap()[1], ("client_secret".to_string(), "a&b=c".to_string()));
    assert_eq!((first.json(), second.form(), second.json()), (None, None, Some(json!({"a": 1}))));
    assert!(first.at <= second.at);
}

/// While they wait for their response; not after the client left.
#[tokio::test]
async fn requests_in_flight_are_counted() {
    let page = StatusPage::start();
    let url = page.url() + STATUS;
    let gate = Gate::new();
    page.next(Reply::usual().held_by(&gate));
    page.next(Reply::hang());
    let ask = |url: String| tokio::spawn(async move { get(&url).await.unwrap().0 });
    let held = ask(url.clone());
    page.wait_for_requests(1).await;
    let hanging = ask(url.clone());
    page.wait_for_requests(2).await;
    hanging.abort();
    gate.open();
    assert_eq!(held.await.unwrap(), 200);
    page.wait_until(|page| page.in_flight() == 0).await;
    assert_eq!(page.most_in_flight(), 2);
    assert_eq!(page.most_within(Duration::from_secs(3600)), 2);
    assert!(page.dump().contains("GET /api/v2/status.json → no answer"), "{}", page.dump());
}

/// A change that is set for after a request happens between it and the next.
#[tokio::test]
async fn changes_happen_between_requests() {
    let page = StatusPage::start_at(&Clock::at("2026-05-02T09:00:00Z"));
    let url = page.url() + "/api/v2/components.json";
    let id = page.add_component("Query engine", "operational");
    let doomed = id.clone();
    page.after(2, "components", move |page| page.remove_component(&doomed));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let body = String::from_utf8(get(&url).await.unwrap().1).unwrap();
        seen.push(body.contains(&id));
    }
    assert_eq!(seen, [true, true, false]);
}
