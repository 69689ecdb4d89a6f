//! Values and decisions: what the program knows and how it judges it.
//!
//! Everything here is pure: no input or output, no clock, no randomness, no environment, nothing
//! asynchronous. The present moment and random seeds are arguments. Imported by all, imports none of ours.

pub mod address;
pub mod answer;
pub mod assess;
pub mod banner;
pub mod cell;
pub mod config;
pub mod connector;
pub mod cursor;
pub mod freshness;
pub mod history;
pub mod ledger;
pub mod link_header;
pub mod markup;
pub mod monitor;
pub mod naming;
pub mod nearest;
pub mod observation;
pub mod op;
pub mod paging;
pub mod plan;
pub mod proxy;
pub mod rate;
pub mod retry;
pub mod schedule;
pub mod severity;
pub mod shape;
pub mod state_text;
pub mod template;
pub mod tenure;
pub mod text;
pub mod urls;
pub mod window;
