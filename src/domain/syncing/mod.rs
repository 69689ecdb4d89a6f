//! Connectors: their definitions, the rows they yield, and how far a sync has come.

pub mod cell;
pub mod cursor;
pub mod definition;
pub mod delivery;
pub mod link_header;
pub mod naming;
pub mod op;
pub mod paging;
pub mod rate;
pub mod run_history;
pub mod shape;
pub mod state_text;
pub mod window;
