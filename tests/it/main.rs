//! The one integration binary: the program, and parts of it, between real servers on the loopback interface.
//! Start at the crate `stand_ins` for the servers, then at the module named after the subject.

#![allow(
    clippy::disallowed_methods,
    reason = "tests drive real programs, in real time and with the environment they get"
)]

#[cfg(test)]
mod entry_points;
#[cfg(test)]
mod http_client;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod stand_ins_check;
#[cfg(test)]
mod syncing;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod web;
