//! A page as a whole: whether it is JSON, its values outside of the records, and the position of the records.
//!
//! Start at [`Facts::of`] and [`raw_at`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::syncing::paging::signs;
use crate::source::text::non_number;

/// Length of the quoted start of a body that is not JSON.
const QUOTED_CHARS: usize = 80;

/// In bytes. A larger value is not a token, flag or number, whatever its name.
const MAX_SIGN: usize = 4096;

/// Why a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("the answer is empty where JSON was expected")]
    Empty,
    /// An HTML page, even with a status of 2xx.
    #[error(
        "the answer is HTML where JSON was expected (begins with {start:?}): check the address and the credentials"
    )]
    Html {
        /// The first characters.
        start: String,
    },
    #[error("the answer is cut off after {bytes} bytes")]
    Truncated {
        /// Bytes received.
        bytes: usize,
    },
    #[error("the answer is not JSON: {reason}")]
    NotJson {
        /// The parser's message, with line and column.
        reason: String,
    },
    /// None of the paths of the records exists.
    #[error("no records at {wanted} in the answer, which has {found}: correct `records` of table {table}")]
    NoRecords {
        table: String,
        /// The expected paths.
        wanted: String,
        /// The keys of the page.
        found: String,
    },
    /// The records are null, and the rest of the page contradicts an empty list.
    #[error(
        "null at {path:?} where the records of table {table} should be, and {why}: if null means no records, set null_is_empty = true"
    )]
    NullRecords {
        table: String,
        path: String,
        /// The contradiction.
        why: String,
    },
    /// The value at the path of the records is neither a list nor an object.
    #[error("{found} at {path:?} where the records of table {table} should be")]
    NotRecords {
        table: String,
        path: String,
        /// The kind of the value.
        found: &'static str,
    },
    /// Two source names map to one column.
    #[error(
        "{first} and {second} both become column {column:?} of table {table}: rename or drop one of them under `columns`"
    )]
    Collision { table: String, column: String, first: String, second: String },
    /// A frozen table would change.
    #[error(
        "table {table} is frozen, and the source sent {change}: drop the field under `columns`, or set schema = \"evolve\""
    )]
    Frozen { table: String, change: String },
    /// Too many columns, usually from an object with ids as keys.
    #[error(
        "table {table} would have more than {limit} columns at field {path:?}: keep its parent as JSON or drop it under `columns`"
    )]
    TooManyColumns {
        table: String,
        /// The first field beyond the limit.
        path: String,
        limit: usize,
    },
    /// The parent's row has another number of cells than the table inherits.
    #[error("table {table} inherits {wanted} columns, and {given} were given")]
    Inherited { table: String, wanted: usize, given: usize },
}

/// The kind of the root value of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    Object,
    Array,
    Scalar,
}

/// The values of a page outside of its records.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub root: Root,
    /// The keys of the root in source order; empty if it is not an object.
    pub keys: Vec<String>,
    values: BTreeMap<String, serde_json::Value>,
    outside: Vec<(String, serde_json::Value)>,
}

impl Facts {
    pub(super) fn of(body: &[u8], paths: &[&str]) -> Result<Self, PageError> {
        let text = utf8(body)?;
        let mut found = vec![None; paths.len()];
        let (mut keys, mut signs) = (Vec::new(), Vec::new());
        walk(text, paths, &mut found, Some((&mut keys, &mut signs)))?;
        let value = |raw: &str| match non_number(raw) {
            Some(_) => serde_json::Value::Null,
            // A number beyond the range of doubles is kept as text.
            None => serde_json::from_str(raw).unwrap_or_else(|_| raw.into()),
        };
        let found = paths.iter().zip(found);
        let values = found.filter_map(|(path, raw)| Some(((*path).to_owned(), value(raw?)))).collect();
        let outside = signs.into_iter().map(|(path, raw)| (path, value(raw))).collect();
        Ok(Self { root: root(text), keys, values, outside })
    }

    /// The value at a requested path: `None` if the path is missing, `Some(Null)` if the value is null.
    pub fn value(&self, path: &str) -> Option<&serde_json::Value> {
        self.values.get(path)
    }

    /// Values outside of the records whose names suggest paging, with their paths.
    pub fn outside(&self) -> &[(String, serde_json::Value)] {
        &self.outside
    }

    /// Whether the path has a value other than null.
    pub fn has(&self, path: &str) -> bool {
        self.value(path).is_some_and(|value| !value.is_null())
    }

