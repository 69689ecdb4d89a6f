//! A look at a source without a run: whether the credentials work, one page as it comes, or the first page of each
//! table with what would become of it. Nothing is stored and no state moves.
//!
//! Start at [`test`], [`page`] and [`probe`].

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::decode::RowReader;
use super::fetch::{Answer, Fetched, Fetcher};
use super::partition::{Reading, Scope, TableRun};
use super::query::Wanted;
use super::requests::link_next;
use super::run::{Run, Stop, TableProgress};
use super::{Account, RunPlan, auth, inherited_columns, is_ancestor, layout, own_rows, selected};
use crate::domain::answer::Rule;
use crate::domain::cell::{Cell, Sourced};
use crate::domain::connector::{Definition, Method, Table};
use crate::domain::link_header::NextLink;
use crate::domain::op::{Op, State, TableShape};
use crate::domain::paging::{Pager, Step};
use crate::http::same_origin;

/// A page as it came.
#[derive(Debug)]
pub struct Page {
    /// Where from, without secrets.
    pub place: String,
    /// As sent.
    pub body: Vec<u8>,
    /// Whether a `Link` header names a next page.
    pub link_header: bool,
}

/// The first page of a table and what would become of it.
#[derive(Debug, Default)]
pub struct TableProbe {
    /// The table.
    pub table: String,
    /// The first request, without secrets.
    pub request: Option<String>,
    /// The request that would follow, without secrets.
    pub next: Option<String>,
    /// What the table would be after this page.
    pub shape: Option<Arc<TableShape>>,
    /// Rows on the page, and how many of them cannot be stored.
    pub rows: usize,
    /// Rows on the page that say whether they are deleted.
    pub telling: usize,
    /// Rows that could not be stored, with the first reason.
    pub rejected: Option<(usize, String)>,
    /// Why there is no page, or why it is no use.
    pub problem: Option<String>,
}

/// Tries the credentials and the address with one request. Says what was reached.
///
/// # Errors
/// What is wrong, in words for a person, without secrets.
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
    let path = path.ok_or("the definition names nothing that could be asked for")?;
    let (place, _) = ask(account, &path, now).await?;
    Ok(format!("{place} answered, and the credentials are accepted"))
}

/// One page of any path of the source.
///
/// # Errors
/// What is wrong, in words for a person, without secrets.
pub async fn page(account: &Account, path: &str, now: Timestamp) -> Result<Page, String> {
    match ask(account, path, now).await? {
        (place, None) => Err(format!("{place} answered with nothing")),
        (place, Some(page)) => Ok(Page {
            place,
            link_header: matches!(link_next(&page.headers), NextLink::Found(_)),
            body: page.body,
        }),
    }
}

async fn ask(
    account: &Account,
    path: &str,
    now: Timestamp,
) -> Result<(String, Option<Box<Fetched>>), String> {
    let (ops, _unused) = mpsc::channel(1);
    let run = Run::new(account.clone(), ops, CancellationToken::new(), now);
    let shared = account.shared();
    let url = shared.base.join(path.trim_start_matches('/')).map_err(|e| format!("{path:?}: {e}"))?;
    if !same_origin(&url, &shared.base) {
        return Err(format!(
            "{path:?} leads away from base_url, where our credentials do not go: give a path below it"
        ));
    }
    let progress = TableProgress::default();
    let rules = account.definition().http.rules.clone();
    let paths = rules.iter().flat_map(Rule::paths).cloned().collect();
    let fetcher = Fetcher { run: &run, progress: &progress, rules, child: false, paths };
    let place = fetcher.place(&url);
    match fetcher.get(&Wanted { url, bare: None, method: Method::Get, body: BTreeMap::new() }).await {
        Ok(Answer::Page(page)) => Ok((place, Some(page))),
        Ok(Answer::Empty | Answer::End) => Ok((place, None)),
        Ok(Answer::Gone) => {
            Err(format!("{place}: a rule of the definition says that this is gone (then = \"skip\")"))
        }
        Ok(Answer::TooWide) => {
            Err(format!("{place}: a rule of the definition says that this is too much (then = \"halve\")"))
        }
        Err(stop) => Err(words(stop, Some(place))),
    }
}

/// Reads the first page of each table that a run would read: of a child table the one of the first parent row seen, of
/// a window the first. Ends soon after `cancel`; what was not read then has a problem. Also returns what a person should
/// know besides.
///
/// # Errors
/// When a table is asked for that is not there.
pub async fn probe(
    plan: &RunPlan,
    cancel: CancellationToken,
) -> Result<(Vec<TableProbe>, Vec<String>), String> {
    let (ops, mut inbox) = mpsc::channel(4);
    let run = Run::new(plan.account.clone(), ops, cancel, plan.now);
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
        match one(&run, &definition, table, (known, &plan.state, rows.as_deref()), &mut inbox, &mut probe)
            .await
        {
            Ok(seen) => drop(parents.insert(table.name.clone(), seen)),
            Err(stop) => probe.problem = Some(words(stop, None)),
        }
        if is_wanted {
            probes.push(probe);
        }
    }
    Ok((probes, run.notes()))
}

