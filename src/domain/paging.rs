//! Page after page: what to ask for next, and what proves that everything was read.
//!
//! Pure decisions about one partition: the engine makes the requests and tells a [`Pager`] what each [`PageContent`] was.
//! One rule holds for every kind of paging: whatever says "there is more" (a next token, a full page, a flag, a count above
//! what was read) beats whatever says "this is the end". An end needs an empty page or two witnesses; where the
//! service contradicts itself, the reading is [`Step::Partial`]. Start at [`Pager::next`]; numbers and offsets are in
//! `counted`, tokens, links and keysets in `following`, what definitions do not mention in `signs`.

mod counted;
mod following;
#[cfg(test)]
mod model;
mod progress;
pub mod signs;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

pub use progress::{Novelty, Progress};
use signs::{Sign, Signs};

/// Whole readings that are repeated because rows shifted while they were read.
pub const MAX_REREADS: u32 = 3;

/// Pages in a row with the very same rows as pages before: more is no chance.
const MAX_REPEATED: u32 = 5;
/// Pages in a row without a key that is new, though their rows changed. A feed of changes has such pages, too.
const MAX_STALE: u32 = 1_000;
/// Empty pages in a row that name a next one: filters after the cut into pages leave some.
const MAX_EMPTY: u32 = 100;

/// How a table is cut into pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// By what the next page is found.
    pub kind: PageKind,
    /// Parameter that sets the page's size, and the size.
    pub size: Option<(String, u64)>,
    /// Path of the number of all rows.
    pub total: Option<String>,
    /// Path of the number of pages.
    pub pages: Option<String>,
    /// A page shorter than asked is the last. Only where the service promises it.
    pub short_ends: bool,
    /// Paths and headers that look like signs of a next page and are none.
    pub ignore: Vec<String>,
}

/// By what the next page is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageKind {
    /// There is one page.
    None,
    /// The number of the page.
    Number {
        /// Parameter.
        at: String,
        /// Number of the first page.
        first: u64,
    },
    /// The number of rows before the page.
    Offset {
        /// Parameter.
        at: String,
    },
    /// A token in the answer.
    Token {
        /// Parameter.
        at: String,
        /// Where the token is.
        next: Next,
    },
    /// A link in the answer.
    Link {
        /// Where the link is.
        next: Next,
    },
    /// The last row's value of a column.
    Keyset {
        /// Parameter.
        at: String,
        /// Final name of the column.
        column: String,
        /// Whether no two rows have the same value, because the column is the whole key.
        unique: bool,
    },
}

/// Where an answer says how to go on.
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
    /// Takes JSON text.
    pub fn new(json: impl Into<Box<str>>) -> RawValue {
        RawValue(json.into())
    }

    /// As a query writes it: the text of a text, else the JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match serde_json::from_str::<String>(&self.0) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(&self.0),
        }
    }

    /// The JSON text itself.
    pub fn as_json_text(&self) -> &str {
        &self.0
    }

    /// As a JSON body holds it.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::from(&*self.0))
    }
}

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The table's own URL with these parameters added.
    Params(Vec<(String, RawValue)>),
    /// This URL, as the service gave it.
    Link(String),
}

/// What a page held.
#[derive(Debug, Clone, Default)]
pub struct PageContent {
    /// Rows, rejected ones included.
    pub records: u64,
    /// Which of them are new.
    pub novelty: Novelty,
    /// Where, among the page's rows, the row is whose key the pager expected.
    pub expected_at: Option<u64>,
    /// The key of the page's last row, as a hash; `None` when a row of the page had no key.
    pub last_key: Option<u64>,
    /// Stated number of all rows.
    pub total: Option<u64>,
    /// Stated number of pages.
    pub pages: Option<u64>,
    /// Token of the next page, or its whole address.
    pub next: Option<RawValue>,
    /// The address of this page.
    pub address: Option<String>,
    /// What else says whether there is more.
    pub signs: Signs,
    /// The last row's value of the keyset column.
    pub last_value: Option<RawValue>,
    /// The value before it that differs from it.
    pub value_before: Option<RawValue>,
    /// Whether the page's last two rows have one value of the keyset column.
    pub tied: bool,
    /// Whether the values of the keyset column are certainly not in order.
    pub disordered: bool,
}

