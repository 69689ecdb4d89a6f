//! Stand-in servers: the services that the program talks to, as real HTTP servers on 127.0.0.1, each on its own port.
//!
//! Each keeps the state of its model and answers as the model is known to answer (tokens, pages, quotas, ETags). The
//! demo runs with them. The tests use the same servers with the feature `testing`, which adds what a demo must not
//! contain: recorded requests, assertions that panic, the rows a sync must find, an unreliable network. Nothing here
//! knows the program.
//!
//! Start at [`StandIn`].

#![allow(
    clippy::disallowed_methods,
    reason = "a stand-in server is a program of its own, with a clock of its own"
)]

pub mod channels;
#[cfg(feature = "testing")]
pub mod chaos;
mod clock;
mod connection;
mod draw;
pub mod engines;
#[cfg(feature = "testing")]
pub mod library;
pub mod limiter;
#[cfg(feature = "testing")]
pub mod made_up;
pub mod people_ai;
mod reply;
mod request;
pub mod sensource;
mod server;
pub mod status_page;
pub mod statuscake;
pub mod tenant;

pub use clock::Clock;
pub use reply::{Gate, Reply};
pub use request::Request;
pub use server::{Service, StandIn};
