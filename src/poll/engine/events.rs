//! The incidents and the maintenance of a page.

use std::collections::HashMap;

use jiff::Timestamp;

use super::PageReader;
use crate::domain::monitoring::engine::{EntryCondition, EventFieldRules, Fold, Format, Impact, Path, Pick};
use crate::domain::monitoring::observation::Unknown;
use crate::domain::monitoring::severity::Severity;
use crate::domain::text;
use crate::poll::page::{Events, MAX_TEXT, MAX_WORD, PageEvent, shortened};
use crate::poll::tree::node::Node;
use crate::poll::tree::time;

/// Affected components of one event that are read.
const MAX_TOUCHES: usize = 1_000;

impl PageReader<'_> {
    /// Open incidents, running and announced maintenance.
    ///
    /// # Errors
    /// If the incidents cannot be read, or prove nothing.
    pub(in crate::poll) fn events(&self) -> Result<Events, Unknown> {
        let mut events = Events::default();
        if let Some(rules) = &self.page.engine.incidents {
            let list = self.list(&rules.list)?;
            let read =
                list.as_ref().map(|(read, _)| *read).or_else(|| rules.list.first().map(|source| source.read));
            let decide = self.page.engine.judges_by_incidents();
            let entries = match list {
                Some((_, entries)) => entries,
                // An XML document does not tell an empty list from none.
                None if decide && !read.is_some_and(|read| self.is_xml(read)) => {
                    return Err(Unknown::NoIndicator);
                }
                None => Vec::new(),
            };
            if let (true, Some(read)) = (entries.is_empty(), read) {
                self.check_empty(read)?;
            }
            (events.incidents, events.broken) = self.those(entries, &rules.open, &rules.fields);
            events.unread = decide && events.broken > 0;
        }
        if let Some(rules) = &self.page.engine.maintenances {
            for (list, conditions, to) in [
                (&rules.running, &rules.running_if, &mut events.maintenances),
                (&rules.upcoming, &rules.upcoming_if, &mut events.announced),
            ] {
                // Maintenance that cannot be read does not hide incidents.
                let entries = self.list(list).ok().flatten().map(|(_, entries)| entries).unwrap_or_default();
                let (found, broken) = self.those(entries, conditions, &rules.fields);
                (*to, events.broken) = (found, events.broken.max(broken));
            }
        }
        self.within_budget()?;
        Ok(events)
    }

    fn is_xml(&self, read: usize) -> bool {
        self.page.engine.reads.get(read).is_some_and(|read| read.format == Format::Xml)
    }

    /// # Errors
    /// If an empty list in this document proves nothing.
    fn check_empty(&self, read: usize) -> Result<(), Unknown> {
        let Some(rules) = self.page.engine.reads.get(read) else { return Ok(()) };
        let root = self.document(read).and_then(|document| document.as_ref().ok()).map(|read| read.root());
        let proves = root.is_some_and(|root| self.holds_all(&root, &rules.empty_if));
        if rules.empty_is_unknown || !proves && !rules.empty_if.is_empty() {
            return Err(Unknown::EmptyList);
        }
        Ok(())
    }

    /// The events for which the conditions hold, and how many entries cannot be read.
    fn those(
        &self,
        entries: Vec<Node<'_>>,
        conditions: &[EntryCondition],
        fields: &EventFieldRules,
    ) -> (Vec<PageEvent>, usize) {
        let all = entries.len();
        let mut entries: Vec<Node<'_>> = entries.into_iter().filter(Node::is_object).collect();
        let mut broken = all - entries.len();
        if let Some(fold) = &fields.fold {
            entries = self.folded(entries, fold);
        }
        let mut events = Vec::new();
        for entry in entries {
            if self.holds_all(&entry, conditions) {
                match self.event(&entry, fields) {
                    Some(event) => events.push(event),
                    None => broken += 1,
                }
            }
        }
        (events, broken)
    }

    /// Keeps the newest entry of each event, in the order of the events.
    fn folded<'n>(&self, entries: Vec<Node<'n>>, fold: &Fold) -> Vec<Node<'n>> {
        let mut newest: Vec<(Node<'n>, Option<Timestamp>)> = Vec::new();
        let mut by_key: HashMap<String, usize> = HashMap::new();
        for entry in entries {
            let at = self.time(&entry, &fold.newest);
            let Some(key) = entry.first(&fold.by, &self.budget) else {
                newest.push((entry, at));
                continue;
            };
            match by_key.get(&key) {
                None => {
                    by_key.insert(key, newest.len());
                    newest.push((entry, at));
                }
                Some(nth) if at > newest[*nth].1 => newest[*nth] = (entry, at),
                Some(_) => {}
            }
        }
        newest.into_iter().map(|(entry, _)| entry).collect()
    }

    /// `None` for an entry that says nothing.
    fn event(&self, entry: &Node<'_>, fields: &EventFieldRules) -> Option<PageEvent> {
        let one = |paths: &[Path]| entry.first(paths, &self.budget);
        let title = one(&fields.title).map(|title| shortened(&title, MAX_TEXT)).unwrap_or_default();
        let state = one(&fields.state);
        let impact = fields.impact.as_ref().map_or(&[][..], |impact| impact.paths.as_slice());
        let telling = [fields.state.as_slice(), &fields.begins, impact];
        let telling: Vec<&[Path]> = telling.into_iter().filter(|paths| !paths.is_empty()).collect();
        let is_named = self.page.engine.judges_by_incidents() && !title.is_empty();
        if !is_named && !telling.is_empty() && telling.iter().all(|paths| one(paths).is_none()) {
            return None;
        }
        let state = state.unwrap_or_default();
        let state = fields.state_words.get(&text::folded(&state)).cloned().unwrap_or(state);
        let link = fields.link.as_ref().and_then(|link| self.fill(link, Some(entry)));
        let names = |paths: &[Path]| -> Vec<String> {
            let words = paths.iter().flat_map(|path| entry.words(path, &self.budget));
            words.filter(|name| !name.is_empty()).take(MAX_TOUCHES).collect()
        };
        Some(PageEvent {
            title,
            impact: fields.impact.as_ref().map_or(Ok(Severity::None), |impact| self.impact(entry, impact)),
            state: shortened(&state.replace('_', " "), MAX_WORD),
            begins: self.time(entry, &fields.begins),
            ends: self.time(entry, &fields.ends),
            update: one(&fields.update).map(|update| shortened(&update, MAX_TEXT)).unwrap_or_default(),
            link: link.filter(|link| link.len() <= MAX_TEXT).unwrap_or_default(),
            touches: names(&fields.touches),
            touches_parts: names(&fields.touches_parts),
        })
    }

    fn impact(&self, entry: &Node<'_>, rules: &Impact) -> Result<Severity, String> {
        let words =
            rules.paths.iter().map(|path| entry.words(path, &self.budget)).find(|words| !words.is_empty());
        let words = words.unwrap_or_default();
        let severity = |word: &String| rules.map.get(word).ok_or_else(|| shortened(word, MAX_WORD));
        let picked = match rules.pick {
            Pick::First => words.first().map(severity),
            Pick::Last => words.last().map(severity),
            Pick::Worst => words.iter().map(severity).reduce(|a, b| match (a, b) {
                (Ok(a), Ok(b)) => Ok(a.max(b)),
                (Err(word), _) | (_, Err(word)) => Err(word),
            }),
        };
        match (picked, rules.otherwise) {
            (Some(Ok(severity)), _) => Ok(severity.min(rules.at_most)),
            (_, Some(otherwise)) => Ok(otherwise),
            (Some(Err(word)), None) => Err(word),
            (None, None) => Err("no impact".to_owned()),
        }
    }

    fn time(&self, entry: &Node<'_>, paths: &[Path]) -> Option<Timestamp> {
        entry.first(paths, &self.budget).and_then(|word| time::parse(&word, &self.page.engine.times))
    }
}
