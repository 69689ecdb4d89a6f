//! A status page like those of Statuspage v2, of incident.io's compatible pages, and of servers that only resemble
//! one.
//!
//! Start at [`StatusPage::open`]. Each visible change of the page also moves `page.updated_at`.

use std::io;

use serde_json::{Map, Value, json};

use crate::clock::millis;
use crate::draw::hex32;
use crate::{Clock, Reply, Request, Service, StandIn};

/// Each documented indicator with the description that usually comes with it.
pub const INDICATORS: [(&str, &str); 5] = [
    ("none", "All Systems Operational"),
    ("minor", "Partially Degraded Service"),
    ("major", "Partial System Outage"),
    ("critical", "Major Service Outage"),
    ("maintenance", "Service Under Maintenance"),
];
/// The header that a content delivery network before a genuine page sends.
const CACHE_CONTROL: &str = "max-age=10, public, s-maxage=10, stale-while-revalidate=20, stale-if-error=3600";

/// A running status page.
pub type StatusPage = StandIn<Page>;

/// What kind of server the page is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flavour {
    /// Genuine: every path, time zone, groups, 404 in HTML for the rest.
    Statuspage,
    /// Compatible: no time zone, `incidents` left out when none is open, no unresolved list, empty 404.
    IncidentIo,
    /// Only `status.json`, and its `page` holds nothing but `updated_at`.
    Bare,
    /// 200 and HTML for every path.
    CatchAll,
}

/// The state of a page.
pub struct Page {
    clock: Clock,
    name: String,
    flavour: Flavour,
    indicator: Value,
    description: String,
    updated_at: String,
    offset_hours: i8,
    etags: bool,
    root: String,
    short_links: String,
    made: u64,
    components: Vec<Component>,
    incidents: Vec<Value>,
    maintenances: Vec<Value>,
}

#[derive(Clone)]
struct Component {
    id: String,
    name: String,
    status: String,
    group: Option<String>,
    is_group: bool,
}

impl StatusPage {
    /// A healthy, genuine page called "Examplify".
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(clock: &Clock) -> io::Result<StatusPage> {
        let page = StandIn::serve(Page::new(clock))?;
        let root = page.url();
        page.change(|state| state.root = root);
        Ok(page)
    }

    /// The same; panics where `open` fails.
    #[cfg(feature = "testing")]
    pub fn start() -> StatusPage {
        StatusPage::start_at(&Clock::system())
    }

    /// The same with a clock of the test's own.
    #[cfg(feature = "testing")]
    #[expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]
    pub fn start_at(clock: &Clock) -> StatusPage {
        StatusPage::open(clock).unwrap().recording()
    }

    /// The name in `page.name`.
    pub fn set_name(&self, name: &str) {
        self.change(|page| page.name = name.into());
    }

    /// Changes the kind of server.
    pub fn set_flavour(&self, flavour: Flavour) {
        self.change(|page| page.flavour = flavour);
    }

    /// The page's state as a whole, with a description.
    pub fn set_indicator(&self, indicator: &str, description: &str) {
        self.set_indicator_value(json!(indicator), description);
    }

    /// The same with any value as the indicator: null, a number.
    pub fn set_indicator_value(&self, indicator: Value, description: &str) {
        self.change(|page| {
            page.indicator = indicator;
            page.description = description.into();
            page.touch();
        });
    }

    /// Back to "All Systems Operational".
    pub fn recover(&self) {
        self.set_indicator("none", INDICATORS[0].1);
    }

    /// Whether answers carry an `etag` and a matching `If-None-Match` gets 304. On at the start.
    pub fn honour_etags(&self, yes: bool) {
        self.change(|page| page.etags = yes);
    }

    /// Writes times with this offset from UTC instead of `Z`.
    pub fn set_offset_hours(&self, hours: i8) {
        self.change(|page| page.offset_hours = hours);
    }

