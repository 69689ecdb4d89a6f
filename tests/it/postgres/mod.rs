//! PostgreSQL: real servers that the tests start themselves. Start at `cluster` for how.

mod connecting;
mod outages;
mod program;
mod rights;
mod storing;
