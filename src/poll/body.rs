//! The bytes of an answer made into JSON text: decompressed, decoded, mended. Pure, and bounded by what comes out.

use std::borrow::Cow;
use std::io::Read;

use encoding_rs::{Encoding, UTF_8};
use flate2::bufread::MultiGzDecoder;

use crate::domain::observation::Unknown;

/// Largest document that is read, in bytes after decompression. The largest known real one (components of a page
/// with 256 of them) has a tenth of this; what is larger is a web site.
pub const MAX_BODY: usize = 1024 * 1024;

/// Highest compression ratio that is decompressed: documents of status pages reach 30, made-up ones 1,000.
const MAX_RATIO: usize = 200;

/// Below this size no ratio matters.
const ANY_RATIO: usize = 64 * 1024;

/// What the headers say of a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Form {
    /// `Content-Encoding`, lower case; empty for none.
    pub(super) encoding: String,
    /// `Content-Type`, lower case.
    pub(super) kind: String,
}

impl Form {
    /// Whether the body is called HTML.
    pub(super) fn is_html(&self) -> bool {
        self.kind.contains("html")
    }

    fn charset(&self) -> Option<&'static Encoding> {
        let label = self.kind.split(';').skip(1).find_map(|part| part.trim().strip_prefix("charset="))?;
        Encoding::for_label(label.trim_matches(['"', '\'', ' ']).as_bytes())
    }
}

/// The text of a body. Bytes that the charset does not know become U+FFFD, so that one of them costs one word at most.
pub(super) fn text(body: &[u8], form: &Form) -> Result<String, Unknown> {
    let body = decompressed(body, &form.encoding)?;
    let (encoding, mark) = Encoding::for_bom(&body).unwrap_or((form.charset().unwrap_or(UTF_8), 0));
    let (text, _) = encoding.decode_without_bom_handling(&body[mark..]);
    Ok(mended(&text).into_owned())
}

fn decompressed<'a>(body: &'a [u8], encoding: &str) -> Result<Cow<'a, [u8]>, Unknown> {
    match encoding {
        "" | "identity" => Ok(Cow::Borrowed(body)),
        "gzip" | "x-gzip" => gunzip(body).map(Cow::Owned),
        other => Err(Unknown::NotJson(format!("content encoding `{other}`, which was not asked for"))),
    }
}

/// All members of a gzip stream (RFC 1952).
fn gunzip(body: &[u8]) -> Result<Vec<u8>, Unknown> {
    let most = body.len().saturating_mul(MAX_RATIO).clamp(ANY_RATIO, MAX_BODY);
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut out)
        .map_err(|e| Unknown::Broken(format!("gzip: {e}")))?;
    if out.len() > most { Err(Unknown::TooLarge(most)) } else { Ok(out) }
}

/// The text with each `\uD800` to `\uDFFF` that has no other half replaced by `\uFFFD`: no parser takes half a pair, and a
/// cut emoji should cost no more than itself.
fn mended(json: &str) -> Cow<'_, str> {
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
        // An escaped character may be longer than a byte; no escape of JSON is.
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
            assert_eq!(mended(json), want);
        }
    }

    #[test]
    fn charsets_are_told_by_mark_or_content_type() {
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
            assert_eq!(text(&body, &form("", kind)).unwrap(), "{\"ä\":1}", "{kind} {body:?}");
        }
        assert_eq!(text(b"\"a\xffb\"", &Form::default()).unwrap(), "\"a\u{fffd}b\"");
    }

    #[test]
    fn gzip_is_read_in_any_number_of_members() {
        let (empty, a, b) = (gzip(b""), gzip(b"{\"a\":"), gzip(b"1}"));
        for body in [gzip(b"{\"a\":1}"), [a.clone(), b.clone()].concat(), [empty, a.clone(), b].concat()] {
            assert_eq!(text(&body, &form("gzip", "")).unwrap(), "{\"a\":1}");
        }
        assert!(matches!(text(&a[..a.len() - 3], &form("gzip", "")), Err(Unknown::Broken(_))));
        let odd = text(b"x", &form("br", "")).unwrap_err().to_string();
        assert!(odd.contains("`br`"), "{odd}");
    }

    #[test]
    fn a_body_that_grows_without_measure_is_not_decompressed() {
        let spaces = gzip(&vec![b' '; MAX_BODY]);
        assert!(spaces.len() < 2000, "{}", spaces.len());
        let capped = spaces.len() * MAX_RATIO;
        assert_eq!(text(&spaces, &form("gzip", "")), Err(Unknown::TooLarge(capped)));
        assert_eq!(text(&gzip(&[b' '; ANY_RATIO]), &form("gzip", "")).map(|text| text.len()), Ok(ANY_RATIO));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_form_are_accepted(
            body in prop::collection::vec(any::<u8>(), 0..200),
            encoding in "(|gzip|br)",
            kind in "(|text/html|application/json; charset=(utf-8|utf-16|shift_jis|x))",
        ) {
            let _ = text(&body, &form(&encoding, &kind));
        }

        #[test]
        fn mended_text_has_no_half_pairs(json in r#"(\\|u|d83d|de00|\\ud83d|\\ude00|"|ä|a){0,12}"#) {
            let mended = mended(&json).into_owned();
            prop_assert_eq!(super::mended(&mended).into_owned(), mended);
        }
    }
}
