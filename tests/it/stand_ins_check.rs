//! Stand-in servers behave as their models are known to. One module per server; tests of the program rely on these.

mod chaos;
mod people_ai;
mod plumbing;
mod sensource;
mod status_page;
mod statuscake;
mod tenant;
