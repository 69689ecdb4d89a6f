//! The fakes keep to what is known of their models. One module per fake; tests of the program rely on these.

mod plumbing;
mod statuspage;
mod tenant;
