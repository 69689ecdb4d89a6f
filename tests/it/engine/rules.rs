//! The rules of the engine that no built-in connector shows.
