//! Pages found by a number or an offset. Such pages shift when rows come or go before them, which is noticed where pages
//! overlap (offsets), where the last row of one page is on the next, and where the stated total changes.

use super::signs::{Sign, SignKind};
use super::{Doubt, MAX_REREADS, PageContent, PageKind, Pager, PagingError, Step};

/// Full pages in a row that bring nothing new: a list that grows at its head faster than we read is not caught up with.
const MAX_STALLS: u32 = 10;

/// Empty pages in a row that are passed over because a count says that there are more rows. Counts err more often than
/// flags.
const MAX_EMPTY_COUNTED: u32 = 3;

/// Without a stated size, this many rows back is far enough to look for a row that shifted.
const STEP: u64 = 100;

/// Where the reading is, and what it noticed.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    /// The number or offset of the request under way.
    pub(super) at: u64,
    pub(super) expected: Option<u64>,
    /// See [`Pager::verified`].
    pub(super) verified: bool,
    first: u64,
    overlap: u64,
    /// The service understood an offset within a page.
    overlap_proven: bool,
    /// The request under way finds out whether offsets are understood only at whole pages.
    probing: bool,
    /// A smaller page is tried at the same place.
    resized: bool,
    /// The first page was shorter than asked, and a smaller size was tried from the first page on.
    cap_tried: bool,
    /// The first page of that trial is under way.
    cap_trial: bool,
    stepped_back: bool,
    moved: bool,
    wobbled: bool,
    rereads: u32,
    /// Pages of this reading, and rows on the first and on the widest of them.
    index: u64,
    first_records: u64,
    widest: u64,
    stalls: u32,
    /// Pages in a row that brought nothing new.
    nothing_new: u32,
    /// Pages of this reading that brought something.
    fruitful: u64,
    last_short: bool,
    /// Rows of this reading, and those of them that the page before did not have.
    records: u64,
    sum: u64,
    total: Option<u64>,
    /// Each page so far stated as many rows as it has.
    counts_page: bool,
    stated_pages: Option<u64>,
    /// The first key of the page that the coming one follows.
    page_first: Option<u64>,
    /// Pages that held the last row of the page before: which, where, and its key; and those of the reading before this one.
    seams: Vec<(u64, u64, Option<u64>)>,
    seams_before: Vec<(u64, u64, Option<u64>)>,
    /// What the reading before this one came to.
    before: Option<(u64, Option<u64>, u64)>,
}

impl Counted {
    pub(super) fn new(page: &super::Page) -> Counted {
        let first = if let PageKind::Number { first, .. } = &page.kind { *first } else { 0 };
        Counted { at: first, first, counts_page: true, ..Counted::default() }
    }

    pub(super) fn undisturbed(&self) -> bool {
        self.rereads == 0 && !self.moved && !self.stepped_back && !self.probing && self.seams.is_empty()
    }

    /// Moves on as if a page of so many rows had come, where the total says that more will.
    pub(super) fn guess(&mut self, kind: &PageKind, size: u64, overlap: u64, total: u64) -> Option<()> {
        match kind {
            PageKind::Offset { .. } => {
                let end = self.at + size;
                (end < total).then_some(())?;
                self.at = end - overlap;
            }
            PageKind::Number { .. } => {
                ((self.at - self.first + 1) * size < total).then_some(())?;
                self.at += 1;
            }
            _ => return None,
        }
        Some(())
    }

    fn restart(&mut self) {
        *self = Counted {
            at: self.first,
            first: self.first,
            verified: self.verified,
            overlap_proven: self.overlap_proven,
            cap_tried: self.cap_tried,
            rereads: self.rereads,
            wobbled: self.wobbled,
            seams_before: std::mem::take(&mut self.seams),
            before: self.before,
            counts_page: true,
            ..Counted::default()
        };
    }

    fn note_total(&mut self, content: &PageContent) {
        self.counts_page &= content.total == Some(content.records);
        if self.counts_page && self.index > 1 {
            // A "total" of the page's own rows says nothing of the others.
            self.total = None;
            return;
        }
        let total = content.total;
        if let (Some(before), Some(now)) = (self.total, total)
            && before != now
        {
            (self.moved, self.wobbled) = (true, true);
        }
        self.total = total.or(self.total);
    }
}

impl Pager {
    pub(super) fn next_counted(&mut self, content: &PageContent) -> Result<Step, PagingError> {
        self.counted.index += 1;
        self.counted.last_short = !self.is_full(content.records);
        self.counted.stated_pages = content.pages.or(self.counted.stated_pages);
        let overlaps = matches!(self.page.kind, PageKind::Offset { .. }) && self.keyed;
        let step = if self.counted.probing {
            self.probed(content)
        } else if overlaps && !self.habits.whole_pages {
            self.next_overlapping(content)
        } else {
            self.next_whole(content)
        };
        self.counted.widest = self.counted.widest.max(content.records);
        Ok(step)
    }

