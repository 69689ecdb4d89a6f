//! The components of a page.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::PageReader;
use crate::domain::monitoring::engine::{ComponentRules, ComponentState, Group, Join, Path, Step};
use crate::domain::monitoring::observation::Unknown;
use crate::domain::monitoring::severity::Severity;
use crate::domain::text;
use crate::poll::page::{Component, Components, Events, MAX_TEXT, MAX_WORD, displayed, shortened};
use crate::poll::tree::node::Node;

/// Nesting of components that is read.
const MAX_DEPTH: usize = 8;

impl PageReader<'_> {
    /// The components. `events` decide where the engine states no component's state.
    ///
    /// # Errors
    /// If their documents cannot be read, or do not list them.
    pub(in crate::poll) fn components(&self, events: Option<&Events>) -> Result<Components, Unknown> {
        let Some(rules) = &self.page.engine.components else { return Err(Unknown::NoIndicator) };
        let mut components = Components { affected_only: rules.affected_only, ..Components::default() };
        let states = match &rules.state {
            ComponentState::Incidents => States::Incidents(by_component(events)),
            ComponentState::Join(join) => States::Joined(self.joined(join, rules)?, join),
            ComponentState::Own(paths) => States::Own(paths),
        };
        match self.list(&rules.list)? {
            Some((_, entries)) => {
                let groups = self.groups(rules)?;
                self.within_budget()?;
                for entry in entries {
                    let group = groups.name_for(&entry, self);
                    self.add(&mut components, &entry, rules, &states, group, 0);
                }
                if let States::Incidents(_) = states {
                    // The list may be an archive of incidents, which name a component again and again.
                    let mut seen = HashSet::new();
                    components.all.retain(|one| seen.insert((one.id.clone(), one.name.clone())));
                }
            }
            // The affected components are those that incidents name.
            None if rules.affected_only => {
                let States::Incidents(by_component) = &states else { return Err(Unknown::NoIndicator) };
                components.all.extend(by_component.iter().map(|(name, severity)| Component {
                    id: String::new(),
                    name: name.clone(),
                    part_of: None,
                    group: None,
                    severity: severity.clone(),
                    state: displayed("", severity.as_ref().ok().copied()),
                    label: name.clone(),
                }));
                components.all.sort_by(|a, b| a.name.cmp(&b.name));
            }
            None => return Err(Unknown::NoIndicator),
        }
        self.within_budget()?;
        label(&mut components.all);
        Ok(components)
    }

    fn add(
        &self,
        to: &mut Components,
        entry: &Node<'_>,
        rules: &ComponentRules,
        states: &States<'_>,
        group: Option<String>,
        depth: usize,
    ) {
        if !entry.is_object() && !states.is_plain() {
            to.broken += 1;
            return;
        }
        if self.holds_all(entry, &rules.skip) && !rules.skip.is_empty() {
            return;
        }
        let names: Vec<String> = rules
            .name
            .iter()
            .filter_map(|path| entry.first(std::slice::from_ref(path), &self.budget))
            .collect();
        let name = shortened(&names.join(" - "), MAX_TEXT);
        let id = entry.first(&rules.id, &self.budget).unwrap_or_default();
        let children =
            rules.children.as_ref().and_then(|path| entry.list(path, &self.budget)).unwrap_or_default();
        if !children.is_empty() && depth < MAX_DEPTH {
            for child in children {
                self.add(to, &child, rules, states, Some(name.clone()), depth + 1);
            }
            return;
        }
        if let Some(parts) = &rules.parts {
            let list = entry.list(&parts.list, &self.budget).unwrap_or_default();
            for part in &list {
                let word = part.first(&parts.state, &self.budget).unwrap_or_default();
                let part_name =
                    shortened(&part.first(&parts.name, &self.budget).unwrap_or_default(), MAX_TEXT);
                let part = component(String::new(), part_name, Some(name.clone()), &word, rules);
                to.all.push(Component { part_of: Some(id.clone()), ..part });
            }
            if !list.is_empty() {
                return;
            }
        }
        match states {
            States::Own(paths) => {
                let word = entry.first(paths, &self.budget);
                if word.is_none() && names.is_empty() && id.is_empty() {
                    to.broken += 1;
                    return;
                }
                to.all.push(component(id, name, group, &word.unwrap_or_default(), rules));
            }
            States::Joined(words, join) => {
                let word = words.get(&text::folded(&id)).cloned().or_else(|| join.absent.clone());
                to.all.push(component(id, name, group, &word.unwrap_or_default(), rules));
            }
            States::Incidents(by_component) => {
                let touched = [&id, &name].into_iter().find_map(|key| by_component.get(key.trim()));
                let severity = touched.cloned().unwrap_or(Ok(Severity::None));
                let state = displayed("", severity.as_ref().ok().copied());
                to.all.push(Component {
                    id,
                    name,
                    part_of: None,
                    group,
                    severity,
                    state,
                    label: String::new(),
                });
            }
        }
    }

    /// The words of a joined list by the folded id of the component; the worst of several.
    fn joined(&self, join: &Join, rules: &ComponentRules) -> Result<HashMap<String, String>, Unknown> {
        let Some((_, entries)) = self.list(std::slice::from_ref(&join.list))? else {
            // If it cannot be told which components are affected, none of them is known to work.
            return if join.absent.is_some() { Err(Unknown::NoIndicator) } else { Ok(HashMap::new()) };
        };
        let mut words: HashMap<String, String> = HashMap::new();
        let mut insert = |id: Option<String>, node: &Node<'_>| {
            let (Some(id), true) = (id, self.holds_all(node, &join.only)) else { return };
            // A component that is there without a state is unknown, unlike one that is absent.
            let word = node.first(std::slice::from_ref(&join.state), &self.budget).unwrap_or_default();
            match words.entry(text::folded(&id)) {
                Entry::Vacant(entry) => drop(entry.insert(word)),
                // An unknown word is not hidden by a milder one.
                Entry::Occupied(mut entry) => match (rules.map.get(&word), rules.map.get(entry.get())) {
                    (_, None) => {}
                    (Some(new), Some(old)) if new <= old => {}
                    _ => drop(entry.insert(word)),
                },
            }
        };
        match &join.by {
            Some(by) => entries.iter().for_each(|entry| {
                insert(entry.first(std::slice::from_ref(by), &self.budget), entry);
            }),
            None => {
                let values = [Path::of(vec![Step::Values])];
                for value in entries.iter().flat_map(|object| object.list(&values[0], &self.budget)).flatten()
                {
                    insert(
                        value.first(&[Path::of(vec![Step::Attribute("key".into())])], &self.budget),
                        &value,
                    );
                }
            }
        }
        Ok(words)
    }

    fn groups<'r>(&self, rules: &'r ComponentRules) -> Result<Groups<'r>, Unknown> {
        let mut groups = Groups {
            rules: rules.group.as_ref(),
            names: Vec::new(),
            by_id: HashMap::new(),
            by_child: HashMap::new(),
        };
        let Some(rules) = &rules.group else { return Ok(groups) };
        let Some(list) = &rules.list else { return Ok(groups) };
        let entries = self.list(std::slice::from_ref(list))?.map(|(_, entries)| entries).unwrap_or_default();
        for entry in entries {
            let nth = groups.names.len();
            let one = |path: &Path| entry.first(std::slice::from_ref(path), &self.budget);
            if let Some(id) = one(&rules.id) {
                groups.by_id.entry(id).or_insert(nth);
            }
            for child in rules.children.iter().flat_map(|path| entry.words(path, &self.budget)) {
                groups.by_child.entry(child).or_insert(nth);
            }
            groups.names.push(shortened(&one(&rules.name).unwrap_or_default(), MAX_TEXT));
        }
        Ok(groups)
    }
}

