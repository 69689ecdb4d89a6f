//! What a poll did: each document, what the engine's paths found in it, and the judgement. For `monitor explain`.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::engine::PageReader;
use super::fetch::PageDocuments;
use super::page::{Component, PageEvent};
use super::poll_page::{DocumentReport, Visit, judge_documents, sampled};
use super::tree::node::Budget;
use crate::domain::monitoring::engine::Source;
use crate::domain::monitoring::monitor::{Remap, StatusPage};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::monitoring::severity::Severity;
use crate::domain::text;
use crate::http::PageClient;

/// A poll with its reasons.
#[derive(Debug)]
pub struct Explanation {
    /// In the order of the requests.
    pub documents: Vec<DocumentReport>,
    /// The overall state as the page says it, and what it means.
    pub overall: Option<String>,
    /// Each component with its state.
    pub components: Option<Result<Vec<String>, Unknown>>,
    /// Each open incident, and running or announced maintenance.
    pub events: Option<Result<Vec<String>, Unknown>>,
    pub outcome: Result<Reading, Unknown>,
}

/// Polls a page once and explains the reading.
pub async fn explain(
    client: &PageClient,
    page: &StatusPage,
    remap: &Remap,
    timeout: Duration,
) -> Explanation {
    let documents = PageDocuments::of(page);
    let mut visit = Visit::new(client, &documents, page, timeout, Instant::now());
    let outcome = visit.reading(remap).await;
    let explanation = explained(&visit.pages(), outcome);
    Explanation { documents: visit.reports, ..explanation }
}

/// What an engine reads from one document, without a request.
pub fn judge_sample(page: &StatusPage, read: usize, body: &[u8], now: Timestamp) -> Explanation {
    let fetched = sampled(page, read, body);
    let outcome = judge_documents(page, &fetched, now);
    let pages = PageReader { page, documents: &fetched, now, budget: Budget::new() };
    explained(&pages, outcome)
}

fn explained(pages: &PageReader<'_>, outcome: Result<Reading, Unknown>) -> Explanation {
    let page = pages.page;
    let has = |sources: &[Source]| sources.iter().any(|source| pages.documents[source.read].is_some());
    let engine = &page.engine;
    let events = engine.incidents.as_ref().filter(|rules| has(&rules.list)).map(|_| pages.events());
    let read = events.as_ref().and_then(|events| events.as_ref().ok());
    let listed = engine
        .components
        .as_ref()
        .filter(|rules| has(&rules.list) || rules.list.is_empty() && read.is_some());
    let components = listed.map(|_| pages.components(read));
    let overall = has(&engine.overall.state).then(|| match pages.overall() {
        Ok(status) => match status.indicator {
            Ok(severity) => format!("{severity} ({})", status.description),
            Err(word) => format!("unknown word `{word}`"),
        },
        Err(why) => why.to_string(),
    });
    Explanation {
        overall,
        components: components
            .map(|read| read.map(|components| components.all.iter().map(component).collect())),
        events: events.map(|read| {
            read.map(|events| {
                let incidents = events.incidents.iter().map(|event| described("incident", event));
                let running = events.maintenances.iter().map(|event| described("maintenance", event));
                let announced = events.announced.iter().map(|event| described("announced", event));
                incidents.chain(running).chain(announced).collect()
            })
        }),
        outcome,
        documents: Vec::new(),
    }
}

fn component(component: &Component) -> String {
    let name = match &component.group {
        Some(group) => format!("{group} - {}", component.name),
        None => component.name.clone(),
    };
    match &component.severity {
        Ok(severity) => format!("{severity}: {name} ({})", component.state),
        Err(word) => format!("unknown: {name} (`{word}`)"),
    }
}

fn described(kind: &str, event: &PageEvent) -> String {
    let impact = match &event.impact {
        Ok(Severity::None) => "no impact".to_owned(),
        Ok(severity) => severity.to_string(),
        Err(word) => format!("unknown impact `{word}`"),
    };
    let mut facts = vec![impact];
    facts.extend(Some(event.state.clone()).filter(|state| !state.is_empty()));
    facts.extend(event.begins.map(|at| format!("from {}", at.strftime("%Y-%m-%d %H:%M UTC"))));
    if !event.touches.is_empty() {
        facts.push(format!("on {}", text::plain(&event.touches.join(", "))));
    }
    format!("{kind}: {} ({})", event.title, facts.join(", "))
}
