//! Watches the services a data team depends on, keeps the one banner of a Qlik Cloud tenant true, and syncs
//! data sources into tables.
//!
//! ```text
//!                  domain  (values and decisions: no IO, no clock, no async)
//!
//! monitors/*.toml ─► definitions ─► poll ─► Observation ─► assess ─► Assessment ─► plan ─► publish ─► Qlik Cloud
//!                                                            └─► board ─► web: metrics, health; log
//!
//! connectors/*.toml ─► definitions ─► connectors ─► Op, Op, Checkpoint, Op … ─► destinations (SQLite, PostgreSQL)
//!                                                                          └─► protocol (stdin, Fivetran)
//! ```

pub mod cli;
pub mod commands;
pub mod connectors;
pub mod database;
pub mod definitions;
pub mod demo;
pub mod destinations;
pub mod domain;
pub mod http;
pub mod log_file;
pub mod poll;
pub mod protocol;
pub mod publish;
pub mod resolver;
pub mod runtime;
pub mod secrets;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod web;
