//! What the definition of a connector says.

pub mod answer;
pub mod config;
pub mod connector;
pub mod template;