    /// Adds a component outside any group; returns its id. Names need not be unique.
    pub fn add_component(&self, name: &str, status: &str) -> String {
        self.change(|page| page.add_component(name, status, None, false))
    }

    /// Adds a group; returns its id.
    pub fn add_group(&self, name: &str) -> String {
        self.change(|page| page.add_component(name, "operational", None, true))
    }

    /// Adds a component to a group.
    pub fn add_to_group(&self, group: &str, name: &str, status: &str) -> String {
        self.change(|page| page.add_component(name, status, Some(group.into()), false))
    }

    /// Changes a component's status; the page's indicator does not follow, as on some real pages.
    pub fn set_component(&self, id: &str, status: &str) {
        self.change(|page| {
            let component = page.components.iter_mut().find(|one| one.id == id);
            debug_assert!(component.is_some(), "no component {id}");
            if let Some(component) = component {
                component.status = status.into();
            }
            page.touch();
        });
    }

    /// Opens an incident that affects these components; returns its id.
    pub fn open_incident(&self, name: &str, impact: &str, components: &[&str]) -> String {
        self.change(|page| {
            let incident = page.incident(name, "investigating", impact, components);
            page.incidents.insert(0, incident);
            page.latest_id()
        })
    }

    /// Adds an update to an incident: its status changes, `resolved` closes it.
    pub fn update_incident(&self, id: &str, status: &str, text: &str) {
        self.change(|page| page.update_incident(id, status, text));
    }

    /// Gives an incident another name and impact.
    pub fn rename_incident(&self, id: &str, name: &str, impact: &str) {
        self.change(|page| {
            page.update_incident(id, "identified", name);
            if let Some(incident) = page.incident_mut(id) {
                incident["name"] = json!(name);
                incident["impact"] = json!(impact);
            }
        });
    }

    /// Removes an incident or a maintenance from the page, history included: a demo runs for days.
    pub fn close_incident(&self, id: &str) {
        self.change(|page| {
            page.incidents.retain(|one| one["id"] != id);
            page.maintenances.retain(|one| one["id"] != id);
            page.touch();
        });
    }

    /// Links of incidents lead to the page itself, which shows a site, instead of to a shortener.
    pub fn set_own_links(&self) {
        self.change(|page| page.short_links = format!("{}/incidents", page.root));
    }

    /// Announces a maintenance (`scheduled`) or starts one (`in_progress`); returns its id.
    pub fn add_maintenance(&self, name: &str, status: &str) -> String {
        self.change(|page| {
            let mut maintenance = page.incident(name, status, "maintenance", &[]);
            maintenance["scheduled_for"] = json!(page.updated_at);
            maintenance["scheduled_until"] = json!(page.stamp_in(2));
            page.maintenances.insert(0, maintenance);
            page.latest_id()
        })
    }
}

impl Page {
    fn new(clock: &Clock) -> Page {
        let mut page = Page {
            clock: clock.clone(),
            name: "Examplify".into(),
            flavour: Flavour::Statuspage,
            indicator: json!("none"),
            description: INDICATORS[0].1.into(),
            updated_at: String::new(),
            offset_hours: 0,
            etags: true,
            root: String::new(),
            short_links: "https://stspg.test".into(),
            made: 0,
            components: Vec::new(),
            incidents: Vec::new(),
            maintenances: Vec::new(),
        };
        page.touch();
        page
    }

    /// Takes a component off the page; for [`StandIn::change`] and [`StandIn::after`].
    pub fn remove_component(&mut self, id: &str) {
        self.components.retain(|one| one.id != id);
        self.touch();
    }

    fn touch(&mut self) {
        self.updated_at = self.stamp_in(0);
    }

