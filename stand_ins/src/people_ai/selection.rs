//! Which rows a request asks for: limit and offset, ranges of days, filters.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::Value;

use super::{Activity, Organisation};
use crate::Request;

const DEFAULT_LIMIT: usize = 1000;
pub(super) const MAX_LIMIT: usize = 100_000;
const DEFAULT_DAYS: i64 = 30;
const MAX_YEARS: i64 = 2;

impl Organisation {
    pub(super) fn select(
        &self,
        request: &Request,
        kind: Option<&str>,
        participants: bool,
    ) -> Result<(Vec<Row<'_>>, usize, usize), String> {
        let limit = whole(request, "limit")?.map_or(DEFAULT_LIMIT, |limit| limit as usize);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(format!("limit must be between 1 and {MAX_LIMIT}"));
        }
        let offset = whole(request, "offset")?.unwrap_or(0) as usize;
        let filter = self.filter(request)?;
        let deleted = match participants {
            true => self.rules.lists_deleted_people,
            false => request.param("include-deleted") == Some("true"),
        };
        let fits = |one: &&Activity| {
            kind.is_none_or(|kind| self.kind(one.n) == kind)
                && (deleted || !one.deleted)
                && filter.fits(self, one)
        };
        let mut rows = Vec::new();
        for one in self.activities.iter().filter(fits) {
            let count = if participants { self.participant_count(one.n) as usize } else { 1 };
            rows.extend((0..count).map(|k| Row { one, person: participants.then_some(k) }));
        }
        Ok((rows, limit.min(self.rules.page_cap), offset))
    }

    fn filter(&self, request: &Request) -> Result<Filter, String> {
        if let Some(uid) = request.param("uid") {
            return Ok(Filter { uid: Some(uid.into()), ..Filter::default() });
        }
        let ingested = self.range(request, "ingested-from", "ingested-to")?;
        let mut happened = self.range(request, "from", "to")?;
        let lifted = ingested.is_some() && self.rules.ingested_lifts_default;
        if happened.is_none() && !lifted {
            let days = whole(request, "last-n-days")?.unwrap_or(DEFAULT_DAYS);
            happened = Some((self.clock.now() - SignedDuration::from_hours(24 * days), Timestamp::MAX));
        }
        Ok(Filter {
            uid: None,
            happened,
            ingested,
            account: whole(request, "account-id")?,
            opportunity: whole(request, "opportunity-id")?,
            external: match request.param("internal-external") {
                Some("internal") => Some(false),
                Some("external") => Some(true),
                _ => None,
            },
        })
    }

    /// A range of days as its first moment and the first one after it.
    fn range(
        &self,
        request: &Request,
        from: &str,
        to: &str,
    ) -> Result<Option<(Timestamp, Timestamp)>, String> {
        let zone =
            TimeZone::get(request.param("time-zone").unwrap_or("UTC")).map_err(|_| "unknown time-zone")?;
        let day = |name: &str| -> Result<Option<Date>, String> {
            let parse = |text: &str| {
                Date::strptime("%Y-%m-%d", text).map_err(|_| format!("{name} must be YYYY-MM-DD"))
            };
            request.param(name).map(parse).transpose()
        };
        let (first, last) = (day(from)?, day(to)?);
        if first.is_none() && last.is_none() {
            return Ok(None);
        }
        let today = self.clock.now().to_zoned(zone.clone()).date();
        let last = last.unwrap_or(today);
        let first = first.unwrap_or(last - DEFAULT_DAYS.days());
        if first > last || last > first + MAX_YEARS.years() {
            return Err(format!("{from} to {to} must be a range of at most {MAX_YEARS} years"));
        }
        let end = if self.rules.to_inclusive { last + 1.day() } else { last };
        let moment = |date: Date| {
            date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
        };
        Ok(Some((moment(first)?, moment(end)?)))
    }
}

pub(super) struct Row<'a> {
    one: &'a Activity,
    person: Option<usize>,
}

impl Row<'_> {
    pub(super) fn render(&self, org: &Organisation) -> Value {
        match self.person {
            Some(k) => org.participants(self.one).swap_remove(k),
            None => org.activity(self.one),
        }
    }
}

#[derive(Default)]
struct Filter {
    uid: Option<String>,
    happened: Option<(Timestamp, Timestamp)>,
    ingested: Option<(Timestamp, Timestamp)>,
    account: Option<i64>,
    opportunity: Option<i64>,
    external: Option<bool>,
}

impl Filter {
    fn fits(&self, org: &Organisation, one: &Activity) -> bool {
        let within = |range: Option<(Timestamp, Timestamp)>, moment: Timestamp| {
            range.is_none_or(|(first, end)| first <= moment && moment < end)
        };
        self.uid.as_ref().is_none_or(|uid| *uid == org.uid(one.n))
            && within(self.happened, one.happened)
            && within(self.ingested, one.ingested)
            && self.account.is_none_or(|id| id == org.account(one.n) as i64)
            && self.opportunity.is_none_or(|id| id == (99_000 + one.n % 7) as i64)
            && self.external.is_none_or(|external| external != one.n.is_multiple_of(3))
    }
}

fn whole(request: &Request, name: &str) -> Result<Option<i64>, String> {
    let parse =
        |text: &str| text.parse::<u32>().map(i64::from).map_err(|_| format!("{name} must be a number"));
    request.param(name).map(parse).transpose()
}
