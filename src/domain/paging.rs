//! Page after page: what to ask for next, and whether what came can be trusted.
//!
//! Pure decisions about one partition: the engine makes the requests and tells a [`Pager`] what it [`Seen`]. A short
//! page alone ends nothing; offsets advance by what came; a token seen before is an error; and rows that moved between
//! two requests are read again, at most [`MAX_REREADS`] times. Start at [`Pager::next`].

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Whole readings that are repeated because rows moved while they were read.
pub const MAX_REREADS: u32 = 3;

/// Full pages in a row that bring nothing new: a list that grows at its head faster than we read is not caught up with.
const MAX_STALLS: u32 = 10;
/// Pages with the very same rows, one after the other, that are no chance any more.
const MAX_SAME: u32 = 5;

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

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The table's own URL with these parameters added.
    Params(Vec<(String, String)>),
    /// This URL, as the service gave it.
    Link(String),
}

/// What a page held.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Rows, rejected ones included.
    pub records: u64,
    /// Where, among the page's rows, the row is whose key the pager expected.
    pub expected_at: Option<u64>,
    /// The key of the page's last row; `None` when a row of the page had no key.
    pub last_key: Option<String>,
    /// Stated number of all rows.
    pub total: Option<u64>,
    /// Stated number of pages.
    pub pages: Option<u64>,
    /// Token or link of the next page.
    pub next: Option<String>,
    /// The last row's value of the keyset column.
    pub last_value: Option<String>,
    /// What tells the page's rows from others, where they have no key.
    pub print: Option<u64>,
}

/// What follows from a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for this.
    Next(Ask),
    /// Everything was read.
    Done,
    /// Everything was read as often as it may be, and rows moved each time.
    Unsettled,
}

/// Why going on makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    /// The service would lead us in a circle.
    #[error("the service names a next page that was read before: its paging goes in a circle")]
    Circle,
    /// The service gives the same rows whatever page it is asked for.
    #[error(
        "page after page holds the very same rows: the service does not heed {0}, which asks for the next one"
    )]
    Unheeded(String),
    /// A keyset page does not get past one value.
    #[error("a whole page has one value of {0}: raise the page's size or page by a unique column")]
    Stuck(String),
    /// A keyset column without a value.
    #[error("the last row of a page has no {0} to go on from")]
    NoValue(String),
}

/// The reading of one partition.
#[derive(Debug, Clone)]
pub struct Pager {
    page: Page,
    keyed: bool,
    at: u64,
    overlap: u64,
    expected: Option<String>,
    stepped_back: bool,
    moved: bool,
    rereads: u32,
    widest: u64,
    stalls: u32,
    sum: u64,
    total: Option<u64>,
    seen: HashSet<u64>,
    sent: Option<String>,
    /// Numbered pages that held the last row of the page before, and where; and those of the reading before this one.
    seams: Vec<(u64, u64)>,
    seams_before: Vec<(u64, u64)>,
    print: Option<u64>,
    same: u32,
}

impl Pager {
    /// Begins a reading. `keyed`: whether rows can be recognised by their key.
    pub fn new(page: Page, keyed: bool) -> Pager {
        let at = if let PageKind::Number { first, .. } = &page.kind { *first } else { 0 };
        Pager {
            page,
            keyed,
            at,
            overlap: 0,
            expected: None,
            stepped_back: false,
            moved: false,
            rereads: 0,
            widest: 0,
            stalls: 0,
            sum: 0,
            total: None,
            seen: HashSet::new(),
            sent: None,
            seams: Vec::new(),
            seams_before: Vec::new(),
            print: None,
            same: 0,
        }
    }

    /// The first request.
    pub fn first(&self) -> Ask {
        self.ask()
    }

