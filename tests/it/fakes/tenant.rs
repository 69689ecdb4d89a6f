//! A Qlik Cloud tenant: its one banner, its tokens, and the record of what a user would have seen.
//!
//! Start at [`Tenant::start`]; [`Tenant::seen`] is the judge of most stories, [`Tenant::assert_well_behaved`] of all.
//! What the documentation leaves open is a field of [`Rules`].

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::clock::millis;
use super::draw::hex32;
use super::seen::{Sight, timeline};
use super::{Clock, Fake, Reply, Request, Service};

/// Where the banner is read.
pub(crate) const READ: &str = "GET /api/v1/banners";
/// Where it is written.
pub(crate) const WRITE: &str = "POST /api/v1/banners/actions/upsert";
/// Where tokens are made.
pub(crate) const TOKEN: &str = "POST /oauth/token";
/// Where a caller learns who they are.
pub(crate) const ME: &str = "GET /api/v1/users/me";
/// The key of an administrator of the fake tenant. Keys that begin with it are others of that administrator's.
pub(crate) const API_KEY: &str = "fake-api-key";
/// The fake tenant's OAuth client.
pub(crate) const CLIENT_ID: &str = "fake-client";
/// Its secret.
pub(crate) const CLIENT_SECRET: &str = "fake-client-secret";
/// The documented life of a token.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(6);
/// The documented length of a message, in characters.
const MESSAGE_CHARS: usize = 255;
const KINDS: [&str; 4] = ["info", "warning", "error", "resolved"];

/// A running tenant.
pub(crate) type Tenant = Fake<State>;

/// The banner as the API spells it, without what the tenant adds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Banner {
    /// `info`, `warning`, `error` or `resolved`.
    pub(crate) kind: String,
    /// Whether it shows at all.
    pub(crate) enabled: bool,
    /// The text.
    pub(crate) message: String,
    /// First moment at which it shows.
    pub(crate) start: Timestamp,
    /// Last moment at which it shows.
    pub(crate) end: Timestamp,
    /// Whether the link shows; its target; its text.
    pub(crate) link: (bool, Option<String>, Option<String>),
}

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Author {
    /// Whoever calls the API.
    Program,
    /// An administrator in the console.
    Person,
}

/// One change of the tenant's banner.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// When, by the tenant's clock.
    pub(crate) at: Timestamp,
    /// By whom.
    pub(crate) author: Author,
    /// The body as sent; null for a person.
    pub(crate) body: Value,
    /// What the tenant stored.
    pub(crate) banner: Banner,
}

/// What the documentation leaves open, and a test may therefore turn either way.
pub(crate) struct Rules {
    /// A longer message gets 400. On.
    pub(crate) limits_message: bool,
    /// The status of a write that was accepted. 201.
    pub(crate) accepted: u16,
    /// Applied to what is stored: [`trims_message`], say.
    pub(crate) normalises: fn(&mut Banner),
    /// Times come back without milliseconds.
    pub(crate) whole_seconds: bool,
    /// How many reads to come still show the banner before the last write.
    pub(crate) stale_reads: usize,
    /// The life of tokens to come.
    pub(crate) token_life: SignedDuration,
    /// How far the tenant's clock is ahead of the test's, in its dates too.
    pub(crate) ahead: SignedDuration,
    /// Links that get 400 while they are shown. None.
    pub(crate) refuses_link: fn(&str) -> bool,
}

/// The state of a tenant.
pub(crate) struct State {
    /// See [`Rules`].
    pub(crate) rules: Rules,
    clock: Clock,
    writes: Vec<Write>,
    tokens: Vec<(String, Timestamp)>,
    tokens_made: u64,
    faults: Vec<String>,
}

impl Tenant {
    /// A tenant without any banner yet.
    pub(crate) fn start() -> Tenant {
        Tenant::start_at(&Clock::system())
    }

    /// The same with a clock of the test's own.
    pub(crate) fn start_at(clock: &Clock) -> Tenant {
        let rules = Rules {
            limits_message: true,
            accepted: 201,
            normalises: |_| {},
            whole_seconds: false,
            stale_reads: 0,
            token_life: TOKEN_LIFE,
            ahead: SignedDuration::ZERO,
            refuses_link: |_| false,
        };
        let (writes, tokens, faults) = (Vec::new(), Vec::new(), Vec::new());
        Fake::serve(State { rules, clock: clock.clone(), writes, tokens, tokens_made: 0, faults })
    }