enum States<'r> {
    Own(&'r [Path]),
    Joined(HashMap<String, String>, &'r Join),
    Incidents(HashMap<String, Result<Severity, String>>),
}

impl States<'_> {
    /// Whether the entries may be plain words, such as the values of an object of states.
    fn is_plain(&self) -> bool {
        matches!(self, States::Own(paths) if paths.iter().any(|path| path.steps().is_empty()))
    }
}

/// Group names by group id and by the ids of their children.
struct Groups<'r> {
    rules: Option<&'r Group>,
    names: Vec<String>,
    by_id: HashMap<String, usize>,
    by_child: HashMap<String, usize>,
}

impl Groups<'_> {
    /// A component listed in several groups belongs to the first one.
    fn name_for(&self, entry: &Node<'_>, pages: &PageReader<'_>) -> Option<String> {
        let rules = self.rules?;
        let field =
            rules.field.as_ref().and_then(|path| entry.first(std::slice::from_ref(path), &pages.budget));
        if rules.list.is_none() {
            return field.map(|name| shortened(&name, MAX_TEXT)).filter(|name| !name.is_empty());
        }
        let named = field.and_then(|id| self.by_id.get(&id));
        let id =
            pages.page.engine.components.as_ref().and_then(|rules| entry.first(&rules.id, &pages.budget));
        let listed = id.and_then(|id| self.by_child.get(&id));
        let nth = [named, listed].into_iter().flatten().min()?;
        self.names.get(*nth).cloned()
    }
}

fn component(
    id: String,
    name: String,
    group: Option<String>,
    word: &str,
    rules: &ComponentRules,
) -> Component {
    let severity = rules.map.get(word).ok_or_else(|| shortened(word, MAX_WORD));
    let state = displayed(word, severity.as_ref().ok().copied());
    Component { id, name, part_of: None, group, severity, state, label: String::new() }
}

/// The worst impact of the open incidents by id or name of the component.
fn by_component(events: Option<&Events>) -> HashMap<String, Result<Severity, String>> {
    let mut worst: HashMap<String, Result<Severity, String>> = HashMap::new();
    for event in events.into_iter().flat_map(|events| &events.incidents) {
        for name in &event.touches {
            let so_far = worst.entry(name.trim().to_owned()).or_insert(Ok(Severity::None));
            *so_far = match (&*so_far, &event.impact) {
                (Ok(a), Ok(b)) => Ok(*a.max(b)),
                (Err(word), _) | (_, Err(word)) => Err(word.clone()),
            };
        }
    }
    worst
}

fn label(components: &mut [Component]) {
    let mut times: HashMap<String, u32> = HashMap::new();
    for component in &*components {
        *times.entry(component.name.clone()).or_default() += 1;
    }
    // The page is one document with a state and nothing else.
    let nameless = if components.len() == 1 { "Status" } else { "Unnamed component" };
    for component in components {
        let repeated = times.get(&component.name).is_some_and(|times| *times > 1);
        let name = if component.name.is_empty() { nameless } else { &component.name };
        component.label = match &component.group {
            Some(group) if repeated => format!("{group} - {name}"),
            _ => name.to_owned(),
        };
    }
}
