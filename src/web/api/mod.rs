//! The JSON API, `/api/v1`: what the pages show, for programs, and the routes of everything else that programs read.
//! Names are a promise, written down in `openapi.json`.
//!
//! The types here are the API's own, never the board's, so that nothing changes outside because something changed inside.
//! What holds for all of them: every field is always there, and `null` where there is no value; words are those of the
//! log and the metrics; moments are RFC 3339 in UTC; lengths of time carry their unit in the name. Start at `routes`.

mod banner;
mod connectors;
mod etag;
mod lists;
mod monitors;
pub(super) mod problem;
mod query;
mod status;
mod words;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::records::Unreadable;
use super::{Shown, badge, calendar, statuspage};
use problem::Problem;

/// The description of all of it, as served.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Days of history in the details of a monitor.
const DAYS: i64 = 90;
/// A disk or server that has not answered by now is told as such.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every path that the description names, with what answers there.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shown>)> {
    vec![
        ("/api/v1/status", get(status::get)),
        ("/api/v1/monitors", get(monitors::list)),
        ("/api/v1/monitors/{name}", get(monitors::one)),
        ("/api/v1/banner", get(banner::get)),
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

/// The paths of all routes, for whoever compares them with the description.
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

/// The routes, with tags on what they answer.
pub(super) fn router(shown: Shown) -> Router {
    let all = routes().into_iter().fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    all.route("/api/{*rest}", get(nothing)).with_state(shown).layer(from_fn(etag::tag))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// What is read within [`PATIENCE`], or the problem.
async fn in_time<T>(reading: impl Future<Output = Result<T, Unreadable>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(read) => read.map_err(|e| Problem::unreadable(&e)),
        Err(_) => {
            let late = Unreadable(format!("no answer within {} s", PATIENCE.as_secs()));
            Err(Problem::unreadable(&late))
        }
    }
}
