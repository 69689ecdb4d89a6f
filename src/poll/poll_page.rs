//! One poll of a status page: requests the documents that the monitor needs within one timeout, and judges them.
//!
//! Start at [`look`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::body::Form;
use super::document::Document;
use super::engine::{Fetched, PageReader};
use super::fetch::{PageDocuments, Request, is_heavy, off_runtime};
use super::page::{Component, Components, Events};
use super::reading;
use super::tree::node::Budget;
use crate::domain::monitoring::engine::{ComponentState, Engine, RollUp, Source};
use crate::domain::monitoring::monitor::{Remap, StatusPage};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::monitoring::severity::Severity;
use crate::http::PageClient;

#[derive(Debug)]
pub struct PollResult {
    /// The reading, or why there is none.
    pub outcome: Result<Reading, Unknown>,
    /// Whether no document was new: all responses were 304, or came from another monitor's poll.
    pub not_modified: bool,
    /// The pause that the status page requested, at most [`MAX_RETRY_AFTER`](super::fetch::MAX_RETRY_AFTER).
    pub retry_after: Option<Duration>,
    /// The URL that answered after redirects, if it differs from the requested one.
    pub final_url: Option<String>,
}

/// Polls a status page once. `timeout` covers all requests and bodies, so the client needs no timeout of its own. Documents
/// that another monitor requested since `not_before` are not requested again.
pub async fn look(
    client: &PageClient,
    documents: &PageDocuments,
    page: &StatusPage,
    remap: &Remap,
    timeout: Duration,
    not_before: Instant,
) -> PollResult {
    let mut visit = Visit::new(client, documents, page, timeout, not_before);
    let outcome = visit.reading(remap).await;
    PollResult {
        outcome,
        not_modified: visit.answers > 0 && visit.known == visit.answers,
        retry_after: visit.retry_after,
        final_url: visit.final_url,
    }
}

/// One request of a poll.
#[derive(Debug)]
pub struct DocumentReport {
    /// The id of the document in the engine's definition.
    pub id: String,
    pub url: String,
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
    /// In bytes, decoded.
    pub size: usize,
    pub took: Duration,
    /// Why the document cannot be read.
    pub problem: Option<Unknown>,
}

/// The parts of a page that a monitor needs.
#[derive(Debug, Clone, Copy)]
struct Needs {
    overall: bool,
    components: bool,
    events: bool,
    /// The incidents count although neither monitor nor engine ask for them.
    judges_events: bool,
}

impl Needs {
    fn of(page: &StatusPage) -> Needs {
        let engine = &page.engine;
        let from_incidents = engine.components_from_incidents();
        let announced = page.announce.is_some() && engine.maintenances.is_some();
        let wanted = announced || page.incidents && engine.incidents.is_some();
        if page.by_component() {
            let events = wanted || from_incidents;
            return Needs { overall: false, components: true, events, judges_events: from_incidents };
        }
        let overall = &engine.overall;
        let by_components = overall.from == RollUp::Components;
        Needs {
            overall: overall.from == RollUp::State,
            components: by_components || overall.all_unknown || overall.all_down.is_some(),
            events: wanted || engine.judges_incidents() || by_components && from_incidents,
            judges_events: by_components && from_incidents,
        }
    }

    /// With the overall state, the second best witness where incidents decide; `None` if it is no witness.
    fn with_overall(self, page: &StatusPage) -> Option<Needs> {
        let overall = &page.engine.overall;
        let helps = overall.from == RollUp::Incidents && !overall.state.is_empty() && !page.by_component();
        (helps && !self.overall).then_some(Needs { overall: true, ..self })
    }

    /// Whether incidents that are not counted could hide behind maintenance that is mapped to something milder.
    fn may_hide_incidents(self, page: &StatusPage, remap: &Remap) -> bool {
        let counted = self.judges_events || page.incidents || page.engine.judges_incidents();
        let hides = remap.apply(Severity::Maintenance) < Severity::Maintenance;
        hides && !counted && !page.by_component() && page.engine.incidents.is_some()
    }