    fn stamp_in(&self, hours: i64) -> String {
        let moment = self.clock.now() + jiff::SignedDuration::from_hours(hours);
        if self.offset_hours == 0 {
            return millis(moment);
        }
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(self.offset_hours));
        moment.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
    }

    fn new_id(&mut self) -> String {
        self.made += 1;
        self.latest_id()
    }

    fn latest_id(&self) -> String {
        hex32(1, &self.name, self.made)[..12].to_string()
    }

    fn add_component(&mut self, name: &str, status: &str, group: Option<String>, is_group: bool) -> String {
        let id = self.new_id();
        let (name, status) = (name.to_string(), status.to_string());
        self.components.push(Component { id: id.clone(), name, status, group, is_group });
        self.touch();
        id
    }

    /// The object's id is the latest one made.
    fn incident(&mut self, name: &str, status: &str, impact: &str, components: &[&str]) -> Value {
        self.touch();
        let id = self.new_id();
        let now = &self.updated_at;
        let affected = self.components.iter().filter(|one| components.contains(&one.id.as_str()));
        let affected: Vec<Value> = affected.map(|one| self.component_json(one)).collect();
        json!({"id": id, "name": name, "status": status, "created_at": now, "updated_at": now,
            "monitoring_at": null, "resolved_at": null, "impact": impact, "started_at": now,
            "shortlink": format!("{}/{id}", self.short_links), "page_id": self.page_id(),
            "incident_updates": [update(&id, 0, status, "We are looking into it.", now)], "components": affected})
    }

    fn update_incident(&mut self, id: &str, status: &str, text: &str) {
        self.touch();
        let now = self.updated_at.clone();
        let Some(incident) = self.incident_mut(id) else { return };
        incident["status"] = json!(status);
        incident["updated_at"] = json!(now);
        match status {
            "monitoring" => incident["monitoring_at"] = json!(now),
            "resolved" | "completed" => incident["resolved_at"] = json!(now),
            _ => {}
        }
        if let Some(updates) = incident["incident_updates"].as_array_mut() {
            updates.insert(0, update(id, updates.len(), status, text, &now));
        }
    }

    fn incident_mut(&mut self, id: &str) -> Option<&mut Value> {
        let incident = self.incidents.iter_mut().chain(&mut self.maintenances).find(|one| one["id"] == id);
        debug_assert!(incident.is_some(), "no incident {id}");
        incident
    }

    fn page_id(&self) -> String {
        match self.flavour {
            Flavour::IncidentIo => "01J9ZK5T7Q8W9E0R1T2Y3V4X5W".into(),
            _ => hex32(0, &self.name, 0)[..12].to_string(),
        }
    }

    fn page_json(&self) -> Value {
        let mut page = json!({"id": self.page_id(), "name": self.name, "url": self.root,
            "time_zone": "Etc/UTC", "updated_at": self.updated_at});
        if self.flavour == Flavour::Bare {
            page = json!({"updated_at": self.updated_at});
        }
        if self.flavour == Flavour::IncidentIo {
            page.as_object_mut().and_then(|page| page.remove("time_zone"));
        }
        page
    }

    fn component_json(&self, one: &Component) -> Value {
        let position = self.components.iter().position(|other| other.id == one.id).unwrap_or(0) + 1;
        let mut value = json!({"id": one.id, "name": one.name, "status": one.status,
            "created_at": self.updated_at, "updated_at": self.updated_at, "position": position,
            "description": null, "showcase": !one.is_group, "start_date": null, "group_id": one.group,
            "page_id": self.page_id(), "group": one.is_group, "only_show_if_degraded": false});
        if one.is_group {
            let children = self.components.iter().filter(|other| other.group.as_ref() == Some(&one.id));
            value["components"] = children.map(|child| child.id.clone()).collect();
        }
        value
    }

    fn components_json(&self) -> Value {
        self.components.iter().map(|one| self.component_json(one)).collect()
    }

    /// The body of a path below `/api/v2`, if the server has it.
    fn document(&self, path: &str) -> Option<Value> {
        let unresolved = having(&self.incidents, &["investigating", "identified", "monitoring"]);
        let mut body = Map::from_iter([("page".to_string(), self.page_json())]);
        let mut put = |key: &str, value: Value| drop(body.insert(key.into(), value));
        let status = json!({"indicator": self.indicator, "description": self.description});
        match path {
            "/status.json" => put("status", status),
            _ if self.flavour == Flavour::Bare => return None,
            "/incidents/unresolved.json" if self.flavour == Flavour::IncidentIo => return None,
            "/summary.json" => {
                put("components", self.components_json());
                if self.flavour != Flavour::IncidentIo || unresolved != json!([]) {
                    put("incidents", unresolved);
                }
                let ahead = having(&self.maintenances, &["scheduled", "in_progress", "verifying"]);
                put("scheduled_maintenances", ahead);
                put("status", status);
            }
            "/components.json" => put("components", self.components_json()),
            "/incidents.json" => put("incidents", json!(self.incidents)),
            "/incidents/unresolved.json" => put("incidents", unresolved),
            "/scheduled-maintenances.json" => put("scheduled_maintenances", json!(self.maintenances)),
            "/scheduled-maintenances/active.json" => {
                put("scheduled_maintenances", having(&self.maintenances, &["in_progress", "verifying"]));
            }
            "/scheduled-maintenances/upcoming.json" => {
                put("scheduled_maintenances", having(&self.maintenances, &["scheduled"]));
            }
            _ => return None,
        }
        Some(Value::Object(body))
    }

    /// For people who follow a link.
    fn site(&self) -> Reply {
        let page = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>{name}</title><h1>{name}: {}</h1>\
             <p>A stand-in server. Nothing on this page is true of {name}.</p>",
            self.description,
            name = self.name
        );
        Reply::text("text/html; charset=utf-8", &page)
    }

    fn not_found(&self) -> Reply {
        match self.flavour {
            Flavour::IncidentIo => Reply::status(404),
            _ => Reply::html().with_status(404),
        }
    }
}

