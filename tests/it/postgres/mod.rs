//! PostgreSQL: real servers that the tests start themselves. Start at `cluster`.

pub(crate) mod cluster;
mod connecting;
mod migrating;
mod outages;
pub(crate) mod pooler;
mod program;
mod rights;
mod storing;