    /// The count at a path, sent as a number or as text.
    pub fn count(&self, path: &str) -> Option<u64> {
        let value = self.value(path)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// The text or number at a path; `None` for an empty text.
    pub fn text(&self, path: &str) -> Option<String> {
        match self.value(path)? {
            serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// The body as text, without a byte order mark.
pub(super) fn utf8(body: &[u8]) -> Result<&str, PageError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    std::str::from_utf8(body).map_err(|e| {
        if e.error_len().is_none() {
            PageError::Truncated { bytes: body.len() }
        } else {
            PageError::NotJson { reason: format!("byte {} is not UTF-8", e.valid_up_to()) }
        }
    })
}

/// The kind of the root value, from its first byte.
pub(super) fn root(text: &str) -> Root {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Root::Object,
        Some(b'[') => Root::Array,
        _ => Root::Scalar,
    }
}

/// Converts an error of the parser.
pub(super) fn judge(text: &str, error: &serde_json::Error) -> PageError {
    let trimmed = text.trim_start();
    if trimmed.is_empty() {
        PageError::Empty
    } else if trimmed.starts_with('<') {
        PageError::Html { start: trimmed.chars().take(QUOTED_CHARS).collect() }
    } else if error.is_eof() {
        PageError::Truncated { bytes: text.len() }
    } else {
        PageError::NotJson { reason: error.to_string() }
    }
}

/// The source text of the value at each path.
pub(super) fn raw_at<'de>(text: &'de str, paths: &[&str]) -> Result<Vec<Option<&'de str>>, PageError> {
    let mut found = vec![None; paths.len()];
    walk(text, paths, &mut found, None)?;
    Ok(found)
}

/// The rest of `path` below `key`: `Some("")` if the key is the whole path. Keys may contain dots, such as
/// `@odata.nextLink`.
pub(super) fn below<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('.').filter(|rest| !rest.is_empty()) }
}

/// The keys of the root, and the signs of further pages.
type Noticed<'a, 'de> = (&'a mut Vec<String>, &'a mut Vec<(String, &'de str)>);

fn walk<'de>(
    text: &'de str,
    paths: &[&str],
    found: &mut [Option<&'de str>],
    noticed: Option<Noticed<'_, 'de>>,
) -> Result<(), PageError> {
    let wanted = paths.iter().copied().enumerate().collect();
    let (keys, signs) = noticed.unzip();
    let signs = signs.map(|signs| (String::new(), signs));
    let mut json = serde_json::Deserializer::from_str(text);
    Walk { wanted, found, keys, signs }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|e| judge(text, &e))
}

/// Visits only requested paths and places where services put paging values; skips everything else.
struct Walk<'a, 'p, 'de> {
    wanted: Vec<(usize, &'p str)>,
    found: &'a mut [Option<&'de str>],
    keys: Option<&'a mut Vec<String>>,
    /// The path of this object, if it may contain signs of further pages.
    signs: Option<(String, &'a mut Vec<(String, &'de str)>)>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(MemberKey(key)) = map.next_key()? {
            let mut here = Vec::new();
            let mut deeper = Vec::new();
            for &(at, path) in &self.wanted {
                match below(path, &key) {
                    Some("") => here.push(at),
                    Some(rest) => deeper.push((at, rest)),
                    None => {}
                }
            }
            let path = self.signs.as_ref().map(|(of, _)| match of.as_str() {
                "" => Cow::Borrowed(&*key),
                of => Cow::Owned(format!("{of}.{key}")),
            });
            let sign = path.as_ref().filter(|_| signs::is_name(&key)).map(|path| path.to_string());
            let place = path.filter(|path| signs::is_place(path)).map(Cow::into_owned);
            if let Some(keys) = self.keys.as_deref_mut() {
                keys.push(key.into_owned());
            }
            if here.is_empty() && deeper.is_empty() && sign.is_none() && place.is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let signs = place.zip(self.signs.as_mut().map(|(_, signs)| &mut **signs));
            if here.is_empty() && sign.is_none() {
                map.next_value_seed(Walk { wanted: deeper, found: self.found, keys: None, signs })?;
                continue;
            }
            let raw: &'de RawValue = map.next_value()?;
            for at in here {
                if let Some(place) = self.found.get_mut(at) {
                    *place = Some(raw.get());
                }
            }
            if !deeper.is_empty() || signs.is_some() {
                let mut json = serde_json::Deserializer::from_str(raw.get());
                Walk { wanted: deeper, found: self.found, keys: None, signs }
                    .deserialize(&mut json)
                    .map_err(serde::de::Error::custom)?;
            }
            if let (Some(path), Some((_, signs))) = (sign, &mut self.signs)
                && raw.get().len() <= MAX_SIGN
            {
                signs.push((path, raw.get()));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct MemberKey<'a>(#[serde(borrow)] Cow<'a, str>);
