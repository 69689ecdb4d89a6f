//! The built-in definitions, run by the engine against stand-in servers of their services.

pub(crate) mod people_ai;
mod sensource;
mod statuscake;
