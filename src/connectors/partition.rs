//! Page after page of one partition: a whole table, one window of it, or the children of one parent.
//!
//! While a page is decoded on the run's thread for it, the next is fetched if its address is known; the rows go on through
//! a bounded channel, so nothing runs ahead of the destination by more than a few pages. Start at [`Partition::read`].

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{Either, select};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::decode::{PageError, PageRead, RowReader};
use super::fetch::{Answer, Fetched, Fetcher, link_next};
use super::lens::Lens;
use super::request::{Wanted, segment, with_missing, with_query};
use super::run::{Run, Stop, TableProgress};
use crate::domain::answer::{Rule, Then, is_nothing};
use crate::domain::cell::Sourced;
use crate::domain::config::ConfigKind;
use crate::domain::connector::{Method, Table};
use crate::domain::cursor::Position;
use crate::domain::op::{Op, Rows, Sweep};
use crate::domain::paging::{Ask, Next, PageKind, Pager, Seen, Step};
use crate::domain::template::Part;
use crate::http::same_origin;

/// One table while it is read.
pub(super) struct TableRun<'r> {
    pub(super) run: &'r Run,
    pub(super) table: &'r Table,
    pub(super) reader: Arc<Mutex<RowReader>>,
    pub(super) progress: Arc<TableProgress>,
    /// Read only for its children: its own rows are not wanted.
    pub(super) silent: bool,
    /// Columns that children inherit.
    pub(super) wanted: Vec<String>,
    /// What may be marked deleted after a complete reading.
    pub(super) sweep: Option<Sweep>,
    /// See [`RunPlan::since`](super::RunPlan::since).
    pub(super) since: Option<Timestamp>,
}

/// What is asked for in one partition, beside its pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The parent's row: column → value, as the source writes it.
    pub(super) row: BTreeMap<String, String>,
    /// The same values, in the order in which the table inherits them.
    pub(super) inherited: Vec<Sourced>,
    /// Further parameters: bounds of a window, a cursor.
    pub(super) params: Vec<(String, String)>,
    /// Rows older than this are stored already: reading may stop (newest first only).
    pub(super) stop_before: Option<Position>,
    /// Less can be asked for at once, should the source find this too much.
    pub(super) halves: bool,
}

/// How the reading of a partition ended.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The parent is gone.
    pub(super) gone: bool,
    /// The source finds the window too wide.
    pub(super) too_wide: bool,
    /// Rows moved each time they were read.
    pub(super) unsettled: bool,
    /// Pages came oldest first, as far as could be seen.
    pub(super) in_order: bool,
    /// The furthest place seen.
    pub(super) newest: Option<Position>,
    /// Rows kept aside.
    pub(super) rejected: u64,
    /// What children need of each row.
    pub(super) parents: Vec<Vec<Sourced>>,
}

/// The page before a request.
pub(super) struct Before {
    /// What a relative link is relative to.
    pub(super) url: Url,
    /// The token or keyset value that the page gave, in its JSON type.
    pub(super) value: Option<Value>,
}

/// Told of the furthest place after each page of a partition in ascending order.
pub(super) trait Watch {
    /// Everything up to `newest` has been handed on.
    async fn page_done(&self, newest: &Position) -> Result<(), Stop>;
}

/// Nobody wants to know.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    async fn page_done(&self, _: &Position) -> Result<(), Stop> {
        Ok(())
    }
}

/// A page after decoding.
pub(super) struct Decoded {
    lens: Lens,
    read: Result<PageRead, PageError>,
    closed: bool,
}

impl Decoded {
    /// A last page may have no list: it said that it has nothing.
    pub(super) fn nothing_is_no_fault(&mut self) {
        if let Err(
            PageError::NoRecords { .. } | PageError::NotRecords { .. } | PageError::NullRecords { .. },
        ) = self.read
        {
            self.read = Ok(PageRead::default());
        }
    }
}

