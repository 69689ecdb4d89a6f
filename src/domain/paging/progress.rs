//! Whether pages still bring something new: the check that ends a reading which would never end.

use std::collections::HashSet;

/// Keys remembered one by one, at least: a source that repeats itself within so many rows is found out at once. Twice as
/// many are kept, in about five megabytes; a longer repetition is found by its pages.
const RECENT_KEYS: usize = 100_000;

/// What a page brought, compared with the pages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Novelty {
    /// Rows with a key (without a key: with contents) that no page had before.
    pub new_rows: u64,
    /// The page has no such row, and a page before it had the very same rows.
    pub repeated: bool,
    /// The key of the first row, as a hash.
    pub first_key: Option<u64>,
}

/// The rows of one reading that were seen so far.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    recent: HashSet<u64>,
    older: HashSet<u64>,
    pages: HashSet<u64>,
    page: Novelty,
    contents: u64,
    /// Sum over all keys that were new: the same for two readings of the same rows.
    digest: u64,
}

impl Progress {
    /// Takes in the key of a row, as a hash. Returns whether it is new.
    pub fn row(&mut self, key: u64) -> bool {
        self.page.first_key.get_or_insert(key);
        if self.recent.contains(&key) || self.older.contains(&key) {
            return false;
        }
        if self.recent.len() >= RECENT_KEYS {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key);
        self.page.new_rows += 1;
        self.digest = self.digest.wrapping_add(key);
        true
    }

    /// Whether the page under way has no new row yet, so that the contents of its rows are wanted, too.
    pub fn wants_contents(&self) -> bool {
        self.page.new_rows == 0
    }

    /// Takes in the contents of a row whose key is known, as a hash.
    pub fn contents(&mut self, contents: u64) {
        // Rows may come in another order.
        self.contents = self.contents.wrapping_add(contents | 1);
    }

    /// Ends a page.
    pub fn end_page(&mut self, records: u64) -> Novelty {
        let mut page = std::mem::take(&mut self.page);
        let contents = std::mem::take(&mut self.contents);
        if page.new_rows == 0 && records > 0 {
            page.repeated = !self.pages.insert(contents);
        }
        page
    }

    /// What tells the rows read so far from others.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}
