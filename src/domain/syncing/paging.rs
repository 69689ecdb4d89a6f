//! Pagination: what to request next, and when a reading is complete.
//!
//! Pure decisions about one partition: the engine makes the requests and passes each [`PageContent`] to a
//! [`Pager`]. One rule holds for every kind of paging: any sign of more rows (a next token, a full page, a
//! flag, a count above what was read) overrides any sign of the end. An end needs an empty page or two
//! independent signs. If the service contradicts itself, the reading is [`PagingStep::Partial`]. Start at
//! [`Pager::next`]. Numbers and offsets are in `counted`, tokens, links and keysets in `following`, signs
//! that definitions do not mention in `signs`, page sizes in `sizing`.

mod counted;
mod following;
#[cfg(test)]
mod model;
mod outcome;
mod progress;
pub mod signs;
mod sizing;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

pub use outcome::{Doubt, PagingError, PagingStep};
pub use progress::{Novelty, PagingProgress};
use signs::{Sign, Signs};
pub use sizing::PageSizes;

/// How often a complete reading is repeated because rows shifted while they were read.
pub const MAX_REREADS: u32 = 3;

/// Maximum number of consecutive pages with the same rows as earlier pages; more are not a coincidence.
const MAX_REPEATED: u32 = 5;
/// Maximum number of consecutive pages with changed rows but without a new key. A feed of changes has such
/// pages.
const MAX_STALE: u32 = 1_000;
/// Maximum number of consecutive empty pages that name a next one; filters applied after pagination leave
/// some.
const MAX_EMPTY: u32 = 100;

/// How a table is divided into pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    pub kind: PageKind,
    /// Parameter for the page size, and the size.
    pub size: Option<(String, u64)>,
    /// Maximum number of rows to request per page, if larger than the size.
    pub size_max: Option<u64>,
    /// Path of the total number of rows.
    pub total: Option<String>,
    /// Path of the number of pages.
    pub pages: Option<String>,
    /// A short page is the last one. Only if the service guarantees it.
    pub short_ends: bool,
    /// Paths and headers that look like signs of a next page but are not.
    pub ignore: Vec<String>,
}

/// How the next page is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageKind {
    /// There is one page.
    None,
    /// By page number.
    Number { at: String, first: u64 },
    /// By the number of rows before the page.
    Offset { at: String },
    /// By a token in the response.
    Token { at: String, next: Next },
    /// By a link in the response.
    Link { next: Next },
    /// By the last row's value of a column.
    Keyset {
        at: String,
        /// Final name of the column.
        column: String,
        /// Whether values are unique because the column is the whole key.
        unique: bool,
    },
}

/// Where a response names the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A path in the body.
    Path(String),
    /// A header.
    Header(String),
    /// The `Link` header's `rel="next"`.
    LinkHeader,
}

/// A value as the source wrote it: JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawValue(Box<str>);

impl RawValue {
    pub fn new(json: impl Into<Box<str>>) -> RawValue {
        RawValue(json.into())
    }

    /// The value in a query: the text of a string, otherwise the JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match serde_json::from_str::<String>(&self.0) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(&self.0),
        }
    }

    pub fn as_json_text(&self) -> &str {
        &self.0
    }

    /// The value in a JSON body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::from(&*self.0))
    }
}

/// The request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageRequest {
    /// The table's own URL with these parameters added.
    Params(Vec<(String, RawValue)>),
    /// This URL, as the service gave it.
    Link(String),
}

/// A summary of one page.
#[derive(Debug, Clone, Default)]
pub struct PageContent {
    /// Number of rows, including rejected ones.
    pub records: u64,
    /// Which of them are new.
    pub novelty: Novelty,
    /// Index on the page of the row whose key the pager expected.
    pub expected_at: Option<u64>,
    /// The key of the page's last row, as a hash; `None` if a row of the page has no key.
    pub last_key: Option<u64>,
    /// Stated total number of rows.
    pub total: Option<u64>,
    /// Stated number of pages.
    pub pages: Option<u64>,
    /// Token of the next page, or its complete address.
    pub next: Option<RawValue>,
    /// The address of this page.
    pub address: Option<String>,
    /// Other signs of more rows.
    pub signs: Signs,
    /// The last row's value of the keyset column.
    pub last_value: Option<RawValue>,
    /// The last value before it that differs from it.
    pub value_before: Option<RawValue>,
    /// Whether the page's last two rows have the same value of the keyset column.
    pub tied: bool,
    /// Whether the values of the keyset column are definitely not in order.
    pub disordered: bool,
}