/// What follows from a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for this.
    Next(Ask),
    /// Everything was read, and that is proven.
    Done,
    /// Nothing more can be asked for, and it is not certain that everything was read.
    Partial(Doubt),
}

/// Why a reading that came to its end is not known to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Rows shifted while they were read, each time.
    Shifts,
    /// The stated number of rows differed from page to page, each time.
    TotalChanges,
    /// Fewer rows came than the service states.
    Rows {
        /// Stated.
        stated: u64,
        /// Read.
        read: u64,
    },
    /// Fewer pages came than the service states.
    Pages {
        /// Stated.
        stated: u64,
        /// Read.
        read: u64,
    },
    /// Something that the definition does not mention says that there is more.
    Sign(Sign),
    /// The service gives one page whatever it is asked for.
    Unheeded(String),
    /// Ever more empty pages that name a next one.
    Empty,
    /// A table without paging whose page is as full as was asked for.
    Full(u64),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Shifts => f.write_str("rows moved between pages in every reading, so some may be missing"),
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
                "a full page comes again whatever {at} is, so the service does not heed {at} or has no more rows"
            ),
            Doubt::Full(size) => write!(
                f,
                "the answer has the {size} rows that were asked for, so there may be more: write in `page` how the next page is found"
            ),
            Doubt::Empty => write!(f, "{MAX_EMPTY} empty pages in a row named a next one"),
        }
    }
}

/// Why going on makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    /// A pagination loop.
    #[error("pagination loop: the service names a next page that was read before")]
    Loop,
    /// The service gives the same rows whatever page it is asked for.
    #[error(
        "page after page holds the very same rows: the service does not heed {0}, which asks for the next one"
    )]
    Unheeded(String),
    /// Page after page without a new row.
    #[error(
        "{0} pages in a row brought no new row, and each names a next one: pagination loop, or a wrong `key`"
    )]
    Stale(u32),
    /// A keyset page does not get past one value.
    #[error("every row of a page has the same {0}: raise the page's size or page by a unique column")]
    Stuck(String),
    /// A keyset column without a value.
    #[error("the last row of a page has no {0} to go on from")]
    NoValue(String),
    /// Rows that share a value, and cannot be read twice.
    #[error(
        "rows share one value of {0}, so the next page may pass some over: page by a unique column, or give the table a `key`"
    )]
    Tied(String),
    /// Keyset pages of rows in no order.
    #[error(
        "rows are not ordered by {0}, so the last row is no place to go on from: ask the service to sort by it"
    )]
    Unordered(String),
}

/// What a reading has learned of a service, for the other partitions of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Habits {
    /// Offsets are understood only at whole pages.
    pub whole_pages: bool,
    /// The largest page that the service gives, where that is less than asked and matters.
    pub size: Option<u64>,
}

/// The reading of one partition.
#[derive(Debug, Clone)]
pub struct Pager {
    page: Page,
    keyed: bool,
    habits: Habits,
    progress: Progress,
    pages: u64,
    new_rows: u64,
    repeated: u32,
    stale: u32,
    empty: u32,
    counted: counted::Counted,
    following: following::Following,
}

impl Pager {
    /// Begins a reading. `keyed`: whether rows can be recognised by their key.
    pub fn new(page: Page, keyed: bool) -> Pager {
        let counted = counted::Counted::new(&page);
        Pager {
            page,
            keyed,
            habits: Habits::default(),
            progress: Progress::default(),
            pages: 0,
            new_rows: 0,
            repeated: 0,
            stale: 0,
            empty: 0,
            counted,
            following: following::Following::default(),
        }
    }

    /// With what other partitions of the table have learned.
    #[must_use]
    pub fn with(mut self, habits: Habits) -> Pager {
        self.habits = habits;
        self
    }

    /// What was learned of the service.
    pub fn habits(&self) -> Habits {
        self.habits
    }

    /// Reads every row twice, where shifts would go unnoticed otherwise: for a table whose missing rows are taken for
    /// deleted.
    #[must_use]
    pub fn verified(mut self, verified: bool) -> Pager {
        self.counted.verified = verified;
        self
    }

    /// The first request.
    pub fn first(&self) -> Ask {
        self.ask()
    }

    /// The key of the last row of the page before: where offsets overlap, the coming page begins with it if rows have not
    /// shifted; a numbered page does not hold it.
    pub fn expected(&self) -> Option<u64> {
        self.counted.expected
    }

