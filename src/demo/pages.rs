//! The status pages of the demo, and what the script does to them.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stand_ins::Clock;
use stand_ins::status_page::{Flavour, StatusPage};

use super::Event;

/// The pages there are: how the script calls them, their name (the program ships with monitors of these names), their
/// components, and the least milliseconds that an answer takes.
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

/// All pages, each a server.
pub(super) struct Pages(Vec<Page>);

struct Page {
    slug: &'static str,
    name: &'static str,
    latency: Duration,
    server: StatusPage,
    /// The component that has all the trouble.
    component: String,
    /// The open incident or maintenance.
    open: Mutex<Option<String>>,
}

impl Pages {
    /// All is well on all of them.
    pub(super) fn open(clock: &Clock) -> io::Result<Pages> {
        let open = |(slug, name, components, latency): (_, _, [&str; 3], _)| {
            let server = StatusPage::open(clock)?;
            server.set_name(name);
            server.set_own_links();
            let ids = components.map(|component| server.add_component(component, "operational"));
            let [component, ..] = ids;
            let latency = Duration::from_millis(latency);
            server.set_latency(latency);
            Ok(Page { slug, name, latency, server, component, open: Mutex::new(None) })
        };
        PAGES.into_iter().map(open).collect::<io::Result<_>>().map(Pages)
    }

    /// Name and address of each.
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        self.0.iter().map(|page| (page.name, page.server.url())).collect()
    }

    /// Does what concerns a page.
    pub(super) fn play(&self, event: &Event) {
        let (Event::Incident { page: slug, .. }
        | Event::Maintenance { page: slug, .. }
        | Event::Recovered { page: slug }
        | Event::Unreadable { page: slug }
        | Event::Readable { page: slug }) = *event
        else {
            return;
        };
        if let Some(page) = self.0.iter().find(|page| page.slug == slug) {
            page.play(event);
        }
    }
}

impl Page {
    fn play(&self, event: &Event) {
        let server = &self.server;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match *event {
            Event::Incident { indicator, description, title, .. } => {
                self.set(indicator, description);
                match &*open {
                    Some(id) => server.rename_incident(id, title, indicator),
                    None => *open = Some(server.open_incident(title, indicator, &[&self.component])),
                }
            }
            Event::Maintenance { title, .. } => {
                self.set("maintenance", "Service Under Maintenance");
                *open = Some(server.add_maintenance(title, "in_progress"));
            }
            Event::Recovered { .. } => {
                self.set("none", "All Systems Operational");
                if let Some(id) = open.take() {
                    server.close_incident(&id);
                }
            }
            Event::Unreadable { .. } => server.set_flavour(Flavour::CatchAll),
            Event::Readable { .. } => server.set_flavour(Flavour::Statuspage),
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
        // A page in trouble is slow as well.
        self.server.set_latency(if indicator == "none" { self.latency } else { self.latency * 2 });
    }
}
