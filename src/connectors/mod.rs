//! The engine that runs connector definitions.

pub mod decode;
