//! Whether pages still contain new rows. This check ends readings that would never end.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Minimum number of keys kept individually: a source that repeats itself within this many rows is detected
/// at once. Up to twice as many are kept, in about five megabytes; a longer repetition is detected by its
/// pages.
const RECENT_KEYS: usize = 100_000;

/// A page compared with the pages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Novelty {
    /// Rows whose key (without a key: whose contents) was on no earlier page.
    pub new_rows: u64,
    /// The page has no such row, and an earlier page had exactly the same rows.
    pub repeated: bool,
    /// The key of the first row, as a hash.
    pub first_key: Option<u64>,
}

/// Uses a hash unchanged: hashing it again for each row would cost more than the rest of the lookup.
#[derive(Debug, Clone, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Hashes = HashSet<u64, BuildHasherDefault<AsIs>>;

/// The rows of one reading seen so far.
#[derive(Debug, Clone, Default)]
pub struct PagingProgress {
    recent: Hashes,
    older: Hashes,
    pages: Hashes,
    page: Novelty,
    contents: u64,
    /// Sum of all new keys: equal for two readings of the same rows.
    digest: u64,
}

impl PagingProgress {
    /// Adds the key of a row, as a hash. Returns whether it is new.
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

    /// Whether the current page has no new row yet, so that the contents of its rows are needed.
    pub fn wants_contents(&self) -> bool {
        self.page.new_rows == 0
    }

    /// Adds the contents of a row with a known key, as a hash.
    pub fn contents(&mut self, contents: u64) {
        // A sum, because rows may come in another order.
        self.contents = self.contents.wrapping_add(contents | 1);
    }

    /// Finishes a page.
    pub fn end_page(&mut self, records: u64) -> Novelty {
        let mut page = std::mem::take(&mut self.page);
        let contents = std::mem::take(&mut self.contents);
        if page.new_rows == 0 && records > 0 {
            page.repeated = !self.pages.insert(contents);
        }
        page
    }

    /// Identifies the set of rows read so far.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}
