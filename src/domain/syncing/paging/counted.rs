//! Pages by number or offset. Such pages shift when rows are added or removed before them. This is detected
//! by overlapping pages (offsets), by the last row of one page appearing on the next, and by changes of the
//! stated total.

use super::signs::{Sign, SignKind};
use super::{Doubt, MAX_REREADS, PageContent, PageKind, Pager, PagingError, PagingStep};

/// Maximum number of consecutive full pages without new rows: a list that grows at its head faster than it is
/// read cannot be finished.
const MAX_STALLS: u32 = 10;

/// Maximum number of consecutive empty pages skipped because a count says that there are more rows. Counts
/// are less reliable than flags.
const MAX_EMPTY_COUNTED: u32 = 3;

/// Without a stated size, how many rows to go back to look for a row that shifted.
const STEP: u64 = 100;

/// The position of the reading, and what was detected.
#[derive(Debug, Clone, Default)]
pub(super) struct CountedPages {
    /// The number or offset of the current request.
    pub(super) at: u64,
    pub(super) expected: Option<u64>,
    /// See [`Pager::verified`].
    pub(super) verified: bool,
    first: u64,
    overlap: u64,
    /// The service accepted an offset within a page.
    overlap_proven: bool,
    /// The current request tests whether offsets are accepted only at page boundaries.
    probing: bool,
    /// A smaller page is tried at the same offset.
    resized: bool,
    /// The first page was shorter than requested, and a smaller size was tried from the first page on.
    cap_tried: bool,
    /// The current request is for the first page of that trial.
    cap_trial: bool,
    stepped_back: bool,
    /// The service refused the place where a known row should be, as it does behind the end.
    behind: bool,
    moved: bool,
    wobbled: bool,
    rereads: u32,
    /// Pages of this reading, and rows on the first and on the largest of them.
    index: u64,
    first_records: u64,
    widest: u64,
    stalls: u32,
    /// Consecutive pages without new rows.
    nothing_new: u32,
    /// Pages of this reading with new rows.
    fruitful: u64,
    last_short: bool,
    /// Rows of this reading, and those of them that were not on the previous page.
    records: u64,
    sum: u64,
    total: Option<u64>,
    /// Each page so far stated exactly as many rows as it has.
    counts_page: bool,
    stated_pages: Option<u64>,
    /// The first key of the page before the next one.
    page_first: Option<u64>,
    /// Pages that contained the last row of the previous page: page, index and key; and those of the previous
    /// reading.
    seams: Vec<(u64, u64, Option<u64>)>,
    seams_before: Vec<(u64, u64, Option<u64>)>,
    /// The result of the previous reading.
    before: Option<(u64, Option<u64>, u64)>,
}

impl CountedPages {
    pub(super) fn new(page: &super::Paging) -> CountedPages {
        let first = if let PageKind::Number { first, .. } = &page.kind { *first } else { 0 };
        CountedPages { at: first, first, counts_page: true, ..CountedPages::default() }
    }

    /// Whether offsets within pages were accepted and no row has shifted.
    pub(super) fn is_steady(&self) -> bool {
        self.overlap_proven && self.undisturbed()
    }

    pub(super) fn undisturbed(&self) -> bool {
        self.rereads == 0 && !self.moved && !self.stepped_back && !self.probing && self.seams.is_empty()
    }

    /// Advances as if a page with this many rows had been read, if the total says that there are more.
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

    pub(super) fn restart(&mut self) {
        *self = CountedPages {
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
            ..CountedPages::default()
        };
    }

