//! Types for fields that a page may leave out, set to null or fill with something else: those count as absent,
//! and never spoil the rest of the answer. Nothing is stored of what is not asked for.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
    value::MapAccessDeserializer,
};

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

/// The objects of an array, else absent. Elements that are no objects are left out.
#[derive(Debug, PartialEq)]
pub(super) struct List<T>(pub(super) Option<Vec<T>>);

/// The strings of an array; what is no array is empty.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Texts(pub(super) Vec<String>);

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

/// The visitor methods for kinds of values that are not wanted: they are read to their end and count as absent.
macro_rules! otherwise_absent {
    ($absent:expr; $($kind:ident)*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }
        $(otherwise_absent!(@ $absent, $kind);)*
    };
    (@ $absent:expr, scalar) => {
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok($absent) }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok($absent) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok($absent) }
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($absent) }
    };
    (@ $absent:expr, bool) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok($absent) }
    };
    (@ $absent:expr, str) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok($absent) }
    };
    (@ $absent:expr, seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($absent)
        }
    };
    (@ $absent:expr, map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($absent)
        }
    };
}

struct Seek<T>(PhantomData<T>);

impl<'de> Visitor<'de> for Seek<Text> {
    type Value = Text;
    otherwise_absent!(Text(None); scalar bool seq map);

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(Some(text)))
    }
}

impl<'de> Visitor<'de> for Seek<Flag> {
    type Value = Flag;
    otherwise_absent!(Flag(false); scalar str seq map);

    fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(flag))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Seek<Object<T>> {
    type Value = Object<T>;
    otherwise_absent!(Object(None); scalar bool str seq);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| Object(Some(object)))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Seek<List<T>> {
    type Value = List<T>;
    otherwise_absent!(List(None); scalar bool str map);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let mut items = Vec::new();
        let mut seen = 0;
        while let Some(item) = seq.next_element::<Object<T>>()? {
            seen += 1;
            if seen > MAX_ITEMS {
                return Err(A::Error::custom(format_args!("a list of more than {MAX_ITEMS} entries")));
            }
            items.extend(item.0);
        }
        Ok(List(Some(items)))
    }
}

impl<'de> Visitor<'de> for Seek<Texts> {
    type Value = Texts;
    otherwise_absent!(Texts(Vec::new()); scalar bool str map);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
        let mut items = Vec::new();
        let mut seen = 0;
        while let Some(item) = seq.next_element::<Text>()? {
            seen += 1;
            if seen > MAX_ITEMS {
                return Err(A::Error::custom(format_args!("a list of more than {MAX_ITEMS} entries")));
            }
            items.extend(item.0);
        }
        Ok(Texts(items))
    }
}

macro_rules! deserialize_by_seeking {
    ($($name:ident $(<$param:ident>)?),*) => { $(
        impl<'de $(, $param: Deserialize<'de>)?> Deserialize<'de> for $name $(<$param>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Seek::<Self>(PhantomData))
            }
        }
    )* };
}

deserialize_by_seeking!(Text, Flag, Object<T>, List<T>, Texts);

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
        for odd in ["null", "1", "-1", "1.5", "1e99", "{\"x\":[1]}", "[[],{}]", "\"s\"", "true"] {
            let json =
                format!("{{\"list\":{odd},\"texts\":{odd},\"flag\":{odd},\"text\":{odd},\"more\":{odd}}}");
            let probe: Object<Probe> = serde_json::from_str(&json).unwrap();
            let probe = probe.0.unwrap();
            assert_eq!(probe.text.0.is_some(), odd.starts_with('"'), "{json}");
            assert_eq!(probe.flag.0, odd == "true", "{json}");
            assert_eq!(probe.list.0.is_some(), odd.starts_with('['), "{json}");
        }
    }

    /// Only objects of a list are read; a struct written as an array is no object; a list has a limit.
    #[test]
    fn lists_hold_objects() {
        let list: List<Inner> = serde_json::from_str(r#"[1, {"a":"x"}, ["y"], null, {"a":2}]"#).unwrap();
        let texts: Vec<_> = list.0.unwrap().into_iter().map(|i| i.a.0).collect();
        assert_eq!(texts, [Some("x".to_owned()), None]);
        assert_eq!(serde_json::from_str::<Object<Inner>>(r#"["x"]"#).unwrap(), Object(None));
        let long = format!("[{}0]", "0,".repeat(MAX_ITEMS));
        assert!(serde_json::from_str::<List<Inner>>(&long).is_err());
    }
}
