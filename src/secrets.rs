//! Secrets: the only redactor, and the only way from a secret to a header.
//!
//! A server may repeat what it was sent in any encoding: in a URL, in JSON, in quotes, in base64.
//! [`Redactor`] finds all of them: it decodes the *text* and searches the result for the secret, so it needs
//! no complete list of encodings. The callers decide which text is shown to whom. Start at
//! [`Redactor::clean`].

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
use spelling::{DecodedView, Spellings, views};

/// The replacement for a secret.
pub const MARK: &str = "[redacted]";

/// Shorter secrets occur in ordinary words and numbers, so they are redacted only as whole words.
pub const SHORT: usize = 6;

/// The secrets that must not appear in any text. Clones share them.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<KnownSecrets>>);

#[derive(Default)]
struct KnownSecrets {
    secrets: BTreeMap<String, Spellings>,
    included: BTreeMap<String, Redactor>,
}

impl Redactor {
    /// Redacts `secret` from now on. A later secret of the same name replaces it, so that renewed tokens do
    /// not accumulate.
    pub fn register(&self, name: &str, secret: &SecretString) {
        let spellings = Spellings::of(secret.expose_secret());
        self.0.write().unwrap_or_else(PoisonError::into_inner).secrets.insert(name.to_owned(), spellings);
    }

    /// Redacts the encoded user name and password of HTTP basic authentication.
    pub fn register_basic(&self, name: &str, user: &str, password: &str) {
        self.register(name, &SecretString::from(BASE64_STANDARD.encode(format!("{user}:{password}"))));
    }

    /// Redacts all secrets of `other`, including those it learns later. A later one of the same name replaces
    /// it.
    pub fn include(&self, name: &str, other: &Redactor) {
        if !Arc::ptr_eq(&self.0, &other.0) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.included.insert(name.to_owned(), other.clone());
        }
    }

    /// The text without any secret, in whatever encoding.
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
                // Adjacent secrets get one mark; two would reveal where the first one ends.
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

    /// The text for people: redacted, on one line, without terminal control characters.
    pub fn line(&self, text: &str) -> String {
        let clean = self.clean(text);
        // Invisible characters inside a secret are gone now.
        let line = plain(&clean);
        self.clean(&line).into_owned()
    }

    fn find(&self, text: &str, views: &[DecodedView<'_>], found: &mut Vec<Range<usize>>) {
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

/// A header value that is hidden in debug output.
///
/// # Errors
/// If it contains a character that is not allowed in a header.
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
/// As [`header`]; in practice none, because base64 is always allowed.
pub fn basic(user: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    header(&format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

#[cfg(test)]
mod tests;
