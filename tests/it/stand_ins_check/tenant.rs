//! The tenant.

use jiff::SignedDuration;
use reqwest::Response;
use serde_json::{Value, json};

use stand_ins::tenant::{
    API_KEY, Author, Banner, CLIENT_ID, CLIENT_SECRET, READ, Tenant, WRITE, rate_limited, refusal,
    trims_message,
};
use stand_ins::{Clock, Reply};

use crate::http_client::client;

async fn read(tenant: &Tenant, bearer: &str) -> Response {
    client().get(tenant.url() + "/api/v1/banners").bearer_auth(bearer).send().await.unwrap()
}

async fn write(tenant: &Tenant, body: &Value) -> Response {
    let post = client().post(tenant.url() + "/api/v1/banners/actions/upsert").bearer_auth(API_KEY);
    post.json(body).send().await.unwrap()
}

async fn token(tenant: &Tenant, body: &Value) -> Response {
    client().post(tenant.url() + "/oauth/token").json(body).send().await.unwrap()
}

fn banner(message: &str) -> Value {
    json!({"type": "error", "enabled": true, "message": message, "startTime": "2026-05-02T09:15:00.000Z",
        "endTime": "2026-05-02T10:15:00.000Z", "linkEnabled": false})
}

/// A write returns 201; a read returns it with what the tenant adds.
#[tokio::test]
async fn the_banner_is_404_until_it_is_written() {
    let clock = Clock::at("2026-05-02T09:15:00Z");
    let tenant = Tenant::start_at(&clock);
    assert_eq!(read(&tenant, API_KEY).await.status(), 404);
    assert_eq!(write(&tenant, &banner("First")).await.status(), 201);
    clock.advance(SignedDuration::from_mins(1));
    let mut linked = banner("Second");
    linked["linkUrl"] = json!("https://status.examplify.test");
    linked["linkLabel"] = json!("Status page");
    let answer: Value = write(&tenant, &linked).await.json().await.unwrap();
    let stored: Value = read(&tenant, API_KEY).await.json().await.unwrap();
    assert_eq!(answer, stored);
    for (name, value) in linked.as_object().unwrap() {
        assert_eq!(stored[name], *value, "{name}");
    }
    assert_eq!(
        (&stored["createdAt"], &stored["updatedAt"]),
        (&json!("2026-05-02T09:15:00.000Z"), &json!("2026-05-02T09:16:00.000Z"))
    );
    assert_eq!(tenant.writes().len(), 2);
    assert_eq!(tenant.writes()[1].body, linked);
    tenant.assert_well_behaved();
}

/// Missing fields, unknown values, bad dates, reversed windows, long messages.
#[tokio::test]
async fn an_invalid_field_is_400_with_its_name() {
    let tenant = Tenant::start();
    let mut cases: Vec<(&str, Value)> = Vec::new();
    for field in ["type", "enabled", "message", "startTime", "endTime", "linkEnabled"] {
        let mut body = banner("x");
        body.as_object_mut().unwrap().remove(field);
        cases.push((field, body));
    }
    let with = |field: &str, value: Value| {
        let mut body = banner("x");
        body[field] = value;
        body
    };
    cases.push(("type", with("type", json!("critical"))));
    cases.push(("startTime", with("startTime", json!("yesterday"))));
    cases.push(("endTime", with("endTime", json!("2026-05-02T09:15:00.000Z"))));
    cases.push(("message", with("message", json!("é".repeat(256)))));
    cases.push(("linkUrl", with("linkUrl", json!("status page"))));
    for (field, body) in cases {
        let answer = write(&tenant, &body).await;
        assert_eq!(answer.status(), 400, "{body}");
        let error: Value = answer.json().await.unwrap();
        let detail = error["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.starts_with(field) && error["errors"][0]["status"] == 400, "{field}: {error}");
    }
    assert_eq!(write(&tenant, &with("message", json!("é".repeat(255)))).await.status(), 201);
    tenant.change(|state| state.rules.limits_message = false);
    assert_eq!(write(&tenant, &with("message", json!("é".repeat(256)))).await.status(), 201);
    assert_eq!(tenant.writes().len(), 2);
}

/// For the right client only.
#[tokio::test]
async fn tokens_work_until_they_expire_or_are_invalidated() {
    let clock = Clock::at("2026-05-02T09:15:00Z");
    let tenant = Tenant::start_at(&clock);
    let right =
        json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "client_credentials"});
    let mut wrong = right.clone();
    wrong["client_secret"] = json!("guess");
    assert_eq!(token(&tenant, &wrong).await.status(), 401);
    assert_eq!(token(&tenant, &json!({"client_id": CLIENT_ID})).await.status(), 400);
    let form =
        client().post(tenant.url() + "/oauth/token").form(&[("client_id", CLIENT_ID)]).send().await.unwrap();
    assert_eq!(form.status(), 400);

    tenant.change(|state| state.rules.token_life = SignedDuration::from_secs(60));
    let made: Value = token(&tenant, &right).await.json().await.unwrap();
    assert_eq!((&made["expires_in"], &made["expires_at"]), (&json!(60), &json!("2026-05-02T09:16:00.000Z")));
    let bearer = made["access_token"].as_str().unwrap();
    assert_eq!(read(&tenant, bearer).await.status(), 404);
    clock.advance(SignedDuration::from_secs(60));
    assert_eq!(read(&tenant, bearer).await.status(), 401);
    let again: Value = token(&tenant, &right).await.json().await.unwrap();
    let again = again["access_token"].as_str().unwrap();
    assert_eq!(read(&tenant, again).await.status(), 404);
    tenant.invalidate_tokens();
    assert_eq!(read(&tenant, again).await.status(), 401);
    assert_eq!(tenant.tokens_made(), 2);
    tenant.assert_well_behaved();
}

