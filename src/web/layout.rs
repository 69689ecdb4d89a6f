//! The frame of every page: head, marks, header, main part, footer; and the short pages that refuse something.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Site;
use super::assets::{ICON, SCRIPT, STYLE};

/// Where no script runs, the page fetches itself again after so many seconds.
const RELOAD: &str = "60";

/// The shapes: each severity has its own, so that none is told by colour alone.
const MARKS: &str = include_str!("assets/marks.svg");

/// What a page's frame needs to know.
pub(super) struct Frame {
    /// Before the program's name in the title.
    pub(super) title: String,
    pub(super) now: Timestamp,
    /// Whether the banner is really written.
    pub(super) live: bool,
}

/// A page that keeps itself up to date.
pub(super) fn page(status: StatusCode, frame: &Frame, main: &Markup) -> Response {
    let markup = document(
        &frame.title,
        true,
        &html! {
            header class="top" {
                div class="wide" {
                    a class="brand" href="/" { svg class="logo" aria-hidden="true" viewBox="0 0 24 24" { use href="#mark-logo" {} } "Data Sources Monitor" }
                    p class={ "mode " (if frame.live { "live" } else { "preview" }) } {
                        @if frame.live { "Live" } @else { "Preview" }
                        span class="hidden" { @if frame.live { ": the tenant's banner is written" } @else { ": no banner is written" } }
                    }
                }
            }
            main id="main" class="wide" tabindex="-1" data-now=(frame.now.as_millisecond()) { (main) }
            footer class="wide" {
                p {
                    "All times are UTC. This page changes nothing. "
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
                title { (title) " · Data Sources Monitor" }
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

/// A short page that says why there is nothing to see; with a form where a token would help.
pub(super) fn refusal(status: StatusCode, title: &str, words: &str, sign_in: bool) -> Response {
    let markup = document(
        title,
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

/// Goes on to a path of ours by itself.
pub(super) fn welcome(path: &str) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Signed in" }
                meta http-equiv="refresh" content={ "0; url=" (path) };
            }
            body { p { "Signed in. " a href=(path) { "Go on" } } }
        }
    };
    (html_type(), markup.into_string()).into_response()
}

/// A page for an address that leads nowhere.
pub(super) async fn not_found(State(site): State<Arc<Site>>) -> Response {
    missing(&site, "There is no such page.")
}

pub(super) fn missing(site: &Site, words: &str) -> Response {
    let live = site.shown.board.read(|board| board.live);
    let frame = Frame { title: "Not found".into(), now: site.shown.clock.now(), live };
    let main = html! { h1 { "Not found" } p { (words) } p { a href="/" { "Back to the overview" } } };
    page(StatusCode::NOT_FOUND, &frame, &main)
}

/// A part of a page whose figures cannot be had.
pub(super) fn unreadable(what: &str, why: &impl std::fmt::Display) -> Markup {
    html! { p class="trouble" { (super::words::mark("unknown")) (what) " " (super::words::clean(&why.to_string(), super::words::LINE)) } }
}
