//! Encodings of a secret. The text is searched as it is and with its escapes decoded, for the secret's bytes,
//! its base64 and its hex.

use std::ops::Range;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use memchr::memmem;
use secrecy::{ExposeSecret, SecretSlice};

use super::SHORT;

/// Nested escapes: JSON quoted in JSON, a URL within a URL. An echoed request is not nested deeper.
const DEPTH: usize = 2;

pub(super) struct Spellings {
    short: bool,
    /// The secret itself, also with blanks as forms encode them.
    plain: Vec<SecretSlice<u8>>,
    hex: Vec<SecretSlice<u8>>,
    /// The base64 characters that do not depend on the bytes before and after the secret.
    base64: Vec<SecretSlice<u8>>,
}

impl Spellings {
    pub(super) fn of(secret: &str) -> Spellings {
        let secret = secret.trim();
        let short = secret.chars().count() < SHORT;
        let squeezed = secret.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut plain = vec![secret.to_owned(), secret.replace(' ', "+"), squeezed];
        plain.sort_unstable();
        plain.dedup();
        plain.retain(|text| !text.is_empty());
        let (mut hex, mut base64) = (Vec::new(), Vec::new());
        if !short {
            let lower: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            hex.extend([lower.to_ascii_uppercase(), lower]);
            base64.extend((0..3).flat_map(|offset| cores(secret.as_bytes(), offset)));
            base64.sort_unstable();
            base64.dedup();
        }
        let hidden = |texts: Vec<String>| texts.into_iter().map(|text| text.into_bytes().into()).collect();
        Spellings { short, plain: hidden(plain), hex: hidden(hex), base64: hidden(base64) }
    }

    /// Finds the secret's ranges in the original text.
    pub(super) fn find(&self, text: &str, view: &DecodedView<'_>, found: &mut Vec<Range<usize>>) {
        for needle in self.plain.iter().chain(&self.hex) {
            let ranges = view.find(needle.expose_secret()).map(|range| view.original(range));
            found.extend(ranges.filter(|range| !self.short || is_whole_word(text, range)));
        }
        for needle in &self.base64 {
            // The rest of the base64 text encodes the user name and some bits of the secret.
            let mut done = 0;
            for range in view.find(needle.expose_secret()) {
                if range.start >= done {
                    let range = view.extended(range);
                    done = range.end;
                    found.push(view.original(range));
                }
            }
        }
    }
}

/// The base64 characters that depend only on the secret if it starts `offset` bytes (modulo 3) into the text.
fn cores(secret: &[u8], offset: usize) -> [String; 2] {
    let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(secret.iter().copied()).collect();
    // Units of six bits: the first that lies completely in the secret, and the one after the last.
    let (first, last) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    let core = |encoded: String| encoded.get(first..last).unwrap_or_default().to_owned();
    [core(BASE64_STANDARD_NO_PAD.encode(&padded)), core(BASE64_URL_SAFE_NO_PAD.encode(&padded))]
}

/// Whether a range of the text is not part of a word or a number.
fn is_whole_word(text: &str, range: &Range<usize>) -> bool {
    let joins = |near: Option<char>, beyond: Option<char>| match near {
        Some('.' | '-') => beyond.is_some_and(char::is_alphanumeric),
        Some(c) => c.is_alphanumeric() || c == '_',
        None => false,
    };
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    !joins(before.next(), before.next()) && !joins(after.next(), after.next())
}

/// A text with some of its escapes decoded.
pub(super) struct DecodedView<'a> {
    bytes: std::borrow::Cow<'a, [u8]>,
    /// The position of each byte, and of the end, in the original text; `None`: the same position.
    places: Option<Vec<usize>>,
}