impl TableRun<'_> {
    /// Makes requests for this table. Where nothing can be halved any more, an answer that would ask for it is an error
    /// like any other, and tried again if such errors are.
    pub(super) fn fetcher(&self, scope: &Scope) -> Fetcher<'_> {
        let page = &self.table.page;
        let http = &self.run.account.definition().http;
        let next = match &page.kind {
            PageKind::Token { next: Next::Path(path), .. } | PageKind::Link { next: Next::Path(path) } => {
                Some(path)
            }
            _ => None,
        };
        let rules = self.table.rules.iter().chain(&http.rules);
        let rules: Vec<Rule> =
            rules.filter(|rule| scope.halves || rule.then != Then::Halve).cloned().collect();
        let has = rules.iter().flat_map(Rule::paths).cloned();
        let mut paths: Vec<String> =
            page.total.iter().chain(&page.pages).chain(next).cloned().chain(has).collect();
        paths.extend(http.notices.iter().cloned());
        paths.sort();
        paths.dedup();
        let child = self.table.parent.is_some();
        Fetcher { run: self.run, progress: &self.progress, rules, child, paths }
    }

    /// Reads a partition to its end.
    pub(super) async fn read(&self, scope: &Scope, watch: &impl Watch) -> Result<Reading, Stop> {
        let fetcher = self.fetcher(scope);
        let mut pager = Pager::new(self.table.page.clone(), !self.table.key.is_empty());
        let mut reading = Reading { in_order: true, ..Reading::default() };
        let mut wanted = self.wanted_by(scope, &pager.first(), None)?;
        let mut ready: Option<Answer> = None;
        let mut came_before = None;
        loop {
            let answer = match ready.take() {
                Some(answer) => answer,
                None => fetcher.get(&wanted).await?,
            };
            let page = match answer {
                Answer::Page(page) => page,
                Answer::Empty => match pager.next(&Seen::default()) {
                    Ok(Step::Next(ask)) => {
                        wanted = self.wanted_by(scope, &ask, None)?;
                        continue;
                    }
                    Ok(Step::Unsettled) => return Ok(Reading { unsettled: true, ..reading }),
                    Ok(Step::Done) => return Ok(reading),
                    Err(e) => return Err(Stop::failed(e.to_string(), Some(fetcher.place(&wanted.url)))),
                },
                Answer::End => return Ok(reading),
                Answer::Gone => return Ok(Reading { gone: true, ..reading }),
                Answer::TooWide => return Ok(Reading { too_wide: true, ..reading }),
            };
            let (place, last) = (page.place.clone(), page.last);
            let mut before = self.before(&page);
            let mut seen = self.facts(&page);
            let guess = pager.guess(seen.total, came_before).filter(|_| !last);
            let ahead = guess.as_ref().map(|ask| self.wanted_by(scope, ask, Some(&before))).transpose()?;
            let (decoded, fetched) =
                self.decode_and_fetch(&fetcher, page, scope, &pager, ahead.as_ref()).await;
            let mut decoded = decoded?;
            if last {
                decoded.nothing_is_no_fault();
            }
            let lens = self.accept(decoded, &place, &mut seen, &mut reading)?;
            before.value = before.value.or_else(|| lens.last_json.clone());
            came_before = Some(seen.records).filter(|n| *n > 0);
            let step = if last || stored_already(scope, &lens) { Ok(Step::Done) } else { pager.next(&seen) };
            let step = step.map_err(|e| Stop::failed(e.to_string(), Some(place.clone())))?;
            // Only the pager knows whether the page follows on from the one before.
            let sure = reading.in_order && pager.undisturbed();
            if let Some(newest) = reading.newest.as_ref().filter(|_| sure) {
                watch.page_done(newest).await?;
            }
            match step {
                Step::Done => return Ok(reading),
                Step::Unsettled => return Ok(Reading { unsettled: true, ..reading }),
                Step::Next(ask) => {
                    if guess.as_ref() == Some(&ask) {
                        ready = fetched.transpose()?;
                    }
                    wanted = self.wanted_by(scope, &ask, Some(&before))?;
                }
            }
        }
    }

    /// Decodes a page and meanwhile fetches the one that probably follows. A guess that turns out wrong is dropped with
    /// whatever came of it.
    async fn decode_and_fetch(
        &self,
        fetcher: &Fetcher<'_>,
        page: Box<Fetched>,
        scope: &Scope,
        pager: &Pager,
        ahead: Option<&Wanted>,
    ) -> (Result<Decoded, Stop>, Option<Result<Answer, Stop>>) {
        let expected = pager.expected().map(str::to_owned);
        let lens = Lens::new(self.table, self.wanted.clone(), expected, self.run.started_at());
        let decode = self.decode(page.body, scope, lens);
        let Some(ahead) = ahead else { return (decode.await, None) };
        match select(pin!(decode), pin!(fetcher.get(ahead))).await {
            Either::Left((decoded, fetch)) => {
                // Whether the guess was right shows only now; a full page says that it was.
                let full = decoded.as_ref().is_ok_and(|decoded| decoded.lens.expected_at.unwrap_or(0) == 0);
                (decoded, if full { Some(fetch.await) } else { None })
            }
            Either::Right((fetched, decode)) => (decode.await, Some(fetched)),
        }
    }

    pub(super) async fn decode(&self, body: Vec<u8>, scope: &Scope, mut lens: Lens) -> Result<Decoded, Stop> {
        // Held while its rows are handed on: a shape is told before the rows that have it.
        let mut reader = Arc::clone(&self.reader).lock_owned().await;
        let inherited = scope.inherited.clone();
        let (silent, ops) = (self.silent, self.run.ops());
        let decode = move || {
            let mut closed = false;
            let read = reader.read(&body, &inherited, &mut |mut op| {
                lens.look(&mut op);
                let empty = matches!(&op, Op::Rows(Rows { rows, .. }) if rows.is_empty());
                if !silent && !empty && !closed {
                    closed = ops.blocking_send(op).is_err();
                }
            });
            if let Ok(read) = &read {
                lens.look_at_sources(&read.sources);
            }
            Decoded { lens, read, closed }
        };
        let decoded = self.run.decoder.run(decode).await;
        // Whatever it remembers of the table may be half.
        decoded.map_err(|e| Stop::broken(format!("the decoder gave up: {e}"), None))
    }

    /// Takes in what a decoded page held.
    pub(super) fn accept(
        &self,
        decoded: Decoded,
        place: &str,
        seen: &mut Seen,
        reading: &mut Reading,
    ) -> Result<Lens, Stop> {
        let Decoded { mut lens, read, closed } = decoded;
        if closed {
            return Err(Stop::Closed);
        }
        let read = read.map_err(|e| {
            Stop::failed(self.run.account.shared().redact(&e.to_string()), Some(place.to_owned()))
        })?;
        for note in read.notes {
            self.run.note(note);
        }
        self.run.count_empty_keys(&self.table.name, read.empty_keys);
        self.progress.rows.fetch_add(if self.silent { 0 } else { lens.passed }, Ordering::Relaxed);
        seen.records = read.records;
        seen.expected_at = lens.expected_at;
        // Beside a rejected row nothing is certain about where a page ends.
        seen.last_key = lens.last_key.clone().filter(|_| lens.rejected == 0);
        seen.last_value = lens.last_value.clone();
        seen.print = lens.print.as_ref().filter(|_| lens.passed > 0).map(Hasher::finish);
        reading.rejected += lens.rejected;
        reading.parents.append(&mut lens.parents);
        if let (Some(before), Some(oldest)) = (&reading.newest, &lens.oldest) {
            reading.in_order &= oldest.compare(before).is_none_or(|order| order.is_ge());
        }
        if let Some(newest) = lens.newest.clone() {
            reading.newest = Some(match reading.newest.take() {
                Some(before) => before.later(newest),
                None => newest,
            });
        }
        Ok(lens)
    }

    /// What a page says beside its rows.
    pub(super) fn facts(&self, page: &Fetched) -> Seen {
        let number = |path: &Option<String>| {
            let value = page.facts.value(path.as_deref()?)?;
            value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
        };
        let text = |path: &str| match page.facts.value(path) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let kind = &self.table.page.kind;
        let next = match kind {
            PageKind::Token { next, .. } | PageKind::Link { next } => match next {
                Next::Path(path) => text(path),
                Next::Header(name) => page.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned),
                Next::LinkHeader => link_next(&page.headers),
            },
            _ => None,
        };
        for path in &self.run.account.definition().http.notices {
            if let Some(value) = page.facts.value(path).filter(|value| !is_nothing(value)) {
                let notice = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let notice = self.run.account.shared().redact(&notice);
                let notice: String = notice.chars().take(200).collect();
                self.run.note(format!("the source says: {notice}"));
            }
        }
        let page = &self.table.page;
        Seen { total: number(&page.total), pages: number(&page.pages), next, ..Seen::default() }
    }

    /// What a page gives to the request after it.
    pub(super) fn before(&self, page: &Fetched) -> Before {
        let value = match &self.table.page.kind {
            PageKind::Token { next: Next::Path(path), .. } => page.facts.value(path).cloned(),
            _ => None,
        };
        Before { url: page.url.clone(), value }
    }

    /// The request for a page. `before`: the page that led to it.
    pub(super) fn wanted_by(
        &self,
        scope: &Scope,
        ask: &Ask,
        before: Option<&Before>,
    ) -> Result<Wanted, Stop> {
        let account = self.run.account.shared();
        let failed = |reason: String| {
            Stop::failed(account.redact(&reason), Some(format!("table {}", self.table.name)))
        };
        let method = self.table.method;
        let mut query: Vec<(String, String)> = Vec::new();
        for (name, template) in &self.table.params {
            query.extend(account.config.fill(template, &scope.row).map(|text| (name.clone(), text)));
        }
        let params = match ask {
            Ask::Link(link) => {
                let mut url = self.linked(link, before).map_err(failed)?;
                let body = match method {
                    Method::Get => BTreeMap::new(),
                    Method::Post => self.body(scope, self.sized(), None),
                };
                // A link names what it means to change; the rest of the request stays as it was.
                query.extend(scope.params.iter().filter(|_| method == Method::Get).cloned());
                let given = url.clone();
                let changed =
                    !self.progress.bare_links.load(Ordering::Relaxed) && with_missing(&mut url, &query);
                return Ok(Wanted { url, bare: changed.then_some(given), method, body });
            }
            Ask::Params(params) => params.clone(),
        };
        let mut url = self.address(scope).map_err(failed)?;
        let body = match method {
            Method::Get => {
                query.extend(scope.params.iter().cloned().chain(params));
                BTreeMap::new()
            }
            Method::Post => self.body(scope, params, before.and_then(|before| before.value.as_ref())),
        };
        with_query(&mut url, &query);
        Ok(Wanted { url, bare: None, method, body })
    }

    /// The address of a next link.
    fn linked(&self, link: &str, before: Option<&Before>) -> Result<Url, String> {
        let base = &self.run.account.shared().base;
        let url = before.map_or(base, |before| &before.url).join(link);
        let url = url.map_err(|e| format!("the next link is no URL ({e}): {link:?}"))?;
        if !same_origin(&url, base) {
            let origin = url.origin().ascii_serialization();
            return Err(format!(
                "the next link leads to {origin}, another place than {}: refused, and our credentials stay here",
                base.origin().ascii_serialization()
            ));
        }
        Ok(url)
    }

    /// The page's size as a parameter.
    fn sized(&self) -> Vec<(String, String)> {
        self.table.page.size.iter().map(|(name, size)| (name.clone(), size.to_string())).collect()
    }

    /// The JSON body of a POST: what the definition says in its types, then what is asked for in this request. `given`:
    /// what the page before gave, whose type a parameter of its text has.
    fn body(
        &self,
        scope: &Scope,
        params: Vec<(String, String)>,
        given: Option<&Value>,
    ) -> BTreeMap<String, Value> {
        let account = self.run.account.shared();
        let inherited =
            self.table.parent.iter().flat_map(|parent| parent.columns.keys()).zip(&scope.inherited);
        let inherited: BTreeMap<&String, &Sourced> = inherited.collect();
        let typed = |part: &Part| match part {
            Part::Row(column) => Some(inherited.get(column)?.json()),
            Part::Config(key) => {
                let text = account.config.get(key)?;
                let kind = account.definition.config.get(key).map(|key| key.kind);
                Some(match kind {
                    Some(ConfigKind::Integer) => {
                        text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
                    }
                    Some(ConfigKind::Boolean) => Value::Bool(text == "true"),
                    Some(ConfigKind::List) => account.config.list(key).into(),
                    _ => text.into(),
                })
            }
            Part::Text(text) => Some(text.as_str().into()),
        };
        let text = |template: &_| account.config.fill(template, &scope.row);
        let filled = self.table.body.iter();
        let mut body: BTreeMap<String, Value> =
            filled.filter_map(|(name, of)| Some((name.clone(), of.fill(&text, &typed)?))).collect();
        let given_text = given.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        for (name, text) in scope.params.iter().cloned().chain(params) {
            let value = match given {
                Some(value) if given_text.as_ref() == Some(&text) => value.clone(),
                // A value such as 007 is no number, though it looks like one.
                _ => match text.parse::<i64>().ok().filter(|number| number.to_string() == text) {
                    Some(number) => Value::from(number),
                    None => Value::String(text),
                },
            };
            body.insert(name, value);
        }
        body
    }

    /// The table's URL, with the parent's values encoded so that none can lead elsewhere.
    fn address(&self, scope: &Scope) -> Result<Url, String> {
        let account = self.run.account.shared();
        let row = scope.row.iter().map(|(column, value)| (column.clone(), segment(value))).collect();
        let path = account.config.fill(&self.table.path, &row);
        let path =
            path.ok_or_else(|| format!("the path {} has a hole that nothing fills", self.table.path))?;
        let url = account.base.join(path.trim_start_matches('/')).map_err(|e| format!("{path:?}: {e}"))?;
        if same_origin(&url, &account.base) {
            Ok(url)
        } else {
            Err(format!("{path:?} leads away from base_url"))
        }
    }
}

/// Whether a page reached back to what is stored already.
fn stored_already(scope: &Scope, lens: &Lens) -> bool {
    let (Some(bound), Some(oldest)) = (&scope.stop_before, &lens.oldest) else { return false };
    oldest.compare(bound) == Some(std::cmp::Ordering::Less)
}
