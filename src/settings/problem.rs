//! What is wrong with the configuration.

use std::fmt;

/// One configuration error: where it is, and what to do about it. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A variable, or a file with line and column.
    pub place: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Problem {
    pub fn new(place: impl fmt::Display, message: impl Into<String>) -> Problem {
        Problem { place: place.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