impl Service for Page {
    fn answer(&mut self, request: &Request) -> Reply {
        if self.flavour == Flavour::CatchAll {
            return Reply::html();
        }
        let document = request.path.strip_prefix("/api/v2").and_then(|path| self.document(path));
        let Some(document) = document.filter(|_| request.method == "GET") else {
            let site = request.path == "/" || request.path.starts_with("/incidents/");
            return if site { self.site() } else { self.not_found() };
        };
        let reply = Reply::json(&document)
            .header("access-control-allow-origin", "*")
            .header("cache-control", CACHE_CONTROL)
            .header("vary", "Accept,Accept-Encoding")
            .header("x-statuspage-version", "0123456789abcdef");
        if !self.etags {
            return reply;
        }
        let etag = format!("W/\"{}\"", hex32(0, &document.to_string(), 0));
        match request.header("if-none-match") {
            Some(known) if known == etag => {
                Reply::status(304).header("etag", &etag).header("cache-control", CACHE_CONTROL)
            }
            _ => reply.header("etag", &etag),
        }
    }

    fn describe(&self) -> String {
        format!("{} shows {} ({}), {:?}", self.name, self.indicator, self.description, self.flavour)
    }
}

/// The response of a page that was switched off: `page.always_on("", inactive())`.
pub fn inactive() -> Reply {
    Reply::text("text/plain", "This page is currently inactive.").with_status(401)
}

fn having(all: &[Value], statuses: &[&str]) -> Value {
    let fits = |one: &&Value| one["status"].as_str().is_some_and(|status| statuses.contains(&status));
    all.iter().filter(fits).cloned().collect()
}

fn update(incident: &str, index: usize, status: &str, text: &str, now: &str) -> Value {
    json!({"id": hex32(2, incident, index as u64)[..12], "status": status, "body": text,
        "incident_id": incident, "created_at": now, "updated_at": now, "display_at": now,
        "affected_components": null, "deliver_notifications": true, "custom_tweet": null, "tweet_id": null})
}
