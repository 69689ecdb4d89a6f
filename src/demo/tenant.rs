//! The tenant: the one banner, and the record of what its users saw.

use std::fmt;
use std::io;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Now;
use super::far_end::{FarEnd, Server, millis, travel};
use crate::domain::banner::{Banner, Kind};

/// The only key that the tenant takes. No real one looks like it.
pub(super) const KEY: &str = "demo-key-of-nobody";
/// How long a person's banner lasts.
const A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// The tenant.
#[derive(Clone)]
pub struct Tenant(FarEnd<Slot>);

struct Slot {
    banner: Option<Banner>,
    updated_at: Timestamp,
    writes: u64,
    seen: Vec<Sight>,
}

/// A banner as the tenant's users saw it, or the absence of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// `info`, `warning`, `error` or `resolved`; empty for no banner.
    pub kind: String,
    /// Its words.
    pub message: String,
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_empty() { Ok(()) } else { write!(f, "{}: {}", self.kind, self.message) }
    }
}

impl Tenant {
    /// One that never had a banner.
    pub(super) async fn open(now: Now) -> io::Result<(Tenant, Server)> {
        let slot = Slot { banner: None, updated_at: now(), writes: 0, seen: Vec::new() };
        let route = |slot| {
            Router::new()
                .route("/api/v1/banners", get(read))
                .route("/api/v1/banners/actions/upsert", post(write))
                .with_state(slot)
        };
        let (far_end, server) = FarEnd::open(now, slot, route).await?;
        Ok((Tenant(far_end), server))
    }

    /// Its address.
    pub(super) fn root(&self) -> &str {
        self.0.root()
    }

    /// What its users saw so far, each once, in order.
    pub fn seen(&self) -> Vec<Sight> {
        let now = self.0.now();
        self.0.with(|slot| {
            // A banner may have ended by itself meanwhile.
            slot.look(now);
            slot.seen.clone()
        })
    }

    /// How often the program wrote.
    pub fn writes(&self) -> u64 {
        self.0.with(|slot| slot.writes)
    }

    /// An administrator sets a banner by hand.
    pub(super) fn person_says(&self, message: &str) {
        let now = self.0.now();
        let banner = Banner {
            kind: Kind::Info,
            enabled: true,
            message: message.to_owned(),
            start_time: now,
            end_time: now.checked_add(A_WEEK).unwrap_or(Timestamp::MAX),
            link_enabled: false,
            link_url: None,
            link_label: None,
        };
        self.0.with(|slot| slot.put(banner, now));
    }

    /// The administrator ends what is shown.
    pub(super) fn person_is_done(&self) {
        let now = self.0.now();
        self.0.with(|slot| {
            let Some(shown) = slot.banner.clone() else { return };
            slot.put(Banner { enabled: false, end_time: now, ..shown }, now);
        });
    }
}

impl Slot {
    fn put(&mut self, banner: Banner, now: Timestamp) {
        // What was seen until now.
        self.look(now);
        (self.banner, self.updated_at) = (Some(banner), now);
        self.look(now);
    }

    fn look(&mut self, now: Timestamp) {
        let visible = self.banner.as_ref().filter(|banner| banner.visible(now));
        let sight = visible.map_or(Sight { kind: String::new(), message: String::new() }, |banner| Sight {
            kind: banner.kind.to_string(),
            message: banner.message.clone(),
        });
        if self.seen.last() != Some(&sight) {
            self.seen.push(sight);
        }
    }

    fn shown(&self) -> Option<Value> {
        let mut shown = serde_json::to_value(self.banner.as_ref()?).ok()?;
        shown["id"] = json!("6634a1b2c3d4e5f601234567");
        shown["tenantId"] = json!("demo");
        shown["createdAt"] = json!(millis(self.updated_at));
        shown["updatedAt"] = json!(millis(self.updated_at));
        shown["createdBy"] = json!("605a18af5ab08cc3e0cf0001");
        shown["updatedBy"] = json!("605a18af5ab08cc3e0cf0001");
        Some(shown)
    }
}

async fn read(State(tenant): State<FarEnd<Slot>>, headers: HeaderMap) -> Response {
    travel("tenant", 0, 20).await;
    if !signed_in(&headers) {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "The key is not known.");
    }
    match tenant.with(|slot| slot.shown()) {
        Some(shown) => Json(shown).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "Not found", "There is no banner."),
    }
}

async fn write(State(tenant): State<FarEnd<Slot>>, headers: HeaderMap, body: String) -> Response {
    travel("tenant", 1, 40).await;
    if !signed_in(&headers) {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "The key is not known.");
    }
    let banner: Banner = match serde_json::from_str(&body) {
        Ok(banner) => banner,
        Err(e) => return refusal(StatusCode::BAD_REQUEST, "Invalid banner", &e.to_string()),
    };
    let now = tenant.now();
    let shown = tenant.with(|slot| {
        slot.writes += 1;
        slot.put(banner, now);
        slot.shown()
    });
    (StatusCode::CREATED, Json(shown)).into_response()
}

fn signed_in(headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    given.and_then(|given| given.strip_prefix("Bearer ")) == Some(KEY)
}

fn refusal(status: StatusCode, title: &str, detail: &str) -> Response {
    let code = format!("HTTP-{}", status.as_u16());
    let error = json!({"code": code, "title": title, "detail": detail, "status": status.as_u16()});
    (status, Json(json!({"errors": [error], "traceId": "000000000000000000000000000de300"}))).into_response()
}
