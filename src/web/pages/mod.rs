//! The dashboard. `overview`, `monitor_detail` and `connector_detail` are the pages; the other files are their parts.
//!
//! Nothing here decides a status: see `view`. Start at `overview`.

pub(super) mod assets;
pub(super) mod connector_detail;
pub(super) mod layout;
pub(super) mod monitor_detail;
pub(super) mod overview;

mod connector_cards;
mod monitor_list;
mod run_table;
mod tenant_banner;
mod timeline;

#[cfg(test)]
mod tests;
