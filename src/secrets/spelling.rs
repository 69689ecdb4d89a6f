//! How a secret may be spelt: the text is read as it is and with its escapes undone, and searched for the secret's
//! bytes, its base64 and its hex.

use std::ops::Range;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use memchr::memmem;
use secrecy::{ExposeSecret, SecretSlice};

use super::SHORT;

/// Escapes within escapes: JSON quoted in JSON, a URL within a URL. Deeper nesting is no echo of a request.
const DEPTH: usize = 2;

/// What to look for.
pub(super) struct Spellings {
    short: bool,
    /// The secret itself, also as forms write its blanks.
    plain: Vec<SecretSlice<u8>>,
    hex: Vec<SecretSlice<u8>>,
    /// What base64 makes of it whatever stands before and behind it.
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

    /// Where they stand in the original text.
    pub(super) fn find(&self, text: &str, view: &View<'_>, found: &mut Vec<Range<usize>>) {
        for needle in self.plain.iter().chain(&self.hex) {
            let ranges = view.find(needle.expose_secret()).map(|range| view.original(range));
            found.extend(ranges.filter(|range| !self.short || stands_alone(text, range)));
        }
        for needle in &self.base64 {
            // The rest of the encoded text holds the user's name, and bits of the secret.
            let mut done = 0;
            for range in view.find(needle.expose_secret()) {
                if range.start >= done {
                    let range = view.grown(range);
                    done = range.end;
                    found.push(view.original(range));
                }
            }
        }
    }
}

/// The characters of base64 that depend on the secret alone if it begins `offset` bytes (modulo 3) into the text.
fn cores(secret: &[u8], offset: usize) -> [String; 2] {
    let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(secret.iter().copied()).collect();
    // Of six bits each: the first that lies wholly in the secret, and the one behind the last.
    let (first, last) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    let core = |encoded: String| encoded.get(first..last).unwrap_or_default().to_owned();
    [core(BASE64_STANDARD_NO_PAD.encode(&padded)), core(BASE64_URL_SAFE_NO_PAD.encode(&padded))]
}

/// Whether a place in a text is not a part of a word or a number.
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let joins = |near: Option<char>, beyond: Option<char>| match near {
        Some('.' | '-') => beyond.is_some_and(char::is_alphanumeric),
        Some(c) => c.is_alphanumeric() || c == '_',
        None => false,
    };
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    !joins(before.next(), before.next()) && !joins(after.next(), after.next())
}

/// A text with some of its escapes undone.
pub(super) struct View<'a> {
    bytes: std::borrow::Cow<'a, [u8]>,
    /// Where each byte, and the end, stands in the original text; `None`: at its own place.
    places: Option<Vec<usize>>,
}

impl View<'_> {
    fn find<'v>(&'v self, needle: &'v [u8]) -> impl Iterator<Item = Range<usize>> + 'v {
        let fits = !needle.is_empty() && needle.len() <= self.bytes.len();
        let found = fits.then(|| memmem::find_iter(&self.bytes, needle));
        found.into_iter().flatten().map(|at| at..at + needle.len())
    }

    fn grown(&self, range: Range<usize>) -> Range<usize> {
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

    /// The view with one kind of escapes undone; `None` if there are none.
    fn undone(&self, mark: u8, undo: Undo) -> Option<View<'static>> {
        memchr::memchr(mark, &self.bytes)?;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut places = Vec::with_capacity(self.bytes.len() + 1);
        let (mut at, mut changed) = (0, false);
        while let Some(byte) = self.bytes.get(at) {
            let undone = if *byte == mark { undo(&self.bytes[at..]) } else { None };
            let taken = match undone {
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
        changed.then(|| View { bytes: bytes.into(), places: Some(places) })
    }
}

/// A text in all views of it.
pub(super) fn views(text: &str) -> Vec<View<'_>> {
    const KINDS: [(u8, Undo); 3] = [(b'%', percent), (b'\\', backslash), (b'&', entity)];
    let mut all = vec![View { bytes: text.as_bytes().into(), places: None }];
    let mut from = 0;
    for _ in 0..DEPTH {
        let until = all.len();
        for at in from..until {
            for (mark, undo) in KINDS {
                let undone = all[at].undone(mark, undo);
                all.extend(undone);
            }
        }
        from = until;
    }
    all
}

/// What an escape at the begin of the bytes stands for, and how long it is.
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

/// As JSON, and Rust's debug output, escape.
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

/// `\u00e4`, two of them for what needs a surrogate pair, or `\u{e4}`.
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

/// `&amp;` and its like, and `&#39;`, `&#x27;`.
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
