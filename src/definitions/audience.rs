//! The keys that select what a tenant or a channel sees: `monitors`, `ignore_monitors`, `severity`, `min_severity`.

use super::keys::Keys;
use crate::domain::monitoring::audience::{Audience, Selector, TAG};
use crate::domain::monitoring::monitor::Remap;

/// Reads the keys; errors are recorded in the file.
pub(super) fn audience(keys: &mut Keys<'_, '_>) -> Audience {
    Audience {
        monitors: selectors(keys, "monitors"),
        ignore: selectors(keys, "ignore_monitors"),
        remap: Remap(keys.severities("severity").unwrap_or_default()),
        min_severity: keys.severity("min_severity").unwrap_or_default(),
    }
}

fn selectors(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<Selector> {
    let at = keys.place(key).unwrap_or_default();
    let texts = keys.texts(key);
    if texts.as_ref().is_some_and(Vec::is_empty) {
        keys.wrong(at, format!("`{key}` must not be empty; leave it out instead"));
    }
    let texts = texts.unwrap_or_default();
    if texts.iter().any(|text| text.strip_prefix(TAG).unwrap_or(text).trim().is_empty()) {
        let example = "monitors = [\"snowflake*\", \"tag:warehouse\"]";
        keys.wrong(at, format!("`{key}` must not contain an empty text (example: {example})"));
    }
    texts.iter().map(|text| Selector::new(text)).collect()
}
