//! Requests to a source without a run: a test of the credentials, one raw page, or the first page of each table with
//! the resulting schema. Nothing is stored, and no state changes.
//!
//! Start at [`test()`], [`page`] and [`probe`].

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::decode::RowReader;
use super::partition::{PartitionReading, Scope, TableRun};
use super::requests::link_next;
use super::run::{RunContext, Stop, TableProgress};
use super::{Account, RunPlan, inherited_columns, is_ancestor, layout, own_rows, selected};
use crate::domain::syncing::cell::{Cell, Sourced};
use crate::domain::syncing::definition::answer::Rule;
use crate::domain::syncing::definition::connector::{Definition, Method, Table};
use crate::domain::syncing::link_header::NextLink;
use crate::domain::syncing::op::{Op, State, TableShape};
use crate::domain::syncing::paging::{Pager, PagingStep};
use crate::http::same_origin;
use crate::source::auth;
use crate::source::exchange::fetch::{Answer, Fetched, Fetcher};
use crate::source::exchange::query::RequestSpec;

/// A raw page.
#[derive(Debug)]
pub struct ProbedPage {
    /// The redacted URL.
    pub place: String,
    pub body: Vec<u8>,
    /// Whether a `Link` header names a next page.
    pub link_header: bool,
}

/// The first page of a table and the resulting schema.
#[derive(Debug, Default)]
pub struct TableProbe {
    pub table: String,
    /// The first request, redacted.
    pub request: Option<String>,
    /// The request for the next page, redacted.
    pub next: Option<String>,
    /// The schema of the table after this page.
    pub shape: Option<Arc<TableShape>>,
    /// Rows of the page that can be stored.
    pub rows: usize,
    /// Rows of the page with a value in the `deleted_if` column.
    pub telling: usize,
    /// The number of rows that cannot be stored, and the first reason.
    pub rejected: Option<(usize, String)>,
    /// Why there is no usable page.
    pub problem: Option<String>,
}

/// Tests the credentials and the URL with one request. Returns a message for people.
///
/// # Errors
/// A redacted message for people.
pub async fn test(account: &Account, now: Timestamp) -> Result<String, String> {
    let shared = account.shared();
    let definition = account.definition();
    let path = match &definition.check {
        Some(check) => shared.fill(check),
        None => definition
            .tables
            .iter()
            .find(|table| table.parent.is_none())
            .and_then(|table| shared.fill(&table.path)),
    };
    let path = path.ok_or("the definition has no path that can be requested")?;
    let (place, _) = request_path(account, &path, now).await?;
    Ok(format!("{place} answered, and the credentials are accepted"))
}

/// Requests one page of any path of the source.
///
/// # Errors
/// A redacted message for people.
pub async fn page(account: &Account, path: &str, now: Timestamp) -> Result<ProbedPage, String> {
    match request_path(account, path, now).await? {
        (place, None) => Err(format!("{place} returned no content")),
        (place, Some(page)) => Ok(ProbedPage {
            place,
            link_header: matches!(link_next(&page.headers), NextLink::Found(_)),
            body: page.body,
        }),
    }
}

async fn request_path(
    account: &Account,
    path: &str,
    now: Timestamp,
) -> Result<(String, Option<Box<Fetched>>), String> {
    let (ops, _unused) = mpsc::channel(1);
    let run = RunContext::new(account.clone(), ops, CancellationToken::new(), now);
    let shared = account.shared();
    let url = shared.base.join(path.trim_start_matches('/')).map_err(|e| format!("{path:?}: {e}"))?;
    if !same_origin(&url, &shared.base) {
        return Err(format!(
            "{path:?} leads away from base_url, to an origin to which no credentials are sent: give a path below it"
        ));
    }
    let progress = TableProgress::default();
    let rules = account.definition().http.rules.clone();
    let paths = rules.iter().flat_map(Rule::paths).cloned().collect();
    let fetcher = Fetcher { run: &run, progress: &progress, rules, child: false, paths };
    let place = fetcher.place(&url);
    match fetcher
        .get(&RequestSpec { url, bare: None, method: Method::Get, body: BTreeMap::new(), grown: false })
        .await
    {
        Ok(Answer::Page(page)) => Ok((place, Some(page))),
        Ok(Answer::Empty | Answer::End) => Ok((place, None)),
        Ok(Answer::NotFound) => {
            Err(format!("{place}: a rule of the definition skips this answer (then = \"skip\")"))
        }
        Ok(Answer::TooWide | Answer::TooLarge) => {
            Err(format!("{place}: a rule of the definition halves the window (then = \"halve\")"))
        }
        Err(stop) => Err(message_of(stop, Some(place))),
    }
}