    /// The key of the last row of the page before: where offsets overlap, the coming page begins with it if rows have not
    /// moved; a numbered page does not hold it.
    pub fn expected(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// Whether every page so far followed on from the one before, so that nothing before its end is missing.
    pub fn undisturbed(&self) -> bool {
        self.rereads == 0 && !self.moved && !self.stepped_back && self.seams.is_empty()
    }

    /// A guess at the request after the one under way, if `size` rows come: to be thrown away when wrong. Only where a
    /// total says that more will come.
    pub fn guess(&self, total: Option<u64>, came_before: Option<u64>) -> Option<Ask> {
        let size = came_before.or_else(|| self.page.size.as_ref().map(|(_, size)| *size))?;
        let mut after = self.clone();
        match &self.page.kind {
            PageKind::Offset { .. } => {
                let end = self.at + size;
                (end < total?).then_some(())?;
                after.at = if self.keyed { end.saturating_sub(1) } else { end };
            }
            PageKind::Number { first, .. } => {
                ((self.at - first + 1) * size < total?).then_some(())?;
                after.at += 1;
            }
            _ => return None,
        }
        Some(after.ask())
    }

    /// Takes in what a page held and says what follows.
    ///
    /// # Errors
    /// When the service's paging goes in a circle or cannot get on.
    pub fn next(&mut self, seen: &Seen) -> Result<Step, PagingError> {
        self.same = if seen.print.is_some() && seen.print == self.print { self.same + 1 } else { 0 };
        self.print = seen.print;
        match self.page.kind.clone() {
            PageKind::Number { at, .. } | PageKind::Offset { at } if self.same >= MAX_SAME => {
                Err(PagingError::Unheeded(at))
            }
            PageKind::None => Ok(Step::Done),
            PageKind::Number { first, .. } => Ok(self.next_number(first, seen)),
            PageKind::Offset { .. } => Ok(self.next_offset(seen)),
            PageKind::Token { .. } | PageKind::Link { .. } => self.next_token(seen),
            PageKind::Keyset { column, .. } => self.next_value(&column, seen),
        }
    }

    fn next_number(&mut self, first: u64, seen: &Seen) -> Step {
        self.note_total(seen.total);
        match self.expected.as_ref().and(seen.expected_at) {
            // The same page again: behind its last one the service has nothing else, or it does not heed the number,
            // and then a full page may not be all.
            Some(at) if at + 1 == seen.records => {
                self.moved |= self.is_full(seen.records);
                return self.end(first);
            }
            // Rows were put in before this page: what they pushed on is here, they themselves are behind us.
            Some(at) => self.seams.push((self.at, at)),
            None => {}
        }
        self.sum += seen.records;
        // A stated count of zero pages beside rows is a service that does not count.
        let last = seen.pages.filter(|pages| *pages > 0).is_some_and(|pages| self.at - first + 1 >= pages)
            || seen.pages.is_none() && self.total.is_some_and(|total| self.sum >= total);
        if seen.records == 0 || last || self.is_short(seen.records) {
            return self.end(first);
        }
        self.expected = seen.last_key.clone().filter(|_| self.keyed);
        self.at += 1;
        Step::Next(self.ask())
    }

    fn next_offset(&mut self, seen: &Seen) -> Step {
        self.total = seen.total.or(self.total);
        if seen.records == 0 {
            // Nothing here although a row we know should be: the list has shrunk, and what slipped over the seam is
            // further back.
            if self.expected.is_some() && self.at > 0 {
                self.stepped_back = true;
                self.at = self.at.saturating_sub(self.step());
                return Step::Next(self.ask());
            }
            return self.end(0);
        }
        match (&self.expected, seen.expected_at) {
            // Rows were put in before this place: what they pushed on is here, they themselves may be behind us.
            (Some(_), Some(at)) if at > 0 && !self.stepped_back => self.moved = true,
            // Rows before this place went away, and others slipped over the seam: look for the seam further back.
            (Some(_), None) if !self.stepped_back => {
                self.stepped_back = true;
                self.at = self.at.saturating_sub(self.step());
                return Step::Next(self.ask());
            }
            (Some(_), None) => self.moved = true,
            _ => {}
        }
        self.stepped_back = false;
        let end = self.at + seen.records;
        // The row we knew is the page's last: nothing is behind it, unless the page is as full as they get.
        let stalled = self.overlap > 0 && seen.expected_at == Some(seen.records - 1);
        self.stalls = if stalled { self.stalls + 1 } else { 0 };
        self.widest = self.widest.max(seen.records);
        let nothing_new = stalled && (seen.records < self.widest || self.stalls > MAX_STALLS);
        self.sum = self.sum.max(end);
        if nothing_new || self.reached(end, seen.records) || self.is_short(seen.records) {
            return self.end(0);
        }
        self.expected = seen.last_key.clone().filter(|_| self.keyed);
        // A page of one row cannot overlap and still advance.
        self.overlap = u64::from(self.expected.is_some() && self.step() > 1 && seen.records > 1);
        if self.overlap == 0 {
            self.expected = None;
        }
        self.at = end - self.overlap;
        Step::Next(self.ask())
    }

    fn next_token(&mut self, seen: &Seen) -> Result<Step, PagingError> {
        self.sum += seen.records;
        self.note_total(seen.total);
        let Some(token) = seen.next.clone().filter(|token| !token.is_empty() && seen.records > 0) else {
            return Ok(Step::Done);
        };
        self.remember(&token)?;
        Ok(Step::Next(match &self.page.kind {
            PageKind::Link { .. } => Ask::Link(token),
            _ => {
                self.sent = Some(token);
                self.ask()
            }
        }))
    }

    fn next_value(&mut self, column: &str, seen: &Seen) -> Result<Step, PagingError> {
        if seen.records == 0 || self.is_short(seen.records) {
            return Ok(Step::Done);
        }
        let value = seen.last_value.clone().ok_or_else(|| PagingError::NoValue(column.to_owned()))?;
        if self.sent.as_deref() == Some(&value) {
            // Asked for "from here on", the service gives the last row again and again.
            let full = self.page.size.as_ref().is_some_and(|(_, size)| seen.records >= *size && *size > 1);
            return if full { Err(PagingError::Stuck(column.to_owned())) } else { Ok(Step::Done) };
        }
        self.remember(&value)?;
        self.sent = Some(value);
        Ok(Step::Next(self.ask()))
    }

    /// The end of one whole reading: enough, or once more because rows moved or are missing.
    fn end(&mut self, first: u64) -> Step {
        let missing = self.total.is_some_and(|total| self.sum < total);
        // Twice at the same places, it is not that rows moved: several have one key.
        let pushed = self.seams != self.seams_before && !self.seams.is_empty();
        if !self.moved && !pushed && !missing {
            return Step::Done;
        }
        if self.rereads >= MAX_REREADS || !self.keyed {
            return Step::Unsettled;
        }
        self.rereads += 1;
        (self.at, self.overlap, self.sum) = (first, 0, 0);
        (self.moved, self.expected, self.total) = (false, None, None);
        self.seams_before = std::mem::take(&mut self.seams);
        Step::Next(self.ask())
    }

    fn note_total(&mut self, total: Option<u64>) {
        if let (Some(before), Some(now)) = (self.total, total) {
            self.moved |= before != now;
        }
        self.total = total.or(self.total);
    }

    fn remember(&mut self, token: &str) -> Result<(), PagingError> {
        let mut hasher = DefaultHasher::new();
        token.hash(&mut hasher);
        if self.seen.insert(hasher.finish()) { Ok(()) } else { Err(PagingError::Circle) }
    }

    fn step(&self) -> u64 {
        // Without a stated size the page before tells nothing reliable; a hundred rows back is far enough to look.
        self.page.size.as_ref().map_or(100, |(_, size)| *size)
    }

    /// Whether a page that ends after so many rows is the last by the stated total. A service that counts only so far (to
    /// ten thousand, say) states too small a one, so a full page is never the last: the next begins with a row that is
    /// there for sure.
    fn reached(&self, end: u64, records: u64) -> bool {
        !(self.is_full(records) && self.keyed) && self.total.is_some_and(|total| end >= total)
    }

    fn is_full(&self, records: u64) -> bool {
        self.page.size.as_ref().is_some_and(|(_, size)| *size > 1 && records >= *size)
    }

    fn is_short(&self, records: u64) -> bool {
        self.page.short_ends && self.page.size.as_ref().is_some_and(|(_, size)| records < *size)
    }

    fn ask(&self) -> Ask {
        let mut params: Vec<(String, String)> = Vec::new();
        if let Some((name, size)) = &self.page.size {
            params.push((name.clone(), size.to_string()));
        }
        match &self.page.kind {
            PageKind::Number { at, .. } | PageKind::Offset { at } => {
                params.push((at.clone(), self.at.to_string()))
            }
            PageKind::Token { at, .. } | PageKind::Keyset { at, .. } => {
                params.extend(self.sent.clone().map(|value| (at.clone(), value)));
            }
            PageKind::None | PageKind::Link { .. } => {}
        }
        Ask::Params(params)
    }
}

#[cfg(test)]
#[path = "paging_tests.rs"]
mod tests;
