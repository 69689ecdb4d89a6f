//! The JSON API, `/api/v1`, and the routes of everything else that programs read, documented in `openapi.json`.
//!
//! Response types are the API's own, never the board's, so that internal changes do not change the API. Every field is always
//! present, `null` if there is no value; words are those of the log and the metrics; times are RFC 3339 in UTC; durations
//! carry their unit in the name. Start at [`routes`].

mod banner;
mod channels;
mod connectors;
mod etag;
mod lists;
mod monitors;
pub(super) mod problem;
mod query;
mod status;
mod values;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::public::{badge, calendar, statuspage};
use super::server::compression::compress;
use super::state::WebState;

/// The API description, as served.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Every path of the API description with its handler.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<WebState>)> {
    vec![
        ("/api/v1/status", get(status::get)),
        ("/api/v1/monitors", get(monitors::list)),
        ("/api/v1/monitors/{name}", get(monitors::one)),
        ("/api/v1/banner", get(banner::get)),
        ("/api/v1/tenants", get(banner::list)),
        ("/api/v1/tenants/{name}", get(banner::one)),
        ("/api/v1/channels", get(channels::list)),
        ("/api/v1/connectors", get(connectors::list)),
        ("/api/v1/connectors/{name}", get(connectors::one)),
        ("/api/v1/runs", get(lists::runs)),
        ("/api/v1/transitions", get(lists::transitions)),
        ("/api/openapi.json", get(openapi)),
        ("/api/v2/status.json", get(statuspage::status)),
        ("/api/v2/summary.json", get(statuspage::summary)),
        ("/api/v2/components.json", get(statuspage::components)),
        ("/badge/{file}", get(badge::one)),
        ("/maintenances.ics", get(calendar::get)),
    ]
}

/// The paths of all routes, for comparison with the API description.
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

/// The routes, with an `ETag` on every response.
pub(super) fn router(state: WebState) -> Router {
    let all = routes().into_iter().fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    // Tags are computed from compressed bodies: encodings of one resource must not share a strong tag.
    compress(all.route("/api/{*rest}", get(nothing)).with_state(state)).layer(from_fn(etag::tag))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}
