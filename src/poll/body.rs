//! Converts the bytes of a response into JSON text: decompresses, decodes the charset and repairs half surrogate pairs. Pure;
//! the size of the result is limited.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

use crate::domain::monitoring::observation::Unknown;
use crate::domain::text;
use crate::http::{Failure, decompress};

/// Largest document of a Statuspage that is read, in bytes after decompression. The largest known one (256 components) has a
/// tenth of this.
#[cfg(test)]
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// Highest compression ratio that is decompressed. Documents of status pages reach 30, decompression bombs 1,000.
const MAX_RATIO: usize = 200;

/// Longest reason or URL in a result, in characters.
pub(super) const MAX_WORDS: usize = 200;

/// Below this size any ratio is accepted.
const ANY_RATIO: usize = 64 * 1024;

/// The headers that describe a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Form {
    /// `Content-Encoding`, lower case; empty for none.
    pub(super) encoding: String,
    /// `Content-Type`, lower case.
    pub(super) kind: String,
}

impl Form {
    /// Whether `Content-Type` says HTML.
    pub(super) fn is_html(&self) -> bool {
        self.kind.contains("html")
    }

    fn charset(&self) -> Option<&'static Encoding> {
        let label = self.kind.split(';').skip(1).find_map(|part| part.trim().strip_prefix("charset="))?;
        Encoding::for_label(label.trim_matches(['"', '\'', ' ']).as_bytes())
    }
}

/// Decodes a body. Invalid bytes become U+FFFD, so that one of them damages one word at most.
pub(super) fn text(body: &[u8], form: &Form, max: usize) -> Result<String, Unknown> {
    let body = decompressed(body, &form.encoding, max)?;
    let (encoding, mark) = Encoding::for_bom(&body).unwrap_or((form.charset().unwrap_or(UTF_8), 0));
    let (text, _) = encoding.decode_without_bom_handling(&body[mark..]);
    Ok(repaired(&text).into_owned())
}

fn decompressed<'a>(body: &'a [u8], encodings: &str, max: usize) -> Result<Cow<'a, [u8]>, Unknown> {
    let cap = body.len().saturating_mul(MAX_RATIO).clamp(ANY_RATIO, max.max(ANY_RATIO));
    decompress(body, encodings, cap).map_err(unknown)
}

/// A failed request as the reason why a status page is unknown.
pub(super) fn unknown(failure: Failure) -> Unknown {
    let words = |why: String| text::shorten(&text::plain(&why), MAX_WORDS).into_owned();
    match failure {
        Failure::Timeout => Unknown::Timeout,
        Failure::Dns => Unknown::Dns,
        Failure::Tls(why) => Unknown::Tls(words(why)),
        Failure::Connect(why) => Unknown::Connect(words(why)),
        Failure::Redirect(why) => Unknown::Redirect(words(why)),
        Failure::TooLarge(cap) => Unknown::TooLarge(cap),
        Failure::Broken(why) => Unknown::Broken(words(why)),
        Failure::Encoding(why) => Unknown::NotJson(words(why)),
    }
}

/// Replaces each escaped surrogate (`\uD800` to `\uDFFF`) without its other half by `\uFFFD`. JSON parsers reject the whole
/// document otherwise, and titles may be cut in the middle of an emoji.
fn repaired(json: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok().filter(|unit| (0xd800..=0xdfff).contains(unit))
    };
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match (unit(at), unit(at + 6)) {
            (None, _) => at += 2,
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(_), _) => {
                out.push_str(&json[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
        }
        // The character after a backslash may be longer than a byte, although no JSON escape is.
        while at < json.len() && !json.is_char_boundary(at) {
            at += 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn form(encoding: &str, kind: &str) -> Form {
        Form { encoding: encoding.into(), kind: kind.into() }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_a_replacement_character() {
        for (json, want) in [
            (r#""a \ud83d b""#, r#""a \ufffd b""#),
            (r#""\ude00""#, r#""\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83"#, r#""\ud83"#),
            (r#""\"#, r#""\"#),
            ("\"\\ä\"", "\"\\ä\""),
        ] {
            assert_eq!(repaired(json), want);
        }
    }

    #[test]
    fn the_charset_is_taken_from_the_byte_order_mark_or_content_type() {
        let utf16 = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
            [mark, &"{\"ä\":1}".encode_utf16().flat_map(unit).collect::<Vec<_>>()].concat()
        };
        for (body, kind) in [
            ("{\"ä\":1}".as_bytes().to_vec(), "application/json"),
            (
                [b"\xef\xbb\xbf".as_slice(), "{\"ä\":1}".as_bytes()].concat(),
                "application/json; charset=latin1",
            ),
            (b"{\"\xe4\":1}".to_vec(), "application/json; charset=iso-8859-1"),
            (b"{\"\xe4\":1}".to_vec(), "text/json; q=1; charset=\"windows-1252\""),
            (utf16(b"\xff\xfe", u16::to_le_bytes), "application/json"),
            (utf16(b"\xfe\xff", u16::to_be_bytes), "application/json"),
            (utf16(b"", u16::to_le_bytes), "application/json; charset=utf-16"),
        ] {
            assert_eq!(text(&body, &form("", kind), MAX_BODY).unwrap(), "{\"ä\":1}", "{kind} {body:?}");
        }
        assert_eq!(text(b"\"a\xffb\"", &Form::default(), MAX_BODY).unwrap(), "\"a\u{fffd}b\"");
    }

    #[test]
    fn gzip_is_read_in_any_number_of_members() {
        let (empty, a, b) = (gzip(b""), gzip(b"{\"a\":"), gzip(b"1}"));
        for body in [gzip(b"{\"a\":1}"), [a.clone(), b.clone()].concat(), [empty, a.clone(), b].concat()] {
            assert_eq!(text(&body, &form("gzip", ""), MAX_BODY).unwrap(), "{\"a\":1}");
        }
        assert!(matches!(text(&a[..a.len() - 3], &form("gzip", ""), MAX_BODY), Err(Unknown::Broken(_))));
        let odd = text(b"x", &form("br", ""), MAX_BODY).unwrap_err().to_string();
        assert!(odd.contains("encoded as \"br\""), "{odd}");
    }

    #[test]
    fn a_decompression_bomb_is_rejected() {
        let spaces = gzip(&vec![b' '; MAX_BODY]);
        assert!(spaces.len() < 2000, "{}", spaces.len());
        let capped = spaces.len() * MAX_RATIO;
        assert_eq!(text(&spaces, &form("gzip", ""), MAX_BODY), Err(Unknown::TooLarge(capped)));
        assert_eq!(
            text(&gzip(&[b' '; ANY_RATIO]), &form("gzip", ""), MAX_BODY).map(|text| text.len()),
            Ok(ANY_RATIO)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_form_are_accepted(
            body in prop::collection::vec(any::<u8>(), 0..200),
            encoding in "(|gzip|br)",
            kind in "(|text/html|application/json; charset=(utf-8|utf-16|shift_jis|x))",
        ) {
            let _ = text(&body, &form(&encoding, &kind), MAX_BODY);
        }

        #[test]
        fn repaired_text_has_no_half_pairs(json in r#"(\\|u|d83d|de00|\\ud83d|\\ude00|"|ä|a){0,12}"#) {
            let text = repaired(&json).into_owned();
            prop_assert_eq!(repaired(&text).into_owned(), text);
        }
    }
}
