//! What answers say about a next page beside what a definition mentions: the names that services use, and what to write
//! into the definition.
//!
//! Start at [`Signs::read`].

use std::fmt;

use serde_json::Value;

/// Objects beside the records in which services speak of pages; the first is the answer itself.
const PLACES: [&str; 12] = [
    "",
    "meta.",
    "metadata.",
    "pagination.",
    "paging.",
    "page.",
    "links.",
    "_links.",
    "page_info.",
    "pageInfo.",
    "meta.pagination.",
    "response_metadata.",
];

/// Tokens and links.
const NEXT: [&str; 18] = [
    "next",
    "next_page",
    "nextPage",
    "next_cursor",
    "nextCursor",
    "next_token",
    "nextToken",
    "next_page_token",
    "nextPageToken",
    "next_url",
    "nextUrl",
    "next_link",
    "nextLink",
    "@odata.nextLink",
    "nextRecordsUrl",
    "continuation",
    "continuation_token",
    "continuationToken",
];

/// Flags that are true where there is more, and those that are false.
const MORE: [&str; 7] =
    ["has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage", "more"];
const LAST: [&str; 7] =
    ["is_last", "isLast", "is_last_page", "isLastPage", "last", "end_of_stream", "endOfStream"];

/// Numbers of all rows, and of all pages.
const TOTALS: [&str; 11] = [
    "total",
    "total_count",
    "totalCount",
    "total_results",
    "totalResults",
    "total_items",
    "totalItems",
    "total_records",
    "totalRecords",
    "count",
    "@odata.count",
];
const PAGES: [&str; 8] =
    ["page_count", "pageCount", "pages", "total_pages", "totalPages", "num_pages", "last_page", "lastPage"];

/// Something in an answer that says that there is more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Dotted path, or the name of a header.
    pub place: String,
    /// What it is.
    pub kind: SignKind,
}

/// What says that there is more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignKind {
    /// An address.
    Link,
    /// A token.
    Token,
    /// The `Link` header's `rel="next"`.
    LinkHeader,
    /// A `Link` header that cannot be read.
    UnreadableLink,
    /// A token that no parameter can carry, such as an object.
    UnusableToken(&'static str),
    /// A flag.
    Flag,
    /// A number of rows above what was read.
    Rows(u64),
    /// A number of pages above what was read.
    Pages(u64),
}

/// What an answer says of itself, as far as no definition is needed to understand it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// Tokens and links.
    pub next: Vec<Sign>,
    /// A flag that says whether there is more, and where it is.
    pub flag: Option<(bool, String)>,
    /// Numbers of rows and pages.
    pub counts: Vec<Sign>,
}

/// What a value with a name that services use means.
#[derive(Clone, Copy)]
enum Meaning {
    Next,
    More,
    Last,
    Rows,
    Pages,
}

/// Whether services speak of pages in an object at this path. The path of the answer itself is empty.
pub fn is_place(path: &str) -> bool {
    PLACES.iter().any(|place| place.strip_suffix('.').unwrap_or(place) == path)
}

/// Whether a member of such an object may be a sign.
pub fn is_name(name: &str) -> bool {
    meaning(name).is_some()
}

fn meaning(name: &str) -> Option<Meaning> {
    let among = |names: &[&str]| names.contains(&name);
    Some(match name {
        _ if among(&NEXT) => Meaning::Next,
        _ if among(&MORE) => Meaning::More,
        _ if among(&LAST) => Meaning::Last,
        _ if among(&TOTALS) => Meaning::Rows,
        _ if among(&PAGES) => Meaning::Pages,
        _ => return None,
    })
}