type Known<'a> = (Option<&'a TableShape>, &'a State, Option<&'a [Vec<Sourced>]>);

/// Looks at one table. Returns what children need of the rows seen.
async fn one(
    run: &Run,
    definition: &Definition,
    table: &Table,
    (known, state, parents): Known<'_>,
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
        wanted: inherited_columns(definition, table),
        sweep: None,
        since: None,
        habits: Default::default(),
    };
    let Some(scope) = table_run.first_scope(state, parents)? else {
        return Err(Stop::failed("no row of its parent was seen, so there is nothing to ask for", None));
    };
    let mut pager = Pager::new(table.page.clone(), !table.key.is_empty());
    let wanted = table_run.wanted_by(&scope, &pager.first(), None)?;
    probe.request = Some(shown(&table_run, &wanted));
    let mut reading = pin!(table_run.first(&scope, &wanted, &mut pager));
    let first = loop {
        tokio::select! {
            first = &mut reading => break first?,
            Some(op) = inbox.recv() => probe.look(op),
        }
    };
    while let Ok(op) = inbox.try_recv() {
        probe.look(op);
    }
    probe.shape = Some(reader.lock().await.shape());
    let First { next, parents, problem } = first;
    probe.problem = problem;
    probe.next = next.map(|next| shown(&table_run, &next));
    Ok(parents)
}

impl TableProbe {
    fn look(&mut self, op: Op) {
        match op {
            Op::Rows(rows) => {
                self.rows += rows.rows.len();
                if let Some(place) = rows.shape.deleted_place() {
                    let said = rows.rows.iter().filter_map(|row| row.get(place));
                    self.telling += said.filter(|cell| **cell != Cell::Null).count();
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

/// A request as it may be shown.
fn shown(of: &TableRun<'_>, wanted: &Wanted) -> String {
    let account = of.run.account.shared();
    let method = match wanted.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let mut out = format!("{method} {}", account.redact(wanted.url.as_str()));
    if !wanted.body.is_empty() {
        let body = Value::Object(wanted.body.clone().into_iter().collect());
        out.push(' ');
        out.push_str(&account.redact(&body.to_string()));
    }
    out + &auth::shown(&account.definition.auth)
}

fn words(stop: Stop, place: Option<String>) -> String {
    match stop {
        Stop::Failed { reason, place: at, .. } => match at.or(place) {
            Some(at) => format!("{reason} (at {at})"),
            None => reason,
        },
        Stop::Deferred(reason) => reason,
        Stop::Cancelled | Stop::Closed => "stopped".into(),
    }
}

/// What is asked for first.
impl TableRun<'_> {
    fn first_scope(&self, state: &State, parents: Option<&[Vec<Sourced>]>) -> Result<Option<Scope>, Stop> {
        match (&self.table.parent, &self.table.window, &self.table.cursor) {
            (Some(parent), _, cursor) => {
                let rows = parents.unwrap_or_default();
                let family = rows.iter().find_map(|row| self.family(parent, row));
                Ok(family.map(|family| {
                    let known = self.remembered(state, &family.partition);
                    let mut scope = family.scope();
                    if let Some(cursor) = cursor {
                        self.begin_at(cursor, known, &mut scope);
                    }
                    scope
                }))
            }
            (None, Some(window), _) => self.first_window(window, state).map(Some),
            (None, None, Some(cursor)) => {
                let mut scope = Scope::default();
                self.begin_at(cursor, self.remembered(state, ""), &mut scope);
                Ok(Some(scope))
            }
            (None, None, None) => Ok(Some(Scope::default())),
        }
    }

    async fn first(&self, scope: &Scope, wanted: &Wanted, pager: &mut Pager) -> Result<First, Stop> {
        let problem = |problem: &str| First { problem: Some(problem.to_owned()), ..First::default() };
        let page = match self.fetcher(scope).get(wanted).await? {
            Answer::Page(page) => page,
            Answer::Empty | Answer::End => return Ok(First::default()),
            Answer::Gone => return Ok(problem("404: what is asked for is gone")),
            Answer::TooWide => {
                return Ok(problem("the source calls this too much; a run would halve the window"));
            }
        };
        let (url, place, last) = (page.url.clone(), page.place.clone(), page.last);
        let mut content = self.facts(&page);
        let lens = self.lens(pager);
        let mut decoded = self.decode(page.body, scope, lens).await?;
        if last {
            decoded.nothing_is_no_fault();
        }
        let mut reading = Reading::default();
        self.accept(decoded, &place, pager, &mut content, &mut reading)?;
        let next = match pager.next(&content).map_err(|e| Stop::failed(e.to_string(), Some(place)))? {
            Step::Next(_) if last => None,
            Step::Next(ask) => Some(self.wanted_by(scope, &ask, Some(&url))?),
            Step::Done | Step::Partial(_) => None,
        };
        Ok(First { next, parents: reading.parents, problem: None })
    }
}

/// What came of the first request.
#[derive(Default)]
struct First {
    next: Option<Wanted>,
    parents: Vec<Vec<Sourced>>,
    problem: Option<String>,
}