/// What a reading learned about a service, for the other partitions of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Habits {
    /// Offsets are accepted only at page boundaries.
    pub whole_pages: bool,
    /// The largest page that the service returns, if that is less than requested and matters.
    pub size: Option<u64>,
    /// Which larger sizes it accepts.
    pub sizes: PageSizes,
}

/// The reading of one partition.
#[derive(Debug, Clone)]
pub struct Pager {
    page: Paging,
    keyed: bool,
    habits: Habits,
    progress: PagingProgress,
    pages: u64,
    new_rows: u64,
    repeated: u32,
    stale: u32,
    empty: u32,
    counted: counted::CountedPages,
    sizing: sizing::Sizing,
    following: following::Following,
}

impl Pager {
    /// Starts a reading. `keyed`: whether rows can be recognised by their key.
    pub fn new(page: Paging, keyed: bool) -> Pager {
        let counted = counted::CountedPages::new(&page);
        Pager {
            page,
            keyed,
            habits: Habits::default(),
            progress: PagingProgress::default(),
            pages: 0,
            new_rows: 0,
            repeated: 0,
            stale: 0,
            empty: 0,
            counted,
            sizing: sizing::Sizing::default(),
            following: following::Following::default(),
        }
    }

    /// Uses what other partitions of the table learned.
    #[must_use]
    pub fn with(mut self, habits: Habits) -> Pager {
        self.habits = habits;
        self
    }

    /// What was learned about the service.
    pub fn habits(&self) -> Habits {
        self.habits
    }

    /// Reads every row twice if shifts would go unnoticed otherwise. For a table whose missing rows are
    /// marked deleted.
    #[must_use]
    pub fn verified(mut self, verified: bool) -> Pager {
        self.counted.verified = verified;
        self
    }

    pub fn first(&self) -> PageRequest {
        self.ask()
    }

    /// The key of the last row of the previous page. With overlapping offsets, the next page starts with that
    /// row if rows have not shifted; a numbered page does not contain it.
    pub fn expected(&self) -> Option<u64> {
        self.counted.expected
    }

    /// Takes the rows seen so far, to be returned with [`Pager::return_progress`].
    pub fn take_progress(&mut self) -> PagingProgress {
        std::mem::take(&mut self.progress)
    }

    pub fn return_progress(&mut self, progress: PagingProgress) {
        self.progress = progress;
    }

    /// Whether every page so far followed the previous one without a gap.
    pub fn undisturbed(&self) -> bool {
        self.counted.undisturbed()
    }

    /// Pages read so far, including those read again.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Predicts the request after the page that was fetched, before its rows are known; to be discarded if
    /// wrong. Only if the response says that there are more rows.
    pub fn guess(&self, content: &PageContent, came_before: Option<u64>) -> Option<PageRequest> {
        let mut after = self.clone_without_progress();
        match (&self.page.kind, content.total) {
            (PageKind::Token { .. } | PageKind::Link { .. }, _) => {
                after.follow(content.next.clone()?, &self.following)?
            }
            (kind, total) => {
                let size = self.coming(came_before)?;
                let overlaps = self.keyed && !self.habits.whole_pages && size > 1;
                after.counted.guess(kind, size, u64::from(overlaps), total?)?;
            }
        }
        Some(after.ask())
    }

    /// Restarts with the first page, as if no row had been read.
    fn restart(&mut self) {
        self.progress = PagingProgress::default();
        (self.repeated, self.stale, self.empty) = (0, 0, 0);
        self.sizing = sizing::Sizing::default();
        self.counted.restart();
    }

    fn clone_without_progress(&self) -> Pager {
        Pager {
            page: self.page.clone(),
            progress: PagingProgress::default(),
            counted: self.counted.clone(),
            following: following::Following::default(),
            ..*self
        }
    }

