//! Builds the requests of a partition, and reads the paging values of an answer. Start at [`TableRun::request_spec`].

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use reqwest::header::{HeaderMap, LINK};
use serde_json::Value;
use url::Url;

use super::partition::{Scope, TableRun};
use super::run::Stop;
use crate::domain::syncing::cell::Sourced;
use crate::domain::syncing::definition::answer::{Rule, Then, is_nothing};
use crate::domain::syncing::definition::connector::ConfigKind;
use crate::domain::syncing::definition::connector::Method;
use crate::domain::syncing::definition::template::TemplatePart;
use crate::domain::syncing::link_header;
use crate::domain::syncing::link_header::NextLink;
use crate::domain::syncing::paging::signs::{Sign, SignKind, Signs};
use crate::domain::syncing::paging::{Next, PageContent, PageKind, PageRequest, RawValue};
use crate::domain::text::path_segment;
use crate::http::same_origin;
use crate::source::exchange::fetch::{Fetched, Fetcher};
use crate::source::exchange::query::{RequestSpec, with_missing, with_query};

/// The name of the `Link` header in a definition.
const LINK_HEADER: &str = "link";

impl TableRun<'_> {
    /// A fetcher for this table. If the window cannot be halved any more, rules that halve it do not apply, and such an
    /// answer is classified like any other.
    pub(super) fn fetcher(&self, scope: &Scope) -> Fetcher<'_> {
        let page = &self.table.page;
        let http = &self.run.account.definition().http;
        let rules = self.table.rules.iter().chain(&http.rules);
        let rules: Vec<Rule> =
            rules.filter(|rule| scope.halves || rule.then != Then::Halve).cloned().collect();
        let rule_paths = rules.iter().flat_map(Rule::paths).cloned();
        let next = self.next_path().map(str::to_owned);
        let mut paths: Vec<String> =
            page.total.iter().chain(&page.pages).cloned().chain(next).chain(rule_paths).collect();
        paths.extend(http.notices.iter().cloned());
        paths.sort();
        paths.dedup();
        let child = self.table.parent.is_some();
        Fetcher { run: self.run, progress: &self.progress, rules, child, paths }
    }

    /// The path of the next token or link in the body, from the definition.
    fn next_path(&self) -> Option<&str> {
        match &self.table.page.kind {
            PageKind::Token { next: Next::Path(path), .. } | PageKind::Link { next: Next::Path(path) } => {
                Some(path)
            }
            _ => None,
        }
    }

    /// The paging values of a page.
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
            content.next =
                Some(text_value(&resolved(&self.run.account.shared().base, &page.url, &next.text())));
        }
        content
    }

    /// Reads the next token or link in the body.
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
            // A JSON body can contain any value.
            content.next = page.facts.value(path).map(|value| RawValue::new(value.to_string()));
        } else {
            content.signs.next.push(sign(SignKind::UnusableToken(form)));
        }
    }

    /// Signs of a next page that the definition does not use.
    fn signs(&self, page: &Fetched) -> Signs {
        let declared = &self.table.page;
        let next = self.next_path();
        let ignored = |path: &str| {
            // Below or above the declared path.
            let is_declared = next.is_some_and(|next| within(next, path) || within(path, next));
            is_declared
                || declared.total.as_deref() == Some(path)
                || declared.pages.as_deref() == Some(path)
                || declared.ignore.iter().any(|name| within(path, name))
                // If the root is a record, its members are fields.
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

    /// The request for a page. A relative link is resolved against `base`.
    pub(super) fn request_spec(
        &self,
        scope: &Scope,
        request: &PageRequest,
        base: Option<&Url>,
        grown: bool,
    ) -> Result<RequestSpec, Stop> {
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
        let params = match request {
            PageRequest::Link(link) => {
                let mut url = self.linked(link, base).map_err(failed)?;
                // A link contains only what changes; the other parameters of the request stay the same.
                query.extend(scope.params.iter().filter(|_| method == Method::Get).map(text));
                let given = url.clone();
                let changed =
                    !self.progress.bare_links.load(Ordering::Relaxed) && with_missing(&mut url, &query);
                let body = self.body(scope, &self.sized());
                return Ok(RequestSpec { url, bare: changed.then_some(given), method, body, grown });
            }
            PageRequest::Params(params) => params,
        };
        let mut url = self.address(scope).map_err(failed)?;
        if method == Method::Get {
            query.extend(scope.params.iter().chain(params).map(text));
        }
        with_query(&mut url, &query);
        Ok(RequestSpec { url, bare: None, method, body: self.body(scope, params), grown })
    }

    /// The URL of a next link.
    fn linked(&self, link: &str, base: Option<&Url>) -> Result<Url, String> {
        let own = &self.run.account.shared().base;
        let url = base.unwrap_or(own).join(link);
        let url = url.map_err(|e| format!("the next link is not a URL ({e}): {link:?}"))?;
        if !same_origin(&url, own) {
            return Err(format!(
                "the next link leads to {}, another origin than {}: refused, so that no credentials are sent there",
                url.origin().ascii_serialization(),
                own.origin().ascii_serialization()
            ));
        }
        Ok(url)
    }

    /// The page size as a parameter.
    fn sized(&self) -> Vec<(String, RawValue)> {
        let size = self.table.page.size.iter();
        size.map(|(name, size)| (name.clone(), RawValue::new(size.to_string()))).collect()
    }

    /// The JSON body of a POST: the members of the definition in their types, then the parameters of the scope and the
    /// page.
    fn body(&self, scope: &Scope, params: &[(String, RawValue)]) -> BTreeMap<String, Value> {
        if self.table.method == Method::Get {
            return BTreeMap::new();
        }
        let config = &self.run.account.shared().config;
        let text = |template: &_| config.fill(template, &scope.row);
        let typed = |part: &TemplatePart| self.typed(scope, part);
        let filled = self.table.body.iter();
        let mut body: BTreeMap<String, Value> =
            filled.filter_map(|(name, of)| Some((name.clone(), of.fill(&text, &typed)?))).collect();
        body.extend(scope.params.iter().chain(params).map(|(name, value)| (name.clone(), value.json())));
        body
    }

    /// The value of a placeholder in its own type: that of the source, or of the configuration.
    fn typed(&self, scope: &Scope, part: &TemplatePart) -> Option<Value> {
        let account = self.run.account.shared();
        match part {
            TemplatePart::Row(column) => {
                let parent = self.table.parent.as_ref()?;
                let at = parent.columns.keys().position(|inherited| inherited == column)?;
                scope.inherited.get(at).map(Sourced::json)
            }
            TemplatePart::Config(key) => {
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
            TemplatePart::Text(text) => Some(text.as_str().into()),
        }
    }

    /// The table's URL. The parent's values are encoded, so that none can change the path.
    fn address(&self, scope: &Scope) -> Result<Url, String> {
        let account = self.run.account.shared();
        let row = scope.row.iter().map(|(column, value)| (column.clone(), path_segment(value))).collect();
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

/// A next link as an absolute URL, or unchanged if it is not a link. Services behind a proxy that terminates TLS may send
/// links with http: these become https on the same host and port, so that credentials are never sent unencrypted.
fn resolved(own: &Url, page: &Url, link: &str) -> String {
    let Ok(mut url) = page.join(link) else { return link.to_owned() };
    let downgraded = own.scheme() == "https"
        && url.scheme() == "http"
        && url.host_str() == own.host_str()
        && (url.port().is_none() || url.port() == own.port());
    if downgraded && (url.set_scheme("https").is_err() || url.set_port(own.port()).is_err()) {
        return link.to_owned();
    }
    url.to_string()
}

/// A bound in our own spelling, such as a date or a cursor; a number if the text is one.
pub(super) fn bound(text: &str) -> RawValue {
    // A text such as 007 is not a number.
    match text.parse::<i64>().ok().filter(|number| number.to_string() == text) {
        Some(number) => RawValue::new(number.to_string()),
        None => text_value(text),
    }
}

fn text_value(text: &str) -> RawValue {
    RawValue::new(Value::from(text).to_string())
}

/// Whether a path is equal to another one or below it.
fn within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The `rel="next"` of the `Link` headers.
pub(super) fn link_next(headers: &HeaderMap) -> NextLink {
    let values: Vec<String> = headers.get_all(LINK).iter().map(|v| header_text(v.as_bytes())).collect();
    link_header::next(values.iter().map(String::as_str))
}

/// A header as text. Some services send UTF-8, although the standard does not allow it.
fn header_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_link_to_our_own_https_host_is_followed_over_https() {
        for (own, link, want) in [
            ("https://api.test/v1/", "http://api.test/v1/x?page=2", "https://api.test/v1/x?page=2"),
            ("https://api.test/v1/", "http://API.test:80/x", "https://api.test/x"),
            ("https://api.test:8443/v1/", "http://api.test:8443/x", "https://api.test:8443/x"),
            ("https://api.test:8443/v1/", "http://api.test/x", "https://api.test:8443/x"),
            ("https://api.test/v1/", "//api.test/x", "https://api.test/x"),
            ("https://api.test/v1/", "?page=2", "https://api.test/v1/x?page=2"),
            ("https://api.test/v1/", "/y", "https://api.test/y"),
            // Another port or host is another origin, and is refused later.
            ("https://api.test/v1/", "http://api.test:8080/x", "http://api.test:8080/x"),
            ("https://api.test/v1/", "http://other.test/x", "http://other.test/x"),
            ("http://api.test/v1/", "http://api.test/x", "http://api.test/x"),
            ("http://api.test/v1/", "https://api.test/x", "https://api.test/x"),
            ("https://api.test/v1/", "http://[broken", "http://[broken"),
        ] {
            let own = Url::parse(own).unwrap();
            let page = own.join("x?page=1").unwrap();
            assert_eq!(resolved(&own, &page, link), want, "{own} {link}");
        }
    }
}
