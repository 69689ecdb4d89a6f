//! Status pages, what is known of them, and the banner that follows.

pub mod assess;
pub mod audience;
pub mod banner;
pub mod engine;
pub mod freshness;
pub mod history;
pub mod monitor;
pub mod news;
pub mod observation;
pub mod plan;
pub mod responses;
pub mod schedule;
pub mod severity;
