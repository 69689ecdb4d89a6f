//! Looking at status pages: what travels over the network becomes a reading, or a typed reason why there is none.
//!
//! One look is one call of [`look`]. It decides nothing about *when* to look, and nothing about what a reading
//! means for the banner. Start at `statuspage` (the exchange), then `body` (bytes to text), `document` (what an answer
//! says) and `reading` (what that is worth for a monitor); the last three are pure and take linear time.

mod body;
mod components;
mod document;
mod lenient;
#[cfg(test)]
mod model_tests;
mod reading;
mod statuspage;
#[cfg(test)]
mod tests;

pub use body::MAX_BODY;
pub use statuspage::{Look, MAX_RETRY_AFTER, Memo, look};
