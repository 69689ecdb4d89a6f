//! Refusals as `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`. The detail says what would be
//! right. Start at [`Problem`]; [`tell`] turns what others refuse on our paths into one.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The media type.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// A refusal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// A parameter that makes no sense.
    pub(super) fn parameter(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// A name nobody knows, and where the known ones are.
    pub(super) fn unknown(what: &str, name: &str, list: &str) -> Problem {
        // A name in an address may be anything.
        let name = crate::domain::text::shorten(&crate::domain::text::plain(name), 100).into_owned();
        Problem::new(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`; {list} lists all"))
    }

    /// Something that is kept and cannot be read now.
    pub(super) fn unreadable(error: &crate::web::records::Unreadable) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
        (status, headers, body).into_response()
    }
}

/// Puts a problem in the place of any other refusal, and keeps its headers.
pub(in crate::web) async fn tell(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let status = answer.status();
    let told = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == CONTENT_TYPE);
    // A badge is a picture, also of what is not there.
    let picture = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "image/svg+xml");
    if !(status.is_client_error() || status.is_server_error()) || told || picture {
        return answer;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "there is no such path; /api/openapi.json describes those there are",
        StatusCode::METHOD_NOT_ALLOWED => "only GET and HEAD: nothing can be changed here",
        StatusCode::BAD_REQUEST => "the path is not UTF-8; write a name's special characters as %XX",
        StatusCode::UNAUTHORIZED => "send WEB_TOKEN as `Authorization: Bearer …`",
        StatusCode::FORBIDDEN => "nobody has said who may see this: set WEB_TOKEN, or WEB_OPEN=true",
        StatusCode::MISDIRECTED_REQUEST => "this host name is not known here: set WEB_HOSTS",
        _ => "it went wrong here; monitor.log may say more",
    };
    let (parts, _) = answer.into_parts();
    let mut answer = Problem::new(status, detail).into_response();
    for (name, value) in parts.headers {
        if let Some(name) =
            name.filter(|name| *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH)
        {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
