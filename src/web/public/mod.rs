//! Formats that other sites and programs read: badges, a calendar, and the Statuspage format.
//!
//! Each file is one format. Statuses come from `view`, routes from `api`.

pub(super) mod badge;
pub(super) mod calendar;
pub(super) mod statuspage;
