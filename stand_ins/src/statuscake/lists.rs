//! The lists: tests in numbered pages, and the child lists of a test by links.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Account, List, Metadata, NextLink, Test, bad_parameter};
use crate::{Reply, Request};

const DEFAULT_LIMIT: usize = 25;
pub(super) const MAX_LIMIT: usize = 100;
/// The fields of a test that only its detail has are all but these.
const OVERVIEW: [&str; 10] = [
    "id",
    "name",
    "website_url",
    "test_type",
    "check_rate",
    "contact_groups",
    "paused",
    "status",
    "tags",
    "uptime",
];

impl Account {
    pub(super) fn overview(&self, test: &Test, nouptime: bool) -> Value {
        let keep =
            |name: &str| OVERVIEW.contains(&name) && (name != "uptime" || (self.rules.uptime && !nouptime));
        let fields = test.row.as_object().into_iter().flatten().filter(|(name, _)| keep(name));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(super) fn overviews(&self, request: &Request) -> Result<Reply, Reply> {
        let page = number(request, "page", 1, 1..=usize::MAX)?;
        let limit = self.limit(request)?;
        let fits = |test: &&Test| request.param("status").is_none_or(|status| test.row["status"] == status);
        let all: Vec<&Test> = self.tests.iter().filter(fits).collect();
        let nouptime = request.param("nouptime").is_some();
        let rows = all.iter().skip((page - 1).saturating_mul(limit)).take(limit);
        let rows: Vec<Value> = rows.map(|test| self.overview(test, nouptime)).collect();
        let pages = match self.rules.metadata {
            Metadata::Full => all.len().div_ceil(limit),
            Metadata::ZeroPages => 0,
            Metadata::Missing => return Ok(Reply::json(&json!({"data": rows}))),
        };
        Ok(Reply::json(&json!({"data": rows, "metadata":
            {"page": page, "per_page": limit, "page_count": pages, "total_count": all.len()}})))
    }

    fn limit(&self, request: &Request) -> Result<usize, Reply> {
        Ok(number(request, "limit", DEFAULT_LIMIT, 1..=MAX_LIMIT)?.min(self.rules.page_cap))
    }

    pub(super) fn list_rows(&self, test: &Test, list: List) -> Vec<Value> {
        let mut rows = test.lists[list as usize].clone();
        if list == List::Alerts && self.rules.own_alert_ids {
            for row in &mut rows {
                row["id"] =
                    json!(format!("{}-{}", test.id, row["triggered_at"].as_str().unwrap_or_default()));
            }
        }
        rows
    }

    pub(super) fn children(&self, request: &Request, test: &Test, list: List) -> Result<Reply, Reply> {
        let limit = self.limit(request)?;
        let (before, after) = (bound(request, "before")?, bound(request, "after")?);
        let slack = i64::from(self.rules.bounds_inclusive);
        let within = |row: &Value| {
            let second = second_of(row);
            before.is_none_or(|before| second < before + slack)
                && after.is_none_or(|after| second > after - slack)
        };
        let rows: Vec<Value> = self.list_rows(test, list).into_iter().filter(within).collect();
        let page = &rows[..page_end(&rows, limit)];
        let here = format!("{}{}", self.root, request.path);
        let mut links = json!({"self": format!("{here}?limit={limit}")});
        let last = page.last().map(second_of);
        match (&self.rules.next, last.filter(|_| page.len() < rows.len())) {
            (NextLink::NullAtEnd, None) => links["next"] = Value::Null,
            (_, None) => {}
            (NextLink::Itself, Some(_)) => {
                let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
                links["next"] = json!(format!("{here}?limit={limit}{before}"));
            }
            (NextLink::On(origin), Some(last)) => {
                links["next"] = json!(format!("{origin}{}?before={last}&limit={limit}", request.path));
            }
            (_, Some(last)) => links["next"] = json!(format!("{here}?before={last}&limit={limit}")),
        }
        Ok(Reply::json(&json!({"data": page, "links": links, "metadata": {}})))
    }
}

/// Where a page ends: before rows of one second that would not all fit, because a link by the second could not
/// reach the rest. Such a page is shorter than asked and yet not the last.
fn page_end(rows: &[Value], limit: usize) -> usize {
    if rows.len() <= limit {
        return rows.len();
    }
    let split = second_of(&rows[limit]);
    let whole = rows[..limit].iter().rposition(|row| second_of(row) != split);
    whole.map_or(limit, |last| last + 1)
}

fn second_of(row: &Value) -> i64 {
    let text = row.get("created_at").or_else(|| row.get("triggered_at")).and_then(Value::as_str);
    text.map_or(0, |text| text.parse::<Timestamp>().unwrap_or_default().as_second())
}

fn bound(request: &Request, name: &str) -> Result<Option<i64>, Reply> {
    let wrong = || bad_parameter(name, &format!("{name} must be a UNIX timestamp"));
    let read = |text: &str| text.parse::<u32>().map(i64::from).map_err(|_| wrong());
    request.param(name).map(read).transpose()
}

fn number(
    request: &Request,
    name: &str,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, Reply> {
    let Some(text) = request.param(name) else { return Ok(default) };
    let known = text.parse().ok().filter(|number| range.contains(number));
    known.ok_or_else(|| {
        bad_parameter(name, &format!("{name} must be between {} and {}", range.start(), range.end()))
    })
}
