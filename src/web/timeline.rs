//! Changes of what was believed, newest first, with how long each state lasted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};

use super::view::MonitorStatus;
use super::words::{LINE, between, clean, lasting, mark, moment, path, span, word};
use crate::domain::assess::Transition;

/// The list; `named` says whether the monitors' names stand in it. Every later change of the monitors must be in it.
pub(super) fn list(changes: &[Transition], now: Timestamp, named: bool) -> Markup {
    let mut later: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let ended: Vec<Option<Timestamp>> =
        changes.iter().map(|change| later.insert(&change.monitor, change.at)).collect();
    html! {
        ol class="timeline" {
            @for (change, ended) in changes.iter().zip(ended) {
                @let look = MonitorStatus::Known(change.to);
                li class=(look.class()) {
                    (mark(look.class()))
                    div {
                        p {
                            @if named { a class="name" href=(path("monitors", &change.monitor)) { (clean(&change.monitor, LINE)) } " " }
                            span class="from" { (word(change.from)) } " → " strong class={ "word " (look.class()) } { (word(change.to)) }
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