    /// A request that the service refused.
    pub(super) fn refused_count(&mut self, status: u16) -> Option<Step> {
        let counted = &mut self.counted;
        if !matches!(status, 400 | 404 | 416 | 422) || counted.index == 0 {
            return None;
        }
        counted.probing = false;
        if counted.overlap > 0 && !counted.overlap_proven && !counted.stepped_back {
            return Some(self.probe());
        }
        let counted = &self.counted;
        let capped = counted.widest > 0 && self.size().is_some_and(|size| counted.widest < size);
        if !counted.resized && capped && matches!(self.page.kind, PageKind::Offset { .. }) {
            // Fewer rows than asked came, so the offset is no multiple of the size that was asked for.
            (self.counted.resized, self.counted.probing) = (true, true);
            self.habits.size = Some(self.counted.widest);
            return Some(Step::Next(self.ask()));
        }
        // "Not found" behind the last page is what others call an empty page. Any other refusal may be a limit on how far
        // one may read; it is an end only behind a short page where a total agrees.
        let counted = &self.counted;
        let complete =
            counted.last_short && counted.total.is_some_and(|total| counted.records >= total.max(1));
        (matches!(status, 404 | 416) || complete).then(|| {
            self.pages += 1;
            self.counted.index += 1;
            // No overlap any more: nothing is behind.
            self.counted.expected = None;
            self.finish(&PageContent::default())
        })
    }

    /// Pages that do not overlap.
    fn next_whole(&mut self, content: &PageContent) -> Step {
        let is_full = self.is_full(content.records);
        let counted = &mut self.counted;
        counted.note_total(content);
        if counted.index == 1 {
            counted.first_records = content.records;
        }
        if let Some(step) = self.try_size(content) {
            return step;
        }
        let counted = &mut self.counted;
        let nothing_new = content.records > 0 && content.novelty.new_rows == 0 && self.keyed;
        counted.nothing_new = if nothing_new { counted.nothing_new + 1 } else { 0 };
        if nothing_new {
            // Behind its last page the service gives that page again, or it does not heed the parameter, or as many rows
            // came before the page as it holds. The page after it tells.
            return if counted.nothing_new < 2 && is_full {
                self.advance(content)
            } else {
                self.repeated(is_full)
            };
        }
        counted.fruitful += u64::from(content.records > 0);
        match counted.expected.and(content.expected_at) {
            // Rows were put in before this page: what they pushed on is here, they themselves are behind us.
            Some(at) => {
                counted.seams.push((counted.at, at, counted.expected));
                counted.sum += content.records.saturating_sub(at + 1);
            }
            None => counted.sum += content.records,
        }
        counted.records += content.records;
        if content.records == 0 {
            return if self.goes_on_empty(content) { self.advance(content) } else { self.finish(content) };
        }
        if self.is_last(content) {
            return self.finish(content);
        }
        self.counted.expected = content.last_key.filter(|_| self.keyed);
        self.advance(content)
    }

    /// The first page was shorter than asked, and there is a second one: the service caps the size, and may or may not
    /// count pages by the size that was asked for. Asked for as many as it gives, it cannot be misunderstood.
    fn try_size(&mut self, content: &PageContent) -> Option<Step> {
        let is_number = matches!(self.page.kind, PageKind::Number { .. });
        let counted = &mut self.counted;
        if counted.cap_trial {
            counted.cap_trial = false;
            if Some(content.records) == self.habits.size {
                return None;
            }
            // Pages are short for another reason.
            self.habits.size = None;
            self.restart();
            return Some(Step::Next(self.ask()));
        }
        let asked = self.habits.size.or_else(|| self.page.size.as_ref().map(|(_, size)| *size));
        let capped = asked.is_some_and(|size| (1..size).contains(&counted.first_records));
        if !is_number || counted.cap_tried || counted.index != 2 || content.novelty.new_rows == 0 || !capped {
            return None;
        }
        self.habits.size = Some(counted.first_records);
        self.restart();
        (self.counted.cap_tried, self.counted.cap_trial) = (true, true);
        Some(Step::Next(self.ask()))
    }

