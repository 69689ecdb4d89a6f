//! People.ai's public activities API over a synthetic organisation.
//!
//! Start at [`PeopleAi::start`]. An activity is kept small and rendered when asked for, so that a hundred thousand
//! fit. Changes go through `people.change(|org| org.touch(3))` or between two pages through [`Fake::after`]; what
//! a table should hold is [`PeopleAi::source_rows`]. Reading by CRM id is not modelled.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};

use super::draw::{below, hex32, pick};
use super::limiter::Limiter;
use super::{Clock, Fake, Reply, Request, Service};

/// The API key.
pub(crate) const API_KEY: &str = "fake-people-key";
/// Its secret.
pub(crate) const API_SECRET: &str = "fake-people-secret";
/// Where tokens are made.
pub(crate) const TOKEN: &str = "POST /auth/v1/tokens";
/// Every list of activities or participants.
pub(crate) const LISTS: &str = "GET /v0/public/activities";
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 100_000;
const DEFAULT_DAYS: i64 = 30;
const MAX_YEARS: i64 = 2;
const KINDS: [&str; 3] = ["EMAIL", "MEETING", "CALL"];
const KNOWN: [&str; 13] = [
    "limit",
    "offset",
    "from",
    "to",
    "last-n-days",
    "time-zone",
    "ingested-from",
    "ingested-to",
    "account-id",
    "opportunity-id",
    "internal-external",
    "include-deleted",
    "uid",
];

/// A running API: token and lists on one port.
pub(crate) type PeopleAi = Fake<Organisation>;

/// What is unknown or may go wrong, and a test may therefore turn either way.
pub(crate) struct Rules {
    /// The life of tokens to come.
    pub(crate) token_life: SignedDuration,
    /// Rows a page has at most, whatever was asked.
    pub(crate) page_cap: usize,
    /// The page comes as a bare array.
    pub(crate) bare_array: bool,
    /// The last day of a range belongs to it.
    pub(crate) to_inclusive: bool,
    /// A range of ingestion lifts the default of the last 30 days.
    pub(crate) ingested_lifts_default: bool,
    /// `opportunity_stage_id` comes as text.
    pub(crate) stage_as_text: bool,
    /// Participants come without their legacy `uid`.
    pub(crate) hides_uid: bool,
    /// Participants of deleted activities are listed, as deleted. They have no `include-deleted`.
    pub(crate) lists_deleted_people: bool,
    /// `meta.message`.
    pub(crate) notice: Option<String>,
    /// A limit that is enforced. None at the start; the documented one is 5 in 1 s.
    pub(crate) limiter: Option<Limiter>,
}

/// The state of the organisation.
pub(crate) struct Organisation {
    /// See [`Rules`].
    pub(crate) rules: Rules,
    clock: Clock,
    seed: u64,
    made: u64,
    activities: Vec<Activity>,
    edits: HashMap<u64, Vec<(String, Option<Value>)>>,
    tokens: Vec<(String, Timestamp)>,
}

#[derive(Clone, Copy)]
struct Activity {
    n: u64,
    happened: Timestamp,
    ingested: Timestamp,
    version: u64,
    deleted: bool,
}

impl PeopleAi {
    /// An organisation with so many activities, spread evenly over so many days before the clock's present moment.
    pub(crate) fn start(seed: u64, activities: u64, days: i64, clock: &Clock) -> PeopleAi {
        let rules = Rules {
            token_life: SignedDuration::from_secs(7200),
            page_cap: MAX_LIMIT,
            bare_array: false,
            to_inclusive: true,
            ingested_lifts_default: false,
            stage_as_text: false,
            hides_uid: false,
            lists_deleted_people: false,
            notice: None,
            limiter: None,
        };
        let (all, edits, tokens, clock) = (Vec::new(), HashMap::new(), Vec::new(), clock.clone());
        let mut org = Organisation { rules, clock, seed, made: 0, activities: all, edits, tokens };
        let span = days * 86_400;
        for n in 0..activities as i64 {
            let age = SignedDuration::from_secs(span - span * (n + 1) / (activities as i64 + 1));
            org.add(org.clock.now() - age);
        }
        Fake::serve(org)
    }

    /// What to configure as the API's base.
    pub(crate) fn base_url(&self) -> String {
        self.url()
    }

    /// What to configure as the token's address.
    pub(crate) fn token_url(&self) -> String {
        self.url() + "/auth/v1/tokens"
    }

    /// The rows a complete sync must find in `activity` or `participants`, as the API spells them. Deleted
    /// activities are not among them.
    pub(crate) fn source_rows(&self, table: &str) -> Vec<Value> {
        self.look(|org| {
            let live = org.activities.iter().filter(|one| !one.deleted);
            match table {
                "activity" => live.map(|one| org.activity(one)).collect(),
                "participants" => live.flat_map(|one| org.participants(one)).collect(),
                other => panic!("People.ai has no table {other}"),
            }
        })
    }

