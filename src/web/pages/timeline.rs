//! Status changes, newest first, with the duration of each status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::domain::monitoring::assess::Transition;
use crate::web::view::status::{MonitorStatus, severity_label};
use crate::web::view::words::{LINE, between, clean, lasting, mark, moment, path, span};

/// The first `shown` of the changes, which must include every later change of their monitors. `named`: whether to show the
/// monitors' names.
pub(super) fn list(changes: &[Transition], shown: usize, now: Timestamp, named: bool) -> Markup {
    let mut later: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let ended: Vec<Option<Timestamp>> =
        changes.iter().map(|change| later.insert(&change.monitor, change.at)).collect();
    html! {
        ol class="timeline" {
            @for (change, ended) in changes.iter().zip(ended).take(shown) {
                @let status = MonitorStatus::Known(change.to);
                li class=(status.class()) {
                    (mark(status.class()))
                    div {
                        p {
                            @if named { a class="name" href=(path("monitors", &change.monitor)) { (clean(&change.monitor, LINE)) } " " }
                            span class="from" { (severity_label(change.from)) } " → " strong class={ "word " (status.class()) } { (severity_label(change.to)) }
                        }
                        p class="say" { (clean(&change.description, LINE)) }
                        p class="when" {
                            (moment(change.at)) " · "
                            @match ended {
                                Some(end) => { "lasted " (span(between(change.at, end))) }
                                None => { "for " (lasting(now, change.at)) " so far" }
                            }
                        }
                    }
                }
            }
        }
    }
}