    /// A page that had nothing new.
    fn repeated(&mut self, is_full: bool) -> Step {
        let counted = &self.counted;
        let stated = counted.total.is_some_and(|total| counted.records >= total);
        if is_full
            && counted.fruitful < 2
            && !stated
            && let PageKind::Number { at, .. } | PageKind::Offset { at } = &self.page.kind
        {
            return Step::Partial(Doubt::Unheeded(at.clone()));
        }
        self.finish(&PageContent::default())
    }

    fn next_overlapping(&mut self, content: &PageContent) -> Step {
        let step = self.size().unwrap_or(STEP);
        let counted = &mut self.counted;
        counted.counts_page &= content.total == Some(content.records);
        counted.total =
            if counted.counts_page && counted.index > 1 { None } else { content.total.or(counted.total) };
        if content.records == 0 {
            // Nothing here although a row we know should be: the list has shrunk, and what slipped over the seam is
            // further back.
            if counted.expected.is_some() && counted.at > 0 {
                counted.stepped_back = true;
                counted.at = counted.at.saturating_sub(step);
                return Step::Next(self.ask());
            }
            return if self.goes_on_empty(content) { self.advance(content) } else { self.finish(content) };
        }
        let known_last = content.expected_at == Some(content.records - 1) && content.novelty.new_rows == 0;
        match (counted.expected, content.expected_at) {
            (Some(_), Some(0)) => counted.overlap_proven |= counted.at > 0,
            // The page begins before what was asked for: rows were put in before it, or the service rounds offsets.
            (Some(_), Some(_)) if !counted.overlap_proven && (!counted.stepped_back || known_last) => {
                return self.probe();
            }
            // What the new rows pushed on is here, they themselves may be behind us.
            (Some(_), Some(_)) if !counted.stepped_back => counted.moved = true,
            // Rows before this place went away, and others slipped over the seam: look for the seam further back.
            (Some(_), None) if !counted.stepped_back => {
                counted.stepped_back = true;
                counted.at = counted.at.saturating_sub(step);
                return Step::Next(self.ask());
            }
            (Some(_), None) => counted.moved = true,
            _ => {}
        }
        self.continue_overlapping(content)
    }

    fn continue_overlapping(&mut self, content: &PageContent) -> Step {
        let counted = &mut self.counted;
        counted.stepped_back = false;
        let end = counted.at + content.records;
        // The row we knew is the page's last: nothing is behind it, unless the page is as full as they get.
        let stalled = counted.overlap > 0 && content.expected_at == Some(content.records - 1);
        counted.stalls = if stalled { counted.stalls + 1 } else { 0 };
        let widest = counted.widest.max(content.records);
        let nothing_new = stalled && (content.records < widest || counted.stalls > MAX_STALLS);
        counted.sum = counted.sum.max(end);
        counted.records = counted.sum;
        if nothing_new || self.is_last(content) {
            return self.finish(content);
        }
        let step = self.size().unwrap_or(STEP);
        let counted = &mut self.counted;
        counted.page_first = content.novelty.first_key;
        counted.expected = content.last_key;
        // A page of one row cannot overlap and still advance.
        counted.overlap = u64::from(counted.expected.is_some() && step > 1 && content.records > 1);
        if counted.overlap == 0 {
            counted.expected = None;
        }
        counted.at = end - counted.overlap;
        Step::Next(self.ask())
    }

    /// Asks for the page right behind the last one that followed on, to see whether offsets are rounded.
    fn probe(&mut self) -> Step {
        let counted = &mut self.counted;
        counted.at = counted.sum;
        (counted.overlap, counted.stepped_back, counted.probing) = (0, false, true);
        Step::Next(self.ask())
    }

    fn probed(&mut self, content: &PageContent) -> Step {
        self.counted.probing = false;
        self.counted.note_total(content);
        if content.records == 0 {
            return self.finish(content);
        }
        let is_same = content.novelty.first_key == self.counted.page_first;
        if content.expected_at.is_some() && !is_same {
            // Offsets are as they were asked for: rows were put in before.
            (self.counted.moved, self.counted.overlap_proven) = (true, true);
            return self.continue_overlapping(content);
        }
        if content.novelty.new_rows == 0 {
            // Rounded to a multiple of the size that was asked for, of which the service gives less.
            let asked = self.size();
            if !self.counted.resized && asked.is_some_and(|size| content.records < size) {
                self.counted.resized = true;
                self.counted.probing = true;
                self.habits.size = Some(content.records);
                return Step::Next(self.ask());
            }
            return self.repeated(self.is_full(content.records));
        }
        self.habits.whole_pages = true;
        // Where it gives fewer rows than asked, it may count whole pages by either size.
        let given = content.records.max(self.counted.widest);
        if self.size().is_none_or(|size| given < size) {
            self.habits.size = Some(given);
        }
        self.counted.expected = None;
        self.next_whole(content)
    }