    /// What was written through the API and accepted, in order.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.look(|state| state.writes.iter().filter(|one| one.author == Author::Program).cloned().collect())
    }

    /// Every change of the banner, by whomever, in order.
    pub(crate) fn history(&self) -> Vec<Write> {
        self.look(|state| state.writes.clone())
    }

    /// The banner as stored, shown or not.
    pub(crate) fn banner(&self) -> Option<Banner> {
        self.look(|state| state.writes.last().map(|write| write.banner.clone()))
    }

    /// The banner that a user sees at this moment of the tenant's clock.
    pub(crate) fn visible(&self) -> Option<Banner> {
        self.look(|state| {
            state.writes.last().map(|write| &write.banner).filter(|one| one.shows_at(state.now())).cloned()
        })
    }

    /// What users saw from the first write until now: each sight lasts until the next begins. A write begins a
    /// new sight even if it shows the same, because it brings back a banner that a user had dismissed.
    pub(crate) fn seen(&self) -> Vec<Sight> {
        self.look(|state| timeline(&state.writes, state.now()))
    }

    /// How many times users had a banner put before them.
    pub(crate) fn appearances(&self) -> usize {
        self.seen().iter().filter(|sight| sight.banner.is_some()).count()
    }

    /// An administrator sets a banner in the console.
    pub(crate) fn person_sets(&self, banner: Banner) {
        self.change(|state| state.set_by_person(banner));
    }

    /// An administrator switches the banner off.
    pub(crate) fn person_disables(&self) {
        let banner = self.banner().expect("there is no banner to disable");
        self.person_sets(Banner { enabled: false, ..banner });
    }

    /// Every token made so far stops working.
    pub(crate) fn invalidate_tokens(&self) {
        self.change(|state| state.tokens.iter_mut().for_each(|(_, ends)| *ends = Timestamp::MIN));
    }

    /// How many tokens were made.
    pub(crate) fn tokens_made(&self) -> u64 {
        self.look(|state| state.tokens_made)
    }

    /// Panics if a request went anywhere but to the banner and its token, carried a bearer that was never valid,
    /// or a body with other than the documented fields. Requests with scripted answers are judged too.
    pub(crate) fn assert_well_behaved(&self) {
        let mut faults = self.look(|state| state.faults.clone());
        for request in self.requests() {
            let call = format!("{} {}", request.method, request.path);
            let known = self.look(|state| state.knows(request.bearer()));
            if ![READ, WRITE, TOKEN, ME].contains(&call.as_str()) || !request.query.is_empty() {
                faults.push(format!("a path that is not the banner's: {request}"));
            } else if call != TOKEN && !known {
                faults.push(format!("no bearer, or a wrong one: {request}"));
            }
        }
        assert!(faults.is_empty(), "{faults:#?}\n{}", self.dump());
    }
}

impl Banner {
    /// An enabled banner without a link, for what a person sets.
    pub(crate) fn of(kind: &str, message: &str, start: Timestamp, end: Timestamp) -> Banner {
        let (kind, message) = (kind.to_string(), message.to_string());
        Banner { kind, enabled: true, message, start, end, link: (false, None, None) }
    }

    /// Whether users see it at this moment.
    pub(crate) fn shows_at(&self, moment: Timestamp) -> bool {
        self.enabled && self.start <= moment && moment <= self.end
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.enabled { "on" } else { "off" };
        write!(out, "{} ({state}, {} to {}): {}", self.kind, self.start, self.end, self.message)
    }
}