    /// The places that must be read, each with its alternatives.
    fn sources<'e>(&self, engine: &'e Engine) -> Vec<&'e [Source]> {
        let mut sources: Vec<&[Source]> = Vec::new();
        if let Some(rules) = engine.components.as_ref().filter(|_| self.components) {
            sources.push(&rules.list);
            let group = rules.group.as_ref().and_then(|group| group.list.as_ref());
            sources.extend(group.map(std::slice::from_ref));
            if let ComponentState::Join(join) = &rules.state {
                sources.push(std::slice::from_ref(&join.list));
            }
        }
        if self.events {
            sources.extend(engine.incidents.iter().map(|rules| rules.list.as_slice()));
            let maintenances = engine.maintenances.iter();
            sources
                .extend(maintenances.flat_map(|rules| [rules.running.as_slice(), rules.upcoming.as_slice()]));
        }
        if self.overall {
            sources.push(&engine.overall.state);
        }
        sources.retain(|alternatives| !alternatives.is_empty());
        sources
    }
}

pub(super) struct Visit<'a> {
    client: &'a PageClient,
    documents: &'a PageDocuments,
    page: &'a StatusPage,
    deadline: Instant,
    not_before: Instant,
    now: Timestamp,
    fetched: Vec<Fetched>,
    /// Responses with 304, or of another monitor's poll.
    known: u32,
    answers: u32,
    retry_after: Option<Duration>,
    final_url: Option<String>,
    /// One for each request.
    pub(super) reports: Vec<DocumentReport>,
}