impl Signs {
    /// Collects the signs among the values of an answer, given by their paths. What `ignored` names (declared in the
    /// definition, or said there to mean something else) is left out.
    pub fn read<'v>(
        values: impl Iterator<Item = (&'v str, &'v Value)>,
        ignored: impl Fn(&str) -> bool,
    ) -> Signs {
        let mut signs = Signs::default();
        for (path, value) in values.filter(|(path, _)| !ignored(path)) {
            let Some(meaning) = PLACES.iter().find_map(|place| meaning(path.strip_prefix(place)?)) else {
                continue;
            };
            let place = path.to_owned();
            let count = || value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
            match meaning {
                Meaning::Next => signs.next.extend(next_kind(value).map(|kind| Sign { place, kind })),
                Meaning::More => signs.flag(value.as_bool(), place),
                Meaning::Last => signs.flag(value.as_bool().map(|last| !last), place),
                Meaning::Rows => {
                    signs.counts.extend(count().map(|n| Sign { place, kind: SignKind::Rows(n) }));
                }
                Meaning::Pages => {
                    signs.counts.extend(count().map(|n| Sign { place, kind: SignKind::Pages(n) }));
                }
            }
        }
        signs
    }

    fn flag(&mut self, more: Option<bool>, place: String) {
        // Of two flags the one that says "more" counts.
        if let Some(more) = more
            && self.flag.as_ref().is_none_or(|(before, _)| !before)
        {
            self.flag = Some((more, place));
        }
    }

    /// The first sign that says that there is more than what was read.
    pub fn beyond(&self, rows: u64, pages: u64) -> Option<Sign> {
        let flag = self.flag.iter().filter(|(more, _)| *more);
        let flag = flag.map(|(_, place)| Sign { place: place.clone(), kind: SignKind::Flag });
        let counts = self.counts.iter().filter(|sign| match sign.kind {
            SignKind::Rows(stated) => stated > rows,
            SignKind::Pages(stated) => stated > pages,
            _ => false,
        });
        self.next.iter().cloned().chain(flag).chain(counts.cloned()).next()
    }

    /// What a flag says: whether there is more.
    pub fn more(&self) -> Option<bool> {
        self.flag.as_ref().map(|(more, _)| *more)
    }
}

/// What a value at a path of tokens is; `None` for one that says that there is no next page.
fn next_kind(value: &Value) -> Option<SignKind> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some(SignKind::Flag),
        Value::String(text) if is_address(text) => Some(SignKind::Link),
        Value::String(text) => (!text.is_empty() && text != "0").then_some(SignKind::Token),
        Value::Number(number) => (number.as_i64() != Some(0)).then_some(SignKind::Token),
        Value::Array(items) => (!items.is_empty()).then_some(SignKind::UnusableToken("a list")),
        Value::Object(members) => {
            let something = members.values().any(|value| next_kind(value).is_some());
            something.then_some(SignKind::UnusableToken("an object"))
        }
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://")
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.kind {
            SignKind::Link => write!(
                f,
                "the answer names a next page at {place:?}: write page = {{ kind = \"link\", next = \"{place}\" }}"
            ),
            SignKind::Token => write!(
                f,
                "the answer has a token for the next page at {place:?}: write page = {{ kind = \"cursor\", next = \"{place}\", at_param = \"…\" }} with the parameter that takes it"
            ),
            SignKind::LinkHeader => write!(
                f,
                "the answer names a next page in its header Link: write page = {{ kind = \"link\", header = \"link\" }}"
            ),
            SignKind::UnreadableLink => write!(
                f,
                "the answer's header Link cannot be read, so a next page may be missed: if the body names it, write page = {{ kind = \"link\", next = \"…\" }}"
            ),
            SignKind::UnusableToken(form) => write!(
                f,
                "the next page at {place:?} is {form}, which no parameter of a GET can carry: name the text or number in it (next = \"{place}.…\"), or page by another kind"
            ),
            SignKind::Flag => write!(
                f,
                "the answer says at {place:?} that there are more rows: write in `page` how the next page is found"
            ),
            SignKind::Rows(stated) => write!(
                f,
                "the answer states {stated} rows at {place:?}, more than were read: write in `page` how the next page is found"
            ),
            SignKind::Pages(stated) => write!(
                f,
                "the answer states {stated} pages at {place:?}, more than were read: write in `page` how the next page is found"
            ),
        }?;
        // A header that cannot be read is never meant otherwise.
        match self.kind {
            SignKind::UnreadableLink | SignKind::UnusableToken(_) => Ok(()),
            _ => write!(f, " (if it means something else: page = {{ …, ignore = [\"{place}\"] }})"),
        }
    }
}
