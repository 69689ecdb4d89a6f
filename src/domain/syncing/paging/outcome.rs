//! The step after a page, and why a reading may be incomplete. The decisions are in [`Pager`](super::Pager).

use std::fmt;

use super::signs::Sign;
use super::{MAX_EMPTY, PageRequest};

/// The step after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PagingStep {
    Next(PageRequest),
    /// Everything was read, and that is proven.
    Done,
    /// Nothing more can be requested, and it is not certain that everything was read.
    Partial(Doubt),
}

/// Why a finished reading is not known to be complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Rows shifted during every reading.
    Shifts,
    /// The stated total changed between pages in every reading.
    TotalChanges,
    /// Fewer rows were read than the service states.
    Rows { stated: u64, read: u64 },
    /// Fewer pages were read than the service states.
    Pages { stated: u64, read: u64 },
    /// A sign that the definition does not mention says that there are more rows.
    Sign(Sign),
    /// The service returns the same page for every request.
    Unheeded(String),
    /// Too many empty pages that name a next one.
    Empty,
    /// A table without paging whose page has as many rows as requested.
    Full(u64),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Shifts => {
                f.write_str("rows shifted between pages in every reading, so some may be missing")
            }
            Doubt::TotalChanges => f.write_str(
                "the stated total changed from page to page in every reading, so rows may be missing",
            ),
            Doubt::Rows { stated, read } => {
                write!(f, "the source states a total of {stated} rows, and {read} could be read")
            }
            Doubt::Pages { stated, read } => {
                write!(f, "the source states {stated} pages, and {read} could be read")
            }
            Doubt::Sign(sign) => write!(f, "there may be more rows: {sign}"),
            Doubt::Unheeded(at) => write!(
                f,
                "the same full page is returned for every {at}, so the service ignores {at} or has no more rows"
            ),
            Doubt::Full(size) => write!(
                f,
                "the answer has the {size} rows that were asked for, so there may be more: write in `page` how the next page is found"
            ),
            Doubt::Empty => write!(f, "{MAX_EMPTY} empty pages in a row named a next one"),
        }
    }
}

/// Why a reading cannot continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    #[error("pagination loop: the service names a next page that was read before")]
    Loop,
    /// The service returns the same rows for every page.
    #[error("consecutive pages have the same rows: the service ignores {0}, which requests the next page")]
    Unheeded(String),
    /// Too many pages without a new row.
    #[error(
        "{0} pages in a row brought no new row, and each names a next one: pagination loop, or a wrong `key`"
    )]
    Stale(u32),
    /// All rows of a keyset page have the same value.
    #[error("every row of a page has the same {0}: raise the page's size or page by a unique column")]
    Stuck(String),
    /// A keyset column without a value.
    #[error("the last row of a page has no {0} to continue from")]
    NoValue(String),
    /// Rows that share a value and cannot be read twice.
    #[error(
        "rows share one value of {0}, so the next page may skip some: page by a unique column, or give the table a `key`"
    )]
    Tied(String),
    /// Keyset pages of unordered rows.
    #[error(
        "rows are not ordered by {0}, so the last row is not a valid position to continue from: request rows sorted by it"
    )]
    Unordered(String),
}
