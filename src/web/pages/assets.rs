//! The style sheet, the script and the icon: compiled in, named by a hash of their content, and cached by browsers forever.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::monitoring::schedule::hash;
use crate::web::state::WebState;

pub(in crate::web) struct Asset {
    name: String,
    kind: &'static str,
    body: &'static str,
}

pub(in crate::web) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/style.css")));
pub(in crate::web) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/live.js"))
});
pub(in crate::web) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, body: &'static str) -> Asset {
        Asset { name: format!("{stem}.{:016x}.{ending}", hash(body)), kind, body }
    }

    pub(in crate::web) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

pub(in crate::web) async fn serve(State(state): State<WebState>, Path(name): Path<String>) -> Response {
    if let Some(logo) = state.brand.logo.as_ref().and_then(|logo| logo.serve(&name)) {
        return logo;
    }
    match [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let cache = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, cache)], asset.body).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}
