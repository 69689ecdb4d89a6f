//! Secrets: the only redactor, and the only way from a secret to a header.
//!
//! A far end may repeat what it was sent, in any spelling: in a URL, in JSON, in quotes, in base64. [`Redactor`] finds
//! all of them by undoing the spelling of the *text* and looking for the secret there, so that no list of encoders has
//! to be complete. It decides nothing about who is told what. Start at [`Redactor::clean`].

mod spelling;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::domain::text::plain;
use spelling::{Spellings, View, views};

/// What stands in a secret's place.
pub const MARK: &str = "[redacted]";

/// Shorter secrets are parts of ordinary words and numbers: they are redacted only where they stand alone.
pub const SHORT: usize = 6;

/// The secrets that must not appear in any text. Clones share them.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    secrets: BTreeMap<String, Spellings>,
    included: BTreeMap<String, Redactor>,
}

impl Redactor {
    /// Redacts `secret` from now on. A later secret of the same name replaces it, so that renewed tokens do not
    /// pile up.
    pub fn register(&self, name: &str, secret: &SecretString) {
        let spellings = Spellings::of(secret.expose_secret());
        self.0.write().unwrap_or_else(PoisonError::into_inner).secrets.insert(name.to_owned(), spellings);
    }

    /// Redacts what a name and a password are sent as with HTTP basic authentication.
    pub fn register_basic(&self, name: &str, user: &str, password: &str) {
        self.register(name, &SecretString::from(BASE64_STANDARD.encode(format!("{user}:{password}"))));
    }

    /// Redacts whatever `other` knows, also what it learns later. A later one of the same name replaces it.
    pub fn include(&self, name: &str, other: &Redactor) {
        if !Arc::ptr_eq(&self.0, &other.0) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.included.insert(name.to_owned(), other.clone());
        }
    }

    /// The text without any secret, however it is spelt there.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found = Vec::new();
        self.find(text, &views(text), &mut found);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for Range { start, end } in found {
            if start >= done {
                // Two that touch are one, or the mark would tell where one ends.
                if start > done || done == 0 {
                    out.push_str(&text[done..start]);
                    out.push_str(MARK);
                }
            }
            done = done.max(end);
        }
        out.push_str(&text[done..]);
        Cow::Owned(out)
    }

    /// The text for people: without secrets, on one line, without what a terminal would obey.
    pub fn line(&self, text: &str) -> String {
        let clean = self.clean(text);
        // What was hidden between the letters of a secret is gone now.
        let line = plain(&clean);
        self.clean(&line).into_owned()
    }

    fn find(&self, text: &str, views: &[View<'_>], found: &mut Vec<Range<usize>>) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (view, spellings) in views.iter().flat_map(|view| known.secrets.values().map(move |s| (view, s)))
        {
            spellings.find(text, view, found);
        }
        for other in known.included.values() {
            other.find(text, views, found);
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Redactor({} secrets)", known.secrets.len())
    }
}

/// A header value that no debug output shows.
///
/// # Errors
/// When it holds a character that no header can carry.
pub fn header(value: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Authorization: Bearer …`.
///
/// # Errors
/// As [`header`].
pub fn bearer(token: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    header(&format!("Bearer {}", token.expose_secret()))
}

/// `Authorization: Basic …`.
///
/// # Errors
/// As [`header`]; base64 can always be carried.
pub fn basic(user: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    header(&format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

#[cfg(test)]
mod tests;
