//! Errors as `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`. The detail says how to correct the
//! request. Start at [`ApiProblem`]; [`replace_refusals`] converts the refusals of other layers.

use std::future::Future;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;

use crate::web::view::records::RecordError;

pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// For reading stored data. Programs wait longer than people do.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ApiProblem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

impl ApiProblem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> ApiProblem {
        ApiProblem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// An invalid parameter.
    pub(super) fn parameter(detail: impl Into<String>) -> ApiProblem {
        ApiProblem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// A name that does not exist, and the path that lists the names.
    pub(super) fn unknown(what: &str, name: &str, list: &str) -> ApiProblem {
        // A name in a URL may be any text.
        let name = crate::domain::text::shorten(&crate::domain::text::plain(name), 100).into_owned();
        ApiProblem::new(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`; {list} lists all"))
    }

    /// Stored data that cannot be read.
    pub(super) fn unreadable(error: &RecordError) -> ApiProblem {
        ApiProblem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
        (status, headers, body).into_response()
    }
}

/// Limits the time for reading stored data.
pub(super) async fn in_time<T>(
    reading: impl Future<Output = Result<T, RecordError>>,
) -> Result<T, ApiProblem> {
    let late = |_| RecordError(format!("no answer within {} s", READ_TIMEOUT.as_secs()));
    let read = timeout(READ_TIMEOUT, reading).await.map_err(late).flatten();
    read.map_err(|e| ApiProblem::unreadable(&e))
}

/// Replaces the body of any other refusal by a problem and preserves its headers.
pub(in crate::web) async fn replace_refusals(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let status = answer.status();
    let is_problem = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == CONTENT_TYPE);
    // A badge is an image even if the monitor does not exist.
    let is_image = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "image/svg+xml");
    if !(status.is_client_error() || status.is_server_error()) || is_problem || is_image {
        return answer;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "no such path; see /api/openapi.json",
        StatusCode::METHOD_NOT_ALLOWED => "only GET and HEAD are allowed; the API is read-only",
        StatusCode::BAD_REQUEST => "the path is not UTF-8; percent-encode special characters of a name",
        StatusCode::UNAUTHORIZED => "send WEB_TOKEN as `Authorization: Bearer …`",
        StatusCode::FORBIDDEN => "access is not configured: set WEB_TOKEN, or WEB_OPEN=true",
        StatusCode::MISDIRECTED_REQUEST => "this host name is not allowed: add it to WEB_HOSTS",
        _ => "internal error; see monitor.log",
    };
    let (parts, _) = answer.into_parts();
    let mut answer = ApiProblem::new(status, detail).into_response();
    for (name, value) in parts.headers {
        if let Some(name) =
            name.filter(|name| *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH)
        {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
