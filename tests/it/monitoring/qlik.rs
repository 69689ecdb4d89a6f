//! The client of the tenant: what it sends, what it understands, and how it reports each failure.

mod credentials;
mod failures;
mod log;

use std::sync::Arc;

use data_sources_monitor::testing::domain::monitoring::banner::{Banner, BannerKind};
use data_sources_monitor::testing::http::{ClientOptions, Network};
use data_sources_monitor::testing::publish::{Qlik, Target};
use data_sources_monitor::testing::qlik::{QlikCredentials, TenantClient};
use jiff::Timestamp;
use serde_json::json;

use stand_ins::tenant::{API_KEY, CLIENT_ID, CLIENT_SECRET, READ, Tenant, WRITE};
use stand_ins::{Clock, Reply};

fn qlik(tenant: &Tenant, credentials: QlikCredentials) -> Qlik {
    let options = ClientOptions { network: Network::default(), keep_alive: false };
    let client = TenantClient::new(options.build().unwrap(), tenant.url().parse().unwrap(), credentials);
    Qlik::new(Arc::new(client))
}

fn with_key(tenant: &Tenant) -> Qlik {
    qlik(tenant, QlikCredentials::ApiKey(API_KEY.to_owned().into()))
}

fn with_oauth(tenant: &Tenant) -> Qlik {
    with_secret(tenant, CLIENT_SECRET)
}

fn with_secret(tenant: &Tenant, secret: &str) -> Qlik {
    let client_secret = secret.to_owned().into();
    qlik(tenant, QlikCredentials::OAuth { client_id: CLIENT_ID.into(), client_secret })
}

fn at(moment: &str) -> Timestamp {
    moment.parse().unwrap()
}

fn banner() -> Banner {
    Banner {
        kind: BannerKind::Error,
        enabled: true,
        message: "Examplify: Partial System Outage".into(),
        start_time: at("2026-05-02T09:15:00Z"),
        end_time: at("2026-05-02T13:15:00Z"),
        link_enabled: true,
        link_url: Some("https://status.examplify.test/".into()),
        link_label: Some("Status page".into()),
    }
}

fn without_link() -> Banner {
    Banner { link_enabled: false, link_url: None, link_label: None, ..banner() }
}

/// Whatever form its 404 has.
#[tokio::test]
async fn a_tenant_without_a_banner_is_no_failure() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    assert_eq!(qlik.read().await, Ok(None));
    tenant.next(Reply::html().with_status(404));
    assert_eq!(qlik.read().await, Ok(None));
    // Other forms of an empty response are none either; a write that is answered so must be confirmed by a read.
    qlik.write(&banner()).await.unwrap();
    for reply in [
        Reply::status(204),
        Reply::status(200),
        Reply::text("application/json", " \n"),
        Reply::text("application/json", "null"),
        Reply::text("application/json", "{}"),
    ] {
        tenant.next_on(READ, reply.clone());
        assert_eq!(qlik.read().await, Ok(None));
        tenant.next_on(WRITE, reply);
        assert_eq!(qlik.write(&banner()).await, Ok(None));
    }
    tenant.assert_well_behaved();
}

/// The clock only from the tenant's own responses; the user only where people cannot be that user.
#[tokio::test]
async fn clock_and_user_come_from_the_tenant() {
    let tenant = Tenant::start();
    let (with_key, with_oauth) = (with_key(&tenant), with_oauth(&tenant));
    assert_eq!(with_oauth.time(), None);
    tenant.next_on(READ, Reply::html().with_status(502).header("date", "Sat, 02 May 2026 09:02:00 GMT"));
    assert!(with_oauth.read().await.is_err());
    assert_eq!(with_oauth.time(), None);
    tenant.change(|state| state.rules.ahead = jiff::SignedDuration::from_hours(6));
    tenant.next_on(READ, Reply::text("application/json", "{}"));
    with_oauth.read().await.unwrap();
    let answer = with_oauth.write(&banner()).await.unwrap().unwrap();
    let ahead = with_oauth.time().unwrap().duration_since(Timestamp::now());
    assert!((ahead.as_secs() - 6 * 3600).abs() <= 2, "{ahead}");
    assert_eq!(with_key.own_user().await, None);
    tenant.next_on("/users/me", Reply::status(500));
    assert_eq!(with_oauth.own_user().await, None);
    for _ in 0..3 {
        assert_eq!(with_oauth.own_user().await, answer.updated_by);
    }
    assert_eq!(tenant.requests_on("/users/me").len(), 2);
    tenant.assert_well_behaved();
}