    /// The step after the service rejected the current request with a 4xx: another request, the end, or
    /// `None` if it is a failure.
    pub fn refused(&mut self, status: u16) -> Option<PagingStep> {
        let smaller = match status {
            400 | 413 | 422 => self.reject_size(),
            404 | 416 => self.reset_size(),
            _ => None,
        };
        if smaller.is_some() {
            return smaller;
        }
        match self.page.kind {
            PageKind::Number { .. } | PageKind::Offset { .. } => self.refused_count(status),
            // There are no rows after the last value.
            PageKind::Keyset { .. } if self.pages > 0 && matches!(status, 404 | 416) => {
                self.next(&PageContent::default()).ok()
            }
            _ => None,
        }
    }

    /// Evaluates a page and returns the next step.
    ///
    /// # Errors
    /// If the pagination loops or cannot continue.
    pub fn next(&mut self, content: &PageContent) -> Result<PagingStep, PagingError> {
        self.pages += 1;
        self.new_rows += content.novelty.new_rows;
        if content.records == 0 {
            self.empty += 1;
            if self.empty > MAX_EMPTY {
                return Ok(PagingStep::Partial(Doubt::Empty));
            }
        } else {
            self.empty = 0;
            self.check_progress(content)?;
        }
        match &self.page.kind {
            PageKind::None => Ok(self.end(content)),
            PageKind::Number { .. } | PageKind::Offset { .. } => self.next_counted(content),
            PageKind::Token { .. } | PageKind::Link { .. } => self.next_named(content),
            PageKind::Keyset { .. } => self.next_value(content),
        }
    }

    fn check_progress(&mut self, content: &PageContent) -> Result<(), PagingError> {
        let none = content.novelty.new_rows == 0;
        self.repeated = if content.novelty.repeated { self.repeated + 1 } else { 0 };
        self.stale = if none { self.stale + 1 } else { 0 };
        if self.repeated > MAX_REPEATED {
            return Err(match &self.page.kind {
                PageKind::Number { at, .. } | PageKind::Offset { at } => PagingError::Unheeded(at.clone()),
                _ => PagingError::Stale(self.stale),
            });
        }
        if self.keyed && self.stale > MAX_STALE { Err(PagingError::Stale(self.stale)) } else { Ok(()) }
    }

    /// The end of pages without numbers or offsets, unless something contradicts it.
    fn end(&self, content: &PageContent) -> PagingStep {
        let rows = match self.page.kind {
            PageKind::None => content.records,
            _ => self.new_rows,
        };
        let signs = &content.signs;
        let sign = if content.records == 0 {
            // An empty page may repeat the totals of a full one; a flag is set deliberately.
            signs
                .flag
                .iter()
                .filter(|(more, _)| *more)
                .map(|(_, place)| place.clone())
                .next()
                .map(|place| Sign { place, kind: signs::SignKind::Flag })
        } else {
            // Totals that the definition does not name are not reliable with a filter or a token.
            match self.page.kind {
                PageKind::None => signs.beyond(rows, self.pages),
                _ => signs.beyond(u64::MAX, u64::MAX),
            }
        };
        match (content.total.filter(|total| *total > rows), content.pages.filter(|n| *n > self.pages)) {
            _ if sign.is_some() => {
                sign.map_or(PagingStep::Done, |sign| PagingStep::Partial(Doubt::Sign(sign)))
            }
            (Some(stated), _) => PagingStep::Partial(Doubt::Rows { stated, read: rows }),
            (None, Some(stated)) => PagingStep::Partial(Doubt::Pages { stated, read: self.pages }),
            (None, None) => match (&self.page.kind, self.size()) {
                (PageKind::None, Some(size)) if content.records >= size => {
                    PagingStep::Partial(Doubt::Full(size))
                }
                _ => PagingStep::Done,
            },
        }
    }

    fn ask(&self) -> PageRequest {
        if let Some(link) = &self.following.link {
            return PageRequest::Link(link.clone());
        }
        let number = |n: u64| RawValue::new(n.to_string());
        let mut params: Vec<(String, RawValue)> = Vec::new();
        if let (Some((name, _)), Some(size)) = (&self.page.size, self.requested()) {
            params.push((name.clone(), number(size)));
        }
        match &self.page.kind {
            PageKind::Number { at, .. } | PageKind::Offset { at } => {
                params.push((at.clone(), number(self.counted.at)));
            }
            PageKind::Token { at, .. } | PageKind::Keyset { at, .. } => {
                params.extend(self.following.sent.clone().map(|value| (at.clone(), value)));
            }
            PageKind::None | PageKind::Link { .. } => {}
        }
        PageRequest::Params(params)
    }
}
