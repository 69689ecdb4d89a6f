//! Cleans text from upstream for display: plain, on one line, limited in length.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::markup;

const ELLIPSIS: char = '…';
/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One line of plain text. Line breaks, tabs and other control characters become single blanks; characters
/// that change the writing direction or are invisible (bidirectional controls, zero-width characters,
/// byte-order marks) are removed; runs of blanks become one. Emoji keep their joiners and variation
/// selectors.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|b| b < 0x20 || b == 0x7f) && !needs_squeeze(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut blank = true;
    for c in text.chars() {
        if hides(c) {
            continue;
        }
        if c.is_control() || c.is_whitespace() || matches!(c, '\u{2028}' | '\u{2029}') {
            if !blank {
                out.push(' ');
            }
            blank = true;
        } else {
            out.push(c);
            blank = false;
        }
    }
    out.truncate(out.trim_end().len());
    Cow::Owned(out)
}

/// Plain text from text that may contain HTML tags and character references.
pub fn readable(text: &str) -> String {
    plain(&markup::to_text(text)).into_owned()
}

/// A word of a closed set in the form that is compared: without case, blanks, hyphens and underscores.
pub fn folded(word: &str) -> String {
    let letters = word.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_'));
    letters.flat_map(char::to_lowercase).collect()
}

/// `1 row`, `2 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn needs_squeeze(text: &str) -> bool {
    text.starts_with(' ') || text.ends_with(' ') || text.contains("  ")
}

fn hides(c: char) -> bool {
    matches!(c,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}' | '\u{2060}'..='\u{2064}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
}

/// The text itself if it has at most `max` characters (Unicode scalar values), otherwise its start followed
/// by `…` within `max`, cut between words if that does not lose more than half.
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if text.chars().count() <= max {
        return Cow::Borrowed(text);
    }
    let Some(room) = max.checked_sub(1) else { return Cow::Borrowed("") };
    let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    let at_word = if text[end..].starts_with(' ') { Some(end) } else { head.rfind(' ') };
    let cut = match at_word {
        Some(at) if head[..at].chars().count() * 2 >= room => at,
        _ => end,
    };
    let mut out = text[..cut].trim_end_matches([' ', ',', ';', ':', '.', '-', '|']).to_owned();
    out.push(ELLIPSIS);
    Cow::Owned(out)
}

/// A text, percent-encoded as one segment of a URL's path.
pub fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "row")), ["0 rows", "1 row", "2 rows"]);
    }

    #[test]
    fn a_path_segment_has_only_unreserved_characters_unencoded() {
        let unreserved = "ABCXYZabcxyz0189-_.~";
        assert_eq!(path_segment(unreserved), unreserved);
        assert_eq!(path_segment("a/b \"ü\"?#%+:@\u{7f}"), "a%2Fb%20%22%C3%BC%22%3F%23%25%2B%3A%40%7F");
    }
    use proptest::prelude::*;

    #[test]
    fn any_text_becomes_one_plain_line() {
        for (text, want) in [
            ("Partial System Outage", "Partial System Outage"),
            ("  two \r\n lines\t", "two lines"),
            ("\u{202e}evil\u{202c} text\u{0}", "evil text"),
            ("a\u{200b}b\u{feff}c", "abc"),
            ("👩‍💻 down ⚠️", "👩‍💻 down ⚠️"),
            ("مشكلة في الخدمة", "مشكلة في الخدمة"),
            ("\n\n", ""),
        ] {
            assert_eq!(plain(text), want);
        }
    }

    /// A single long word is cut at the limit.
    #[test]
    fn shortens_between_words() {
        assert_eq!(shorten("one two three", 13), "one two three");
        assert_eq!(shorten("one two three", 12), "one two…");
        assert_eq!(shorten("one two three", 8), "one two…");
        assert_eq!(shorten("abcdefghij", 5), "abcd…");
        assert_eq!(shorten("äöüäöü", 4), "äöü…");
        assert_eq!(shorten("abc", 0), "");
    }

    proptest! {
        /// The result is never longer than requested and has no control character; plain text stays
        /// unchanged.
        #[test]
        fn bounded_and_idempotent(text in "\\PC{0,80}|.{0,80}", max in 1usize..60) {
            let once = plain(&text).into_owned();
            prop_assert!(plain(&once) == once);
            prop_assert!(!once.chars().any(char::is_control));
            let short = shorten(&once, max);
            prop_assert!(short.chars().count() <= max);
            if once.chars().count() <= max { prop_assert!(short == once); }
        }
    }
}
