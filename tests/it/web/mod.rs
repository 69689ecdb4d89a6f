//! The web port: dashboard, API and metrics.

mod api;
mod browser;
mod dashboard;
mod deployed;
mod web_port;
