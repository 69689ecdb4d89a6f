//! The record of the measurement: what each page says at each poll, what must reach the banner, and how soon it did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pages::Plan;

/// Pages that change: as many as fit into one message while half of them are in trouble.
const CHANGING: usize = 30;
/// The target of changes a second.
const CHANGES_PER_SECOND: usize = 3;
/// One page in so many hangs: the last of each ten.
const HANGS: usize = 10;

/// What a page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageContent {
    /// Nothing, ever.
    Hangs,
    /// All is well.
    Calm,
    /// In trouble; the number tells this trouble from all others.
    Trouble(u32),
}

/// What was observed between `begin` and `end`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Measurement {
    /// Requests to pages.
    pub(crate) polls: u64,
    /// From the page's answer to the tenant's receipt of the banner, ascending.
    pub(crate) lags: Vec<Duration>,
    /// Changes that never reached the banner.
    pub(crate) lost: usize,
    /// Banners the tenant got.
    pub(crate) writes: u64,
    /// How much later than one interval after the former poll the latest poll came.
    pub(crate) latest: Duration,
}

/// Shared by the pages and the tenant.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Mutex<State>>);

struct State {
    plan: Plan,
    pages: Vec<Page>,
    step: usize,
    troubles: u32,
    measuring: bool,
    /// By page: what the banner must show of it, and since when the daemon can know.
    owed: BTreeMap<usize, (PageContent, Instant)>,
    seen: Measurement,
}

#[derive(Clone, Copy)]
struct Page {
    polls: usize,
    last: Option<Instant>,
    says: PageContent,
}

impl Ledger {
    pub(crate) fn new(plan: Plan) -> Ledger {
        let page = Page { polls: 0, last: None, says: PageContent::Calm };
        let changing = CHANGING.min(plan.count);
        Ledger(Arc::new(Mutex::new(State {
            plan,
            pages: vec![page; plan.count],
            step: plan.count / changing,
            troubles: 0,
            measuring: false,
            owed: BTreeMap::new(),
            seen: Measurement::default(),
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a poll of a page; returns what it says now.
    pub(crate) fn poll(&self, page: usize) -> Option<PageContent> {
        self.state().poll(page)
    }

    /// The tenant got a banner of this message, empty for none.
    pub(crate) fn banner(&self, message: &str) {
        self.state().banner(message);
    }

    /// How many pages were polled at least once.
    pub(crate) fn polled_once(&self) -> usize {
        self.state().pages.iter().filter(|page| page.polls > 0).count()
    }

    /// Measures from now.
    pub(crate) fn begin(&self) {
        let mut state = self.state();
        state.measuring = true;
        state.owed.clear();
        state.seen = Measurement::default();
    }

    /// Measures no more.
    pub(crate) fn end(&self) -> Measurement {
        let mut state = self.state();
        state.measuring = false;
        // A change at this very moment is neither observed nor lost.
        let grace = Duration::from_secs(1);
        let late = state.owed.values().filter(|(_, sent)| sent.elapsed() > grace).count();
        state.seen.lost += late;
        state.seen.lags.sort_unstable();
        state.seen.clone()
    }
}

impl State {
    fn poll(&mut self, index: usize) -> Option<PageContent> {
        let now = Instant::now();
        let page = *self.pages.get(index)?;
        let says = self.next(index, page);
        if self.measuring {
            self.seen.polls += 1;
            let gap = page.last.map_or(Duration::ZERO, |last| now.duration_since(last));
            self.seen.latest = self.seen.latest.max(gap.saturating_sub(self.plan.interval));
            if says != page.says
                && says != PageContent::Hangs
                && self.owed.insert(index, (says, now)).is_some()
            {
                self.seen.lost += 1;
            }
        }
        self.pages[index] = Page { polls: page.polls + 1, last: Some(now), says };
        Some(says)
    }

    fn next(&mut self, index: usize, page: Page) -> PageContent {
        if index % HANGS == HANGS - 1 {
            return PageContent::Hangs;
        }
        let changing = self.pages.len().min(CHANGING);
        let nth = index / self.step;
        if !index.is_multiple_of(self.step) || nth >= changing {
            return PageContent::Calm;
        }
        // So many polls pass between two changes of a page; the pages change at different times.
        let every = (changing / CHANGES_PER_SECOND / self.plan.seconds()).max(1);
        let in_trouble = ((page.polls + nth * 7) / every) % 2 == 1;
        match (in_trouble, page.says) {
            (false, _) => PageContent::Calm,
            (true, PageContent::Trouble(number)) => PageContent::Trouble(number),
            (true, _) => {
                self.troubles += 1;
                PageContent::Trouble(self.troubles)
            }
        }
    }

    fn banner(&mut self, message: &str) {
        let now = Instant::now();
        if self.measuring {
            self.seen.writes += 1;
        }
        let shown: Vec<(&str, &str)> =
            message.split(" | ").filter_map(|part| part.split_once(": ")).collect();
        let Self { owed, seen, .. } = self;
        owed.retain(|page, (says, sent)| {
            let name = name(*page);
            let words = shown.iter().find(|(who, _)| *who == name).map(|(_, words)| *words);
            let done = match says {
                PageContent::Trouble(number) => words == Some(trouble(*number).as_str()),
                PageContent::Calm | PageContent::Hangs => words.is_none(),
            };
            if done {
                seen.lags.push(now.duration_since(*sent));
            }
            !done
        });
    }
}

/// The name of a monitor; short, so that many fit into one message.
pub(crate) fn name(page: usize) -> String {
    format!("P{page}")
}

/// The description of a trouble.
pub(crate) fn trouble(number: u32) -> String {
    format!("t{number}")
}
