//! The daemon, and what shows whether it works.

pub(crate) mod changed_settings;
pub(crate) mod daemon;
pub mod demo;
pub(crate) mod healthcheck;
pub(crate) mod records;
pub(crate) mod run;
