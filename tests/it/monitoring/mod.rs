//! Polling status pages and keeping the banner.

mod captured_log;
pub(crate) mod channels;
mod daemon;
pub(crate) mod demo;
mod engines;
mod failover;
mod qlik;
pub(crate) mod status_page;
mod tenants;