impl DecodedView<'_> {
    fn find<'v>(&'v self, needle: &'v [u8]) -> impl Iterator<Item = Range<usize>> + 'v {
        let fits = !needle.is_empty() && needle.len() <= self.bytes.len();
        let found = fits.then(|| memmem::find_iter(&self.bytes, needle));
        found.into_iter().flatten().map(|at| at..at + needle.len())
    }

    fn extended(&self, range: Range<usize>) -> Range<usize> {
        let belongs = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        let before = self.bytes[..range.start].iter().rev().take_while(belongs).count();
        let after = self.bytes[range.end..].iter().take_while(belongs).count();
        range.start - before..range.end + after
    }

    fn place(&self, at: usize) -> usize {
        self.places.as_ref().map_or(at, |places| places[at])
    }

    fn original(&self, range: Range<usize>) -> Range<usize> {
        self.place(range.start)..self.place(range.end)
    }

    /// The view with one kind of escapes decoded; `None` if there are none.
    fn decoded(&self, mark: u8, undo: Undo) -> Option<DecodedView<'static>> {
        memchr::memchr(mark, &self.bytes)?;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut places = Vec::with_capacity(self.bytes.len() + 1);
        let (mut at, mut changed) = (0, false);
        while let Some(byte) = self.bytes.get(at) {
            let decoded = if *byte == mark { undo(&self.bytes[at..]) } else { None };
            let taken = match decoded {
                Some((c, taken)) => {
                    changed = true;
                    c.push_to(&mut bytes);
                    taken
                }
                None => {
                    bytes.push(*byte);
                    1
                }
            };
            places.resize(bytes.len(), self.place(at));
            at += taken;
        }
        places.push(self.place(self.bytes.len()));
        changed.then(|| DecodedView { bytes: bytes.into(), places: Some(places) })
    }
}

/// All views of a text.
pub(super) fn views(text: &str) -> Vec<DecodedView<'_>> {
    const KINDS: [(u8, Undo); 3] = [(b'%', percent), (b'\\', backslash), (b'&', entity)];
    let mut all = vec![DecodedView { bytes: text.as_bytes().into(), places: None }];
    let mut from = 0;
    for _ in 0..DEPTH {
        let until = all.len();
        for at in from..until {
            for (mark, undo) in KINDS {
                let decoded = all[at].decoded(mark, undo);
                all.extend(decoded);
            }
        }
        from = until;
    }
    all
}

/// Decodes the escape at the start of the bytes; returns its meaning and its length.
type Undo = fn(&[u8]) -> Option<(Unescaped, usize)>;

enum Unescaped {
    Byte(u8),
    Char(char),
}

impl Unescaped {
    fn push_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Unescaped::Byte(byte) => bytes.push(*byte),
            Unescaped::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn number(digits: Option<&[u8]>, radix: u32) -> Option<u32> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_alphanumeric))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// `%2F`
fn percent(bytes: &[u8]) -> Option<(Unescaped, usize)> {
    let byte = number(bytes.get(1..3), 16)?;
    Some((Unescaped::Byte(u8::try_from(byte).ok()?), 3))
}

/// Escapes of JSON and of Rust's debug output.
fn backslash(bytes: &[u8]) -> Option<(Unescaped, usize)> {
    let c = match bytes.get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'0' => '\0',
        b'x' => return Some((Unescaped::Byte(u8::try_from(number(bytes.get(2..4), 16)?).ok()?), 4)),
        b'u' => return unicode(bytes),
        other if other.is_ascii_punctuation() => char::from(*other),
        _ => return None,
    };
    Some((Unescaped::Char(c), 2))
}

/// `\u00e4`, two of them for a surrogate pair, or `\u{e4}`.
fn unicode(bytes: &[u8]) -> Option<(Unescaped, usize)> {
    if bytes.get(2) == Some(&b'{') {
        let length = bytes.get(3..10.min(bytes.len()))?.iter().position(|byte| *byte == b'}')?;
        let c = char::from_u32(number(bytes.get(3..3 + length), 16)?)?;
        return Some((Unescaped::Char(c), 4 + length));
    }
    let first = number(bytes.get(2..6), 16)?;
    if let Some(c) = char::from_u32(first) {
        return Some((Unescaped::Char(c), 6));
    }
    let second = bytes.get(6..8).filter(|mark| *mark == b"\\u").and_then(|_| number(bytes.get(8..12), 16))?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((Unescaped::Char(c), 12))
}

/// `&amp;` and similar, `&#39;`, `&#x27;`.
fn entity(bytes: &[u8]) -> Option<(Unescaped, usize)> {
    const LONGEST: usize = 10;
    const NAMED: [(&[u8], char); 5] =
        [(b"amp", '&'), (b"lt", '<'), (b"gt", '>'), (b"quot", '"'), (b"apos", '\'')];
    let end = bytes.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = bytes.get(1..end)?;
    let c = match name {
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(Some(digits), 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(Some(digits), 10)?)?,
        _ => NAMED.iter().find(|(known, _)| *known == name).map(|(_, c)| *c)?,
    };
    Some((Unescaped::Char(c), end + 1))
}
