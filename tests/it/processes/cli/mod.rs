//! The commands around the daemon, run as the real program.

mod backup;
mod banner;
mod completing;
mod flags;
mod helping;
mod init;
mod listing;
mod monitors;
mod reloading;
mod settings;
mod version;
