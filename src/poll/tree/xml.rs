//! XML as a tree, without namespaces. Documents with a document type are rejected, so entities cannot grow.

use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::events::{BytesStart, Event};

use super::MAX_ITEMS;
use crate::domain::markup;

/// Deeper documents are rejected. Feeds have a depth of five.
const MAX_DEPTH: usize = 64;

/// Each attribute of an element is compared with all others of it. Feeds have five.
const MAX_ATTRIBUTES: usize = 100;

#[derive(Debug, Default, PartialEq)]
pub(in crate::poll) struct Element {
    /// Without its prefix.
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// All text in it, without that of its children.
    pub(super) text: String,
}

/// Parses a document to its root element.
pub(in crate::poll) fn parse(text: &str) -> Result<Element, String> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open: Vec<Element> = vec![Element::default()];
    let mut elements = 0;
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if open.len() > MAX_DEPTH || elements > MAX_ITEMS {
                    return Err(format!("deeper than {MAX_DEPTH} or more than {MAX_ITEMS} elements"));
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > MAX_ITEMS {
                    return Err(format!("more than {MAX_ITEMS} elements"));
                }
                let element = element(&start)?;
                last(&mut open)?.children.push(element);
            }
            Event::End(_) => {
                let element = open.pop().ok_or("an element that was not opened")?;
                last(&mut open)?.children.push(element);
            }
            Event::Text(text) => last(&mut open)?.text.push_str(&text.xml_content(Implicit1_0)),
            Event::CData(text) => last(&mut open)?.text.push_str(&text.xml_content(Implicit1_0)),
            Event::GeneralRef(reference) => {
                let resolved = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                let out = &mut last(&mut open)?.text;
                match resolved {
                    Some(c) => out.push(c),
                    None => out.push_str(&markup::to_text(&format!("&{};", &*reference))),
                }
            }
            Event::DocType(_) => return Err("a document type, which is not accepted".to_owned()),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    let document = open.pop().filter(|_| open.is_empty()).ok_or("the document is cut off")?;
    document.children.into_iter().next().ok_or_else(|| "no element".to_owned())
}

fn last(open: &mut [Element]) -> Result<&mut Element, String> {
    open.last_mut().ok_or_else(|| "an element that was not opened".to_owned())
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let local = |name: &str| name.rsplit(':').next().unwrap_or_default().to_owned();
    let mut element = Element { name: local(start.name().as_ref()), ..Element::default() };
    for attribute in start.attributes() {
        if element.attributes.len() == MAX_ATTRIBUTES {
            return Err(format!("an element with more than {MAX_ATTRIBUTES} attributes"));
        }
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute.normalized_value(Implicit1_0).map_err(|error| error.to_string())?;
        element.attributes.push((local(attribute.key.as_ref()), value.into_owned()));
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::super::node::{Budget, Node};
    use super::*;
    use crate::domain::monitoring::engine::Path;

    #[test]
    fn feeds_are_read_by_paths() {
        let text = r#"<?xml version="1.0"?><x:rss xmlns:x="urn:y"><channel><title>A &amp; B</title>
            <item><guid>1</guid><description><![CDATA[<p>x</p>]]></description></item>
            <item><guid>2</guid><x:status>Open &#8211; &nbsp;!</x:status><link href="https://a.test"/></item>
            </channel></x:rss>"#;
        let root = parse(text).unwrap();
        let node = Node::xml(&root);
        for (path, words) in [
            ("channel.title", vec!["A & B"]),
            ("channel.item[].guid", vec!["1", "2"]),
            ("channel.item.guid", vec!["1"]),
            ("channel.item[-1].guid", vec!["2"]),
            ("channel.item[].description", vec!["<p>x</p>"]),
            ("channel.item[].link.@href", vec!["https://a.test"]),
            ("channel.nothing", vec![]),
        ] {
            assert_eq!(node.words(&Path::parse(path).unwrap(), &Budget::new()), words, "{path}");
        }
    }

    #[test]
    fn bombs_and_broken_documents_are_rejected() {
        let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ITEMS + 1));
        let bomb = r#"<!DOCTYPE a [<!ENTITY x "xx"><!ENTITY y "&x;&x;">]><a>&y;</a>"#;
        let wide = format!("<a {}/>", (0..20_000).map(|n| format!("a{n}='' ")).collect::<String>());
        for text in [deep.as_str(), &many, &wide, bomb, "<a><b></a>", "<a>", "", "text", "<a", "</a>"] {
            assert!(parse(text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }
}
