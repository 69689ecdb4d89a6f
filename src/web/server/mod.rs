//! The port itself: connections, access control, response headers, compression, and the stream that updates open pages.

pub(crate) mod connections;
pub mod security;

pub(super) mod compression;
pub(super) mod events;