impl<'a> Visit<'a> {
    #[expect(clippy::disallowed_methods, reason = "documents and Retry-After name times of day")]
    pub(super) fn new(
        client: &'a PageClient,
        documents: &'a PageDocuments,
        page: &'a StatusPage,
        timeout: Duration,
        not_before: Instant,
    ) -> Visit<'a> {
        Visit {
            client,
            documents,
            page,
            deadline: Instant::now() + timeout,
            not_before,
            now: Timestamp::now(),
            fetched: vec![None; page.engine.reads.len()],
            known: 0,
            answers: 0,
            retry_after: None,
            final_url: None,
            reports: Vec::new(),
        }
    }

    /// What the documents say.
    pub(super) fn pages(&self) -> PageReader<'_> {
        pages(self.page, &self.fetched, self.now)
    }

    pub(super) async fn reading(&mut self, remap: &Remap) -> Result<Reading, Unknown> {
        let mut needs = Needs::of(self.page);
        self.fetch(needs).await;
        if let Some(more) = needs.with_overall(self.page)
            && self.judge(remap, needs).await.is_err()
        {
            needs = more;
            self.fetch(needs).await;
        }
        if needs.may_hide_incidents(self.page, remap) && self.says_maintenance(needs).await? {
            (needs.events, needs.judges_events) = (true, true);
            self.fetch(needs).await;
        }
        self.judge(remap, needs).await
    }

    async fn says_maintenance(&self, needs: Needs) -> Result<bool, Unknown> {
        let (page, fetched, now) = (self.page.clone(), self.fetched.clone(), self.now);
        off_runtime(self.is_heavy(), move || says_maintenance(&page, &fetched, now, needs)).await
    }

    fn is_heavy(&self) -> bool {
        let read = self.fetched.iter().flatten().flatten();
        is_heavy(read.map(|document| document.size()).sum())
    }

    async fn judge(&self, remap: &Remap, needs: Needs) -> Result<Reading, Unknown> {
        let (page, remap, fetched, now) = (self.page.clone(), remap.clone(), self.fetched.clone(), self.now);
        let judged = off_runtime(self.is_heavy(), move || judge(&page, &remap, &fetched, now, needs)).await?;
        // What is not there was not read: the reason says more.
        judged.map_err(|why| match self.fetched.iter().flatten().find_map(|read| read.as_ref().err()) {
            Some(reason) if why == Unknown::NoIndicator => reason.clone(),
            _ => why,
        })
    }

    /// Requests what is needed, and alternatives of what cannot be read.
    async fn fetch(&mut self, needs: Needs) {
        let engine = Arc::clone(&self.page.engine);
        let sources = needs.sources(&engine);
        let mut wanted = VecDeque::new();
        for alternatives in &sources {
            // Any document that is requested anyway may have the overall state.
            let is_overall = std::ptr::eq(*alternatives, engine.overall.state.as_slice());
            let planned = alternatives.iter().any(|source| wanted.contains(&source.read));
            if !(is_overall && planned) {
                wanted.extend(alternatives.first().map(|source| source.read));
            }
        }
        while let Some(read) = wanted.pop_front() {
            if self.fetched.get(read).is_some_and(Option::is_none) && !self.request(read).await {
                return;
            }
            if wanted.is_empty() {
                wanted.extend(sources.iter().find_map(|alternatives| self.alternative(alternatives)));
            }
        }
    }

    /// The next document to request, if none of the alternatives has been found.
    fn alternative(&self, alternatives: &[Source]) -> Option<usize> {
        let budget = Budget::new();
        let found = |source: &Source| match &self.fetched[source.read] {
            Some(Ok(document)) => {
                document.root().list(&source.path, &budget).is_some()
                    || document.root().has(&source.path, &budget)
            }
            _ => false,
        };
        if alternatives.iter().any(found) {
            return None;
        }
        let reads = alternatives.iter().map(|source| source.read);
        reads
            .into_iter()
            .find(|read| self.fetched[*read].is_none() && !self.page.engine.reads[*read].optional)
    }

    /// Requests a document. Returns whether further requests make sense: not if the network is down or the status page is
    /// overloaded.
    async fn request(&mut self, read: usize) -> bool {
        let request = Request {
            client: self.client,
            page: self.page,
            read,
            deadline: self.deadline,
            not_before: self.not_before,
            now: self.now,
        };
        let started = Instant::now();
        let answer = request.send(self.documents).await;
        self.reports.push(DocumentReport {
            id: self.page.engine.reads[read].id.clone(),
            url: answer.url.as_ref().map(ToString::to_string).unwrap_or_default(),
            status: answer.status,
            size: answer.outcome.as_ref().map_or(0, |document| document.size()),
            took: started.elapsed(),
            problem: answer.outcome.as_ref().err().cloned(),
        });
        self.retry_after = answer.retry_after.or(self.retry_after);
        self.final_url = answer.final_url.or_else(|| self.final_url.take());
        let outcome = answer.outcome.and_then(|document| {
            self.answers += 1;
            self.known += u32::from(answer.not_modified);
            let engine = &self.page.engine;
            let rules = engine.reads.get(read);
            rules
                .map_or(Ok(()), |rules| document.check_age(rules, &engine.times, self.now))
                .map(|()| document)
        });
        let stop = matches!(&outcome, Err(why) if why.may_be_our_network() || matches!(why, Unknown::RateLimited(_)));
        self.fetched[read] = Some(outcome);
        !stop
    }
}

fn pages<'p>(page: &'p StatusPage, fetched: &'p [Fetched], now: Timestamp) -> PageReader<'p> {
    PageReader { page, documents: fetched, now, budget: Budget::new() }
}

/// Whether the page as a whole, or one of the components that decide, is under maintenance.
fn says_maintenance(page: &StatusPage, fetched: &[Fetched], now: Timestamp, needs: Needs) -> bool {
    let pages = pages(page, fetched, now);
    if needs.overall {
        return pages.overall().is_ok_and(|status| status.indicator == Ok(Severity::Maintenance));
    }
    let planned = |one: &Component| one.severity == Ok(Severity::Maintenance);
    pages.components(None).is_ok_and(|components| components.all.iter().any(planned))
}

