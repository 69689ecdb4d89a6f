//! Places that messages are sent to, and what people see there.

pub mod slack;
#[cfg(feature = "testing")]
pub mod webhook;
