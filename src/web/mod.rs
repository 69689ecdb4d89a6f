//! What the daemon shows over HTTP: whether it lives, whether it does its work, and its figures.
//!
//! Nothing here can change anything. Start at [`router`].

pub mod api;
mod badge;
mod calendar;
pub mod metrics;
mod outlook;
pub mod records;
mod statuspage;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::runtime::board::BoardHandle;
use crate::runtime::clock::Clock;
use records::Records;

/// What the pages are made from.
#[derive(Clone)]
pub struct Shown {
    /// The board.
    pub board: BoardHandle,
    /// Time.
    pub clock: Clock,
    /// What is not on the board.
    pub records: Arc<dyn Records>,
}

/// The routes.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown.clone())
        .merge(api::router(shown).layer(from_fn(api::problem::tell)))
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let reasons = shown.board.read(|board| board.ready(shown.clock.now()));
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match metrics::render(&shown.board, shown.clock.now()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be shown: {e}\n")).into_response(),
    }
}
