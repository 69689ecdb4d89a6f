//! The layout of every page: head, icons, header, main part, footer; and the short pages for refusals.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::{ICON, SCRIPT, STYLE};
use crate::web::brand::Brand;
use crate::web::state::PageState;

/// Seconds after which a page reloads in a browser without script.
const RELOAD: &str = "60";

/// Icons: each severity has its own shape, so that none is conveyed by color alone.
const MARKS: &str = include_str!("assets/marks.svg");

pub(in crate::web) struct PageFrame {
    pub(in crate::web) title: String,
    pub(in crate::web) now: Timestamp,
    /// Whether banners are written to a tenant; `false` in preview.
    pub(in crate::web) live: bool,
    pub(in crate::web) brand: Arc<Brand>,
}

/// A page that reloads itself.
pub(in crate::web) fn page(status: StatusCode, frame: &PageFrame, main: &Markup) -> Response {
    let markup = document(
        &format!("{} · {}", frame.title, frame.brand.title),
        true,
        &html! {
            header class="top" {
                div class="wide" {
                    a class="brand" href="/" {
                        @match &frame.brand.logo {
                            Some(logo) => img class="logo" src=(logo.path()) alt="";,
                            None => svg class="logo" aria-hidden="true" viewBox="0 0 24 24" { use href="#mark-logo" {} },
                        }
                        (frame.brand.title)
                    }
                    p class={ "mode " (if frame.live { "live" } else { "preview" }) } {
                        @if frame.live { "Live" } @else { "Preview" }
                        span class="hidden" { @if frame.live { ": the tenant's banner is written" } @else { ": no banner is written" } }
                    }
                }
            }
            main id="main" class="wide" tabindex="-1" data-now=(frame.now.as_millisecond()) { (main) }
            footer class="wide" {
                p {
                    "All times are UTC. This page is read-only. "
                    span class="feed" data-feed { noscript { "It reloads every " (RELOAD) " seconds." } }
                }
                p { "data-sources-monitor " (env!("CARGO_PKG_VERSION")) " · " a href="/metrics" { "metrics" } }
            }
            div class="hidden" role="status" data-said {}
        },
    );
    (status, html_type(), markup.into_string()).into_response()
}

fn html_type() -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "text/html; charset=utf-8")]
}

fn document(title: &str, reloads: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                link rel="icon" type="image/svg+xml" href=(ICON.path());
                link rel="stylesheet" href=(STYLE.path());
                @if reloads {
                    script src=(SCRIPT.path()) defer {}
                    noscript { meta http-equiv="refresh" content=(RELOAD); }
                }
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                (PreEscaped(MARKS))
                (body)
            }
        }
    }
}

/// A short page that says why access is refused, with a sign-in form where a token would help.
pub(in crate::web) fn refusal(status: StatusCode, title: &str, words: &str, sign_in: bool) -> Response {
    let markup = document(
        &format!("{title} · Data Sources Monitor"),
        false,
        &html! {
            main id="main" class="notice" tabindex="-1" {
                svg class="logo" aria-hidden="true" viewBox="0 0 24 24" { use href="#mark-logo" {} }
                h1 { (title) }
                p { (words) }
                @if sign_in {
                    form method="get" {
                        label for="token" { "Token" }
                        input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                        button { "Sign in" }
                    }
                }
            }
        },
    );
    (status, html_type(), markup.into_string()).into_response()
}

/// A page that forwards to a path on this server.
pub(in crate::web) fn welcome(path: &str) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Signed in" }
                meta http-equiv="refresh" content={ "0; url=" (path) };
            }
            body { p { "Signed in. " a href=(path) { "Continue" } } }
        }
    };
    (html_type(), markup.into_string()).into_response()
}

pub(in crate::web) async fn not_found(State(state): State<Arc<PageState>>) -> Response {
    missing(&state, "There is no such page.")
}

pub(in crate::web) fn missing(state: &PageState, words: &str) -> Response {
    let live = state.web.board.read(|board| board.live);
    let brand = state.web.brand.clone();
    let frame = PageFrame { title: "Not found".into(), now: state.web.clock.now(), live, brand };
    let main = html! { h1 { "Not found" } p { (words) } p { a href="/" { "Back to the overview" } } };
    page(StatusCode::NOT_FOUND, &frame, &main)
}

/// Stands in for a part of a page whose data cannot be read.
pub(in crate::web) fn unreadable(what: &str, why: &impl std::fmt::Display) -> Markup {
    html! { p class="trouble" { (crate::web::view::words::mark("unknown")) (what) " " (crate::web::view::words::clean(&why.to_string(), crate::web::view::words::LINE)) } }
}
