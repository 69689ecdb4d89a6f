//! How the API writes values: times, durations, links.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::domain::monitoring::observation;

/// RFC 3339 in UTC, to the millisecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApiTime(pub(super) Timestamp);

impl Serialize for ApiTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

pub(super) fn optional_time(at: Option<Timestamp>) -> Option<ApiTime> {
    at.map(ApiTime)
}

/// Whole milliseconds.
pub(super) fn ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Serialize)]
pub(super) struct LinkEntry {
    url: String,
    label: String,
}

impl From<&observation::Link> for LinkEntry {
    fn from(link: &observation::Link) -> LinkEntry {
        LinkEntry { url: link.url.clone(), label: link.label.clone() }
    }
}
