//! The last net for secrets: known values never leave in a line, however they got into it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// Shorter values would blot out ordinary words, and are no secrets worth the name.
const MIN_BYTES: usize = 6;

/// What stands in a secret's place.
const MARK: &str = "[redacted]";

/// The secrets that must not appear in any line. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Arc<RwLock<BTreeMap<String, Vec<SecretString>>>>);

impl Redactor {
    /// Hides `secret` from now on. A later secret of the same name takes its place, so that renewed tokens do not
    /// pile up. Values under six bytes are not hidden.
    pub fn register(&self, name: &str, secret: &SecretString) {
        let forms = forms(secret.expose_secret());
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), forms);
    }

    /// The text without any registered secret, as it is or as quoting and URLs spell it.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&str> = secrets
            .values()
            .flatten()
            .map(|secret| secret.expose_secret())
            .filter(|secret| text.contains(secret))
            .collect();
        // One secret may contain another: the longer goes first, or its rest would stay.
        found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        let hide = |text: Cow<'a, str>, secret: &str| Cow::Owned(text.replace(secret, MARK));
        found.into_iter().fold(Cow::Borrowed(text), hide)
    }
}

fn forms(secret: &str) -> Vec<SecretString> {
    if secret.len() < MIN_BYTES {
        return Vec::new();
    }
    let quoted = secret.escape_debug().to_string();
    let in_url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut forms = vec![secret.to_owned(), quoted, in_url];
    forms.dedup();
    forms.into_iter().map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret disappears as it is, inside quotes and inside a URL; short values and other text stay.
    #[test]
    fn known_secrets_are_hidden_in_every_spelling() {
        let redactor = Redactor::default();
        redactor.register("key", &"pa ss/\"word".into());
        redactor.register("longer", &"pa ss/\"word-and-more".into());
        redactor.register("short", &"abc".into());
        let cases = [
            ("nothing here, abc", "nothing here, abc"),
            ("sent pa ss/\"word to it", "sent [redacted] to it"),
            ("sent pa ss/\"word-and-more to it", "sent [redacted] to it"),
            (r#"body "pa ss/\"word""#, r#"body "[redacted]""#),
            ("GET https://api.test/x?key=pa+ss%2F%22word&a=b", "GET https://api.test/x?key=[redacted]&a=b"),
        ];
        for (text, expected) in cases {
            assert_eq!(redactor.clean(text), expected);
        }
    }

    /// A renewed token takes the place of the one before it.
    #[test]
    fn a_name_has_one_secret() {
        let redactor = Redactor::default();
        redactor.register("token", &"first-token".into());
        redactor.register("token", &"second-token".into());
        assert_eq!(redactor.clean("first-token second-token"), "first-token [redacted]");
    }
}