    /// The current token stops working before its time.
    pub(crate) fn invalidate_tokens(&self) {
        self.change(|org| org.tokens.clear());
    }

    /// Panics if anything but reading was attempted, or a query held a name that the API would ignore in silence.
    pub(crate) fn assert_well_behaved(&self) {
        for request in self.requests() {
            let call = format!("{} {}", request.method, request.path);
            assert!(call == TOKEN || request.method == "GET", "not a read: {request}\n{}", self.dump());
            let unknown = request.query.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()));
            assert!(unknown.is_none(), "the API ignores {unknown:?}: {request}");
        }
    }
}

impl Organisation {
    /// Adds an activity at the end; it is ingested now. Returns its number.
    pub(crate) fn add(&mut self, happened: Timestamp) -> u64 {
        let n = self.made;
        self.made += 1;
        // What happened long ago was also ingested long ago, unless the test says otherwise.
        let ingested = happened + SignedDuration::from_secs(65);
        self.activities.push(Activity { n, happened, ingested, version: 0, deleted: false });
        n
    }

    /// Adds an activity of the present moment before all others, so that they move down a row.
    pub(crate) fn add_in_front(&mut self) -> u64 {
        let n = self.add(self.clock.now());
        self.activities.rotate_right(1);
        n
    }

    /// Changes an activity: it is ingested anew at the present moment, and moves to the end.
    pub(crate) fn touch(&mut self, n: u64) {
        let index = self.index(n);
        let mut activity = self.activities.remove(index);
        activity.version += 1;
        activity.ingested = self.clock.now();
        self.activities.push(activity);
    }

    /// Sets a field of an activity to anything, or takes it out; other fields and its place stay.
    pub(crate) fn set(&mut self, n: u64, field: &str, value: Option<Value>) {
        self.edits.entry(n).or_default().push((field.into(), value));
    }

    /// Marks an activity deleted at the present moment, or there again. A deleted one is listed only with
    /// `include-deleted`.
    pub(crate) fn mark(&mut self, n: u64, deleted: bool) {
        self.touch(n);
        let index = self.index(n);
        self.activities[index].deleted = deleted;
    }

    /// Takes an activity out altogether, so that those behind it move up a row.
    pub(crate) fn purge(&mut self, n: u64) {
        let index = self.index(n);
        self.activities.remove(index);
    }

    fn index(&self, n: u64) -> usize {
        self.activities.iter().position(|one| one.n == n).unwrap()
    }

    fn uid(&self, n: u64) -> String {
        hex32(self.seed, "activity", n)
    }

    fn kind(&self, n: u64) -> &'static str {
        pick(&KINDS, self.seed, "kind", n)
    }

    fn account(&self, n: u64) -> u64 {
        81_000 + below(50, self.seed, "account", n)
    }

    fn activity(&self, one: &Activity) -> Value {
        let (n, seed) = (one.n, self.seed);
        let ingested = one.ingested.as_millisecond();
        let stage = below(9, seed, "stage", n);
        let mut row = json!({"uid": self.uid(n), "crm_id": format!("00U{n:015}"), "activity_type": self.kind(n),
            "sub_type": null, "subject": format!("Renewal plan {n}, version {}", one.version),
            "activity_timestamp": one.happened.as_millisecond(), "created_at": one.happened.as_millisecond() + 1,
            "ingested_at": ingested, "modified_at": ingested + 7, "direction": "OUTBOUND",
            "duration": below(90, seed, "duration", n), "original_duration": 0, "external": !n.is_multiple_of(3),
            "is_partner": null, "with_partner": false, "is_blast": false, "is_cold": n.is_multiple_of(5),
            "matched_to": "opportunity", "number_of_participants": self.participant_count(n),
            "account_id": self.account(n), "account_crm_id": "0015e00000AAAAAAA1",
            "opportunity_id": 99_000 + n % 7, "opportunity_crm_id": "0065e00000BBBBBBB2",
            "opportunity_ids": [99_000 + n % 7], "opportunity_crm_ids": ["0065e00000BBBBBBB2"],
            "opportunity_stage_id": if self.rules.stage_as_text { json!(stage.to_string()) } else { json!(stage) },
            "lead_id": null, "lead_crm_id": null, "user_id": 9_007_199_254_740_993_u64 + n,
            "source_id": format!("<{n}@mail.examplify.test>"), "email_reply_time": null,
            "in_reply_to_source_id": null, "followed_meeting_source_id": null, "deleted": one.deleted});
        let object = row.as_object_mut().unwrap();
        if self.kind(n) == "CALL" {
            object.insert("outbound_phone_number".into(), json!("+15550100"));
        }
        // Which fields come varies by record.
        if n % 13 == 6 {
            object.remove("is_partner");
            object.remove("sub_type");
        }
        for (field, value) in self.edits.get(&n).into_iter().flatten() {
            match value {
                Some(value) => object.insert(field.clone(), value.clone()),
                None => object.remove(field),
            };
        }
        row
    }

    fn participant_count(&self, n: u64) -> u64 {
        1 + below(3, self.seed, "people", n)
    }

    /// Every fifth is known by telephone only, and of these every other has not even a number.
    fn participants(&self, one: &Activity) -> Vec<Value> {
        let row = |k: u64| {
            let (id, place) = (one.n * 10 + k, one.n * 3 + k);
            let person = below(500, self.seed, "person", id);
            let mut row = json!({"id": id, "activity_uid": self.uid(one.n), "uid": self.uid(one.n),
                "name": format!("Person {person}"), "email": format!("p{person}.{k}@examplify.test"),
                "phone_number": null, "job_title": "CTO", "seniority": "C-Level", "department": null,
                "subject": format!("Renewal plan {}, version {}", one.n, one.version), "status": "MATCHED",
                "external": true, "original": true, "is_originator": k == 0, "deleted": one.deleted,
                "account_id": self.account(one.n), "activity_timestamp": one.happened.as_millisecond(),
                "ingested_at": one.ingested.as_millisecond(), "duration": 0, "user_id": null});
            let object = row.as_object_mut().unwrap();
            if self.rules.hides_uid {
                object.remove("uid");
            }
            if place % 5 == 1 {
                object.insert("email".into(), Value::Null);
                object.insert("phone_number".into(), json!(format!("+1555{:07}", id)));
                object.insert("name".into(), Value::Null);
            }
            if place % 10 == 1 {
                object.remove("email");
                object.remove("phone_number");
            }
            row
        };
        (0..self.participant_count(one.n)).map(row).collect()
    }
}

