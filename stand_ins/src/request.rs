//! One request, as models read it and tests assert on it.

use std::fmt;
use std::time::Instant;

use axum::http::HeaderMap;
use serde_json::Value;

/// The characters of a body that a message shows.
const EXCERPT: usize = 300;

/// One request that reached a stand-in server.
#[derive(Debug, Clone)]
pub struct Request {
    /// When all of it had arrived.
    pub at: Instant,
    /// `GET`, `POST` …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query's pairs, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// The status it was answered with; `None` when it was left hanging or its connection was reset.
    pub status: Option<u16>,
}

impl Request {
    pub(crate) async fn record(request: axum::extract::Request) -> Request {
        let (head, body) = request.into_parts();
        // An incomplete body is recorded as empty: the response then shows the client's error.
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default().to_vec();
        Request {
            at: Instant::now(),
            method: head.method.to_string(),
            path: head.uri.path().to_string(),
            query: pairs(head.uri.query().unwrap_or_default().as_bytes()),
            headers: head.headers,
            body,
            status: None,
        }
    }

    /// Whether `"METHOD /path "` contains this.
    pub fn is(&self, what: &str) -> bool {
        format!("{} {} ", self.method, self.path).contains(what)
    }

    /// A query parameter; the last one if it is there more than once.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
    }

    /// The body as JSON, if it says it is and is.
    pub fn json(&self) -> Option<Value> {
        let declared = self.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        declared.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// The body as a form, if it says it is.
    pub fn form(&self) -> Option<Vec<(String, String)>> {
        let kind = self.header("content-type")?;
        kind.starts_with("application/x-www-form-urlencoded").then(|| pairs(&self.body))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.method, self.path)?;
        for (index, (key, value)) in self.query.iter().enumerate() {
            write!(out, "{}{key}={value}", if index == 0 { '?' } else { '&' })?;
        }
        match self.status {
            Some(status) => write!(out, " → {status}")?,
            None => write!(out, " → no answer")?,
        }
        let body = String::from_utf8_lossy(&self.body);
        if !body.is_empty() {
            write!(out, " | {}", body.chars().take(EXCERPT).collect::<String>())?;
        }
        Ok(())
    }
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}
