//! The ledger: which page says what at which look, what of it must come to the banner, and how soon it did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pages::Plan;

/// Pages that change: as many as fit into one message while half of them are in trouble.
const CHANGING: usize = 30;
/// Changes a second that are aimed at.
const CHANGES_PER_SECOND: usize = 3;
/// One page in so many hangs: the last of each ten.
const HANGS: usize = 10;

/// What a page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// Nothing, ever.
    Hangs,
    /// All is well.
    Calm,
    /// In trouble; the number tells this trouble from all others.
    Trouble(u32),
}

/// What was seen between begin and end.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Requests to pages.
    pub(crate) looks: u64,
    /// From the page's answer to the tenant's receipt of the banner, ascending.
    pub(crate) lags: Vec<Duration>,
    /// Changes that never came to the banner.
    pub(crate) lost: usize,
    /// Banners the tenant got.
    pub(crate) writes: u64,
    /// How much later than one interval after the look before the latest look came.
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
    owed: BTreeMap<usize, (Says, Instant)>,
    seen: Seen,
}

#[derive(Clone, Copy)]
struct Page {
    looks: usize,
    last: Option<Instant>,
    says: Says,
}

impl Ledger {
    pub(crate) fn new(plan: Plan) -> Ledger {
        let page = Page { looks: 0, last: None, says: Says::Calm };
        let changing = CHANGING.min(plan.count);
        Ledger(Arc::new(Mutex::new(State {
            plan,
            pages: vec![page; plan.count],
            step: plan.count / changing,
            troubles: 0,
            measuring: false,
            owed: BTreeMap::new(),
            seen: Seen::default(),
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page is asked: what it says now.
    pub(crate) fn asked(&self, page: usize) -> Option<Says> {
        self.state().asked(page)
    }

    /// The tenant got a banner of this message, empty for none.
    pub(crate) fn banner(&self, message: &str) {
        self.state().banner(message);
    }

    /// How many pages were asked at least once.
    pub(crate) fn asked_once(&self) -> usize {
        self.state().pages.iter().filter(|page| page.looks > 0).count()
    }

    /// Measures from now.
    pub(crate) fn begin(&self) {
        let mut state = self.state();
        state.measuring = true;
        state.owed.clear();
        state.seen = Seen::default();
    }

    /// Measures no more.
    pub(crate) fn end(&self) -> Seen {
        let mut state = self.state();
        state.measuring = false;
        // What was answered in this very moment is neither seen nor lost.
        let grace = Duration::from_secs(1);
        let late = state.owed.values().filter(|(_, sent)| sent.elapsed() > grace).count();
        state.seen.lost += late;
        state.seen.lags.sort_unstable();
        state.seen.clone()
    }
}

impl State {
    fn asked(&mut self, index: usize) -> Option<Says> {
        let now = Instant::now();
        let page = *self.pages.get(index)?;
        let says = self.next(index, page);
        if self.measuring {
            self.seen.looks += 1;
            let gap = page.last.map_or(Duration::ZERO, |last| now.duration_since(last));
            self.seen.latest = self.seen.latest.max(gap.saturating_sub(self.plan.interval));
            if says != page.says && says != Says::Hangs && self.owed.insert(index, (says, now)).is_some() {
                self.seen.lost += 1;
            }
        }
        self.pages[index] = Page { looks: page.looks + 1, last: Some(now), says };
        Some(says)
    }

    fn next(&mut self, index: usize, page: Page) -> Says {
        if index % HANGS == HANGS - 1 {
            return Says::Hangs;
        }
        let changing = self.pages.len().min(CHANGING);
        let nth = index / self.step;
        if !index.is_multiple_of(self.step) || nth >= changing {
            return Says::Calm;
        }
        // So many looks pass between two changes of a page; the pages are out of step with each other.
        let every = (changing / CHANGES_PER_SECOND / self.plan.seconds()).max(1);
        let in_trouble = ((page.looks + nth * 7) / every) % 2 == 1;
        match (in_trouble, page.says) {
            (false, _) => Says::Calm,
            (true, Says::Trouble(number)) => Says::Trouble(number),
            (true, _) => {
                self.troubles += 1;
                Says::Trouble(self.troubles)
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
                Says::Trouble(number) => words == Some(trouble(*number).as_str()),
                Says::Calm | Says::Hangs => words.is_none(),
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
