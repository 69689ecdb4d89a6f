//! Commands that prepare, check and maintain an installation.

pub mod backup;
pub(crate) mod banner;
pub mod init;
pub mod man;
pub mod migrate;
pub mod settings;
pub(crate) mod validate;
