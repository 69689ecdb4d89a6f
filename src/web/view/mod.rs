//! The shared view of pages, API and public formats: status, wording, history and charts.
//!
//! Nothing here answers requests. Start at `status`.

pub mod records;

pub(super) mod channels;
pub(super) mod charts;
pub(super) mod days;
pub(super) mod deliveries;
pub(super) mod headline;
pub(super) mod history;
pub(super) mod listing;
pub(super) mod response_chart;
pub(super) mod status;
pub(super) mod words;
