//! The status pages, in the manner of Statuspage v2: `status.json`, `summary.json`, etags, and a page for people.

use std::io;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::far_end::{FarEnd, Server, millis, travel};
use super::{Event, Now};
use crate::domain::schedule::hash;

/// The pages there are: the part of the address, the name (the program ships with monitors of these names), the parts
/// that the page lists, and the least milliseconds that an answer takes.
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

/// All pages: one server, a path for each.
#[derive(Clone)]
pub(super) struct Pages(FarEnd<Vec<Page>>);

struct Page {
    slug: &'static str,
    name: &'static str,
    parts: [&'static str; 3],
    least_ms: u64,
    indicator: &'static str,
    description: &'static str,
    updated_at: String,
    open: Option<Open>,
    readable: bool,
    looks: u64,
}

/// An incident or a maintenance.
struct Open {
    id: String,
    title: &'static str,
    impact: &'static str,
    status: &'static str,
    started_at: String,
    planned_until: Option<String>,
}

impl Pages {
    /// All is well on all of them.
    pub(super) async fn open(now: Now) -> io::Result<(Pages, Server)> {
        let updated_at = millis(now());
        let all = PAGES.map(|(slug, name, parts, least_ms)| Page {
            slug,
            name,
            parts,
            least_ms,
            indicator: "none",
            description: "All Systems Operational",
            updated_at: updated_at.clone(),
            open: None,
            readable: true,
            looks: 0,
        });
        let route = |pages| Router::new().route("/{*path}", get(answer)).with_state(pages);
        let (far_end, server) = FarEnd::open(now, Vec::from(all), route).await?;
        Ok((Pages(far_end), server))
    }

    /// Name and address of each.
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        PAGES.iter().map(|(slug, name, ..)| (*name, format!("{}/{slug}", self.0.root()))).collect()
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
        let now = self.0.now();
        let until = now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap_or(now);
        self.0.with(|pages| {
            let Some(page) = pages.iter_mut().find(|page| page.slug == slug) else { return };
            page.updated_at = millis(now);
            match *event {
                Event::Incident { indicator, description, title, .. } => {
                    page.roll_up(indicator, description);
                    page.begin(title, indicator, "investigating", None);
                }
                Event::Maintenance { title, .. } => {
                    page.roll_up("maintenance", "Service Under Maintenance");
                    page.begin(title, "maintenance", "in_progress", Some(millis(until)));
                }
                Event::Recovered { .. } => {
                    page.roll_up("none", "All Systems Operational");
                    page.open = None;
                }
                Event::Unreadable { .. } => page.readable = false,
                Event::Readable { .. } => page.readable = true,
                _ => {}
            }
        });
    }
}

impl Page {
    fn roll_up(&mut self, indicator: &'static str, description: &'static str) {
        (self.indicator, self.description) = (indicator, description);
    }

    /// Opens an incident, or gives the open one other words.
    fn begin(
        &mut self,
        title: &'static str,
        impact: &'static str,
        status: &'static str,
        planned_until: Option<String>,
    ) {
        let started_at = self.updated_at.clone();
        let fresh = Open {
            id: format!("{:012x}", hash(&format!("{} {started_at}", self.slug)) >> 16),
            title,
            impact,
            status,
            started_at,
            planned_until,
        };
        self.open = Some(match self.open.take() {
            None => fresh,
            Some(open) => Open { id: open.id, started_at: open.started_at, status: "identified", ..fresh },
        });
    }

    fn id(&self) -> String {
        format!("{:012x}", hash(self.slug) >> 16)
    }

    fn head(&self, root: &str) -> Value {
        json!({"id": self.id(), "name": self.name, "url": format!("{root}/{}", self.slug), "time_zone": "Etc/UTC",
            "updated_at": self.updated_at})
    }

    fn status(&self) -> Value {
        json!({"indicator": self.indicator, "description": self.description})
    }

    fn summary(&self, root: &str) -> Value {
        let component = |(position, name): (usize, &&str)| {
            let state = match (position, self.indicator) {
                (0, "minor") => "degraded_performance",
                (0, "major" | "critical") => "major_outage",
                (0, "maintenance") => "under_maintenance",
                _ => "operational",
            };
            json!({"id": format!("{:012x}", hash(name) >> 16), "name": name, "status": state,
                "created_at": self.updated_at, "updated_at": self.updated_at, "position": position + 1,
                "description": null, "showcase": true, "start_date": null, "group_id": null,
                "page_id": self.id(), "group": false, "only_show_if_degraded": false})
        };
        let components: Vec<Value> = self.parts.iter().enumerate().map(component).collect();
        let event = |open: &Open| {
            let mut event = json!({"id": open.id, "name": open.title, "status": open.status,
                "created_at": open.started_at, "updated_at": self.updated_at, "monitoring_at": null,
                "resolved_at": null, "impact": open.impact, "started_at": open.started_at,
                "shortlink": format!("{root}/{}/incidents/{}", self.slug, open.id), "page_id": self.id(),
                "incident_updates": [], "components": [components[0]]});
            if let Some(until) = &open.planned_until {
                event["scheduled_for"] = json!(open.started_at);
                event["scheduled_until"] = json!(until);
            }
            event
        };
        let these = |planned: bool| -> Vec<Value> {
            self.open.iter().filter(|open| open.planned_until.is_some() == planned).map(event).collect()
        };
        json!({"page": self.head(root), "components": components, "status": self.status(),
            "incidents": these(false), "scheduled_maintenances": these(true)})
    }

    /// For people who follow a link.
    fn site(&self) -> Html<String> {
        let open = self.open.as_ref().map_or("", |open| open.title);
        Html(format!(
            "<!doctype html><meta charset=\"utf-8\"><title>{name}</title><h1>{name}: {}</h1><p>{open}</p>\
             <p>This page belongs to the demo. Nothing on it is true of {name}.</p>",
            self.description,
            name = self.name
        ))
    }
}

async fn answer(
    State(pages): State<FarEnd<Vec<Page>>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (slug, below) = path.split_once('/').unwrap_or((&path, ""));
    let root = pages.root().to_owned();
    let found = pages.with(|all| {
        let page = all.iter_mut().find(|page| page.slug == slug)?;
        let document = match below {
            "api/v2/status.json" => Some(json!({"page": page.head(&root), "status": page.status()})),
            "api/v2/summary.json" => Some(page.summary(&root)),
            _ => None,
        };
        page.looks += 1;
        // A page in trouble is slow as well.
        let least = if page.indicator == "none" { page.least_ms } else { page.least_ms * 2 };
        Some((document.filter(|_| page.readable).ok_or_else(|| page.site()), page.looks, least))
    });
    let Some((document, looks, least)) = found else {
        return (StatusCode::NOT_FOUND, Html("<h1>Not found</h1>")).into_response();
    };
    travel(slug, looks, least).await;
    match document {
        Ok(document) => tagged(&document, &headers),
        Err(site) => site.into_response(),
    }
}

/// A document with its etag, or 304 for whoever knows it.
fn tagged(document: &Value, headers: &HeaderMap) -> Response {
    let body = document.to_string();
    let tag = format!("W/\"{:016x}\"", hash(&body));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let head = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "max-age=0, private, must-revalidate".to_owned()),
        (header::CONTENT_TYPE, "application/json; charset=utf-8".to_owned()),
    ];
    if known { (StatusCode::NOT_MODIFIED, head).into_response() } else { (head, body).into_response() }
}