/// It returns the banner as stored, with its time.
#[tokio::test]
async fn a_write_sends_exactly_the_documented_fields() {
    let clock = Clock::at("2026-05-02T09:15:01.204Z");
    let tenant = Tenant::start_at(&clock);
    let qlik = with_key(&tenant);
    let answer = qlik.write(&banner()).await.unwrap().unwrap();
    assert_eq!(answer.banner, banner());
    assert_eq!(answer.updated_at, Some(clock.now()));
    assert_eq!(qlik.read().await, Ok(Some(answer)));
    assert_eq!(
        tenant.writes()[0].body,
        json!({"type": "error", "enabled": true, "message": "Examplify: Partial System Outage",
            "startTime": "2026-05-02T09:15:00.000Z", "endTime": "2026-05-02T13:15:00.000Z",
            "linkEnabled": true, "linkUrl": "https://status.examplify.test/", "linkLabel": "Status page"})
    );
    qlik.write(&Banner { enabled: false, ..without_link() }).await.unwrap();
    assert_eq!(tenant.writes()[1].body.as_object().unwrap().len(), 6);
    assert_eq!(tenant.visible(), None);
    tenant.assert_well_behaved();
}

#[tokio::test]
async fn any_2xx_of_a_write_is_success() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    for status in [200, 201, 202] {
        tenant.change(|state| state.rules.accepted = status);
        assert_eq!(qlik.write(&banner()).await.unwrap().unwrap().banner, banner(), "{status}");
    }
}

/// Also with an unknown type and times in other forms.
#[tokio::test]
async fn a_manual_banner_is_read_completely() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    qlik.write(&banner()).await.unwrap();
    let ours = tenant.banner().unwrap();
    tenant.person_sets(stand_ins::tenant::Banner { message: "Party at noon".into(), ..ours });
    assert_eq!(qlik.read().await.unwrap().unwrap().banner.message, "Party at noon");
    let object = json!({"id": 5, "type": "celebration", "enabled": true, "message": "x", "startTime":
        "2026-05-02T11:15:00+02:00", "endTime": "2026-05-02T13:15:00Z", "linkEnabled": false, "linkUrl": null,
        "updatedAt": "now", "unknown": {"a": []}});
    tenant.next_on(READ, Reply::json(&object));
    let shown = qlik.read().await.unwrap().unwrap();
    assert_eq!(shown.banner.kind, BannerKind::Other("celebration".into()));
    assert_eq!((shown.banner.start_time, shown.updated_at), (at("2026-05-02T09:15:00Z"), None));
}

/// After a write the caller must read; for a read it is an error.
#[tokio::test]
async fn a_success_with_an_unreadable_body_is_never_an_empty_slot() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    qlik.write(&banner()).await.unwrap();
    for reply in [
        Reply::html(),
        Reply::text("application/json", "[]"),
        Reply::text("application/json", "{\"data\": null}"),
        Reply::usual().half(),
        Reply::usual().cut_off(),
        Reply::usual().padded_to(5 << 20),
        Reply::usual().not_utf8(),
    ] {
        tenant.next_on(READ, reply.clone());
        let error = qlik.read().await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("trouble", false), "{error}");
        assert!(error.to_string().contains("HTTP 20"), "{error}");
        tenant.next_on(WRITE, reply);
        assert_eq!(qlik.write(&banner()).await, Ok(None));
    }
}
