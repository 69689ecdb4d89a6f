//! The web port: liveness, readiness, metrics, the dashboard, the JSON API and public status formats.
//!
//! Everything is read-only. A response is rendered from a copy of what it needs of the board, taken in one read, and from
//! stored history ([`view::records`]). Start at [`router`].

pub mod api;
pub mod brand;
pub mod metrics;
pub mod server;
pub mod view;

mod pages;
mod public;
mod state;

pub use state::WebState;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use pages::{assets, connector_detail, layout, monitor_detail, overview};
use server::compression::compress;
use server::events::{self, ChangeFeed};
use server::security::{self, Access};
use state::PageState;
use view::history::History;

pub fn router(state: WebState, access: Access) -> Router {
    let access = Arc::new(access);
    let history = History::new(state.records.clone());
    let pages = Router::new()
        .route("/", get(overview::page))
        .route("/monitors", get(|query| overview::section("monitors", query)))
        .route("/connectors", get(|query| overview::section("connectors", query)))
        .route("/tenants", get(overview::tenants))
        .route("/monitors/{name}", get(monitor_detail::page))
        .route("/connectors/{name}", get(connector_detail::page))
        .fallback(layout::not_found)
        .with_state(Arc::new(PageState { web: state.clone(), history }));
    let feed = Arc::new(ChangeFeed::new(state.clone()));
    let pages = Router::new().route("/events", get(events::stream)).with_state(feed).merge(pages);
    let pages = compress(pages).layer(from_fn_with_state(access.clone(), security::guard));
    let programs = api::router(state.clone())
        .layer(from_fn_with_state(access, security::guard))
        .layer(from_fn(api::problem::replace_refusals));
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/assets/{name}", get(assets::serve))
        .with_state(state)
        .merge(pages)
        .merge(programs)
        .layer(from_fn(security::headers))
}

async fn readyz(State(state): State<WebState>) -> Response {
    let (reasons, role, paused) = state.board.read(|board| {
        let now = state.clock.now();
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

async fn metrics(State(state): State<WebState>) -> Response {
    match metrics::render(&state.board, (state.log_losses)(), state.clock.now()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(e) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode metrics: {e}\n")).into_response()
        }
    }
}
