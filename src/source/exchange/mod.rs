//! One request and its response: credentials, retries, and what the response means.

pub(super) mod fetch;
pub(super) mod query;
pub(super) mod reply;
