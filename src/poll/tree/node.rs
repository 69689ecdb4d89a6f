//! A place in a document: JSON that is parsed as far as paths lead, or XML.
//!
//! Nothing here fails: a value of another type is absent, so that one odd value affects only the element that has it.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAX_ITEMS;
use super::xml::Element;
use crate::domain::monitoring::engine::{Path, Step};
use crate::domain::text;

/// Entries that are visited in one poll; a list counts each time that it is read.
pub(in crate::poll) const MAX_VISITS: usize = 3 * MAX_ITEMS;

type Fields<'a> = Rc<Vec<(Cow<'a, str>, &'a str)>>;

/// How many entries may still be read.
pub(in crate::poll) struct Budget(Cell<usize>);

impl Budget {
    pub(in crate::poll) fn new() -> Budget {
        Budget(Cell::new(MAX_VISITS))
    }

    /// Whether entries were left out.
    pub(in crate::poll) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    fn spend(&self) {
        self.0.set(0);
    }

    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 1
    }
}

#[derive(Clone)]
pub(in crate::poll) struct Node<'a> {
    kind: Kind<'a>,
    /// The key, for the value of an object.
    key: Option<Cow<'a, str>>,
}

#[derive(Clone)]
enum Kind<'a> {
    Json(&'a str, OnceCell<Fields<'a>>),
    /// Elements of one name; a path without brackets means the first.
    Xml(Vec<&'a Element>),
    Text(Cow<'a, str>),
}

impl<'a> Node<'a> {
    /// `raw` is valid JSON without surrounding blanks.
    pub(in crate::poll) fn json(raw: &'a str) -> Node<'a> {
        Node { kind: Kind::Json(raw, OnceCell::new()), key: None }
    }

    pub(in crate::poll) fn xml(element: &'a Element) -> Node<'a> {
        Node { kind: Kind::Xml(vec![element]), key: None }
    }

    pub(in crate::poll) fn text(text: impl Into<Cow<'a, str>>) -> Node<'a> {
        Node { kind: Kind::Text(text.into()), key: None }
    }

    /// Whether it has fields.
    pub(in crate::poll) fn is_object(&self) -> bool {
        match &self.kind {
            Kind::Json(raw, _) => raw.starts_with('{'),
            Kind::Xml(elements) => !elements.is_empty(),
            Kind::Text(_) => false,
        }
    }

    fn is_list(&self) -> bool {
        match &self.kind {
            Kind::Json(raw, _) => raw.starts_with('['),
            Kind::Xml(_) => true,
            Kind::Text(_) => false,
        }
    }

    /// A text, a number or a flag as text.
    pub(in crate::poll) fn word(&self) -> Option<Cow<'a, str>> {
        match &self.kind {
            Kind::Json(raw, _) => match raw.as_bytes().first()? {
                b'"' => string(raw),
                b'{' | b'[' | b'n' => None,
                _ => Some(Cow::Borrowed(raw)),
            },
            Kind::Xml(elements) => elements.first().map(|element| Cow::Borrowed(element.text.as_str())),
            Kind::Text(text) => Some(text.clone()),
        }
    }

    /// The first word at the first of several paths that has one.
    pub(in crate::poll) fn first(&self, paths: &[Path], budget: &Budget) -> Option<String> {
        paths.iter().find_map(|path| self.words(path, budget).into_iter().find(|word| !word.is_empty()))
    }

    /// All words at a path; some may be empty.
    pub(in crate::poll) fn words(&self, path: &Path, budget: &Budget) -> Vec<String> {
        let nodes = self.select(path.steps(), budget);
        nodes.into_iter().filter_map(|node| node.word().map(Cow::into_owned)).collect()
    }

    /// Whether there is a value other than null at a path.
    pub(in crate::poll) fn has(&self, path: &Path, budget: &Budget) -> bool {
        self.select(path.steps(), budget).iter().any(|node| !node.is_null())
    }

    fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Json("null", _))
    }

    /// The entries of the list at a path, or the object that is there instead; `None` if there is neither.
    pub(in crate::poll) fn list(&self, path: &Path, budget: &Budget) -> Option<Vec<Node<'a>>> {
        let (last, before) = match path.steps().split_last() {
            Some((last @ (Step::Each | Step::Values | Step::Filter(..)), before)) => (Some(last), before),
            _ => (None, path.steps()),
        };
        let containers = self.select(before, budget);
        let containers: Vec<_> = containers
            .into_iter()
            .filter(|node| match last {
                Some(Step::Values) => node.is_object(),
                Some(_) => node.is_list(),
                None => node.is_list() || node.is_object(),
            })
            .collect();
        if containers.is_empty() {
            return None;
        }
        let entries = containers.into_iter().flat_map(|node| match last {
            Some(step) => node.step(step, budget),
            None if matches!(node.kind, Kind::Json(..)) => node.entries(budget).unwrap_or_else(|| vec![node]),
            None => vec![node],
        });
        Some(entries.collect())
    }

    /// All places that a path leads to.
    fn select(&self, steps: &[Step], budget: &Budget) -> Vec<Node<'a>> {
        let Some((first, rest)) = steps.split_first() else { return vec![self.clone()] };
        // Not on a copy: the fields of this node are parsed once.
        let mut nodes = self.step(first, budget);
        for step in rest {
            nodes = nodes.iter().flat_map(|node| node.step(step, budget)).collect();
        }
        nodes
    }

    fn step(&self, step: &Step, budget: &Budget) -> Vec<Node<'a>> {
        match step {
            Step::Field(name) => self.field(name).into_iter().collect(),
            Step::Each => self.entries(budget).unwrap_or_default(),
            Step::Values => self.values(budget),
            Step::Index(index) => self.at(*index, budget).into_iter().collect(),
            Step::Filter(field, word) => {
                let wanted = text::folded(word);
                let fits = |node: &Node<'a>| {
                    node.field(field)
                        .and_then(|value| value.word())
                        .is_some_and(|w| text::folded(&w) == wanted)
                };
                self.entries(budget).unwrap_or_default().into_iter().filter(fits).collect()
            }
            Step::Attribute(name) => self.attribute(name).into_iter().collect(),
        }
    }

    fn field(&self, name: &str) -> Option<Node<'a>> {
        match &self.kind {
            Kind::Json(raw, fields) => {
                let fields = fields.get_or_init(|| Rc::new(object(raw)));
                let mut found = fields.iter().filter(|(key, _)| key == name);
                // A field that is there twice says nothing for certain.
                found.next().filter(|_| found.next().is_none()).map(|(_, raw)| Node::json(raw))
            }
            Kind::Xml(elements) => {
                let of =
                    elements.first()?.children.iter().filter(|child| child.name == name).collect::<Vec<_>>();
                (!of.is_empty()).then_some(Node { kind: Kind::Xml(of), key: None })
            }
            Kind::Text(_) => None,
        }
    }

    fn attribute(&self, name: &str) -> Option<Node<'a>> {
        if let Kind::Xml(elements) = &self.kind {
            let attributes = &elements.first()?.attributes;
            return attributes
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| Node::text(value.as_str()));
        }
        self.key.clone().filter(|_| name == "key").map(Node::text)
    }

    /// The entries of a list, as far as the budget allows; `None` for anything else.
    fn entries(&self, budget: &Budget) -> Option<Vec<Node<'a>>> {
        match &self.kind {
            Kind::Json(raw, _) => raw.starts_with('[').then(|| array(raw, budget)),
            Kind::Xml(elements) => Some(
                elements.iter().take_while(|_| budget.take()).map(|element| Node::xml(element)).collect(),
            ),
            Kind::Text(_) => None,
        }
    }

    fn values(&self, budget: &Budget) -> Vec<Node<'a>> {
        let Kind::Json(raw, fields) = &self.kind else { return Vec::new() };
        let fields = fields.get_or_init(|| Rc::new(object(raw)));
        let value = |(key, raw): &(Cow<'a, str>, &'a str)| Node { key: Some(key.clone()), ..Node::json(raw) };
        fields.iter().take_while(|_| budget.take()).map(value).collect()
    }

    fn at(&self, index: i64, budget: &Budget) -> Option<Node<'a>> {
        let mut entries = match &self.kind {
            // Lists of hundreds of measurements, of which only one is read, do not use up the budget.
            Kind::Json(raw, _) if raw.starts_with('[') => array(raw, &Budget::new()),
            _ => self.entries(budget)?,
        };
        let length = i64::try_from(entries.len()).ok()?;
        let at = usize::try_from(if index < 0 { length + index } else { index }).ok()?;
        (at < entries.len()).then(|| entries.swap_remove(at))
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.word()).finish()
    }
}

fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The fields of an object; empty for anything else.
fn object(raw: &str) -> Vec<(Cow<'_, str>, &str)> {
    struct ObjectFields;
    impl<'de> Visitor<'de> for ObjectFields {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                if fields.len() < MAX_ITEMS {
                    fields.extend(string(key.get()).map(|key| (key, value.get())));
                }
            }
            Ok(fields)
        }
    }
    if !raw.starts_with('{') {
        return Vec::new();
    }
    serde_json::Deserializer::from_str(raw).deserialize_map(ObjectFields).unwrap_or_default()
}

/// The elements of an array, as far as the budget allows.
fn array<'a>(raw: &'a str, budget: &Budget) -> Vec<Node<'a>> {
    struct Elements<'b>(&'b Budget);
    impl<'de> Visitor<'de> for Elements<'_> {
        type Value = Vec<Node<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut nodes = Vec::new();
            while !self.0.is_spent() {
                let Some(raw) = seq.next_element::<&RawValue>()? else { return Ok(nodes) };
                if nodes.len() == MAX_ITEMS {
                    self.0.spend();
                } else if self.0.take() {
                    nodes.push(Node::json(raw.get()));
                }
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(nodes)
        }
    }
    serde_json::Deserializer::from_str(raw).deserialize_seq(Elements(budget)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_the_words_of_a_document() {
        let json = r#"{"a":{"b":"x","n":7,"t":true,"z":null},"l":[{"k":"p","v":"1"},{"k":"Q","v":"2"},null,3],
            "o":{"one":{"v":"1"},"two":{"v":"2"}},"e":"\u00e9\n","odd":1e99999,"twice":1,"twice":2,"s":["x","y"]}"#;
        let node = Node::json(json);
        for (path, words) in [
            ("a.b", vec!["x"]),
            ("a.n", vec!["7"]),
            ("a.t", vec!["true"]),
            ("a.z", vec![]),
            ("a", vec![]),
            ("missing.b", vec![]),
            ("l[].v", vec!["1", "2"]),
            ("l[0].k", vec!["p"]),
            ("l[-1]", vec!["3"]),
            ("l[9]", vec![]),
            ("l[k=q].v", vec!["2"]),
            ("o{}.@key", vec!["one", "two"]),
            ("o{}.v", vec!["1", "2"]),
            ("e", vec!["\u{e9}\n"]),
            ("odd", vec!["1e99999"]),
            ("s", vec![]),
            ("twice", vec![]),
            ("s[]", vec!["x", "y"]),
        ] {
            assert_eq!(node.words(&Path::parse(path).unwrap(), &Budget::new()), words, "{path}");
        }
    }

    #[test]
    fn a_list_is_told_from_its_absence() {
        let node = Node::json(r#"{"l":[1,{}],"empty":[],"o":{"x":1},"s":"text"}"#);
        let count =
            |path: &str| node.list(&Path::parse(path).unwrap(), &Budget::new()).map(|list| list.len());
        for (path, want) in [
            ("l[]", Some(2)),
            ("l", Some(2)),
            ("empty[]", Some(0)),
            ("o", Some(1)),
            ("o[]", None),
            ("o{}", Some(1)),
            ("s[]", None),
            ("missing[]", None),
            (".", Some(1)),
        ] {
            assert_eq!(count(path), want, "{path}");
        }
    }

    #[test]
    fn more_entries_than_allowed_are_not_read() {
        let json = format!("[{}1]", "1,".repeat(MAX_VISITS));
        let budget = Budget::new();
        let read = Node::json(&json).words(&Path::parse(".[]").unwrap(), &budget);
        assert!(budget.is_spent() && read.len() < MAX_VISITS);
        let budget = Budget::new();
        assert_eq!(Node::json(&json).words(&Path::parse(".[-1]").unwrap(), &budget).len(), 1);
        assert!(!budget.is_spent());
    }
}
