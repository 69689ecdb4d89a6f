//! Proposes the paging rule, from the fields beside the records and the parameters of the request.

use std::collections::BTreeMap;

use serde_json::Value;

use super::guess::Guess;
use super::quoted;
use crate::domain::syncing::naming::column_name;

const PAGE_PARAMS: [&str; 4] = ["page", "page_number", "p", "pagenumber"];
const OFFSET_PARAMS: [&str; 5] = ["offset", "skip", "start", "start_at", "from_index"];
const SIZE_PARAMS: [&str; 9] =
    ["limit", "per_page", "page_size", "pagesize", "size", "take", "top", "max_results", "count"];
const TOKEN_PARAMS: [&str; 7] =
    ["cursor", "after", "page_token", "starting_after", "next_token", "token", "continuation_token"];
const NEXT_LINKS: [&str; 7] =
    ["next", "next_url", "next_link", "next_page", "next_page_url", "next_href", "href"];
const TOKENS: [&str; 9] = [
    "next_cursor",
    "next_token",
    "next_page_token",
    "next_page_cursor",
    "continuation_token",
    "end_cursor",
    "cursor",
    "after",
    "next_page_id",
];
const PAGES: [&str; 6] = ["total_pages", "page_count", "pages", "last_page", "num_pages", "pages_count"];
const TOTALS: [&str; 8] = [
    "total",
    "total_count",
    "total_results",
    "total_records",
    "total_items",
    "total_size",
    "record_count",
    "count",
];
const MORE: [&str; 3] = ["has_more", "has_next", "has_next_page"];

/// The values of an answer beside its records: path → value.
pub(super) struct Outside(BTreeMap<String, Value>);

impl Outside {
    pub(super) fn of(body: &Value, records: &str) -> Outside {
        let mut found = BTreeMap::new();
        collect_values(body, "", records, &mut found);
        Outside(found)
    }

    /// The first of these names, in any case, whose value fits.
    fn find(&self, names: &[&str], fits: impl Fn(&Value) -> bool) -> Option<(&str, &Value)> {
        let by_name = |name: &&str| {
            let mut of = self.0.iter().filter(|(path, value)| last(path) == **name && fits(value));
            of.next().map(|(path, value)| (path.as_str(), value))
        };
        names.iter().find_map(by_name)
    }
}

impl Outside {
    /// Why there are more rows than these, according to the answer.
    pub(super) fn more(&self, rows: usize) -> Option<String> {
        let above = |value: &Value| value.as_u64().is_some_and(|total| total > rows as u64);
        if let Some((path, total)) = self.find(&TOTALS, above) {
            return Some(format!("{path} is {total}, and this page has {rows}"));
        }
        if let Some((path, pages)) = self.find(&PAGES, |value| value.as_u64().is_some_and(|pages| pages > 1))
        {
            return Some(format!("{path} is {pages}"));
        }
        let flag = self.find(&MORE, |value| value.as_bool() == Some(true));
        let named = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| !text.is_empty());
        let next = || self.find(&NEXT_LINKS[..6], named).or_else(|| self.find(&TOKENS, named));
        flag.or_else(next).map(|(path, value)| format!("{path} is {value}"))
    }
}

fn collect_values(value: &Value, at: &str, records: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        _ if at == records && !at.is_empty() => {}
        Value::Object(object) => {
            // A name with a dot cannot be written as a path.
            for (name, value) in object.iter().filter(|(name, _)| !name.contains('.')) {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                collect_values(value, &path, records, found);
            }
        }
        Value::Array(_) => {}
        scalar => drop(found.insert(at.to_owned(), scalar.clone())),
    }
}

fn last(path: &str) -> String {
    column_name(path.rsplit('.').next().unwrap_or(path))
}

/// Paging parameters of the sample's query.
struct Asked {
    page: Option<(String, String)>,
    offset: Option<(String, String)>,
    size: Option<(String, String)>,
    token: Option<(String, String)>,
}

/// The paging rule, and the remaining query parameters.
pub(super) fn page(
    outside: &Outside,
    link_header: bool,
    mut query: Vec<(String, String)>,
    rows: usize,
    key: Option<&str>,
) -> (Option<Guess>, Vec<(String, String)>) {
    let mut take = |names: &[&str]| {
        let at = query.iter().position(|(name, _)| names.contains(&column_name(name).as_str()))?;
        Some(query.remove(at))
    };
    let paging_params = Asked {
        page: take(&PAGE_PARAMS),
        offset: take(&OFFSET_PARAMS),
        token: take(&TOKEN_PARAMS),
        size: take(&SIZE_PARAMS),
    };
    let number = by_number(outside, &paging_params, rows);
    let guess = by_link(outside, link_header, &paging_params)
        .or_else(|| by_next_number(outside, &paging_params))
        .or_else(|| by_token(outside, &paging_params))
        .or_else(|| number.clone().filter(|guess| guess.sure))
        .or_else(|| by_null(outside))
        .or(number)
        .or_else(|| by_more(outside, &paging_params, key));
    if guess.is_none() {
        // Without paging the parameter belongs to the request.
        query.extend(paging_params.size);
    }
    (guess, query)
}

/// The parts that are the same for every kind.
fn sized(paging_params: &Asked) -> String {
    let size = paging_params.size.as_ref().and_then(|(name, value)| Some((name, value.parse::<u32>().ok()?)));
    let size = size.filter(|(_, size)| *size > 0);
    size.map_or_else(String::new, |(name, size)| format!(", size_param = {}, size = {size}", quoted(name)))
}

