//! Converts the body of an answer to UTF-8 JSON: other charsets, a byte order mark, invalid bytes, unpaired surrogates,
//! `NaN`.
//!
//! Start at [`utf8`]; [`mark_non_numbers`] is for bodies that are not valid JSON.

use std::borrow::Cow;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};

/// The numbers that replace `NaN`, `Infinity` and `-Infinity` in a body: no source sends them. Rows with one are
/// rejected.
const MARKS: [(&str, &str); 3] =
    [("-Infinity", "0e9876543212"), ("Infinity", "0e9876543211"), ("NaN", "0e9876543210")];
/// The prefix of all marks.
const MARK: &str = "0e987654321";

/// The body in UTF-8 without a byte order mark and without unpaired surrogates, and notes about replaced characters.
///
/// The charset is that of the byte order mark, otherwise that of the content type. A body that is valid UTF-8 is read as
/// such, because many services state ISO-8859-1 by default and send UTF-8, and text in a single-byte charset is almost
/// never valid UTF-8.
pub(in crate::source) fn utf8(body: Vec<u8>, content_type: Option<&str>) -> (Vec<u8>, Vec<&'static str>) {
    let mut notes = Vec::new();
    let (marked, skip) = Encoding::for_bom(&body).map_or((None, 0), |(charset, skip)| (Some(charset), skip));
    let stated = || Encoding::for_label(charset(content_type?)?.as_bytes());
    let charset = marked.or_else(stated).unwrap_or(UTF_8);
    let wide = [UTF_16LE, UTF_16BE, ISO_2022_JP].contains(&charset);
    let mut body = match std::str::from_utf8(body.get(skip..).unwrap_or_default()) {
        Ok(_) if !wide => without_first(body, skip),
        // A body that ends within a character was truncated; the decoder reports that.
        Err(e) if charset == UTF_8 && e.error_len().is_none() => without_first(body, skip),
        _ => {
            let (text, replaced) = charset.decode_without_bom_handling(body.get(skip..).unwrap_or_default());
            if replaced {
                notes.push("invalid bytes in the answer's charset were replaced by U+FFFD");
            }
            text.into_owned().into_bytes()
        }
    };
    if replace_surrogates(&mut body) {
        notes.push("unpaired surrogates were replaced by U+FFFD");
    }
    (body, notes)
}

fn without_first(mut body: Vec<u8>, count: usize) -> Vec<u8> {
    if count > 0 {
        body.drain(..count);
    }
    body
}

/// The charset parameter of a content type.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
}

/// Replaces each escaped unpaired surrogate by `\ufffd`. Returns whether there was one.
fn replace_surrogates(body: &mut [u8]) -> bool {
    let (mut at, mut replaced) = (0, false);
    while let Some(found) = next_escape(body, at) {
        at = found;
        at += match (unit(body, at), unit(body, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                if let Some(escape) = body.get_mut(at..at + 6) {
                    escape.copy_from_slice(b"\\ufffd");
                }
                replaced = true;
                6
            }
            _ => 2,
        };
    }
    replaced
}

/// The next backslash. Most bodies have few, and searching whole chunks is faster than checking single bytes.
fn next_escape(body: &[u8], at: usize) -> Option<usize> {
    const PIECE: usize = 512;
    let pieces = body.get(at..)?.chunks(PIECE).enumerate();
    let mut found = pieces.filter(|(_, piece)| piece.contains(&b'\\'));
    let (number, piece) = found.next()?;
    Some(at + number * PIECE + piece.iter().position(|byte| *byte == b'\\')?)
}