/// The reading that the documents of a page give.
fn judge(
    page: &StatusPage,
    remap: &Remap,
    fetched: &[Fetched],
    now: Timestamp,
    needs: Needs,
) -> Result<Reading, Unknown> {
    let pages = pages(page, fetched, now);
    let events = needs.events.then(|| pages.events());
    let read_events = events.as_ref().and_then(|events| events.as_ref().ok());
    let components = needs.components.then(|| pages.components(read_events));
    let filtered = components.as_ref().and_then(|read| read.as_ref().ok()).filter(|_| page.by_component());
    let mut reading = combine(&pages, remap, needs, events.as_ref(), components.as_ref())?;
    let announces = page.announce.is_some() && page.engine.maintenances.is_some();
    match &events {
        Some(Ok(events)) if announces => {
            reading::announce(&mut reading, events, filtered, page, remap, now);
        }
        Some(Err(why)) if announces => reading::miss_plans(&mut reading, why.clone()),
        _ => {}
    }
    Ok(reading)
}

/// Combines the parts of a page that were read.
fn combine(
    pages: &PageReader<'_>,
    remap: &Remap,
    needs: Needs,
    events: Option<&Result<Events, Unknown>>,
    components: Option<&Result<Components, Unknown>>,
) -> Result<Reading, Unknown> {
    let (page, overall) = (pages.page, &pages.page.engine.overall);
    // Whether the incidents count is decided before: they may only be there for maintenance that is announced.
    let wanted = page.incidents || needs.judges_events || page.engine.judges_incidents();
    let counted = events.filter(|_| wanted).map(|events| events.as_ref().map_err(Unknown::clone));
    if page.by_component() || overall.from == RollUp::Components {
        let from_incidents = page.engine.components_from_incidents();
        if let (true, Some(Err(why))) = (from_incidents, events) {
            return Err(why.clone());
        }
        let components = components.ok_or(Unknown::NoIndicator)?.as_ref().map_err(Unknown::clone)?;
        let mut reading = reading::of_components(components, counted, page, remap)?;
        if !page.by_component() {
            reading::worsen_if_all_down(&mut reading, components, overall.all_down, remap);
        }
        return Ok(reading);
    }
    if overall.from == RollUp::Incidents && !needs.overall {
        return reading::of_incidents(counted.unwrap_or(Err(Unknown::NoIndicator))?, page, remap);
    }
    let status = pages.overall().and_then(|status| match components {
        Some(Ok(components)) => reading::with_components(status, components, overall),
        _ => Ok(status),
    });
    match counted {
        None => reading::of_status(&status?, page, remap),
        Some(Ok(events)) => reading::of_summary(status.as_ref().map_err(Unknown::clone), events, page, remap),
        Some(Err(reason)) => match status {
            Ok(status) => reading::without_summary(&status, reason, page, remap),
            // The incidents were requested first: why they cannot be read says more.
            Err(_) => Err(reason),
        },
    }
}

/// The documents of a page of which only one was saved.
pub(super) fn sampled(page: &StatusPage, read: usize, body: &[u8]) -> Vec<Fetched> {
    let document = |one| Document::read(body, &Form::default(), one).map(Arc::new);
    let reads = page.engine.reads.iter().enumerate();
    reads.map(|(nth, one)| (nth == read).then(|| document(one))).collect()
}

/// The reading that documents give, without requests.
pub(super) fn judge_documents(
    page: &StatusPage,
    fetched: &[Fetched],
    now: Timestamp,
) -> Result<Reading, Unknown> {
    judge(page, &Remap::default(), fetched, now, Needs::of(page))
}

/// The reading of a page whose documents are all the same body.
#[cfg(test)]
pub(super) fn judge_body(
    page: &StatusPage,
    remap: &Remap,
    body: &[u8],
    now: Timestamp,
) -> Result<Reading, Unknown> {
    let read = |read| Document::read(body, &Form::default(), read).map(Arc::new);
    let fetched: Vec<Fetched> = page.engine.reads.iter().map(|one| Some(read(one))).collect();
    let mut needs = Needs::of(page);
    if needs.may_hide_incidents(page, remap) && says_maintenance(page, &fetched, now, needs) {
        (needs.events, needs.judges_events) = (true, true);
    }
    let reading = judge(page, remap, &fetched, now, needs);
    match needs.with_overall(page) {
        Some(more) if reading.is_err() => judge(page, remap, &fetched, now, more),
        _ => reading,
    }
}
