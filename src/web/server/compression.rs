//! gzip for clients that accept it.
//!
//! A compressed body is collected before it is sent, because `connections` limits memory by the exact size of responses.
//! Event streams are never compressed: a compressor delays events. Compressing a page that repeats the search term next to
//! other content is safe against BREACH: no body holds a secret (the token is only in the cookie), and the cookie is
//! `SameSite=Strict`, so other sites cannot trigger authenticated requests to compare their sizes.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Smaller responses fit into one packet anyway.
const MIN_BYTES: u16 = 1024;

/// Compresses the successful responses of a router.
pub(in crate::web) fn compress(router: Router) -> Router {
    // Refusals are rewritten by outer layers, which expect plain bodies.
    let compressible = SizeAbove::new(MIN_BYTES).and(NotForContentType::SSE).and(is_success);
    router.layer(CompressionLayer::new().compress_when(compressible)).layer(from_fn(collect))
}

fn is_success(status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    status == StatusCode::OK
}

async fn collect(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(parts, Body::from(body)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
