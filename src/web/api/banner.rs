//! `/api/v1/banner`: what the tenant shows, whose it is, and what is owed.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::words::{Moment, moment};
use crate::domain::banner;
use crate::domain::plan::Why;
use crate::runtime::board::Board;
use crate::web::Shown;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Banner {
    /// `live`, or `preview` where none is written.
    mode: &'static str,
    /// What is in the tenant's slot, on or off; `None` if it is empty or was not read yet.
    shown: Option<Content>,
    /// `daemon` or `person`.
    owner: Option<&'static str>,
    /// Since when the tenant does not show what it should.
    owed_since: Option<Moment>,
    /// The tenant's last good answer.
    answered_at: Option<Moment>,
    /// Why the last exchange failed.
    trouble: Option<String>,
    /// Since the daemon's start.
    writes: Writes,
}

#[derive(Debug, Serialize)]
struct Content {
    /// `info`, `warning`, `error` or `resolved`; a later tenant may know more.
    #[serde(rename = "type")]
    kind: String,
    enabled: bool,
    message: String,
    starts_at: Moment,
    ends_at: Moment,
    link_url: Option<String>,
    link_label: Option<String>,
}

#[derive(Debug, Serialize)]
struct Writes {
    /// By reason; all words, also those that count nothing.
    accepted: BTreeMap<&'static str, u64>,
    /// Looks at the tenant that found nothing to write.
    avoided: u64,
    failed_exchanges: u64,
}

pub(super) async fn get(State(shown): State<Shown>) -> Json<Banner> {
    Json(shown.board.read(Banner::of))
}

impl Banner {
    fn of(board: &Board) -> Banner {
        let view = &board.banner;
        let count = |why: Why| (why.as_str(), view.writes.get(why.as_str()).copied().unwrap_or(0));
        Banner {
            mode: if board.live { "live" } else { "preview" },
            shown: view.shown.as_ref().map(Content::from),
            owner: view.shown.as_ref().map(|_| if view.ours { "daemon" } else { "person" }),
            owed_since: moment(view.owed_since),
            answered_at: moment(view.answered_at),
            trouble: view.trouble.clone(),
            writes: Writes {
                accepted: Why::ALL.into_iter().map(count).collect(),
                avoided: view.avoided,
                failed_exchanges: view.failures,
            },
        }
    }
}

impl From<&banner::Banner> for Content {
    fn from(banner: &banner::Banner) -> Content {
        let linked = |text: &Option<String>| text.clone().filter(|_| banner.link_enabled);
        Content {
            kind: banner.kind.as_str().to_owned(),
            enabled: banner.enabled,
            message: banner.message.clone(),
            starts_at: Moment(banner.start_time),
            ends_at: Moment(banner.end_time),
            link_url: linked(&banner.link_url),
            link_label: linked(&banner.link_label),
        }
    }
}
