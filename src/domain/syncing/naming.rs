//! How the names of a source become names of tables and columns.
//!
//! The rules, in order: transliterate to ASCII, spell out a sign before a number (`+1`, `-1`), replace every
//! other character by `_`, split camelCase, collapse runs of `_`, convert to lower case, prefix a leading
//! digit with `_`, and (for tables) drop a leading `_` before a letter. Two further rules: a name never
//! equals one of the destination's own columns, and never exceeds [`MAX_LENGTH`]. The caller checks whether
//! two source names become one column.

use std::borrow::Cow;

/// PostgreSQL's limit on identifiers, in bytes. PostgreSQL cuts longer names silently, which could make two
/// names equal.
pub const MAX_LENGTH: usize = 63;

/// Columns that the destination adds to every table; no source column may have these names.
const OURS: [&str; 2] = ["_synced_at", "_deleted_at"];

/// The column for a source name: `recordDate_hour_1` → `record_date_hour_1`. Never empty.
pub fn column_name(source: &str) -> String {
    let name = snake_case(source);
    let name = if OURS.contains(&name.as_str()) || name.starts_with("_fivetran_") {
        format!("source{name}")
    } else {
        name
    };
    bounded(name, source)
}

/// The table for a source name: as for columns, without a leading `_` before a letter. Never empty.
pub fn table_name(source: &str) -> String {
    let name = snake_case(source);
    let trimmed = match name.strip_prefix('_') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic()) => rest.to_owned(),
        _ => name,
    };
    bounded(trimmed, source)
}

fn snake_case(source: &str) -> String {
    let ascii: Vec<char> = any_ascii::any_ascii(source).chars().collect();
    let mut out = String::with_capacity(ascii.len() + 4);
    for (i, &c) in ascii.iter().enumerate() {
        if let Some(sign) = sign(&ascii, i) {
            out.push_str(sign);
        }
        if !c.is_ascii_alphanumeric() {
            push_separator(&mut out);
            continue;
        }
        if c.is_ascii_uppercase() && starts_word(&ascii, i) {
            push_separator(&mut out);
        }
        out.push(c.to_ascii_lowercase());
    }
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// The word for a sign before a number, at the start of a name or after an underscore: without it, `+1` and
/// `-1` would become the same name.
fn sign(text: &[char], at: usize) -> Option<&'static str> {
    let begins = at.checked_sub(1).is_none_or(|before| text.get(before) == Some(&'_'));
    let number = text.get(at + 1).is_some_and(char::is_ascii_digit);
    match text.get(at) {
        Some('+') if begins && number => Some("plus"),
        Some('-') if begins && number => Some("minus"),
        _ => None,
    }
}

/// A capital starts a word after a lower-case letter or a digit, and as the last of a run of capitals before
/// a lower-case letter.
fn starts_word(text: &[char], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|i| text.get(i)) else { return false };
    let after_is_small = text.get(at + 1).is_some_and(char::is_ascii_lowercase);
    before.is_ascii_lowercase() || before.is_ascii_digit() || (before.is_ascii_uppercase() && after_is_small)
}

fn push_separator(out: &mut String) {
    if !out.ends_with('_') {
        out.push('_');
    }
}

/// Cuts a long name and appends a hash of the whole source name, so that two long names stay different.
fn bounded(name: String, source: &str) -> String {
    if name.len() <= MAX_LENGTH {
        return name;
    }
    let start: String = name.chars().take(MAX_LENGTH - 9).collect();
    format!("{}_{:08x}", start.trim_end_matches('_'), fnv1a(source))
}

/// A name of at most [`MAX_LENGTH`] bytes: a longer one is cut, with a hash of the whole name appended.
pub fn fitted(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_LENGTH {
        return Cow::Borrowed(name);
    }
    let start = name.floor_char_boundary(MAX_LENGTH - 9);
    Cow::Owned(format!("{}_{:08x}", name.get(..start).unwrap_or_default(), fnv1a(name)))
}

/// FNV-1a, 32 bits: short, and stable, because table names depend on it.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn source_names_become_identifiers() {
        for (source, want) in [
            ("zoneId", "zone_id"),
            ("recordDate_hour_1", "record_date_hour_1"),
            ("sumins", "sumins"),
            ("maxoccupancy", "maxoccupancy"),
            ("user.data", "user_data"),
            ("user-data", "user_data"),
            ("userData", "user_data"),
            ("First Name", "first_name"),
            ("a__b", "a_b"),
            ("2fa_enabled", "_2fa_enabled"),
            ("_meta", "_meta"),
            ("Größe", "grosse"),
            ("HTTPStatus", "http_status"),
            ("customerID", "customer_id"),
            ("address1", "address1"),
            ("ipv4", "ipv4"),
            ("\"; drop table x; --", "_drop_table_x_"),
            ("+1", "plus_1"),
            ("-1", "minus_1"),
            ("reactions_+1", "reactions_plus_1"),
            ("reactions_-1", "reactions_minus_1"),
            ("2026-05-02", "_2026_05_02"),
            ("+", "_"),
            ("a-1", "a_1"),
            ("", "_"),
            ("!!!", "_"),
            ("select", "select"),
            ("_synced_at", "source_synced_at"),
            ("_fivetran_id", "source_fivetran_id"),
        ] {
            assert_eq!(column_name(source), want, "{source:?}");
        }
        assert_eq!(table_name("_meta"), "meta");
        assert_eq!(table_name("_2fa"), "_2fa");
    }

    /// Even if they differ only after the cut.
    #[test]
    fn long_names_stay_different() {
        let long = "x".repeat(80);
        let (a, b) = (column_name(&format!("{long}a")), column_name(&format!("{long}b")));
        assert_ne!(a, b);
        assert_eq!((a.len(), b.len()), (MAX_LENGTH, MAX_LENGTH));
        let (a, b) = ("ä".repeat(40) + "a", "ä".repeat(40) + "b");
        assert!(fitted(&a) != fitted(&b) && fitted(&a).len() <= MAX_LENGTH);
        assert_eq!(fitted("short"), "short");
    }

    proptest! {
        /// The column is a plain identifier for any source name, and naming it a second time changes nothing.
        #[test]
        fn always_an_identifier(source in "\\PC{0,100}") {
            let name = column_name(&source);
            prop_assert!(!name.is_empty() && name.len() <= MAX_LENGTH);
            prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
            prop_assert!(!name.starts_with(|c: char| c.is_ascii_digit()));
            prop_assert_eq!(column_name(&name), name);
        }
    }
}
