//! Polls status pages and keeps the banners of the tenants.

pub mod connection;
pub mod deliveries;
pub mod messenger;
pub mod publisher;
pub mod tenants;
pub mod watcher;
