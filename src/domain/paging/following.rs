//! Pages that name the next one: tokens, links, and the last row's value of a column.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{PageContent, PageKind, Pager, PagingError, RawValue, Step};

/// Where the reading is.
#[derive(Debug, Clone, Default)]
pub(super) struct Following {
    /// The token or value that the request under way carries.
    pub(super) sent: Option<RawValue>,
    /// The address of the request under way, where a link gave it.
    pub(super) link: Option<String>,
    /// What was sent before, as hashes.
    known: HashSet<u64>,
    /// Rows on the widest page so far.
    widest: u64,
}

impl Following {
    fn remember(&mut self, token: &RawValue) -> Result<(), PagingError> {
        let mut hasher = DefaultHasher::new();
        token.hash(&mut hasher);
        if self.known.insert(hasher.finish()) { Ok(()) } else { Err(PagingError::Loop) }
    }
}

impl Pager {
    pub(super) fn next_named(&mut self, content: &PageContent) -> Result<Step, PagingError> {
        if content.novelty.new_rows > 0 {
            self.following.widest = self.following.widest.max(content.records);
        }
        let Some(next) = content.next.clone().filter(|next| !next.text().is_empty()) else {
            return Ok(self.end(content));
        };
        let is_link = matches!(self.page.kind, PageKind::Link { .. });
        let itself = if is_link {
            let address = content.address.as_deref();
            address == Some(&*next.text()) || self.following.link.as_deref() == Some(&*next.text())
        } else {
            self.following.sent.as_ref() == Some(&next)
        };
        if itself {
            // The last page names itself, if it says so, or brings nothing new when it is asked for again. A full page
            // that does is no last page.
            if content.signs.more() == Some(false) {
                return Ok(self.end(content));
            }
            if content.novelty.new_rows == 0 {
                let full = content.records >= self.size().unwrap_or(self.following.widest);
                return if full { Err(PagingError::Loop) } else { Ok(self.end(content)) };
            }
        } else {
            self.following.remember(&next)?;
        }
        if is_link {
            self.following.link = Some(next.text().into_owned());
        } else {
            self.following.sent = Some(next);
        }
        Ok(Step::Next(self.ask()))
    }

    pub(super) fn next_value(&mut self, content: &PageContent) -> Result<Step, PagingError> {
        let PageKind::Keyset { column, unique, .. } = &self.page.kind else { return Ok(Step::Done) };
        let (column, unique) = (column.clone(), *unique);
        let short = self.size().is_some_and(|size| content.records < size);
        if content.records == 0 || self.page.short_ends && short {
            return Ok(self.end(content));
        }
        if content.disordered {
            return Err(PagingError::Unordered(column));
        }
        let last = content.last_value.clone().ok_or_else(|| PagingError::NoValue(column.clone()))?;
        // Rows with the same value may lie behind the page's end. Asked from the value before it on, the service gives
        // them all, whether its bound is inclusive or not.
        // Rows without a key would be stored twice, so they are not asked for again.
        if !self.keyed && content.tied {
            return Err(PagingError::Tied(column));
        }
        let unique = unique || !self.keyed;
        let before = content.value_before.clone().filter(|_| !unique);
        let widest = self.following.widest;
        self.following.widest = widest.max(content.records);
        let full = content.records > 1 && (!short || widest > 0 && content.records >= widest);
        let value = match before {
            // From here on, inclusively: nothing is passed over.
            Some(before) if self.following.sent.as_ref() == Some(&before) => last,
            Some(before) => before,
            None if full && !unique => return Err(PagingError::Stuck(column)),
            None => last,
        };
        if self.following.sent.as_ref() == Some(&value) {
            // Asked for "from here on", the service gives the last rows again and again.
            return if full && content.novelty.new_rows > 0 {
                Err(PagingError::Stuck(column))
            } else {
                Ok(self.end(content))
            };
        }
        if content.novelty.new_rows == 0 && self.pages > 1 && !full {
            return Ok(self.end(content));
        }
        self.following.remember(&value)?;
        self.following.sent = Some(value);
        Ok(Step::Next(self.ask()))
    }
}
