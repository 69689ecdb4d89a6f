//! Signs of a next page that a definition does not mention: the names that services commonly use, and advice
//! on what to write into the definition.
//!
//! Start at [`Signs::read`].

use std::fmt;

use serde_json::Value;

/// Objects in which services put paging fields; the first is the response itself.
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

/// Flags that are true if there are more rows, and flags that are false.
const MORE: [&str; 7] =
    ["has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage", "more"];
const LAST: [&str; 7] =
    ["is_last", "isLast", "is_last_page", "isLastPage", "last", "end_of_stream", "endOfStream"];

/// Total numbers of rows, and of pages.
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

/// A value in a response that says that there are more rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Dotted path, or the name of a header.
    pub place: String,
    pub kind: SignKind,
}

/// The kind of a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignKind {
    Link,
    Token,
    /// The `Link` header's `rel="next"`.
    LinkHeader,
    /// A `Link` header that cannot be parsed.
    UnreadableLink,
    /// A token that no parameter can carry, such as an object.
    UnusableToken(&'static str),
    Flag,
    /// A total above the number of rows read.
    Rows(u64),
    /// A number of pages above those read.
    Pages(u64),
}

/// The signs in a response that can be understood without a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// Tokens and links.
    pub next: Vec<Sign>,
    /// A flag that says whether there are more rows, and its path.
    pub flag: Option<(bool, String)>,
    /// Numbers of rows and pages.
    pub counts: Vec<Sign>,
}

/// The meaning of a value with a commonly used name.
#[derive(Clone, Copy)]
enum SignMeaning {
    Next,
    More,
    Last,
    Rows,
    Pages,
}

/// Whether services put paging fields into an object at this path. The response itself has the empty path.
pub fn is_place(path: &str) -> bool {
    PLACES.iter().any(|place| place.strip_suffix('.').unwrap_or(place) == path)
}

/// Whether a member of such an object may be a sign.
pub fn is_name(name: &str) -> bool {
    meaning(name).is_some()
}

fn meaning(name: &str) -> Option<SignMeaning> {
    let among = |names: &[&str]| names.contains(&name);
    Some(match name {
        _ if among(&NEXT) => SignMeaning::Next,
        _ if among(&MORE) => SignMeaning::More,
        _ if among(&LAST) => SignMeaning::Last,
        _ if among(&TOTALS) => SignMeaning::Rows,
        _ if among(&PAGES) => SignMeaning::Pages,
        _ => return None,
    })
}

impl Signs {
    /// Collects the signs among the values of a response, given by their paths. Paths in `ignored` (declared
    /// in the definition, there as `ignore` or with another meaning) are skipped.
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
                SignMeaning::Next => signs.next.extend(next_kind(value).map(|kind| Sign { place, kind })),
                SignMeaning::More => signs.flag(value.as_bool(), place),
                SignMeaning::Last => signs.flag(value.as_bool().map(|last| !last), place),
                SignMeaning::Rows => {
                    signs.counts.extend(count().map(|n| Sign { place, kind: SignKind::Rows(n) }));
                }
                SignMeaning::Pages => {
                    signs.counts.extend(count().map(|n| Sign { place, kind: SignKind::Pages(n) }));
                }
            }
        }
        signs
    }

    fn flag(&mut self, more: Option<bool>, place: String) {
        // Of two flags, the one that says "more" wins.
        if let Some(more) = more
            && self.flag.as_ref().is_none_or(|(before, _)| !before)
        {
            self.flag = Some((more, place));
        }
    }

    /// The first sign of more rows than were read.
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

    /// Whether a flag says that there are more rows.
    pub fn more(&self) -> Option<bool> {
        self.flag.as_ref().map(|(more, _)| *more)
    }
}

/// The kind of a token or link; `None` if the value says that there is no next page.
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
        // A header that cannot be parsed never has another meaning.
        match self.kind {
            SignKind::UnreadableLink | SignKind::UnusableToken(_) => Ok(()),
            _ => write!(f, " (if it means something else: page = {{ …, ignore = [\"{place}\"] }})"),
        }
    }
}
