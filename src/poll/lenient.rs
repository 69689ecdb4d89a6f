//! Types for fields that a page may leave out, set to null or fill with something else: those count as absent,
//! and never spoil the rest of the answer. Nothing is stored of what is not asked for.
//!
//! Each value is first taken as it is written, which any well-formed JSON allows, and only then read as the wanted kind:
//! a number beyond all bounds or a field given twice costs its own element alone.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Longer lists are no status page: the largest known one has 256 components.
pub(super) const MAX_ITEMS: usize = 4096;

/// A string, else absent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Text(pub(super) Option<String>);

/// A boolean, else `false`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flag(pub(super) bool);

/// An object, else absent.
#[derive(Debug, PartialEq)]
pub(super) struct Object<T>(pub(super) Option<T>);

/// The objects of an array, and how many elements were none or could not be read; what is no array is absent.
#[derive(Debug, PartialEq)]
pub(super) struct List<T>(pub(super) Option<(Vec<T>, usize)>);

/// The strings of an array, read only when they are asked for; what is no array is empty.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Texts(String);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Object(None)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List(None)
    }
}

impl<T> List<T> {
    /// The objects alone.
    pub(super) fn items(self) -> Vec<T> {
        self.0.map(|(items, _)| items).unwrap_or_default()
    }
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

fn string(written: &str) -> Option<String> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(written).ok() } else { Some(inner.to_owned()) }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer).map(|written| Text(string(written)))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer).map(|written| Flag(written == "true"))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = written(deserializer)?;
        let object =
            written.starts_with('{').then(|| serde_json::from_str(written).map_err(D::Error::custom));
        object.transpose().map(Object)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut broken = 0;
        let mut take = |written: &str| {
            // A struct can be read from an array, too, which is not meant here.
            let item = written.starts_with('{').then(|| serde_json::from_str(written).ok()).flatten();
            broken += usize::from(item.is_none());
            item
        };
        let items = elements(written(deserializer)?, MAX_ITEMS, &mut take).map_err(D::Error::custom)?;
        Ok(List(items.map(|items| (items, broken))))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written(deserializer).map(|written| Texts(written.to_owned()))
    }
}

impl Texts {
    /// The strings.
    ///
    /// # Errors
    /// When there are more than `most` entries.
    pub(super) fn read(&self, most: usize) -> Result<Vec<String>, serde_json::Error> {
        elements(&self.0, most, &mut string).map(Option::unwrap_or_default)
    }
}

/// What is taken of the elements of an array; `None` for any other value.
fn elements<T>(
    written: &str,
    most: usize,
    take: &mut dyn FnMut(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, serde_json::Error> {
    if !written.starts_with('[') {
        return Ok(None);
    }
    let mut json = serde_json::Deserializer::from_str(written);
    json.deserialize_seq(Elements { most, take, of: PhantomData }).map(Some)
}

struct Elements<'a, T> {
    most: usize,
    take: &'a mut dyn FnMut(&str) -> Option<T>,
    of: PhantomData<T>,
}

impl<'de, T> Visitor<'de> for Elements<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        let mut seen = 0;
        while let Some(element) = seq.next_element::<&RawValue>()? {
            seen += 1;
            if seen > self.most {
                return Err(A::Error::custom(format_args!("a list of more than {} entries", self.most)));
            }
            items.extend((self.take)(element.get()));
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Probe {
        text: Text,
        flag: Flag,
        list: List<Inner>,
        texts: Texts,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        a: Text,
    }

    /// A value of another kind counts as absent and leaves the fields after it readable.
    #[test]
    fn other_kinds_are_absent() {
        for odd in ["null", "1", "-1", "1.5", "1e99999", "{\"x\":[1]}", "[[],{}]", "\"s\"", "true"] {
            let json =
                format!("{{\"list\":{odd},\"texts\":{odd},\"flag\":{odd},\"text\":{odd},\"more\":{odd}}}");
            let probe: Object<Probe> = serde_json::from_str(&json).unwrap();
            let probe = probe.0.unwrap();
            assert_eq!(probe.text.0.is_some(), odd.starts_with('"'), "{json}");
            assert_eq!(probe.flag.0, odd == "true", "{json}");
            assert_eq!(probe.list.0.is_some(), odd.starts_with('['), "{json}");
        }
    }

    /// Only objects of a list are read, the others are counted; a struct written as an array is no object.
    #[test]
    fn lists_hold_objects() {
        let json = r#"[1, {"a":"x"}, ["y"], null, {"a":2}, {"a":"1","a":"2"}, {"a": "\u00e9" }]"#;
        let (items, broken) = serde_json::from_str::<List<Inner>>(json).unwrap().0.unwrap();
        let texts: Vec<_> = items.into_iter().map(|inner| inner.a.0).collect();
        assert_eq!(texts, [Some("x".to_owned()), None, Some("é".to_owned())]);
        assert_eq!(broken, 4);
        assert_eq!(serde_json::from_str::<Object<Inner>>(r#"["x"]"#).unwrap(), Object(None));
        let long = format!("[{}0]", "0,".repeat(MAX_ITEMS));
        assert!(serde_json::from_str::<List<Inner>>(&long).is_err());
    }
}
