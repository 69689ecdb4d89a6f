//! The entry points by which other pipelines run a connector: one JSON document in and one out ([`stdin`]), and
//! Fivetran's source service over gRPC ([`fivetran`]).
//!
//! Both consume the op stream of a [`source::PipelineSource`] and do not know how it is produced. Neither stores anything
//! between two calls: the caller stores the state and sends it with the next call, as [`saved::SavedState`]. Neither reads
//! the environment: a request contains its configuration.
//!
//! Start at [`stdin::answer`] and [`fivetran::serve`].

mod fitted;
pub mod fivetran;
mod given;
pub mod saved;
pub mod source;
pub mod stdin;
mod sweep;
