//! Connectors, from the engine to the destinations.

mod authoring;
pub(crate) mod commands;
pub(crate) mod contract;
mod crashing;
mod daylight_saving;
pub(crate) mod engine;
mod exporting;
mod memory_limits;
mod overtaken;
mod qlik_data;
mod reloading;
pub(crate) mod services;
mod shared_jobs;
mod sqlite;
