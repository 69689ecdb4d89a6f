//! The fakes keep to what is known of their models. One module per fake; tests of the program rely on these.

mod chaos;
mod people_ai;
mod plumbing;
mod sensource;
mod statuscake;
mod statuspage;
mod tenant;
