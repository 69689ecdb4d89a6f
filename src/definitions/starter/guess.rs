//! A proposed value, and whether it is certain.

/// A value that a sample page proves or suggests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    pub is: String,
    /// The page proves it; otherwise it is a guess.
    pub sure: bool,
    /// The reason, for the author.
    pub why: String,
}

impl Guess {
    /// The page proves it.
    pub(super) fn sure(is: impl Into<String>, why: impl Into<String>) -> Guess {
        Guess { is: is.into(), sure: true, why: why.into() }
    }

    /// The page suggests it.
    pub(super) fn unsure(is: impl Into<String>, why: impl Into<String>) -> Guess {
        Guess { is: is.into(), sure: false, why: why.into() }
    }
}
