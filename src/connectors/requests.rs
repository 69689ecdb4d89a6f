//! The requests of a partition, and what an answer says beside its rows. Start at [`TableRun::wanted_by`].

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use reqwest::header::{HeaderMap, LINK};
use serde_json::Value;
use url::Url;

use super::fetch::{Fetched, Fetcher};
use super::partition::{Scope, TableRun};
use super::query::{Wanted, segment, with_missing, with_query};
use super::run::Stop;
use crate::domain::answer::{Rule, Then, is_nothing};
use crate::domain::cell::Sourced;
use crate::domain::config::ConfigKind;
use crate::domain::connector::Method;
use crate::domain::link_header::{self, NextLink};
use crate::domain::paging::signs::{Sign, SignKind, Signs};
use crate::domain::paging::{Ask, Next, PageContent, PageKind, RawValue};
use crate::domain::template::Part;
use crate::http::same_origin;

/// The name by which a definition speaks of the `Link` header.
const LINK_HEADER: &str = "link";

impl TableRun<'_> {
    /// Makes requests for this table. Where nothing can be halved any more, an answer that would ask for it is an error
    /// like any other, and tried again if such errors are.
    pub(super) fn fetcher(&self, scope: &Scope) -> Fetcher<'_> {
        let page = &self.table.page;
        let http = &self.run.account.definition().http;
        let rules = self.table.rules.iter().chain(&http.rules);
        let rules: Vec<Rule> =
            rules.filter(|rule| scope.halves || rule.then != Then::Halve).cloned().collect();
        let has = rules.iter().flat_map(Rule::paths).cloned();
        let next = self.next_path().map(str::to_owned);
        let mut paths: Vec<String> =
            page.total.iter().chain(&page.pages).cloned().chain(next).chain(has).collect();
        paths.extend(http.notices.iter().cloned());
        paths.sort();
        paths.dedup();
        let child = self.table.parent.is_some();
        Fetcher { run: self.run, progress: &self.progress, rules, child, paths }
    }

    /// Where in the body the definition says that the next page is named.
    fn next_path(&self) -> Option<&str> {
        match &self.table.page.kind {
            PageKind::Token { next: Next::Path(path), .. } | PageKind::Link { next: Next::Path(path) } => {
                Some(path)
            }
            _ => None,
        }
    }

    /// What a page says beside its rows.
    pub(super) fn facts(&self, page: &Fetched) -> PageContent {
        self.note_notices(page);
        let declared = &self.table.page;
        let count = |path: &Option<String>| page.facts.count(path.as_deref()?);
        let mut content = PageContent {
            total: count(&declared.total),
            pages: count(&declared.pages),
            address: Some(page.url.to_string()),
            signs: self.signs(page),
            ..PageContent::default()
        };
        let link = link_next(&page.headers);
        let by_header = match &declared.kind {
            PageKind::Token { next, .. } | PageKind::Link { next } => match next {
                Next::Path(path) => {
                    self.next_at(path, page, &mut content);
                    false
                }
                Next::Header(name) => {
                    content.next =
                        page.headers.get(name).map(|value| text_value(&header_text(value.as_bytes())));
                    false
                }
                Next::LinkHeader => true,
            },
            _ => false,
        };
        let ignored = declared.ignore.iter().any(|name| name.eq_ignore_ascii_case(LINK_HEADER));
        match link {
            NextLink::Found(target) if by_header => content.next = Some(text_value(&target)),
            NextLink::Found(_) if !ignored => {
                content.signs.next.push(Sign { place: LINK_HEADER.to_owned(), kind: SignKind::LinkHeader })
            }
            NextLink::Unreadable if !ignored => content
                .signs
                .next
                .push(Sign { place: LINK_HEADER.to_owned(), kind: SignKind::UnreadableLink }),
            NextLink::Found(_) | NextLink::Unreadable | NextLink::None => {}
        }
        if let (PageKind::Link { .. }, Some(next)) = (&declared.kind, &content.next) {
            content.next = Some(text_value(&self.resolved(&page.url, &next.text())));
        }
        content
    }

    /// The token or link in the body.
    fn next_at(&self, path: &str, page: &Fetched, content: &mut PageContent) {
        let is_token = matches!(self.table.page.kind, PageKind::Token { .. });
        let sign = |kind| Sign { place: path.to_owned(), kind };
        let form = match page.facts.value(path) {
            None | Some(Value::Null | Value::Bool(false)) => return,
            Some(Value::Bool(true)) => return content.signs.next.push(sign(SignKind::Flag)),
            Some(Value::Array(items)) if items.is_empty() => return,
            Some(Value::Object(members)) if members.is_empty() => return,
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
            Some(value @ (Value::String(_) | Value::Number(_))) => {
                content.next = Some(RawValue::new(value.to_string()));
                return;
            }
        };
        if is_token && self.table.method == Method::Post {
            // A body carries any value.
            content.next = page.facts.value(path).map(|value| RawValue::new(value.to_string()));
        } else {
            content.signs.next.push(sign(SignKind::UnusableToken(form)));
        }
    }

    /// What the answer says of a next page that the definition does not mention.
    fn signs(&self, page: &Fetched) -> Signs {
        let declared = &self.table.page;
        let next = self.next_path();
        let ignored = |path: &str| {
            // Below or above the path that is declared.
            let is_declared = next.is_some_and(|next| within(next, path) || within(path, next));
            is_declared
                || declared.total.as_deref() == Some(path)
                || declared.pages.as_deref() == Some(path)
                || declared.ignore.iter().any(|name| within(path, name))
                // Where the answer itself is a record, what it says are its fields.
                || self.table.records.iter().any(|records| records != "." && within(path, records))
        };
        let values =
            if self.table.records.iter().all(|path| path == ".") { &[][..] } else { page.facts.outside() };
        Signs::read(values.iter().map(|(path, value)| (path.as_str(), value)), ignored)
    }

    fn note_notices(&self, page: &Fetched) {
        for path in &self.run.account.definition().http.notices {
            if let Some(value) = page.facts.value(path).filter(|value| !is_nothing(value)) {
                let notice = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let notice = self.run.account.shared().redact(&notice);
                let notice: String = notice.chars().take(200).collect();
                self.run.note(format!("the source says: {notice}"));
            }
        }
    }

    /// A link as a whole address; as it is where it is none. Behind a balancer that speaks https, services name
    /// themselves by http: that is our own address.
    fn resolved(&self, base: &Url, link: &str) -> String {
        let account = self.run.account.shared();
        let Ok(mut url) = base.join(link) else { return link.to_owned() };
        let lowered = account.base.scheme() == "https"
            && url.scheme() == "http"
            && url.host_str() == account.base.host_str()
            && (url.port().is_none() || url.port() == account.base.port());
        if lowered && (url.set_scheme("https").is_err() || url.set_port(account.base.port()).is_err()) {
            return link.to_owned();
        }
        url.to_string()
    }

    /// The request for a page. `base`: what a relative link is relative to.
    pub(super) fn wanted_by(&self, scope: &Scope, ask: &Ask, base: Option<&Url>) -> Result<Wanted, Stop> {
        let account = self.run.account.shared();
        let failed = |reason: String| {
            Stop::failed(account.redact(&reason), Some(format!("table {}", self.table.name)))
        };
        let method = self.table.method;
        let mut query: Vec<(String, String)> = Vec::new();
        for (name, template) in &self.table.params {
            query.extend(account.config.fill(template, &scope.row).map(|text| (name.clone(), text)));
        }
        let text = |(name, value): &(String, RawValue)| (name.clone(), value.text().into_owned());
        let params = match ask {
            Ask::Link(link) => {
                let mut url = self.linked(link, base).map_err(failed)?;
                // A link names what it means to change; the rest of the request stays as it was.
                query.extend(scope.params.iter().filter(|_| method == Method::Get).map(text));
                let given = url.clone();
                let changed =
                    !self.progress.bare_links.load(Ordering::Relaxed) && with_missing(&mut url, &query);
                let body = self.body(scope, &self.sized());
                return Ok(Wanted { url, bare: changed.then_some(given), method, body });
            }
            Ask::Params(params) => params,
        };
        let mut url = self.address(scope).map_err(failed)?;
        if method == Method::Get {
            query.extend(scope.params.iter().chain(params).map(text));
        }
        with_query(&mut url, &query);
        Ok(Wanted { url, bare: None, method, body: self.body(scope, params) })
    }

    /// The address of a next link.
    fn linked(&self, link: &str, base: Option<&Url>) -> Result<Url, String> {
        let own = &self.run.account.shared().base;
        let url = base.unwrap_or(own).join(link);
        let url = url.map_err(|e| format!("the next link is no URL ({e}): {link:?}"))?;
        if !same_origin(&url, own) {
            return Err(format!(
                "the next link leads to {}, another place than {}: refused, and our credentials stay here",
                url.origin().ascii_serialization(),
                own.origin().ascii_serialization()
            ));
        }
        Ok(url)
    }

    /// The page's size as a parameter.
    fn sized(&self) -> Vec<(String, RawValue)> {
        let size = self.table.page.size.iter();
        size.map(|(name, size)| (name.clone(), RawValue::new(size.to_string()))).collect()
    }

    /// The JSON body of a POST: what the definition says in its types, then what the scope and the page ask for.
    fn body(&self, scope: &Scope, params: &[(String, RawValue)]) -> BTreeMap<String, Value> {
        if self.table.method == Method::Get {
            return BTreeMap::new();
        }
        let config = &self.run.account.shared().config;
        let text = |template: &_| config.fill(template, &scope.row);
        let typed = |part: &Part| self.typed(scope, part);
        let filled = self.table.body.iter();
        let mut body: BTreeMap<String, Value> =
            filled.filter_map(|(name, of)| Some((name.clone(), of.fill(&text, &typed)?))).collect();
        body.extend(scope.params.iter().chain(params).map(|(name, value)| (name.clone(), value.json())));
        body
    }

    /// The value of a hole in its own type: the source's, or that of the configuration.
    fn typed(&self, scope: &Scope, part: &Part) -> Option<Value> {
        let account = self.run.account.shared();
        match part {
            Part::Row(column) => {
                let parent = self.table.parent.as_ref()?;
                let at = parent.columns.keys().position(|inherited| inherited == column)?;
                scope.inherited.get(at).map(Sourced::json)
            }
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
        }
    }

    /// The table's URL, with the parent's values encoded so that none can lead elsewhere.
    fn address(&self, scope: &Scope) -> Result<Url, String> {
        let account = self.run.account.shared();
        let row = scope.row.iter().map(|(column, value)| (column.clone(), segment(value))).collect();
        let path = account.config.fill(&self.table.path, &row);
        let path = path.ok_or_else(|| format!("unresolved placeholder in path {}", self.table.path))?;
        let url = account.base.join(path.trim_start_matches('/')).map_err(|e| format!("{path:?}: {e}"))?;
        if same_origin(&url, &account.base) {
            Ok(url)
        } else {
            Err(format!("{path:?} leads away from base_url"))
        }
    }
}

/// A bound that we wrote, such as a day or a cursor: a number where it is one.
pub(super) fn bound(text: &str) -> RawValue {
    // A text such as 007 is no number, though it looks like one.
    match text.parse::<i64>().ok().filter(|number| number.to_string() == text) {
        Some(number) => RawValue::new(number.to_string()),
        None => text_value(text),
    }
}

fn text_value(text: &str) -> RawValue {
    RawValue::new(Value::from(text).to_string())
}

/// Whether a path is another one or lies below it.
fn within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The `rel="next"` of the `Link` headers.
pub(super) fn link_next(headers: &HeaderMap) -> NextLink {
    let values: Vec<String> = headers.get_all(LINK).iter().map(|v| header_text(v.as_bytes())).collect();
    link_header::next(values.iter().map(String::as_str))
}

/// A header as text; services write UTF-8 there although they should not.
fn header_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
