//! Looking at status pages: what travels over the network becomes a reading, or a typed reason why there is none.
//!
//! One look is one call of [`look`]. It decides nothing about *when* to look, and nothing about what a reading
//! means for the banner. Start at `statuspage` (the exchange), then `document` (what an answer says) and
//! `reading` (what that is worth for a monitor); the last two are pure.

mod components;
mod document;
mod lenient;
mod reading;
mod statuspage;
#[cfg(test)]
mod tests;

pub use statuspage::{Look, MAX_BODY, MAX_RETRY_AFTER, Memo, look};
