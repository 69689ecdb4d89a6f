//! How values are written in the API: times, lengths of time, severities that may be unknown.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::domain::observation;

/// A moment: RFC 3339 in UTC, to the millisecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

/// A moment that may be missing.
pub(super) fn moment(at: Option<Timestamp>) -> Option<Moment> {
    at.map(Moment)
}

/// Whole milliseconds.
pub(super) fn ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// A link that may stand in front of people.
#[derive(Debug, Serialize)]
pub(super) struct Link {
    url: String,
    label: String,
}

impl From<&observation::Link> for Link {
    fn from(link: &observation::Link) -> Link {
        Link { url: link.url.clone(), label: link.label.clone() }
    }
}