/// Only a write that the tenant accepted is stored, with or without a response.
#[tokio::test]
async fn scripted_failures_look_like_the_tenants() {
    let tenant = Tenant::start();
    tenant.next_on(WRITE, refusal(403, "Forbidden", "Missing role TenantAdmin."));
    assert_eq!(write(&tenant, &banner("a")).await.status(), 403);
    tenant.next_on(WRITE, rate_limited(13));
    let limited = write(&tenant, &banner("b")).await;
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].as_bytes()), (429, &b"13"[..]));
    tenant.next_on(WRITE, Reply::html().with_status(500));
    assert_eq!(write(&tenant, &banner("c")).await.status(), 500);
    assert_eq!(tenant.banner(), None);
    tenant.next_on(WRITE, Reply::usual().reset());
    let post = client().post(tenant.url() + "/api/v1/banners/actions/upsert").bearer_auth(API_KEY);
    post.json(&banner("applied")).send().await.unwrap_err();
    tenant.wait_until(|tenant| tenant.writes().len() == 1).await;
    assert_eq!(tenant.banner().unwrap().message, "applied");
}

#[tokio::test]
async fn reads_may_be_stale_and_normalised() {
    let tenant = Tenant::start();
    tenant.change(|state| {
        state.rules.normalises = trims_message;
        state.rules.whole_seconds = true;
        state.rules.accepted = 200;
        state.rules.stale_reads = 1;
    });
    write(&tenant, &banner("old")).await;
    assert_eq!(write(&tenant, &banner(" new ")).await.status(), 200);
    let mut read_message = Vec::new();
    for _ in 0..2 {
        let body: Value = read(&tenant, API_KEY).await.json().await.unwrap();
        assert_eq!(body["startTime"], "2026-05-02T09:15:00Z");
        read_message.push(body["message"].clone());
    }
    assert_eq!(read_message, ["old", "new"]);
}

/// Writes of program and person, and windows that start and end by themselves.
#[tokio::test]
async fn the_timeline_shows_what_users_saw() {
    let clock = Clock::at("2026-05-02T09:00:00Z");
    let tenant = Tenant::start_at(&clock);
    write(&tenant, &banner("Ours")).await;
    assert_eq!(tenant.visible(), None);
    clock.advance(SignedDuration::from_mins(30));
    assert_eq!(tenant.visible().unwrap().message, "Ours");
    write(&tenant, &banner("Ours")).await;
    clock.advance(SignedDuration::from_hours(2));
    let (now, later) = (clock.now(), clock.now() + SignedDuration::from_hours(9));
    tenant.person_sets(Banner::of("info", "Theirs", now, later));
    clock.advance(SignedDuration::from_hours(1));
    tenant.person_disables();
    insta::assert_debug_snapshot!(tenant.seen(), @r"
    [
        2026-05-02T09:15:00Z error: Ours,
        2026-05-02T09:30:00Z error: Ours,
        2026-05-02T10:15:00Z nothing,
        2026-05-02T11:30:00Z info: Theirs,
        2026-05-02T12:30:00Z nothing,
    ]
    ");
    assert_eq!(tenant.appearances(), 3);
    assert_eq!(tenant.writes().len(), 2);
    assert_eq!(tenant.writes()[0].author, Author::Program);
    assert_eq!(tenant.writes()[0].at.to_string(), "2026-05-02T09:00:00Z");
}

/// Other paths, missing tokens, undocumented fields.
#[tokio::test]
async fn misbehaviour_of_a_client_is_reported() {
    let strays: [fn(&Tenant) -> reqwest::RequestBuilder; 3] = [
        |tenant| client().get(tenant.url() + "/api/v1/users").bearer_auth(API_KEY),
        |tenant| client().get(tenant.url() + "/api/v1/banners"),
        |tenant| {
            let mut body = banner("x");
            body["tenantId"] = json!("mine");
            client().post(tenant.url() + "/api/v1/banners/actions/upsert").bearer_auth(API_KEY).json(&body)
        },
    ];
    for stray in strays {
        let tenant = Tenant::start();
        stray(&tenant).send().await.unwrap();
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tenant.assert_well_behaved()));
        assert!(judged.is_err(), "{}", tenant.dump());
    }
    assert_eq!(Tenant::start().requests_on(READ).len(), 0);
}