    fn note_total(&mut self, content: &PageContent) {
        self.counts_page &= content.total == Some(content.records);
        if self.counts_page && self.index > 1 {
            // A "total" of the page's own rows says nothing about other pages.
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
    pub(super) fn next_counted(&mut self, content: &PageContent) -> Result<PagingStep, PagingError> {
        if let Some(step) = self.measure(content.records) {
            return Ok(step);
        }
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

    /// Handles a request that the service rejected.
    pub(super) fn refused_count(&mut self, status: u16) -> Option<PagingStep> {
        let counted = &mut self.counted;
        if !matches!(status, 400 | 404 | 416 | 422) || counted.index == 0 {
            return None;
        }
        let probing = std::mem::take(&mut counted.probing);
        if counted.overlap > 0 && !counted.overlap_proven && !counted.stepped_back {
            return Some(self.probe());
        }
        let counted = &self.counted;
        let capped = counted.widest > 0 && self.requested().is_some_and(|size| counted.widest < size);
        if !counted.resized && capped && matches!(self.page.kind, PageKind::Offset { .. }) {
            // Fewer rows than requested were returned, so the offset is not a multiple of the requested size.
            (self.counted.resized, self.counted.probing) = (true, true);
            self.habits.size = Some(self.counted.widest);
            return Some(PagingStep::Next(self.ask()));
        }
        // "Not found" after the last page is equivalent to an empty page. Any other rejection may be a limit
        // on the depth of pagination; it is the end only after a short page and if a total agrees.
        let counted = &self.counted;
        let complete =
            counted.last_short && counted.total.is_some_and(|total| counted.records >= total.max(1));
        if !(matches!(status, 404 | 416) || complete) {
            return None;
        }
        let overlaps = matches!(self.page.kind, PageKind::Offset { .. }) && !self.habits.whole_pages;
        if overlaps && self.counted.expected.is_some() && self.counted.at > 0 {
            if !std::mem::replace(&mut self.counted.behind, true) {
                return Some(self.step_back());
            }
            // Rejected again although a known row should be there, unless the request excluded it.
            self.counted.moved |= !probing;
        }
        self.pages += 1;
        self.counted.index += 1;
        // There is no overlap any more, so there are no rows after this.
        self.counted.expected = None;
        Some(self.finish(&PageContent::default()))
    }

    /// Pages without overlap.
    fn next_whole(&mut self, content: &PageContent) -> PagingStep {
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
            // Either the service repeats its last page, or it ignores the parameter, or as many rows were
            // added before the page as it holds. The page after it decides.
            return if counted.nothing_new < 2 && is_full {
                self.advance(content)
            } else {
                self.repeated(is_full)
            };
        }
        counted.fruitful += u64::from(content.records > 0);
        match counted.expected.and(content.expected_at) {
            // Rows were added before this page: the rows they pushed on are here, but they themselves are on
            // earlier pages.
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

    /// The first page was shorter than requested, and there is a second one: the service limits the size, and
    /// may or may not count pages by the requested size. A request for the size it returns is unambiguous.
    fn try_size(&mut self, content: &PageContent) -> Option<PagingStep> {
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
            return Some(PagingStep::Next(self.ask()));
        }
        let requested = self.habits.size.or_else(|| self.page.size.as_ref().map(|(_, size)| *size));
        let capped = requested.is_some_and(|size| (1..size).contains(&counted.first_records));
        if !is_number || counted.cap_tried || counted.index != 2 || content.novelty.new_rows == 0 || !capped {
            return None;
        }
        self.habits.size = Some(counted.first_records);
        self.restart();
        (self.counted.cap_tried, self.counted.cap_trial) = (true, true);
        Some(PagingStep::Next(self.ask()))
    }

    /// Handles a page without new rows.
    fn repeated(&mut self, is_full: bool) -> PagingStep {
        let counted = &self.counted;
        let stated = counted.total.is_some_and(|total| counted.records >= total);
        if is_full
            && counted.fruitful < 2
            && !stated
            && let PageKind::Number { at, .. } | PageKind::Offset { at } = &self.page.kind
        {
            return PagingStep::Partial(Doubt::Unheeded(at.clone()));
        }
        self.finish(&PageContent::default())
    }

    /// Goes back by a page. Where a known row should be there is nothing: the list has shrunk, and rows that shifted before
    /// the overlap are further back.
    fn step_back(&mut self) -> PagingStep {
        let step = self.requested_now().unwrap_or(STEP);
        self.counted.stepped_back = true;
        self.counted.at = self.counted.at.saturating_sub(step);
        PagingStep::Next(self.ask())
    }

    fn next_overlapping(&mut self, content: &PageContent) -> PagingStep {
        let counted = &mut self.counted;
        counted.counts_page &= content.total == Some(content.records);
        counted.total =
            if counted.counts_page && counted.index > 1 { None } else { content.total.or(counted.total) };
        if content.records == 0 {
            if counted.expected.is_some() && counted.at > 0 {
                return self.step_back();
            }
            return if self.goes_on_empty(content) { self.advance(content) } else { self.finish(content) };
        }
        let is_full = self.is_full(content.records);
        let counted = &mut self.counted;
        let known_last = content.expected_at == Some(content.records - 1) && content.novelty.new_rows == 0;
        if known_last && !is_full && counted.behind && counted.stepped_back {
            return self.finish(content);
        }
        match (counted.expected, content.expected_at) {
            (Some(_), Some(0)) => counted.overlap_proven |= counted.at > 0,
            // The page starts before the requested offset: rows were added before it, or the service rounds
            // offsets.
            (Some(_), Some(_)) if !counted.overlap_proven && (!counted.stepped_back || known_last) => {
                // Rounded, it is the page before once more; any other page means that rows have shifted.
                counted.moved |= !known_last || content.novelty.first_key != counted.page_first;
                return self.probe();
            }
            // The rows pushed on by new rows are here; the new rows may be on earlier pages.
            (Some(_), Some(_)) if !counted.stepped_back => counted.moved = true,
            // Rows before this offset were removed, and others shifted before the overlap: look for the
            // overlap further back.
            (Some(_), None) if !counted.stepped_back => return self.step_back(),
            (Some(_), None) => counted.moved = true,
            _ => {}
        }
        self.continue_overlapping(content)
    }

    fn continue_overlapping(&mut self, content: &PageContent) -> PagingStep {
        let counted = &mut self.counted;
        counted.stepped_back = false;
        let end = counted.at + content.records;
        // The known row is the page's last one: nothing follows, unless the page is full.
        let stalled = counted.overlap > 0 && content.expected_at == Some(content.records - 1);
        counted.stalls = if stalled { counted.stalls + 1 } else { 0 };
        let stalls = counted.stalls;
        let nothing_new = stalled && (!self.is_full(content.records) || stalls > MAX_STALLS);
        let counted = &mut self.counted;
        counted.sum = counted.sum.max(end);
        counted.records = counted.sum;
        if nothing_new || self.is_last(content) {
            return self.finish(content);
        }
        let step = self.size().unwrap_or(STEP);
        let counted = &mut self.counted;
        counted.page_first = content.novelty.first_key;
        counted.expected = content.last_key;
        // A page of one row cannot both overlap and advance.
        counted.overlap = u64::from(counted.expected.is_some() && step > 1 && content.records > 1);
        if counted.overlap == 0 {
            counted.expected = None;
        }
        counted.at = end - counted.overlap;
        PagingStep::Next(self.ask())
    }

    /// Requests the page right after the last one that followed on, to see whether offsets are rounded.
    fn probe(&mut self) -> PagingStep {
        let counted = &mut self.counted;
        counted.at = counted.sum;
        (counted.overlap, counted.stepped_back, counted.probing) = (0, false, true);
        PagingStep::Next(self.ask())
    }

    fn probed(&mut self, content: &PageContent) -> PagingStep {
        self.counted.probing = false;
        self.counted.note_total(content);
        if content.records == 0 {
            return self.finish(content);
        }
        let is_same = content.novelty.first_key == self.counted.page_first;
        if content.expected_at.is_some() && !is_same {
            // Offsets are exact: rows were added before.
            (self.counted.moved, self.counted.overlap_proven) = (true, true);
            return self.continue_overlapping(content);
        }
        if content.novelty.new_rows == 0 {
            // Rounded to a multiple of the requested size, of which the service returns fewer rows.
            let requested = self.requested_now();
            if !self.counted.resized && requested.is_some_and(|size| content.records < size) {
                self.counted.resized = true;
                self.counted.probing = true;
                self.habits.size = Some(content.records);
                return PagingStep::Next(self.ask());
            }
            return self.repeated(self.is_full(content.records));
        }
        self.habits.whole_pages = true;
        // If it returns fewer rows than requested, it may count pages by either size.
        let given = content.records.max(self.counted.widest);
        if self.requested_now().is_none_or(|size| given < size) {
            self.habits.size = Some(given);
        }
        self.counted.expected = None;
        self.next_whole(content)
    }

    /// The page after a complete one.
    fn advance(&mut self, content: &PageContent) -> PagingStep {
        let size = self.requested_now();
        let counted = &mut self.counted;
        counted.at += match self.page.kind {
            PageKind::Number { .. } => 1,
            // If offsets are counted by page, a page is as long as requested, even if fewer rows are
            // returned.
            _ if self.habits.whole_pages || content.records == 0 => size.unwrap_or(content.records.max(1)),
            _ => content.records,
        };
        PagingStep::Next(self.ask())
    }

    /// Whether the source says that pages follow this empty one.
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

    /// Whether a page with rows is the last one: it is not full, nothing says that there are more rows, and
    /// something else says that this is the end. A total equal to the first page may count only that page.
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
        // A stated count of zero on a page with rows means that the service does not count.
        let stated =
            counted.total.is_some_and(|total| total > 0) || content.pages.is_some_and(|pages| pages > 1);
        !self.is_full(content.records) && (content.signs.more() == Some(false) || stated && counted.index > 1)
    }

    /// Whether a page has the maximum number of rows.
    fn is_full(&self, records: u64) -> bool {
        let widest = self.counted.widest;
        match self.size() {
            Some(size) if records >= size => true,
            None if widest == 0 => true,
            _ => widest > 0 && records >= widest,
        }
    }

    /// The end of one complete reading: done, or another reading because rows shifted or are missing.
    fn finish(&mut self, content: &PageContent) -> PagingStep {
        if let Some((true, place)) = &content.signs.flag {
            return PagingStep::Partial(Doubt::Sign(Sign { place: place.clone(), kind: SignKind::Flag }));
        }
        let digest = self.progress.digest();
        let counted = &mut self.counted;
        // The same rows twice at the same positions: rows did not shift, several of them have the same key.
        let pushed = counted.seams != counted.seams_before && !counted.seams.is_empty();
        let read = if pushed { counted.sum } else { counted.records };
        let missing = counted.total.filter(|total| *total > read);
        let reading = (read, counted.total, digest);
        let same = counted.before == Some(reading) && !counted.moved && !pushed;
        let whole = matches!(self.page.kind, PageKind::Number { .. }) || self.habits.whole_pages;
        // Rows removed before a page without overlap can be detected only by a total that exactly matches the
        // rows read.
        let total_matches = counted.total == Some(read);
        let apart = whole || !counted.overlap_proven;
        let unsure =
            apart && counted.verified && self.keyed && counted.index > 1 && read > 0 && !total_matches;
        let pages = counted.stated_pages.filter(|stated| whole && *stated > counted.index);
        if !counted.moved && !pushed && missing.is_none() && (!unsure || same) {
            let read = counted.index;
            return pages
                .map_or(PagingStep::Done, |stated| PagingStep::Partial(Doubt::Pages { stated, read }));
        }
        // While rows shift, offsets as they were asked for can look like rounded ones.
        self.habits.whole_pages &= !counted.moved;
        let settled = same || counted.rereads >= MAX_REREADS || !self.keyed;
        if settled {
            return PagingStep::Partial(match missing {
                Some(stated) if !counted.moved && !pushed => Doubt::Rows { stated, read },
                _ if counted.wobbled => Doubt::TotalChanges,
                _ => Doubt::Shifts,
            });
        }
        counted.rereads += 1;
        counted.before = Some(reading);
        self.restart();
        PagingStep::Next(self.ask())
    }
}
