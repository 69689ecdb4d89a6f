//! The status pages of the demo.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stand_ins::Clock;
use stand_ins::engines::{EnginePage, Level};
use stand_ins::status_page::{Flavour, StatusPage};

use super::SceneEvent;

/// Id in the script, name (of a built-in monitor), components, and minimum latency in milliseconds.
const PAGES: [(&str, &str, [&str; 3], u64); 4] = [
    ("epic-games", "Epic Games", ["Store", "Login", "Launcher"], 70),
    ("github", "GitHub", ["Git Operations", "Actions", "Pull Requests"], 45),
    ("mongodb", "MongoDB", ["Atlas", "Charts", "Support"], 60),
    (
        "snowflake",
        "Snowflake",
        ["AWS - US West (Oregon)", "AWS - EU (Frankfurt)", "Azure - West Europe"],
        110,
    ),
];

/// Pages of other engines: id in the script, name, engine and components.
const ENGINE_PAGES: [(&str, &str, &str, [&str; 3]); 2] = [
    ("bigquery", "BigQuery", "google", ["Google BigQuery", "Cloud Storage", "Cloud Composer"]),
    ("openai", "OpenAI", "incidentio", ["API", "Batch", "Login"]),
];

pub(super) struct Pages {
    statuspages: Vec<ScenePage>,
    others: Vec<EngineScenePage>,
}

/// A page that is not a Statuspage. All incidents affect its first component.
struct EngineScenePage {
    slug: &'static str,
    name: &'static str,
    engine: &'static str,
    server: EnginePage,
}

struct ScenePage {
    slug: &'static str,
    name: &'static str,
    latency: Duration,
    server: StatusPage,
    /// The component that all incidents affect.
    component: String,
    /// The open incident or maintenance.
    open: Mutex<Option<String>>,
}

impl Pages {
    /// Starts all servers, without incidents.
    pub(super) fn open(clock: &Clock) -> io::Result<Pages> {
        let open = |(slug, name, components, latency): (_, _, [&str; 3], _)| {
            let server = StatusPage::open(clock)?;
            server.set_name(name);
            server.set_own_links();
            let ids = components.map(|component| server.add_component(component, "operational"));
            let [component, ..] = ids;
            let latency = Duration::from_millis(latency);
            server.set_latency(latency);
            Ok(ScenePage { slug, name, latency, server, component, open: Mutex::new(None) })
        };
        let open_other = |(slug, name, engine, components): (_, _, _, [&str; 3])| {
            let server = EnginePage::open(engine, clock)?;
            server.set_latency(Duration::from_millis(80));
            server.change(|server| {
                for (component, name) in server.model().components.iter_mut().zip(components) {
                    name.clone_into(&mut component.name);
                }
            });
            Ok(EngineScenePage { slug, name, engine, server })
        };
        Ok(Pages {
            statuspages: PAGES.into_iter().map(open).collect::<io::Result<_>>()?,
            others: ENGINE_PAGES.into_iter().map(open_other).collect::<io::Result<_>>()?,
        })
    }

    /// Name, address and engine of each.
    pub(super) fn all(&self) -> Vec<(&'static str, String, &'static str)> {
        let statuspages = self.statuspages.iter().map(|page| (page.name, page.server.url(), "statuspage"));
        statuspages
            .chain(self.others.iter().map(|page| (page.name, page.server.url(), page.engine)))
            .collect()
    }

    /// Applies an event of a status page; ignores others.
    pub(super) fn play(&self, event: &SceneEvent) {
        let (SceneEvent::Incident { page: slug, .. }
        | SceneEvent::Maintenance { page: slug, .. }
        | SceneEvent::Recovered { page: slug }
        | SceneEvent::Unreadable { page: slug }
        | SceneEvent::Readable { page: slug }) = *event
        else {
            return;
        };
        if let Some(page) = self.statuspages.iter().find(|page| page.slug == slug) {
            page.play(event);
        }
        if let Some(page) = self.others.iter().find(|page| page.slug == slug) {
            page.play(event);
        }
    }
}

impl EngineScenePage {
    fn play(&self, event: &SceneEvent) {
        self.server.change(|server| {
            let model = server.model();
            match *event {
                SceneEvent::Incident { indicator, title, .. } => {
                    let level = if indicator == "minor" { Level::Degraded } else { Level::Partial };
                    let first = model.components.first().map(|component| component.id);
                    model.add_incident(title, level, first.as_slice());
                }
                SceneEvent::Recovered { .. } => model.resolve(),
                _ => {}
            }
        });
    }
}

impl ScenePage {
    fn play(&self, event: &SceneEvent) {
        let server = &self.server;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match *event {
            SceneEvent::Incident { indicator, description, title, .. } => {
                self.set(indicator, description);
                match &*open {
                    Some(id) => server.rename_incident(id, title, indicator),
                    None => *open = Some(server.open_incident(title, indicator, &[&self.component])),
                }
            }
            SceneEvent::Maintenance { title, .. } => {
                self.set("maintenance", "Service Under Maintenance");
                *open = Some(server.add_maintenance(title, "in_progress"));
            }
            SceneEvent::Recovered { .. } => {
                self.set("none", "All Systems Operational");
                if let Some(id) = open.take() {
                    server.close_incident(&id);
                }
            }
            SceneEvent::Unreadable { .. } => server.set_flavour(Flavour::CatchAll),
            SceneEvent::Readable { .. } => server.set_flavour(Flavour::Statuspage),
            _ => {}
        }
    }

    fn set(&self, indicator: &str, description: &str) {
        let status = match indicator {
            "none" => "operational",
            "minor" => "degraded_performance",
            "maintenance" => "under_maintenance",
            _ => "major_outage",
        };
        self.server.set_component(&self.component, status);
        self.server.set_indicator(indicator, description);
        // Status pages are slow during an incident.
        self.server.set_latency(if indicator == "none" { self.latency } else { self.latency * 2 });
    }
}