fn by_link(outside: &Outside, link_header: bool, paging_params: &Asked) -> Option<Guess> {
    if link_header {
        let toml = format!("{{ kind = \"link\", header = \"link\"{} }}", sized(paging_params));
        return Some(Guess::sure(toml, "the Link header names the next page"));
    }
    let is_link = |value: &Value| {
        value.as_str().is_some_and(|text| text.starts_with("http") || text.starts_with(['/', '?']))
    };
    let (path, _) = outside.find(&NEXT_LINKS, is_link).filter(|(path, _)| {
        // An `href` is a next page only below a member named so.
        last(path) != "href" || path.rsplit('.').nth(1).is_some_and(|above| column_name(above) == "next")
    })?;
    let toml = format!("{{ kind = \"link\", next = {}{} }}", quoted(path), sized(paging_params));
    Some(Guess::sure(toml, "the answer holds the next page's address"))
}

fn by_token(outside: &Outside, paging_params: &Asked) -> Option<Guess> {
    let is_token = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| !text.is_empty());
    let (path, _) = outside.find(&TOKENS, is_token)?;
    let name = path.rsplit('.').next().unwrap_or(path);
    let (param, sure) = match &paging_params.token {
        Some((param, _)) => (param.clone(), true),
        None => (without_next(name), false),
    };
    let toml = format!(
        "{{ kind = \"cursor\", at_param = {}, next = {}{} }}",
        quoted(&param),
        quoted(path),
        sized(paging_params)
    );
    let why =
        if sure { "the answer holds the next page's token" } else { "a token; which parameter takes it?" };
    Some(Guess { is: toml, sure, why: why.to_owned() })
}

/// The number of the next page serves as its token.
fn by_next_number(outside: &Outside, paging_params: &Asked) -> Option<Guess> {
    let (path, _) = outside.find(&["next_page"], Value::is_u64)?;
    let param = paging_params.page.as_ref().map(|(param, _)| param.clone());
    let toml = format!(
        "{{ kind = \"cursor\", at_param = {}, next = {}{} }}",
        quoted(param.as_deref().unwrap_or("page")),
        quoted(path),
        sized(paging_params)
    );
    let why = "the answer holds the next page's number";
    Some(match param {
        Some(_) => Guess::sure(toml, why),
        None => Guess::unsure(toml, format!("{why}; which parameter takes it?")),
    })
}

/// The last page has null in place of the next page's link or token.
fn by_null(outside: &Outside) -> Option<Guess> {
    if let Some((path, _)) = outside.find(&NEXT_LINKS[..6], Value::is_null) {
        let toml = format!("{{ kind = \"link\", next = {} }}", quoted(path));
        return Some(Guess::unsure(toml, "null on this page; is it an address if there is a next page?"));
    }
    let (path, _) = outside.find(&TOKENS, Value::is_null)?;
    let param = without_next(path.rsplit('.').next().unwrap_or(path));
    let toml = format!("{{ kind = \"cursor\", at_param = {}, next = {} }}", quoted(&param), quoted(path));
    Some(Guess::unsure(toml, "null on this page; is it a token if there is a next page?"))
}

/// `nextPageToken` → `pageToken`.
fn without_next(name: &str) -> String {
    let rest = name.strip_prefix("next").or_else(|| name.strip_prefix("end"));
    let Some(rest) = rest.map(|rest| rest.trim_start_matches('_')).filter(|rest| !rest.is_empty()) else {
        return name.to_owned();
    };
    let mut letters = rest.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn by_number(outside: &Outside, paging_params: &Asked, rows: usize) -> Option<Guess> {
    let number = |value: &Value| value.as_u64().is_some();
    let pages = outside.find(&PAGES, number).map(|(path, _)| format!(", pages = {}", quoted(path)));
    // A number equal to the rows on this page may count only this page, and would end the reading here.
    let larger = |value: &Value| value.as_u64().is_some_and(|total| total > rows as u64);
    let total = outside.find(&TOTALS, larger).map(|(path, _)| format!(", total = {}", quoted(path)));
    let end = pages.clone().or_else(|| total.clone()).unwrap_or_default();
    let size = sized(paging_params);
    if let Some((param, value)) = &paging_params.offset {
        let toml = format!(
            "{{ kind = \"offset\", at_param = {}{size}{} }}",
            quoted(param),
            total.unwrap_or_default()
        );
        return Some(Guess::sure(toml, format!("the sample request has {param}={value}")));
    }
    if let Some((param, value)) = &paging_params.page {
        let first = if value == "0" { ", first = 0" } else { "" };
        let toml = format!("{{ kind = \"page\", at_param = {}{first}{size}{end} }}", quoted(param));
        return Some(Guess::sure(toml, format!("the sample request has {param}={value}")));
    }
    if pages.is_some() {
        let toml = format!("{{ kind = \"page\", at_param = \"page\"{size}{end} }}");
        return Some(Guess::unsure(toml, "the answer counts pages; which parameter takes the number?"));
    }
    total.map(|total| {
        let toml = format!("{{ kind = \"offset\", at_param = \"offset\"{size}{total} }}");
        Guess::unsure(toml, format!("there are more than these {rows}; by an offset, or by kind = \"page\"?"))
    })
}

fn by_more(outside: &Outside, paging_params: &Asked, key: Option<&str>) -> Option<Guess> {
    outside.find(&MORE, |value| value.as_bool() == Some(true))?;
    let toml = format!(
        "{{ kind = \"keyset\", at_param = \"starting_after\", field = {}{} }}",
        quoted(key.unwrap_or("id")),
        sized(paging_params)
    );
    Some(Guess::unsure(toml, "the answer says that there are more rows, but not how to request them"))
}
