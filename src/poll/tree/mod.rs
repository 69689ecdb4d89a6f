//! A document as a tree of values, whatever its format, and the times in it.
//!
//! Start at [`node::Node`].

pub(super) mod node;
pub(super) mod time;
pub(super) mod xml;

/// Longest list or object that is read. The largest known status page has 300 components.
pub(super) const MAX_ITEMS: usize = 20_000;
