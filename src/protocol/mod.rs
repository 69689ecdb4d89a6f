//! The fronts by which other people's pipelines run a connector: one JSON document in and one out ([`stdin`]), and
//! Fivetran's source service over gRPC ([`fivetran`]).
//!
//! Both consume the op stream of a [`source::Source`] and know nothing of how it comes about. Neither keeps anything
//! between two calls: what has to be remembered goes to the caller and comes back with the next call, as
//! [`saved::Saved`]. Neither reads the environment: a call is configured by what it brings.
//!
//! Start at [`stdin::answer`] and [`fivetran::serve`].

mod fitted;
pub mod fivetran;
mod given;
pub mod saved;
pub mod source;
pub mod stdin;
mod sweep;