impl Service for State {
    fn answer(&mut self, request: &Request) -> Reply {
        let reply = match format!("{} {}", request.method, request.path).as_str() {
            TOKEN => self.token(request),
            READ | WRITE | ME if !self.accepts(request.bearer()) => {
                refusal(401, "Unauthorized", "Authentication required.")
            }
            READ => self.read(),
            WRITE => self.upsert(request),
            ME => Reply::json(&json!({"id": Author::Program.user(), "name": "bot"})),
            _ => refusal(404, "Not Found", "No such resource."),
        };
        if self.rules.ahead.is_zero() {
            return reply;
        }
        let date = self.now().to_zoned(jiff::tz::TimeZone::UTC);
        reply.header("date", &date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    fn describe(&self) -> String {
        let lines =
            self.writes.iter().map(|one| format!("\n    {} {:?}: {}", one.at, one.author, one.banner));
        format!("{} tokens made, {} writes{}", self.tokens_made, self.writes.len(), lines.collect::<String>())
    }
}

impl State {
    /// An administrator sets a banner in the console.
    pub(crate) fn set_by_person(&mut self, banner: Banner) {
        self.store(Author::Person, Value::Null, banner);
    }

    fn now(&self) -> Timestamp {
        self.clock.now() + self.rules.ahead
    }

    fn knows(&self, bearer: Option<&str>) -> bool {
        bearer
            .is_some_and(|one| one.starts_with(API_KEY) || self.tokens.iter().any(|(token, _)| token == one))
    }

    fn accepts(&self, bearer: Option<&str>) -> bool {
        let now = self.clock.now();
        let alive = |one: &str| self.tokens.iter().any(|(token, ends)| token == one && now < *ends);
        bearer.is_some_and(|one| one.starts_with(API_KEY) || alive(one))
    }

    fn token(&mut self, request: &Request) -> Reply {
        let Some(body) = request.json() else {
            return refusal(400, "Bad Request", "The body is not JSON.");
        };
        if body["grant_type"] != "client_credentials" || !body["client_id"].is_string() {
            return refusal(400, "Bad Request", "grant_type or client_id is missing or wrong.");
        }
        if body["client_id"] != CLIENT_ID || body["client_secret"] != CLIENT_SECRET {
            return refusal(401, "Unauthorized", "Unknown client or wrong secret.");
        }
        self.tokens_made += 1;
        let token = format!("fake-token-{}", self.tokens_made);
        let ends = self.clock.now() + self.rules.token_life;
        self.tokens.push((token.clone(), ends));
        Reply::json(&json!({"access_token": token, "token_type": "bearer", "expires_at": millis(ends),
            "expires_in": self.rules.token_life.as_secs()}))
    }

    fn read(&mut self) -> Reply {
        let stale = usize::from(self.rules.stale_reads > 0);
        self.rules.stale_reads -= stale;
        match self.writes.len().checked_sub(1 + stale) {
            Some(index) => Reply::json(&self.object(index)),
            None => refusal(404, "Not Found", "There is no banner."),
        }
    }

    fn upsert(&mut self, request: &Request) -> Reply {
        let Some(body) = request.json() else {
            return refusal(400, "Bad Request", "The body is not JSON.");
        };
        match parse(&body, &self.rules, &mut self.faults) {
            Ok(banner) => {
                self.store(Author::Program, body, banner);
                Reply::json(&self.object(self.writes.len() - 1)).with_status(self.rules.accepted)
            }
            Err(details) => bad_fields(&details),
        }
    }

    fn store(&mut self, author: Author, body: Value, mut banner: Banner) {
        if author == Author::Program {
            (self.rules.normalises)(&mut banner);
        }
        self.writes.push(Write { at: self.now(), author, body, banner });
    }

    /// The banner as it was after a write, as the API shows it.
    fn object(&self, index: usize) -> Value {
        let (first, last) = (&self.writes[0], &self.writes[index]);
        let time = |moment: Timestamp| match self.rules.whole_seconds {
            true => format!("{moment:.0}"),
            false => millis(moment),
        };
        let banner = &last.banner;
        let mut object = json!({"id": "6634a1b2c3d4e5f601234567", "tenantId": hex32(0, "tenant", 0),
            "type": banner.kind, "enabled": banner.enabled, "message": banner.message,
            "startTime": time(banner.start), "endTime": time(banner.end), "linkEnabled": banner.link.0,
            "createdAt": millis(first.at), "createdBy": first.author.user(),
            "updatedAt": millis(last.at), "updatedBy": last.author.user()});
        for (name, value) in [("linkUrl", &banner.link.1), ("linkLabel", &banner.link.2)] {
            if let Some(value) = value {
                object[name] = json!(value);
            }
        }
        object
    }
}

impl Author {
    fn user(self) -> &'static str {
        match self {
            Author::Program => "605a18af5ab08cc3e0cf0001",
            Author::Person => "605a18af5ab08cc3e0cf0002",
        }
    }
}

/// For [`Rules::normalises`]: surrounding blanks of the message go.
pub(crate) fn trims_message(banner: &mut Banner) {
    banner.message = banner.message.trim().to_string();
}

/// An error in the tenant's envelope: `tenant.next_on(WRITE, refusal(403, "Forbidden", "Missing role TenantAdmin."))`.
pub(crate) fn refusal(status: u16, title: &str, detail: &str) -> Reply {
    let error = json!({"code": format!("HTTP-{status}"), "title": title, "detail": detail, "status": status});
    Reply::json(&json!({"errors": [error], "traceId": hex32(0, detail, 0)})).with_status(status)
}

/// The tenant's 429 with its header and its body, which lacks status and trace.
pub(crate) fn rate_limited(seconds: u32) -> Reply {
    let detail = format!("You need to wait {seconds} seconds until limit is lifted.");
    let error = json!({"code": "HTTP-429", "title": "API rate limit reached.", "detail": detail});
    Reply::json(&json!({"errors": [error]})).with_status(429).header("retry-after", &seconds.to_string())
}

fn bad_fields(details: &[String]) -> Reply {
    let error = |detail: &String| json!({"code": "HTTP-400", "title": "Bad Request", "detail": detail, "status": 400});
    let errors: Vec<Value> = details.iter().map(error).collect();
    Reply::json(&json!({"errors": errors, "traceId": hex32(0, &details[0], 0)})).with_status(400)
}

/// Reads the body of an upsert; what the documentation forbids goes to the error, what it does not know to `faults`.
fn parse(body: &Value, rules: &Rules, faults: &mut Vec<String>) -> Result<Banner, Vec<String>> {
    let known = ["type", "enabled", "message", "startTime", "endTime", "linkEnabled", "linkUrl", "linkLabel"];
    let names = body.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let unknown = names.iter().filter(|name| !known.contains(&name.as_str()));
    faults.extend(unknown.map(|name| format!("the API knows no field {name}")));

    let mut wrong = Vec::new();
    let mut text = |name: &str| {
        body[name].as_str().map(String::from).ok_or_else(|| wrong.push(format!("{name} is required")))
    };
    let (kind, message) = (text("type"), text("message"));
    let (start, end) = (text("startTime"), text("endTime"));
    let mut flag = |name: &str| body[name].as_bool().ok_or_else(|| wrong.push(format!("{name} is required")));
    let (enabled, link_enabled) = (flag("enabled"), flag("linkEnabled"));
    if kind.as_ref().is_ok_and(|kind| !KINDS.contains(&kind.as_str())) {
        wrong.push("type must be one of info, warning, error, resolved".into());
    }
    if rules.limits_message && message.as_ref().is_ok_and(|one| one.chars().count() > MESSAGE_CHARS) {
        wrong.push(format!("message must not be longer than {MESSAGE_CHARS} characters"));
    }
    let mut time = |name: &str, text: Result<String, ()>| {
        let parsed = text.and_then(|text| text.parse::<Timestamp>().map_err(|_| ()));
        parsed.map_err(|()| wrong.push(format!("{name} must be a date-time")))
    };
    let (start, end) = (time("startTime", start), time("endTime", end));
    if start.is_ok() && end.is_ok() && end <= start {
        wrong.push("endTime must be after startTime".into());
    }
    let link = |name: &str| body[name].as_str().map(String::from);
    let (url, label) = (link("linkUrl"), link("linkLabel"));
    if url.as_ref().is_some_and(|url| url::Url::parse(url).is_err()) {
        wrong.push("linkUrl must be a URI".into());
    }
    if link_enabled == Ok(true) && url.as_deref().is_some_and(rules.refuses_link) {
        wrong.push("linkUrl is not allowed".into());
    }
    match (kind, enabled, message, start, end, link_enabled) {
        (Ok(kind), Ok(enabled), Ok(message), Ok(start), Ok(end), Ok(shows)) if wrong.is_empty() => {
            Ok(Banner { kind, enabled, message, start, end, link: (shows, url, label) })
        }
        _ => Err(wrong),
    }
}
