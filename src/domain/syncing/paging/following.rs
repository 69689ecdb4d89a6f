//! Pages that name the next one: by tokens, links, or the last row's value of a column.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{PageContent, PageKind, Pager, PagingError, PagingStep, RawValue};

/// The position of the reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Following {
    /// The token or value in the current request.
    pub(super) sent: Option<RawValue>,
    /// The address of the current request, if a link gave it.
    pub(super) link: Option<String>,
    /// Hashes of what was sent before.
    known: HashSet<u64>,
    /// Rows on the largest page so far.
    widest: u64,
}

impl Following {
    fn remember(&mut self, token: &RawValue) -> Result<(), PagingError> {
        if self.known.insert(hash(token)) { Ok(()) } else { Err(PagingError::Loop) }
    }
}

fn hash(token: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    hasher.finish()
}

impl Pager {
    pub(super) fn next_named(&mut self, content: &PageContent) -> Result<PagingStep, PagingError> {
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
            // The last page names itself if it is marked as the last one or has no new rows when it is
            // requested again. A full page that names itself is not the last one.
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
        self.set_next(next);
        Ok(PagingStep::Next(self.ask()))
    }

    fn set_next(&mut self, next: RawValue) {
        if matches!(self.page.kind, PageKind::Link { .. }) {
            self.following.link = Some(next.text().into_owned());
        } else {
            self.following.sent = Some(next);
        }
    }

    /// Advances to the page that a response names, unless the response names itself.
    pub(super) fn follow(&mut self, next: RawValue, before: &Following) -> Option<()> {
        let itself = before.sent.as_ref() == Some(&next) || before.link.as_deref() == Some(&*next.text());
        if itself || next.text().is_empty() || before.known.contains(&hash(&next)) {
            return None;
        }
        self.set_next(next);
        Some(())
    }

    pub(super) fn next_value(&mut self, content: &PageContent) -> Result<PagingStep, PagingError> {
        let PageKind::Keyset { column, unique, .. } = &self.page.kind else { return Ok(PagingStep::Done) };
        let (column, unique) = (column.clone(), *unique);
        let short = self.size().is_some_and(|size| content.records < size);
        if content.records == 0 || self.page.short_ends && short {
            return Ok(self.end(content));
        }
        if content.disordered {
            return Err(PagingError::Unordered(column));
        }
        let last = content.last_value.clone().ok_or_else(|| PagingError::NoValue(column.clone()))?;
        // Rows with the same value may follow the end of the page. A request from the previous value returns
        // all of them, whether the service's bound is inclusive or not. Rows without a key would be stored
        // twice, so they are not requested again.
        if !self.keyed && content.tied {
            return Err(PagingError::Tied(column));
        }
        let unique = unique || !self.keyed;
        let before = content.value_before.clone().filter(|_| !unique);
        let widest = self.following.widest;
        self.following.widest = widest.max(content.records);
        let full = content.records > 1 && (!short || widest > 0 && content.records >= widest);
        let value = match before {
            // The bound is inclusive from here on, so no row is skipped.
            Some(before) if self.following.sent.as_ref() == Some(&before) => last,
            Some(before) => before,
            None if full && !unique => return Err(PagingError::Stuck(column)),
            None => last,
        };
        if self.following.sent.as_ref() == Some(&value) {
            // With an inclusive bound, the service returns the last rows repeatedly.
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
        Ok(PagingStep::Next(self.ask()))
    }
}
