//! Commands that run and describe connectors.

pub mod author;
pub mod check;
pub mod connector;
pub mod explain;
pub mod export;
pub mod runs;
pub mod serve;
mod stopping;
pub mod sync;
pub(super) mod sync_view;
pub mod upload;
