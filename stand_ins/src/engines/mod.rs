//! Status pages of many engines, from one model: components with groups and regions, incidents, maintenance.
//!
//! Each engine renders the model into its documents as that engine is known to, and as badly: [`Model::quirk`] switches on what
//! real pages of the engine do wrong. Start at [`EnginePage::open`].

mod clouds;
mod feeds;
mod incidentio;
mod pages;
mod self_hosted;
mod vendors;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{Clock, Reply, Request, Service, StandIn};

/// A running page.
pub type EnginePage = StandIn<EngineServer>;

type Render = fn(&Model, &str) -> Option<Document>;

/// Every engine with its documents.
const ENGINES: &[(&str, Render)] = &[
    ("aws", clouds::aws),
    ("azure-devops", clouds::azure_devops),
    ("betterstack", pages::betterstack),
    ("cachet", self_hosted::cachet),
    ("feed", feeds::feed),
    ("freshstatus", pages::freshstatus),
    ("gatus", self_hosted::gatus),
    ("google", clouds::google),
    ("heroku", vendors::heroku),
    ("http", feeds::http),
    ("hyperping", pages::hyperping),
    ("incidentio", incidentio::documents),
    ("incidentio-proxy", incidentio::documents),
    ("instatus", pages::instatus),
    ("microsoft", clouds::microsoft),
    ("oci", clouds::oci),
    ("openstatus", self_hosted::openstatus),
    ("rootly", pages::rootly),
    ("salesforce", vendors::salesforce),
    ("slack", vendors::slack),
    ("sorry", pages::sorry),
    ("statuscast", pages::statuscast),
    ("statusio", pages::statusio),
    ("stripe", vendors::stripe),
    ("upptime", self_hosted::upptime),
    ("uptime-kuma", self_hosted::uptime_kuma),
    ("zendesk", vendors::zendesk),
];

/// A state of a component, or the impact of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fine,
    Maintenance,
    Degraded,
    Partial,
    Outage,
    /// A word that no one knows.
    Odd,
}

/// The word of a level, of those for [`Level::Fine`] to [`Level::Outage`].
fn word(level: Level, words: [&str; 5]) -> String {
    let word = match level {
        Level::Fine => words[0],
        Level::Maintenance => words[1],
        Level::Degraded => words[2],
        Level::Partial => words[3],
        Level::Outage => words[4],
        Level::Odd => "sunspots",
    };
    word.into()
}

#[derive(Debug, Clone)]
pub struct Component {
    pub id: u32,
    pub name: String,
    pub group: String,
    /// `eu-west-1`.
    pub region: String,
    pub level: Level,
}

impl Component {
    /// The name as an identifier.
    pub fn slug(&self) -> String {
        self.name.to_lowercase().replace(' ', "-")
    }
}

#[derive(Debug, Clone)]
pub struct Incident {
    pub id: u32,
    pub title: String,
    pub level: Level,
    pub is_open: bool,
    /// Ids of components.
    pub touches: Vec<u32>,
    pub began: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Work {
    pub id: u32,
    pub title: String,
    pub touches: Vec<u32>,
    pub begins: Timestamp,
    pub ends: Timestamp,
}

impl Work {
    fn is_running(&self, now: Timestamp) -> bool {
        self.begins <= now
    }
}

/// The state of a page.
pub struct Model {
    clock: Clock,
    pub root: String,
    pub components: Vec<Component>,
    pub incidents: Vec<Incident>,
    pub works: Vec<Work>,
    /// The roll-up, if it is not the worst of the components.
    pub overall: Option<Level>,
    quirks: BTreeSet<&'static str>,
}

impl Model {
    fn new(clock: &Clock) -> Model {
        let component = |id, name: &str, group: &str, region: &str| Component {
            id,
            name: name.into(),
            group: group.into(),
            region: region.into(),
            level: Level::Fine,
        };
        Model {
            clock: clock.clone(),
            root: String::new(),
            components: vec![
                component(11, "Query engine", "EU region", "eu-west-1"),
                component(12, "Storage", "US region", "us-east-1"),
                component(13, "Website", "US region", "us-east-1"),
            ],
            incidents: Vec::new(),
            works: Vec::new(),
            overall: None,
            quirks: BTreeSet::new(),
        }
    }

    /// Does what some real pages of the engine do; the names are those that its documents look for.
    pub fn quirk(&mut self, name: &'static str) {
        self.quirks.insert(name);
    }

    /// Gives a component a state, and an incident that says so.
    pub fn break_component(&mut self, id: u32, level: Level) {
        for component in self.components.iter_mut().filter(|one| one.id == id) {
            component.level = level;
        }
        self.add_incident(&format!("Trouble {id}"), level, &[id]);
    }

