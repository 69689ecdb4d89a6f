//! Values and decisions.
//!
//! Everything here is pure: no input or output, no clock, no randomness, no environment, no async code. The
//! current time and random seeds are arguments. All other modules may import this one; it imports none of
//! them.

pub mod address;
pub mod data_rule;
pub mod file_format;
pub mod markup;
pub mod monitoring;
pub mod nearest;
pub mod network;
pub mod proxy;
pub mod retry;
pub mod syncing;
pub mod tenure;
pub mod text;
pub mod urls;
