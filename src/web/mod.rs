//! What the daemon shows over HTTP: whether it lives, whether it does its work, its figures, and the pages for people.
//!
//! Nothing here can change anything. Pages are made from a copy of what they need of the board, taken in one reading,
//! and from what is kept ([`records`]). Start at [`router`]; `overview`, `monitor` and `connector` are the pages.

pub mod api;
mod assets;
mod badge;
mod banner;
mod calendar;
mod charts;
mod connector;
mod connectors;
mod days;
mod events;
mod history;
mod layout;
mod ledger;
pub mod metrics;
mod monitor;
mod monitors;
mod overview;
pub mod records;
pub mod security;
mod statuspage;
mod timeline;
mod view;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::runtime::board::BoardHandle;
use crate::runtime::clock::Clock;
use events::Pulse;
use history::History;
use records::Records;
use security::Access;

/// What the pages are made from.
#[derive(Clone)]
pub struct Shown {
    /// The board.
    pub board: BoardHandle,
    /// Time.
    pub clock: Clock,
    /// What is not on the board.
    pub records: Arc<dyn Records>,
    /// Ends open streams.
    pub stop: CancellationToken,
}

/// What the pages share.
struct Site {
    shown: Shown,
    access: Access,
    history: History,
    pulse: Pulse,
}

/// The routes.
pub fn router(shown: Shown, access: Access) -> Router {
    let history = History::new(shown.records.clone());
    let site = Arc::new(Site { shown: shown.clone(), access, history, pulse: Pulse::default() });
    let pages = Router::new()
        .route("/", get(overview::page))
        .route("/monitors/{name}", get(monitor::page))
        .route("/connectors/{name}", get(connector::page))
        .route("/events", get(events::stream))
        .fallback(layout::not_found)
        .layer(from_fn_with_state(site.clone(), security::guard))
        .with_state(site.clone());
    let programs = api::router(shown.clone())
        .layer(from_fn_with_state(site, security::guard))
        .layer(from_fn(api::problem::tell));
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown)
        .route("/assets/{name}", get(assets::serve))
        .merge(pages)
        .merge(programs)
        .layer(from_fn(security::headers))
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let (reasons, role, paused) = shown.board.read(|board| {
        let now = shown.clock.now();
        let role = board.lease.as_ref().map(|lease| lease.role() + "\n");
        let paused = board.paused(now).map(|(name, until)| format!("not polled until {until:.0}: {name}\n"));
        (board.ready(now), role.unwrap_or_default(), paused.collect::<String>())
    });
    if reasons.is_empty() {
        (StatusCode::OK, format!("ready\n{role}{paused}")).into_response()
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

#[cfg(test)]
mod tests;