    /// The page after a whole one.
    fn advance(&mut self, content: &PageContent) -> Step {
        let size = self.size();
        let counted = &mut self.counted;
        counted.at += match self.page.kind {
            PageKind::Number { .. } => 1,
            // Where offsets are counted by whole pages, a page is as long as was asked for, however few rows came.
            _ if self.habits.whole_pages || content.records == 0 => size.unwrap_or(content.records.max(1)),
            _ => content.records,
        };
        Step::Next(self.ask())
    }

    /// Whether pages follow although this one is empty: the source says so.
    fn goes_on_empty(&self, content: &PageContent) -> bool {
        let counted = &self.counted;
        let behind = match (&self.page.kind, self.size()) {
            (PageKind::Offset { .. }, Some(size)) => counted.at + size,
            (_, Some(size)) => counted.index * size,
            (_, None) => u64::MAX,
        };
        let counts = content.pages.is_some_and(|pages| pages > counted.index)
            || content.total.is_some_and(|total| total > behind);
        content.signs.more() == Some(true) || counts && self.empty <= MAX_EMPTY_COUNTED
    }

    /// Whether a page with rows is the last: it is not full, nothing says that there is more, and something else says that
    /// this is the end. A total that the first page reaches may count that page alone.
    fn is_last(&self, content: &PageContent) -> bool {
        let counted = &self.counted;
        let rows = match self.page.kind {
            PageKind::Offset { .. } => counted.sum,
            PageKind::Number { .. } => counted.records,
            _ => return true,
        };
        let below = counted.total.is_some_and(|total| rows < total)
            || content.pages.is_some_and(|pages| counted.index < pages);
        if below || content.signs.beyond(u64::MAX, u64::MAX).is_some() {
            return false;
        }
        let short = self.size().is_some_and(|size| content.records < size);
        if self.page.short_ends && short {
            return true;
        }
        // A stated count of zero beside rows is a service that does not count.
        let stated =
            counted.total.is_some_and(|total| total > 0) || content.pages.is_some_and(|pages| pages > 1);
        !self.is_full(content.records) && (content.signs.more() == Some(false) || stated && counted.index > 1)
    }

    /// Whether a page has as many rows as they get.
    fn is_full(&self, records: u64) -> bool {
        let widest = self.counted.widest;
        match self.size() {
            Some(size) if records >= size => true,
            None if widest == 0 => true,
            _ => widest > 0 && records >= widest,
        }
    }

    /// The end of one whole reading: enough, or once more because rows shifted or are missing.
    fn finish(&mut self, content: &PageContent) -> Step {
        if let Some((true, place)) = &content.signs.flag {
            return Step::Partial(Doubt::Sign(Sign { place: place.clone(), kind: SignKind::Flag }));
        }
        let digest = self.progress.digest();
        let counted = &mut self.counted;
        // The same rows twice at the same places, it is not that rows shifted: several have one key.
        let pushed = counted.seams != counted.seams_before && !counted.seams.is_empty();
        let read = if pushed { counted.sum } else { counted.records };
        let missing = counted.total.filter(|total| *total > read);
        let reading = (read, counted.total, digest);
        let same = counted.before == Some(reading) && !counted.moved && !pushed;
        let whole = matches!(self.page.kind, PageKind::Number { .. }) || self.habits.whole_pages;
        // Rows that go away before a page that does not overlap leave no trace but in a total that counts exactly what was
        // read.
        let told = counted.total == Some(read);
        let apart = whole || !counted.overlap_proven;
        let unsure = apart && counted.verified && self.keyed && counted.index > 1 && read > 0 && !told;
        let pages = counted.stated_pages.filter(|stated| whole && *stated > counted.index);
        if !counted.moved && !pushed && missing.is_none() && (!unsure || same) {
            let read = counted.index;
            return pages.map_or(Step::Done, |stated| Step::Partial(Doubt::Pages { stated, read }));
        }
        let settled = same || counted.rereads >= MAX_REREADS || !self.keyed;
        if settled {
            return Step::Partial(match missing {
                Some(stated) if !counted.moved && !pushed => Doubt::Rows { stated, read },
                _ if counted.wobbled => Doubt::TotalChanges,
                _ => Doubt::Shifts,
            });
        }
        counted.rereads += 1;
        counted.before = Some(reading);
        self.restart();
        Step::Next(self.ask())
    }

    /// Begins again with the first page, as if no row had been seen.
    fn restart(&mut self) {
        self.progress = super::Progress::default();
        (self.repeated, self.stale, self.empty) = (0, 0, 0);
        self.counted.restart();
    }
}