/// Reads the first page of each table that a run would read: for a child table that of the first parent row, for a table
/// with windows that of the first window. Stops soon after `cancel`; tables that were not read then have a problem. Also
/// returns messages for people.
///
/// # Errors
/// When a selected table does not exist.
pub async fn probe(
    plan: &RunPlan,
    cancel: CancellationToken,
) -> Result<(Vec<TableProbe>, Vec<String>), String> {
    let (ops, mut inbox) = mpsc::channel(4);
    let run = RunContext::new(plan.account.clone(), ops, cancel, plan.now);
    let definition = Arc::clone(plan.account.definition());
    let wanted = selected(&plan.account, plan.tables.as_deref())?;
    let mut parents: BTreeMap<String, Vec<Vec<Sourced>>> = BTreeMap::new();
    let mut probes = Vec::new();
    for table in &definition.tables {
        let is_wanted = wanted.iter().any(|other| other.name == table.name);
        let is_needed = wanted.iter().any(|other| is_ancestor(&definition, table, other));
        if !is_wanted && !is_needed {
            continue;
        }
        let known = plan.shapes.iter().find(|shape| shape.table == table.name);
        let mut probe = TableProbe { table: table.name.clone(), ..TableProbe::default() };
        let rows = table.parent.as_ref().map(|parent| parents.get(&parent.table));
        let rows = rows.map(|rows| own_rows(&definition, table, rows.map_or(&[][..], Vec::as_slice)));
        match probe_table(
            &run,
            &definition,
            table,
            (known, &plan.state, rows.as_deref()),
            &mut inbox,
            &mut probe,
        )
        .await
        {
            Ok(seen) => drop(parents.insert(table.name.clone(), seen)),
            Err(stop) => probe.problem = Some(message_of(stop, None)),
        }
        if is_wanted {
            probes.push(probe);
        }
    }
    Ok((probes, run.notes()))
}

type ParentRows<'a> = (Option<&'a TableShape>, &'a State, Option<&'a [Vec<Sourced>]>);

/// Probes one table. Returns the columns of its rows that children inherit.
async fn probe_table(
    run: &RunContext,
    definition: &Definition,
    table: &Table,
    (known, state, parents): ParentRows<'_>,
    inbox: &mut mpsc::Receiver<Op>,
    probe: &mut TableProbe,
) -> Result<Vec<Vec<Sourced>>, Stop> {
    let reader = RowReader::new(layout::of(definition, table), known)
        .map_err(|e| Stop::failed(e.to_string(), None))?;
    let reader = Arc::new(Mutex::new(reader));
    let table_run = TableRun {
        run,
        table,
        reader: Arc::clone(&reader),
        progress: Arc::default(),
        silent: false,
        child_columns: inherited_columns(definition, table),
        sweep: None,
        since: None,
        habits: Default::default(),
    };
    let Some(scope) = table_run.first_scope(state, parents)? else {
        return Err(Stop::failed(
            "the first page of its parent has no rows, so no request is possible",
            None,
        ));
    };
    let mut pager = Pager::new(table.page.clone(), !table.key.is_empty());
    let spec = table_run.request_spec(&scope, &pager.first(), None, false)?;
    probe.request = Some(shown(&table_run, &spec));
    let mut reading = pin!(table_run.first(&scope, &spec, &mut pager));
    let first = loop {
        tokio::select! {
            first = &mut reading => break first?,
            Some(op) = inbox.recv() => probe.count(op),
        }
    };
    while let Ok(op) = inbox.try_recv() {
        probe.count(op);
    }
    probe.shape = Some(reader.lock().await.shape());
    let First { next, parents, problem } = first;
    probe.problem = problem;
    probe.next = next.map(|next| shown(&table_run, &next));
    Ok(parents)
}