/// The value of an escape such as `\u00e9` at a position.
fn unit(body: &[u8], at: usize) -> Option<u16> {
    let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Replaces each bare `NaN`, `Infinity` and `-Infinity`, which are not JSON but which some services send, by a mark.
/// `None` if there is none.
pub(in crate::source) fn mark_non_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let (mut at, mut copied, mut quoted) = (0, 0, false);
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b'N' | b'I' | b'-' if !quoted => {
                let rest = body.get(at..).unwrap_or_default();
                if let Some((name, mark)) = MARKS.iter().find(|(name, _)| rest.starts_with(name.as_bytes())) {
                    let out = out.get_or_insert_default();
                    out.extend_from_slice(body.get(copied..at).unwrap_or_default());
                    out.extend_from_slice(mark.as_bytes());
                    at += name.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut out = out?;
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    Some(out)
}

/// The name of the value that a mark replaces, if a JSON text contains one.
pub(in crate::source) fn non_number(raw: &str) -> Option<&'static str> {
    let marked = |(name, mark): &(&'static str, &str)| raw.contains(mark).then_some(*name);
    raw.contains(MARK).then(|| MARKS.iter().find_map(marked)).flatten()
}

/// The text as the source sent it: marks replaced by their values.
pub(in crate::source) fn unmarked(raw: &str) -> Cow<'_, str> {
    if !raw.contains(MARK) {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(MARKS.iter().fold(raw.to_owned(), |text, (name, mark)| text.replace(mark, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &[u8], content_type: &str) -> (String, usize) {
        let (body, notes) = utf8(body.to_vec(), Some(content_type));
        (String::from_utf8_lossy(&body).into_owned(), notes.len())
    }

    #[test]
    fn charsets_are_decoded() {
        let wide = |text: &str, first: &[u8]| {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            first.iter().copied().chain(units).collect::<Vec<u8>>()
        };
        for (body, content_type, want) in [
            (b"\"\xe9\"".to_vec(), "application/json; charset=ISO-8859-1", "\"é\""),
            (b"\"\x80\"".to_vec(), "application/json;charset=\"windows-1252\"", "\"€\""),
            (b"\"\xc3\xa9\"".to_vec(), "application/json;charset=ISO-8859-1", "\"é\""),
            (b"\"\xc3\xa9\"".to_vec(), "application/json", "\"é\""),
            (b"\xef\xbb\xbf\"\xc3\xa9\"".to_vec(), "", "\"é\""),
            (wide("\"é\"", b"\xff\xfe"), "application/json", "\"é\""),
            (wide("{\"a\":1}", b""), "application/json; charset=utf-16le", "{\"a\":1}"),
            (b"\"\x93\xfa\"".to_vec(), "text/json; charset=Shift_JIS", "\"日\""),
            (b"{\"a\":1}".to_vec(), "application/json; charset=klingon", "{\"a\":1}"),
        ] {
            assert_eq!(read(&body, content_type), (want.to_owned(), 0), "{content_type}");
        }
        assert_eq!(read(b"\"a\xffb\"", "application/json"), ("\"a\u{fffd}b\"".into(), 1));
        assert_eq!(utf8(b"\"a\xc3".to_vec(), None).0, b"\"a\xc3", "cut off, not replaced");
    }

    #[test]
    fn unpaired_surrogates_become_the_replacement_character() {
        for (body, want) in [
            (r#""\ud83d\ude42""#, r#""\ud83d\ude42""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDE42 \ud83d\ud83d\ude42""#, r#""\ufffd \ufffd\ud83d\ude42""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#"{"\ud83dx":"\""}"#, r#"{"\ufffdx":"\""}"#),
            (r#""\ud8"#, r#""\ud8"#),
        ] {
            assert_eq!(read(body.as_bytes(), "").0, want);
        }
    }

    #[test]
    fn non_numbers_are_marked_outside_of_strings() {
        let body = r#"[{"a":NaN,"b":"NaN \" NaN","c":[-Infinity,Infinity,-1]}]"#;
        let marked = String::from_utf8(mark_non_numbers(body.as_bytes()).unwrap()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&marked).is_ok(), "{marked}");
        assert_eq!(unmarked(&marked), body);
        assert_eq!(non_number("0e9876543212"), Some("-Infinity"));
        assert_eq!((non_number("0e5"), mark_non_numbers(b"{\"a\":\"NaN\"}")), (None, None));
    }

    proptest! {
        /// No bytes cause a panic.
        #[test]
        fn valid_json_does_not_change(text in "\\PC{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let body = serde_json::json!({ "a": text }).to_string();
            prop_assert_eq!(utf8(body.clone().into_bytes(), Some("application/json")), (body.clone().into_bytes(), vec![]));
            prop_assert_eq!(mark_non_numbers(body.as_bytes()), None);
            let (read, _) = utf8(bytes, Some("x; charset=utf-16"));
            prop_assert!(std::str::from_utf8(&read).is_ok());
        }
    }
}
