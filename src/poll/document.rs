//! One document of a status page: its text, parsed as far as its format requires, or why it is not that document. Pure.

use super::body::{self, Form};
use super::tree::node::{Budget, Node};
use super::tree::time;
use super::tree::xml::{self, Element};
use crate::domain::monitoring::engine::{Format, ReadRules, TimeRules};
use crate::domain::monitoring::observation::Unknown;
use crate::domain::text;

use jiff::Timestamp;
use serde_json::value::RawValue;

/// Where the title of an HTML page is looked for, in characters.
const MAX_HEAD: usize = 10_000;

/// A document that has the required fields.
#[derive(Debug)]
pub(super) struct Document {
    text: String,
    xml: Option<Element>,
    /// Whether the text is JSON.
    json: bool,
    size: usize,
}

impl Document {
    /// Decodes and checks a body.
    ///
    /// # Errors
    /// Why it is not the document that `read` describes.
    pub(super) fn read(body: &[u8], form: &Form, read: &ReadRules) -> Result<Document, Unknown> {
        let text = body::text(body, form, read.max)?;
        let size = text.len();
        let document = match read.format {
            Format::Text => Document { text, xml: None, json: false, size },
            Format::Xml => {
                let root = xml::parse(&text).map_err(|why| Unknown::NotXml(not(&why, &text, form)))?;
                Document { text: String::new(), xml: Some(root), json: false, size }
            }
            Format::Json | Format::Jsonp | Format::Http => {
                let text = if read.format == Format::Jsonp { argument(text) } else { text };
                let parsed: Result<&RawValue, _> = serde_json::from_str(text.trim());
                parsed.map_err(|error| Unknown::NotJson(not(&error.to_string(), &text, form)))?;
                Document { text: text.trim().to_owned(), xml: None, json: true, size }
            }
        };
        let (root, budget) = (document.root(), Budget::new());
        if document.json && read.format != Format::Http && root.word().is_some() {
            return Err(Unknown::NoIndicator);
        }
        match read.require.iter().find(|path| !root.has(path, &budget)) {
            Some(_) => Err(Unknown::NoIndicator),
            None => Ok(document),
        }
    }

    /// The document of an `http` read.
    pub(super) fn of_response(status: u16, body: &[u8], form: &Form, max: usize) -> Document {
        let text = body::text(body, form, max).unwrap_or_default();
        let text = serde_json::json!({ "status": status.to_string(), "text": text }).to_string();
        Document { size: text.len(), text, xml: None, json: true }
    }

    pub(super) fn root(&self) -> Node<'_> {
        match &self.xml {
            Some(root) => Node::xml(root),
            None if self.json => Node::json(&self.text),
            None => Node::text(self.text.as_str()),
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether the document proves to be up to date, if the engine demands it.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn check_age(
        &self,
        read: &ReadRules,
        times: &TimeRules,
        now: Timestamp,
    ) -> Result<(), Unknown> {
        let Some(fresh) = &read.fresh else { return Ok(()) };
        let word = self.root().first(&fresh.paths, &Budget::new());
        let Some(at) = word.and_then(|word| time::parse(&word, times)) else {
            return Err(Unknown::NoIndicator);
        };
        // A clock that is ahead proves nothing either.
        let age = now.duration_since(at).unsigned_abs();
        if age <= fresh.within { Ok(()) } else { Err(Unknown::Outdated(age.as_secs())) }
    }
}

/// Why a text is not in its format.
fn not(why: &str, text: &str, form: &Form) -> String {
    if text.trim_start().is_empty() {
        "empty answer".to_owned()
    } else if form.is_html() || text.trim_start().starts_with("<!") || text.trim_start().starts_with("<html")
    {
        html(text).to_owned()
    } else {
        text::plain(why).into_owned()
    }
}

/// What an HTML page is, by its title.
fn html(text: &str) -> &'static str {
    let start: String = text.chars().take(MAX_HEAD).collect::<String>().to_lowercase();
    let title = start.split_once("<title").and_then(|(_, rest)| rest.split_once("</title"));
    let has = |words: &[&str]| title.is_some_and(|(title, _)| words.iter().any(|word| title.contains(word)));
    if has(&["sign in", "sign-in", "log in", "login"]) {
        "an HTML page that asks to sign in"
    } else if has(&["just a moment", "attention required", "captcha", "human verification"]) {
        "an HTML page that checks for bots"
    } else {
        "an HTML page"
    }
}

/// The argument of the function call, or the text itself. Code before and behind it is never run, only left out.
fn argument(text: String) -> String {
    match (text.find(['{', '[']), text.rfind(['}', ']'])) {
        (Some(from), Some(to)) if from < to => text[from..=to].to_owned(),
        _ => text,
    }
}
