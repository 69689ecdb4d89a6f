//! Interprets an engine's definition: documents → what the page says. Pure, in linear time.
//!
//! Start at [`PageReader::overall`], [`PageReader::components`] and [`PageReader::events`].

mod components;
mod events;

use std::sync::Arc;

use jiff::Timestamp;

use super::document::Document;
use super::page::{MAX_TEXT, MAX_WORD, Status, shortened};
use super::tree::node::{Budget, Node};
use super::tree::{MAX_ITEMS, time};
use crate::domain::monitoring::engine::{
    EngineTemplate, EngineTemplatePart, EntryCondition, Glob, Source, Test,
};
use crate::domain::monitoring::monitor::StatusPage;
use crate::domain::monitoring::observation::Unknown;

/// A document, why it could not be read, or `None` if it was not requested.
pub(super) type Fetched = Option<Result<Arc<Document>, Unknown>>;

/// The documents of one page.
pub(super) struct PageReader<'a> {
    pub(super) page: &'a StatusPage,
    /// One for each document of the engine.
    pub(super) documents: &'a [Fetched],
    pub(super) now: Timestamp,
    pub(super) budget: Budget,
}

impl<'a> PageReader<'a> {
    /// The overall state.
    ///
    /// # Errors
    /// If no document has it.
    pub(super) fn overall(&self) -> Result<Status, Unknown> {
        let overall = &self.page.engine.overall;
        let mut reason = Unknown::NoIndicator;
        for source in &overall.state {
            let document = match self.document(source.read) {
                Some(Ok(document)) => document,
                Some(Err(why)) => {
                    reason = why.clone();
                    continue;
                }
                None => continue,
            };
            let Some(word) = document.root().words(&source.path, &self.budget).into_iter().next() else {
                continue;
            };
            let text = overall.text.iter().filter(|text| text.read == source.read);
            let texts =
                text.filter_map(|text| document.root().words(&text.path, &self.budget).into_iter().next());
            return Ok(Status {
                indicator: overall.map.get(&word).ok_or_else(|| shortened(&word, MAX_WORD)),
                description: texts
                    .map(|text| shortened(&text, MAX_TEXT))
                    .find(|t| !t.is_empty())
                    .unwrap_or_default(),
            });
        }
        Err(reason)
    }

    fn document(&self, read: usize) -> Option<&'a Result<Arc<Document>, Unknown>> {
        self.documents.get(read)?.as_ref()
    }

    /// The entries of the first list that is present, and the index of its document.
    ///
    /// # Errors
    /// Why a document could not be read; `Ok(None)` if none of the lists is present.
    fn list(&self, sources: &[Source]) -> Result<Option<(usize, Vec<Node<'a>>)>, Unknown> {
        let (mut reason, mut read_any) = (None, false);
        for source in sources {
            match self.document(source.read) {
                Some(Ok(document)) => {
                    read_any = true;
                    if let Some(list) = document.root().list(&source.path, &self.budget) {
                        return Ok(Some((source.read, list)));
                    }
                }
                Some(Err(why)) => reason = reason.or(Some(why.clone())),
                None => {}
            }
        }
        match reason {
            Some(why) if !read_any => Err(why),
            _ => Ok(None),
        }
    }

    /// # Errors
    /// If the documents have more entries than are read.
    fn within_budget(&self) -> Result<(), Unknown> {
        if self.budget.is_spent() {
            return Err(Unknown::NotJson(format!("lists of more than {MAX_ITEMS} entries")));
        }
        Ok(())
    }

    fn holds_all(&self, node: &Node<'_>, conditions: &[EntryCondition]) -> bool {
        conditions.iter().all(|condition| self.holds(node, condition))
    }

    fn holds(&self, node: &Node<'_>, EntryCondition { paths, test, if_present }: &EntryCondition) -> bool {
        let words = || {
            let words = paths.iter().map(|path| node.words(path, &self.budget));
            words.into_iter().find(|words| !words.is_empty()).unwrap_or_default()
        };
        let is_present = || paths.iter().any(|path| node.has(path, &self.budget));
        let folded = crate::domain::text::folded;
        let any = |templates: &[EngineTemplate]| {
            let wanted: Vec<String> = templates
                .iter()
                .filter_map(|template| self.fill(template, None))
                .map(|w| folded(&w))
                .collect();
            words().iter().any(|word| wanted.contains(&folded(word)))
        };
        let time = |check: &dyn Fn(i64) -> bool| {
            let time = words().first().and_then(|word| time::parse(word, &self.page.engine.times));
            time.map_or(*if_present, |time| check(time.as_second()))
        };
        let now = self.now.as_second();
        let matched = |globs: &[Glob]| {
            let fits = |word: &str| globs.iter().any(|glob| glob.matches(word, |text| self.fill(text, None)));
            words().iter().any(|word| fits(word))
        };
        let timed = matches!(test, Test::Before(_) | Test::After(_));
        if *if_present && !timed && words().is_empty() {
            return true;
        }
        match test {
            Test::Is(templates) => any(templates),
            Test::Not(templates) => !any(templates),
            Test::Present => is_present(),
            Test::Absent => !is_present(),
            Test::Before(seconds) => time(&|at| at <= now.saturating_add(*seconds)),
            Test::After(seconds) => time(&|at| at >= now.saturating_add(*seconds)),
            Test::Matches(globs) => matched(globs),
            Test::Lacks(globs) => !matched(globs),
            Test::Allows(templates) => {
                let unset = templates.iter().any(|template| self.fill(template, None).is_none());
                unset || words().is_empty() || any(templates)
            }
        }
    }

    /// Fills a template; paths lead into `node`.
    fn fill(&self, template: &EngineTemplate, node: Option<&Node<'_>>) -> Option<String> {
        template.fill(|part| match part {
            EngineTemplatePart::Text(text) => Some(text.clone()),
            EngineTemplatePart::Root => Some(self.page.root.as_str().trim_end_matches('/').to_owned()),
            EngineTemplatePart::Host => self.page.root.host_str().map(str::to_owned),
            EngineTemplatePart::Option(name) => {
                self.page.options.get(name).or_else(|| self.page.engine.defaults.get(name)).cloned()
            }
            EngineTemplatePart::Path(path) => node?.words(path, &self.budget).into_iter().next(),
        })
    }
}
