//! Polls status pages. The result is a reading, or a typed reason why there is none.
//!
//! One poll is one call of [`look`]. Callers decide when to poll and what a reading means for the banner. Start at
//! `poll_page` (what a poll does), then `fetch` (requests, shared between monitors), `body` (bytes to text), `document` (text
//! to a document, a `tree`), `engine` (documents to what the page says) and `reading` (that to a reading for a monitor); the last four
//! are pure and take linear time.

mod body;
mod components;
mod detect;
mod document;
mod engine;
#[cfg(test)]
mod engine_tests;
mod explain;
mod fetch;
#[cfg(test)]
mod judging_tests;
#[cfg(test)]
mod model_tests;
mod page;
mod poll_page;
mod reading;
#[cfg(test)]
mod tests;
mod tree;

pub use detect::{Detection, detect};
pub use explain::{Explanation, explain, judge_sample};
pub use fetch::{PageCache, PageDocuments};
pub use poll_page::{PollResult, look};
