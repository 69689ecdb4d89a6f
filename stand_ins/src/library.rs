//! The public library of docs/connectors.md: branches in pages, loans behind a token, books with a `Link` header, visits
//! by day. Every path needs the key.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use jiff::ToSpan;
use jiff::civil::{Date, date};
use serde_json::{Value, json};

use crate::{Reply, Request, Service, StandIn};

pub const API_KEY: &str = "stand-in-library-key";

/// Rows on a page of loans and books.
const PAGE: usize = 3;
/// The days with visitors.
const VISITED: (Date, Date) = (date(2026, 1, 1), date(2026, 1, 20));

/// The state of the library.
pub struct Library {
    pub branches: Vec<Value>,
    /// Branch and loan, oldest first.
    pub loans: Vec<(u64, Value)>,
    pub books: Vec<Value>,
}

impl Library {
    pub fn open() -> StandIn<Library> {
        let branches = (1..=5)
            .map(|id| {
                json!({ "id": id, "name": format!("Branch \"{id}\""), "opened": format!("20{id:02}-04-01"),
                    "address": { "street": "Main Street", "zip": 1000 + id }, "tags": ["a", "b"], "photo": "x" })
            })
            .collect();
        let loans = (1..=5).flat_map(|branch| (0..7).map(move |n| (branch, loan(n)))).collect();
        let library = Library { branches, loans, books: (0..8).map(book).collect() };
        StandIn::serve(library).unwrap().recording()
    }

    fn branches(&self, request: &Request) -> Reply {
        let number = |name: &str| request.param(name).and_then(|text| text.parse::<usize>().ok());
        let (page, size) = (number("page").unwrap_or(1), number("per_page").unwrap_or(10));
        let rows: Vec<&Value> = self.branches.iter().skip((page - 1) * size).take(size).collect();
        let count = self.branches.len().div_ceil(size);
        Reply::json(&json!({ "data": rows, "meta": { "page_count": count } }))
    }

    fn loans(&self, request: &Request, branch: &str) -> Reply {
        let of: Vec<&Value> = self
            .loans
            .iter()
            .rev()
            .filter(|(at, _)| at.to_string() == branch)
            .map(|(_, loan)| loan)
            .collect();
        let from = request.param("after").map_or(0, |token| token.trim_start_matches("t-").parse().unwrap());
        let rows: Vec<&Value> = of.iter().skip(from).take(PAGE).copied().collect();
        let next = (from + PAGE < of.len()).then(|| format!("t-{}", from + PAGE));
        Reply::json(&json!({ "items": rows, "paging": { "next": next } }))
    }

    fn books(&self, request: &Request) -> Reply {
        let since = request.param("changed_since").unwrap_or_default();
        let of: Vec<&Value> =
            self.books.iter().filter(|book| book["changed"].as_str().unwrap() >= since).collect();
        let from: usize = request.param("from").map_or(0, |from| from.parse().unwrap());
        let rows: Vec<&Value> = of.iter().skip(from).take(PAGE).copied().collect();
        let reply = Reply::json(&json!(rows));
        if from + PAGE < of.len() {
            let next = format!("</v1/books?changed_since={since}&from={}>; rel=\"next\"", from + PAGE);
            return reply.header("link", &next);
        }
        reply
    }
}

/// Loans of a branch, one a day; every third costs something.
pub fn loan(n: u64) -> Value {
    let fee = if n.is_multiple_of(3) { json!("0.10") } else { Value::Null };
    json!({ "number": n, "lentAt": format!("2026-02-{:02}T10:00:00.5Z", n + 1), "fee": fee, "late": n.is_multiple_of(2) })
}

/// A book; its number is longer than 53 bits.
pub fn book(n: u64) -> Value {
    json!({ "isbn": 9_780_000_000_000_000_001_u64 + n, "subject": format!("Topic {n}"), "pages": 100 + n,
        "author": { "name": "A. N. Other", "born": 1900 + n }, "changed": format!("2026-03-{:02}T00:00:00Z", n + 1) })
}

fn visits(request: &Request) -> Reply {
    let day = |name: &str| request.param(name).unwrap().parse::<Date>().unwrap();
    let (from, to) = (day("from").max(VISITED.0), day("to").min(VISITED.1));
    let days = std::iter::successors(Some(from), |day| Some(day.saturating_add(1.day())))
        .take_while(|day| *day < to);
    let row =
        |day: Date| json!({ "branch": 1, "day": day.to_string(), "visitors": day.day_of_year().to_string() });
    Reply::json(&json!({ "results": days.map(row).collect::<Vec<_>>() }))
}

impl Service for Library {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.bearer() != Some(API_KEY) {
            return Reply::json(&json!({ "message": "this key is not known" })).with_status(401);
        }
        let parts: Vec<&str> = request.path.trim_start_matches("/v1/").split('/').collect();
        match parts[..] {
            ["branches"] => self.branches(request),
            ["branches", branch, "loans"] => self.loans(request, branch),
            ["books"] => self.books(request),
            ["visits"] => visits(request),
            _ => Reply::status(404),
        }
    }

    fn describe(&self) -> String {
        format!("{} branches, {} loans, {} books", self.branches.len(), self.loans.len(), self.books.len())
    }
}
