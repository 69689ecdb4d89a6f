//! A Qlik Cloud tenant: its one banner, its data files and reloads, its access tokens, and the record of all writes.
//!
//! Start at [`Tenant::open`]. What the documentation leaves open is a field of [`Rules`].

use std::fmt;
use std::io;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::clock::millis;
use crate::draw::hex32;
use crate::{Clock, Reply, Request, Service, StandIn};

#[cfg(feature = "testing")]
mod banner_views;
pub mod data;
#[cfg(feature = "testing")]
mod testing;
mod upsert;

#[cfg(feature = "testing")]
pub use banner_views::BannerView;
#[cfg(feature = "testing")]
pub use testing::{rate_limited, trims_message};

/// Where the banner is read.
pub const READ: &str = "GET /api/v1/banners";
/// Where it is written.
pub const WRITE: &str = "POST /api/v1/banners/actions/upsert";
/// Where tokens are made.
pub const TOKEN: &str = "POST /oauth/token";
/// Where a caller learns who they are.
pub const ME: &str = "GET /api/v1/users/me";
/// The key of the tenant's administrator. Keys that begin with it are others of that administrator's.
pub const API_KEY: &str = "stand-in-api-key";
/// The tenant's OAuth client.
pub const CLIENT_ID: &str = "stand-in-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "stand-in-client-secret";
/// The documented life of a token.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(6);
/// Writes that a demo keeps.
const STORED_WRITES: usize = 16;
/// The documented length of a message, in characters.
const MESSAGE_CHARS: usize = 255;
const KINDS: [&str; 4] = ["info", "warning", "error", "resolved"];

/// A running tenant.
pub type Tenant = StandIn<State>;

/// The banner as the API spells it, without what the tenant adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Banner {
    /// `info`, `warning`, `error` or `resolved`.
    pub kind: String,
    /// Whether it shows at all.
    pub enabled: bool,
    /// The text.
    pub message: String,
    /// First moment at which it shows.
    pub start: Timestamp,
    /// Last moment at which it shows.
    pub end: Timestamp,
    /// Whether the link shows; its target; its text.
    pub link: (bool, Option<String>, Option<String>),
}

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Author {
    /// A caller of the API.
    Program,
    /// An administrator in the console.
    Person,
}

/// One change of the tenant's banner.
#[derive(Debug, Clone)]
pub struct Write {
    /// When, by the tenant's clock.
    pub at: Timestamp,
    /// By whom.
    pub author: Author,
    /// The body as sent; null for a person.
    pub body: Value,
    /// What the tenant stored.
    pub banner: Banner,
}

/// Undocumented behaviour that a test can choose.
pub struct Rules {
    /// A longer message gets 400. On.
    pub limits_message: bool,
    /// The status of a write that was accepted. 201.
    pub accepted: u16,
    /// Applied to the stored banner, such as [`trims_message`].
    pub normalises: fn(&mut Banner),
    /// Times come back without milliseconds.
    pub whole_seconds: bool,
    /// How many further reads return the banner before the last write.
    pub stale_reads: usize,
    /// The lifetime of new tokens.
    pub token_life: SignedDuration,
    /// How far the tenant's clock is ahead of the test's, in its dates too.
    pub ahead: SignedDuration,
    /// Links that get 400 while they are shown. None.
    pub refuses_link: fn(&str) -> bool,
}

/// The state of a tenant.
pub struct State {
    /// See [`Rules`].
    pub rules: Rules,
    /// Its data files and reloads.
    pub data: data::DataModel,
    clock: Clock,
    writes: Vec<Write>,
    tokens: Vec<(String, Timestamp)>,
    tokens_made: u64,
    faults: Vec<String>,
}

impl Tenant {
    /// A tenant without any banner yet.
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(clock: &Clock) -> io::Result<Tenant> {
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
        StandIn::serve(State {
            rules,
            data: data::DataModel::default(),
            clock: clock.clone(),
            writes,
            tokens,
            tokens_made: 0,
            faults,
        })
    }

    /// The banner as stored, visible or not.
    pub fn banner(&self) -> Option<Banner> {
        self.read(|state| state.writes.last().map(|write| write.banner.clone()))
    }

    /// An administrator sets a banner in the console.
    pub fn person_sets(&self, banner: Banner) {
        self.change(|state| state.set_by_person(banner));
    }

    /// An administrator ends the banner at the present moment, if there is one: it is off and over.
    pub fn person_ends(&self) {
        if let Some(banner) = self.banner() {
            let end = self.read(State::now);
            self.person_sets(Banner { enabled: false, end, ..banner });
        }
    }

    /// An administrator switches the banner off, if there is one.
    pub fn person_disables(&self) {
        if let Some(banner) = self.banner() {
            self.person_sets(Banner { enabled: false, ..banner });
        }
    }
}

impl Banner {
    /// An enabled banner without a link, for what a person sets.
    pub fn of(kind: &str, message: &str, start: Timestamp, end: Timestamp) -> Banner {
        let (kind, message) = (kind.to_string(), message.to_string());
        Banner { kind, enabled: true, message, start, end, link: (false, None, None) }
    }

    /// Whether users see it at this moment.
    pub fn shows_at(&self, moment: Timestamp) -> bool {
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
            _ => self.data(request),
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
    pub fn set_by_person(&mut self, banner: Banner) {
        self.store(Author::Person, Value::Null, banner);
    }

    fn now(&self) -> Timestamp {
        self.clock.now() + self.rules.ahead
    }

    fn accepts(&self, bearer: Option<&str>) -> bool {
        let now = self.clock.now();
        let alive = |one: &str| self.tokens.iter().any(|(token, ends)| token == one && now < *ends);
        bearer.is_some_and(|one| one.starts_with(API_KEY) || alive(one))
    }

    fn data(&mut self, request: &Request) -> Reply {
        let (now, allowed) = (self.now(), self.accepts(request.bearer()));
        let nowhere = || refusal(404, "Not Found", "No such resource.");
        if !allowed && request.path.starts_with("/api/v1/") {
            return refusal(401, "Unauthorized", "Authentication required.");
        }
        self.data.answer(request, now).unwrap_or_else(nowhere)
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
        let token = format!("stand-in-token-{}", self.tokens_made);
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
        match upsert::parse(&body, &self.rules, &mut self.faults) {
            Ok(banner) => {
                self.store(Author::Program, body, banner);
                Reply::json(&self.object(self.writes.len() - 1)).with_status(self.rules.accepted)
            }
            Err(details) => upsert::bad_fields(&details),
        }
    }

    fn store(&mut self, author: Author, body: Value, mut banner: Banner) {
        if author == Author::Program {
            (self.rules.normalises)(&mut banner);
        }
        self.writes.push(Write { at: self.now(), author, body, banner });
        // A demo runs for days; it needs the first write and the newest ones.
        if !cfg!(feature = "testing") && self.writes.len() > STORED_WRITES {
            self.writes.remove(1);
        }
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

/// An error in the tenant's envelope: `tenant.next_on(WRITE, refusal(403, "Forbidden", "Missing role TenantAdmin."))`.
pub fn refusal(status: u16, title: &str, detail: &str) -> Reply {
    let error = json!({"code": format!("HTTP-{status}"), "title": title, "detail": detail, "status": status});
    Reply::json(&json!({"errors": [error], "traceId": hex32(0, detail, 0)})).with_status(status)
}