    /// Lends the rows seen so far, to be given back with [`Pager::return_progress`].
    pub fn take_progress(&mut self) -> Progress {
        std::mem::take(&mut self.progress)
    }

    /// Takes back what was lent.
    pub fn return_progress(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// Whether every page so far followed on from the one before, so that nothing before its end is missing.
    pub fn undisturbed(&self) -> bool {
        self.counted.undisturbed()
    }

    /// Pages read so far, those read again included.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// A guess at the request after the one under way: to be thrown away when wrong. Only where a total says that more
    /// will come.
    pub fn guess(&self, total: Option<u64>, came_before: Option<u64>) -> Option<Ask> {
        let size = came_before.or_else(|| self.size())?;
        let mut after = self.clone_without_progress();
        let overlaps = self.keyed && !self.habits.whole_pages && size > 1;
        after.counted.guess(&self.page.kind, size, u64::from(overlaps), total?)?;
        Some(after.ask())
    }

    fn clone_without_progress(&self) -> Pager {
        Pager {
            page: self.page.clone(),
            progress: Progress::default(),
            counted: self.counted.clone(),
            following: following::Following::default(),
            ..*self
        }
    }

    /// What to do when the service refuses the request under way with a 4xx: ask otherwise, take it for the end, or
    /// (`None`) take it for the failure it is.
    pub fn refused(&mut self, status: u16) -> Option<Step> {
        match self.page.kind {
            PageKind::Number { .. } | PageKind::Offset { .. } => self.refused_count(status),
            // Behind the last value there is nothing.
            PageKind::Keyset { .. } if self.pages > 0 && matches!(status, 404 | 416) => {
                self.next(&PageContent::default()).ok()
            }
            _ => None,
        }
    }

    /// Takes in what a page held and says what follows.
    ///
    /// # Errors
    /// When the service's paging is a loop or cannot get on.
    pub fn next(&mut self, content: &PageContent) -> Result<Step, PagingError> {
        self.pages += 1;
        self.new_rows += content.novelty.new_rows;
        if content.records == 0 {
            self.empty += 1;
            if self.empty > MAX_EMPTY {
                return Ok(Step::Partial(Doubt::Empty));
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

    /// The end of pages that are not counted, if nothing contradicts it.
    fn end(&self, content: &PageContent) -> Step {
        let rows = match self.page.kind {
            PageKind::None => content.records,
            _ => self.new_rows,
        };
        let signs = &content.signs;
        let sign = if content.records == 0 {
            // An empty page may repeat what a full one would say; a flag is said on purpose.
            signs
                .flag
                .iter()
                .filter(|(more, _)| *more)
                .map(|(_, place)| place.clone())
                .next()
                .map(|place| Sign { place, kind: signs::SignKind::Flag })
        } else {
            // Numbers of rows and pages that the definition does not name mean nothing beside a filter or a token.
            match self.page.kind {
                PageKind::None => signs.beyond(rows, self.pages),
                _ => signs.beyond(u64::MAX, u64::MAX),
            }
        };
        match (content.total.filter(|total| *total > rows), content.pages.filter(|n| *n > self.pages)) {
            _ if sign.is_some() => sign.map_or(Step::Done, |sign| Step::Partial(Doubt::Sign(sign))),
            (Some(stated), _) => Step::Partial(Doubt::Rows { stated, read: rows }),
            (None, Some(stated)) => Step::Partial(Doubt::Pages { stated, read: self.pages }),
            (None, None) => match (&self.page.kind, self.size()) {
                (PageKind::None, Some(size)) if content.records >= size => Step::Partial(Doubt::Full(size)),
                _ => Step::Done,
            },
        }
    }

    /// Rows that are asked for in a page.
    fn size(&self) -> Option<u64> {
        self.habits.size.or_else(|| self.page.size.as_ref().map(|(_, size)| *size))
    }

    fn ask(&self) -> Ask {
        if let Some(link) = &self.following.link {
            return Ask::Link(link.clone());
        }
        let number = |n: u64| RawValue::new(n.to_string());
        let mut params: Vec<(String, RawValue)> = Vec::new();
        if let (Some((name, _)), Some(size)) = (&self.page.size, self.size()) {
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
        Ask::Params(params)
    }
}
