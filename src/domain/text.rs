//! Text from upstream made fit for one line in front of everybody: plain, on one line, bounded.

use std::borrow::Cow;

use super::markup;

/// The mark of a cut.
const ELLIPSIS: char = '…';

/// One line of plain text: line breaks, tabs and other control characters become single blanks; marks that
/// turn the writing direction or hide (bidirectional controls, zero-width characters, byte-order marks) go;
/// runs of blanks shrink to one. Emoji stay whole, with their joiners and variation selectors.
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

/// Plain text of what a page may have written with HTML tags and character references.
pub fn readable(text: &str) -> String {
    plain(&markup::to_text(text)).into_owned()
}

/// A word of a closed list in the spelling that is compared: without case, blanks, hyphens and underscores.
pub fn folded(word: &str) -> String {
    let kept = word.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_'));
    kept.flat_map(char::to_lowercase).collect()
}

fn needs_squeeze(text: &str) -> bool {
    text.starts_with(' ') || text.ends_with(' ') || text.contains("  ")
}

fn hides(c: char) -> bool {
    matches!(c,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}' | '\u{2060}'..='\u{2064}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
}

/// The text itself if it has at most `max` characters (Unicode scalar values), else its beginning ended by `…`
/// within `max`, cut between words where that does not lose more than half.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What people would see is one plain line whatever upstream sends.
    #[test]
    fn makes_plain_lines() {
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

    /// Cuts fall between words and are marked; a single long word is cut where it must.
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
        /// Never longer than asked, never a control character, and plain text stays as it is.
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
