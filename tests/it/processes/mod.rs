//! The real program as a process: commands, signals, logs, and the system it runs on.

pub(crate) mod binary;
mod catalogue;
mod cli;
mod configuration;
mod log_file;
mod structured_log;
mod system;
mod systemd;
pub(crate) mod tls;
