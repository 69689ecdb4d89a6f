//! How the names of a source become names of tables and columns.
//!
//! The rules, in their order: transliterate to ASCII, spell a sign that begins a number (`+1`, `-1`), turn every other character into `_`, split camelCase,
//! collapse runs of `_`, lower-case, keep a leading digit behind a `_`, and (for tables) drop a leading `_` before
//! a letter. Then two of our own: a name never meets one of our own columns, and never exceeds [`MAX_LENGTH`].
//! Whether two source names meet in one column is for whoever holds both to find out.

use std::borrow::Cow;

/// PostgreSQL's limit on identifiers, in bytes; longer ones it cuts off silently, and two may then be one.
pub const MAX_LENGTH: usize = 63;

/// Columns that the destination adds to every table, so no source may bring them.
const OURS: [&str; 2] = ["_synced_at", "_deleted_at"];

/// The column a source name is stored in: `recordDate_hour_1` → `record_date_hour_1`. Never empty.
pub fn column_name(source: &str) -> String {
    let name = snake_case(source);
    let name = if OURS.contains(&name.as_str()) || name.starts_with("_fivetran_") {
        format!("source{name}")
    } else {
        name
    };
    bounded(name, source)
}

/// The table a source name is stored in: as a column, without a leading `_` before a letter. Never empty.
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

/// The word for a sign that begins a number, at the start of a name or after an underscore: without it, `+1` and `-1` would
/// be one name.
fn sign(text: &[char], at: usize) -> Option<&'static str> {
    let begins = at.checked_sub(1).is_none_or(|before| text.get(before) == Some(&'_'));
    let number = text.get(at + 1).is_some_and(char::is_ascii_digit);
    match text.get(at) {
        Some('+') if begins && number => Some("plus"),
        Some('-') if begins && number => Some("minus"),
        _ => None,
    }
}

/// A capital begins a word after a small letter or digit, and as the last of a run of capitals before a small one.
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

/// Cuts a long name and marks the cut with a hash of the whole source name, so that two long names stay two.
fn bounded(name: String, source: &str) -> String {
    if name.len() <= MAX_LENGTH {
        return name;
    }
    let kept: String = name.chars().take(MAX_LENGTH - 9).collect();
    format!("{}_{:08x}", kept.trim_end_matches('_'), fnv1a(source))
}

/// A name of any origin within [`MAX_LENGTH`] bytes: a longer one is cut and marked with a hash of the whole.
pub fn fitted(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_LENGTH {
        return Cow::Borrowed(name);
    }
    let kept = name.floor_char_boundary(MAX_LENGTH - 9);
    Cow::Owned(format!("{}_{:08x}", name.get(..kept).unwrap_or_default(), fnv1a(name)))
}

/// FNV-1a, 32 bits: small, and the same for ever, as names in tables must be.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every example of the naming rules, and names that would like to be SQL.
    #[test]
    fn names_columns() {
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

    /// Two names that differ only after the cut stay two names.
    #[test]
    fn long_names_stay_apart() {
        let long = "x".repeat(80);
        let (a, b) = (column_name(&format!("{long}a")), column_name(&format!("{long}b")));
        assert_ne!(a, b);
        assert_eq!((a.len(), b.len()), (MAX_LENGTH, MAX_LENGTH));
        let (a, b) = ("ä".repeat(40) + "a", "ä".repeat(40) + "b");
        assert!(fitted(&a) != fitted(&b) && fitted(&a).len() <= MAX_LENGTH);
        assert_eq!(fitted("short"), "short");
    }

    proptest! {
        /// Whatever a source calls a field, the column is a plain identifier, and naming it again changes nothing.
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