impl Service for Organisation {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.is(&format!("{TOKEN} ")) {
            return self.token(request);
        }
        let now = self.clock.now();
        if !self.tokens.iter().any(|(token, ends)| request.bearer() == Some(token) && now < *ends) {
            return self.refuse(request, 401, "Invalid or expired token");
        }
        if self.rules.limiter.as_mut().is_some_and(|limiter| limiter.admit(now).is_err()) {
            return self.refuse(request, 429, "Too many requests");
        }
        match request.path.strip_prefix("/v0/public/activities").filter(|_| request.method == "GET") {
            Some("") => self.page(request, None, false),
            Some("/participants") => self.page(request, None, true),
            Some("/email") => self.page(request, Some("EMAIL"), false),
            Some("/call") => self.page(request, Some("CALL"), false),
            Some("/meeting") => self.page(request, Some("MEETING"), false),
            _ => self.refuse(request, 404, "Not found"),
        }
    }

    fn describe(&self) -> String {
        format!("{} activities, {} made, {} tokens", self.activities.len(), self.made, self.tokens.len())
    }
}

impl Organisation {
    fn token(&mut self, request: &Request) -> Reply {
        let form = request.form().unwrap_or_default();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if field("grant_type") != Some("client_credentials") {
            return self.refuse(request, 400, "grant_type is missing or not form encoded");
        }
        if field("client_id") != Some(API_KEY) || field("client_secret") != Some(API_SECRET) {
            return self.refuse(request, 401, "Invalid credentials");
        }
        let now = self.clock.now();
        self.tokens.retain(|(_, ends)| now < *ends);
        if self.tokens.is_empty() {
            let token =
                format!("fake.{}.{}", self.made, hex32(self.seed, "token", now.as_nanosecond() as u64));
            self.tokens.push((token, now + self.rules.token_life));
        }
        let (token, ends) = &self.tokens[0];
        Reply::json(&json!({"access_token": token, "token_type": "bearer",
            "expires_in": ends.duration_since(now).as_secs(),
            "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()}))
    }

    fn page(&self, request: &Request, kind: Option<&str>, participants: bool) -> Reply {
        match self.select(request, kind, participants) {
            Err(message) => self.refuse(request, 400, &message),
            Ok((rows, limit, offset)) => {
                let page: Vec<Value> =
                    rows.iter().skip(offset).take(limit).map(|row| row.render(self)).collect();
                if self.rules.bare_array {
                    return Reply::json(&json!(page));
                }
                let meta = json!({"limit": limit, "offset": offset, "total": rows.len(), "message": self.rules.notice});
                Reply::json(&json!({"data": page, "meta": meta}))
            }
        }
    }

    fn select(
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

    fn refuse(&self, request: &Request, status: u16, message: &str) -> Reply {
        failure(status, message, &request.path, self.clock.now())
    }
}

/// An error in the API's envelope, for scripts; 429 has no header that says how long.
pub(crate) fn failure(status: u16, message: &str, path: &str, now: Timestamp) -> Reply {
    let timestamp = now.strftime("%d-%m-%Y %H:%M:%S").to_string();
    let id = hex32(u64::from(status), path, now.as_nanosecond() as u64);
    let body = json!({"code": status, "id": id, "message": message, "path": path, "timestamp": timestamp});
    Reply::json(&body).with_status(status)
}

struct Row<'a> {
    one: &'a Activity,
    person: Option<usize>,
}

impl Row<'_> {
    fn render(&self, org: &Organisation) -> Value {
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
