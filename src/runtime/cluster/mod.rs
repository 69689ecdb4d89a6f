//! Which daemon may act, where several share a database.

pub(super) mod context;
pub(super) mod standby;
pub(super) mod terms;