impl TableProbe {
    fn count(&mut self, op: Op) {
        match op {
            Op::Rows(rows) => {
                self.rows += rows.rows.len();
                if let Some(place) = rows.shape.deleted_place() {
                    let values = rows.rows.iter().filter_map(|row| row.get(place));
                    self.telling += values.filter(|cell| **cell != Cell::Null).count();
                }
            }
            Op::Rejected(rows) => {
                let reason = rows.first().map(|row| row.reason.clone()).unwrap_or_default();
                self.rejected.get_or_insert((0, reason)).0 += rows.len();
            }
            Op::Shape(_) | Op::Checkpoint(_) | Op::Finish { .. } => {}
        }
    }
}

/// A redacted request.
fn shown(table_run: &TableRun<'_>, spec: &RequestSpec) -> String {
    let account = table_run.run.account.shared();
    let method = match spec.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let mut out = format!("{method} {}", account.redact(spec.url.as_str()));
    if !spec.body.is_empty() {
        let body = Value::Object(spec.body.clone().into_iter().collect());
        out.push(' ');
        out.push_str(&account.redact(&body.to_string()));
    }
    out + &auth::shown(&account.definition.auth)
}

fn message_of(stop: Stop, place: Option<String>) -> String {
    match stop {
        Stop::Failed { reason, place: at, .. } => match at.or(place) {
            Some(at) => format!("{reason} (at {at})"),
            None => reason,
        },
        Stop::Deferred(reason) => reason,
        Stop::Cancelled | Stop::Closed => "stopped".into(),
    }
}

/// The first request of a table.
impl TableRun<'_> {
    fn first_scope(&self, state: &State, parents: Option<&[Vec<Sourced>]>) -> Result<Option<Scope>, Stop> {
        match (&self.table.parent, &self.table.window, &self.table.cursor) {
            (Some(parent), _, cursor) => {
                let rows = parents.unwrap_or_default();
                let family = rows.iter().find_map(|row| self.family(parent, row));
                Ok(family.map(|family| {
                    let known = self.stored(state, &family.partition);
                    let mut scope = family.scope();
                    if let Some(cursor) = cursor {
                        self.start_from(cursor, known, &mut scope);
                    }
                    scope
                }))
            }
            (None, Some(window), _) => self.first_window(window, state).map(Some),
            (None, None, Some(cursor)) => {
                let mut scope = Scope::default();
                self.start_from(cursor, self.stored(state, ""), &mut scope);
                Ok(Some(scope))
            }
            (None, None, None) => Ok(Some(Scope::default())),
        }
    }

    async fn first(&self, scope: &Scope, spec: &RequestSpec, pager: &mut Pager) -> Result<First, Stop> {
        let problem = |problem: &str| First { problem: Some(problem.to_owned()), ..First::default() };
        let page = match self.fetcher(scope).get(spec).await? {
            Answer::Page(page) => page,
            Answer::Empty | Answer::End => return Ok(First::default()),
            Answer::NotFound => return Ok(problem("not found (404)")),
            Answer::TooWide | Answer::TooLarge => {
                return Ok(problem("the source refuses this window as too wide; a run would halve it"));
            }
        };
        let (url, place, last) = (page.url.clone(), page.place.clone(), page.last);
        let mut content = self.facts(&page);
        let lens = self.lens(pager);
        let mut decoded = self.decode(page.body, scope, lens).await?;
        if last {
            decoded.allow_missing_records();
        }
        let mut reading = PartitionReading::default();
        self.accept(decoded, &place, pager, &mut content, &mut reading)?;
        let next = match pager.next(&content).map_err(|e| Stop::failed(e.to_string(), Some(place)))? {
            PagingStep::Next(_) if last => None,
            PagingStep::Next(request) => Some(self.request_spec(scope, &request, Some(&url), false)?),
            PagingStep::Done | PagingStep::Partial(_) => None,
        };
        Ok(First { next, parents: reading.parents, problem: None })
    }
}

/// The result of the first request.
#[derive(Default)]
struct First {
    next: Option<RequestSpec>,
    parents: Vec<Vec<Sourced>>,
    problem: Option<String>,
}
