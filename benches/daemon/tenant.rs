//! The stand-in tenant: one banner, read and written, and recorded the moment it arrives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::ledger::Ledger;

#[derive(Clone)]
struct Tenant {
    ledger: Ledger,
    banner: Arc<Mutex<Option<Value>>>,
}

/// Serves a tenant without a banner.
pub(crate) async fn serve(ledger: Ledger) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/api/v1/banners", get(read))
        .route("/api/v1/banners/actions/upsert", post(upsert))
        .with_state(Tenant { ledger, banner: Arc::default() });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn read(State(tenant): State<Tenant>) -> Response {
    match tenant.banner.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        Some(banner) => Json(banner).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn upsert(State(tenant): State<Tenant>, Json(mut banner): Json<Value>) -> Response {
    let enabled = banner["enabled"] == true;
    tenant.ledger.banner(banner["message"].as_str().filter(|_| enabled).unwrap_or_default());
    banner["id"] = json!("000000000000000000000001");
    let mut slot = tenant.banner.lock().unwrap_or_else(PoisonError::into_inner);
    // The program identifies its own writes by this; any new value will do.
    let before = slot.as_ref().and_then(|old| old["updatedAt"].as_str()?.parse::<jiff::Timestamp>().ok());
    let next = before.unwrap_or(jiff::Timestamp::UNIX_EPOCH) + jiff::SignedDuration::from_secs(1);
    banner["updatedAt"] = json!(format!("{next:.3}"));
    *slot = Some(banner.clone());
    (StatusCode::CREATED, Json(banner)).into_response()
}