    /// An open incident; the components' states do not follow.
    pub fn add_incident(&mut self, title: &str, level: Level, touches: &[u32]) {
        let id = self.new_id();
        self.incidents.insert(
            0,
            Incident {
                id,
                title: title.into(),
                level,
                is_open: true,
                touches: touches.to_vec(),
                began: self.ago(20),
            },
        );
    }

    /// Resolves all incidents; they stay in the history.
    pub fn resolve(&mut self) {
        self.components.iter_mut().for_each(|one| one.level = Level::Fine);
        self.incidents.iter_mut().for_each(|one| one.is_open = false);
    }

    /// Maintenance from so many minutes from now, for two hours.
    pub fn add_maintenance(&mut self, title: &str, in_minutes: i64, touches: &[u32]) {
        let id = self.new_id();
        let begins = self.ago(-in_minutes);
        let ends = begins + SignedDuration::from_hours(2);
        self.works.push(Work { id, title: title.into(), touches: touches.to_vec(), begins, ends });
    }

    fn new_id(&self) -> u32 {
        u32::try_from(100 + self.incidents.len() + self.works.len()).unwrap_or(u32::MAX)
    }

    fn has(&self, quirk: &str) -> bool {
        self.quirks.contains(quirk)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn ago(&self, minutes: i64) -> Timestamp {
        self.now() - SignedDuration::from_mins(minutes)
    }

    /// The roll-up.
    fn overall(&self) -> Level {
        self.overall
            .unwrap_or_else(|| self.components.iter().map(|one| one.level).max().unwrap_or(Level::Fine))
    }

    /// The components that an incident names.
    fn named<'m>(&'m self, ids: &'m [u32]) -> impl Iterator<Item = &'m Component> {
        self.components.iter().filter(|one| ids.contains(&one.id))
    }

    fn open(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(|one| one.is_open)
    }

    fn running(&self) -> impl Iterator<Item = &Work> {
        self.works.iter().filter(|one| one.is_running(self.now()))
    }

    fn upcoming(&self) -> impl Iterator<Item = &Work> {
        self.works.iter().filter(|one| !one.is_running(self.now()))
    }

    /// Groups with their components, in order.
    fn groups(&self) -> Vec<(u32, &str, Vec<&Component>)> {
        let mut groups: Vec<(u32, &str, Vec<&Component>)> = Vec::new();
        for component in &self.components {
            match groups.iter_mut().find(|(_, name, _)| *name == component.group) {
                Some((_, _, members)) => members.push(component),
                None => groups.push((component.id + 900, &component.group, vec![component])),
            }
        }
        groups
    }
}

/// One document.
struct Document {
    kind: &'static str,
    body: Vec<u8>,
}

impl Document {
    fn json(value: &Value) -> Option<Document> {
        Some(Document { kind: "application/json; charset=utf-8", body: value.to_string().into_bytes() })
    }
}

/// The server of a page.
pub struct EngineServer {
    model: Model,
    render: Render,
    etags: bool,
}

impl EngineServer {
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Whether answers carry an `etag`, and a matching `If-None-Match` gets 304. On at the start.
    pub fn honour_etags(&mut self, yes: bool) {
        self.etags = yes;
    }
}

impl EnginePage {
    /// A healthy page of an engine; its documents are those of the engine's definition with the same name.
    ///
    /// # Errors
    /// When there is no such engine, or no port is free.
    pub fn open(engine: &str, clock: &Clock) -> io::Result<EnginePage> {
        let render = ENGINES.iter().find(|(name, _)| *name == engine).map(|(_, render)| *render);
        let render = render.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such engine"))?;
        let page = StandIn::serve(EngineServer { model: Model::new(clock), render, etags: true })?;
        let root = page.url();
        page.change(|server| server.model.root = root);
        Ok(page)
    }

    /// The names of the engines.
    pub fn engines() -> impl Iterator<Item = &'static str> {
        ENGINES.iter().map(|(name, _)| *name)
    }
}

impl Service for EngineServer {
    fn describe(&self) -> String {
        format!("{:?}, {:?}, {:?}", self.model.components, self.model.incidents, self.model.works)
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let Some(document) = (self.render)(&self.model, &request.path) else {
            let catch_all = self.model.has("catch_all");
            return if catch_all { Reply::html() } else { Reply::html().with_status(404) };
        };
        if !self.etags {
            return Reply::bytes(document.kind, document.body);
        }
        let mut hasher = DefaultHasher::new();
        document.body.hash(&mut hasher);
        let etag = format!("\"{:x}\"", hasher.finish());
        if request.header("if-none-match") == Some(&etag) {
            return Reply::status(304).header("etag", &etag);
        }
        Reply::bytes(document.kind, document.body).header("etag", &etag)
    }
}
