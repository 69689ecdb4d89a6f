//! A strong `ETag` on every answer, made of its body, and 304 for who has it already.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Tags good answers. They are whole in memory, so that collecting them costs nothing.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let answer = next.run(request).await;
    if answer.status() != StatusCode::OK {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = of(&body);
    let same = known.iter().any(|header| header.to_str().is_ok_and(|header| names(header, &tag)));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    parts.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    if !same {
        return Response::from_parts(parts, Body::from(body));
    }
    let mut answer = StatusCode::NOT_MODIFIED.into_response();
    *answer.headers_mut() = kept(parts.headers);
    answer
}

/// What a 304 says: as the answer would, but nothing of a body.
fn kept(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
    headers
}

/// 128 bits of the body, in quotes.
fn of(body: &[u8]) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, body).hash(&mut hasher);
        hasher.finish()
    };
    format!("\"{:016x}{:016x}\"", half(0), half(1))
}

/// Whether a list of tags names this one, or any.
fn names(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists, weak forms and the star name a tag; another tag, or a part of one, does not.
    #[test]
    fn reads_lists_of_tags() {
        for (list, named) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(names(list, "\"a\""), named, "{list}");
        }
        assert_ne!(of(b"a"), of(b"b"));
        assert_eq!(of(b"").len(), 34);
    }
}
