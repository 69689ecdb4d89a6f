//! People.ai's public activities API over a synthetic organisation.
//!
//! Start at [`PeopleAi::open`]. An activity is kept small and rendered when asked for, so that a hundred thousand fit.
//! Changes go through `people.change(|org| org.touch(3))` or between two pages through [`StandIn::after`]. Reading by
//! CRM id is not modelled.

use std::collections::HashMap;
use std::io;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::draw::hex32;
use crate::limiter::Limiter;
use crate::{Clock, Reply, Request, Service, StandIn};

mod rows;
mod selection;
#[cfg(feature = "testing")]
mod testing;

use selection::MAX_LIMIT;

/// The API key.
pub const API_KEY: &str = "stand-in-people-key";
/// Its secret.
pub const API_SECRET: &str = "stand-in-people-secret";
/// Where tokens are made.
pub const TOKEN: &str = "POST /auth/v1/tokens";
/// Every list of activities or participants.
pub const LISTS: &str = "GET /v0/public/activities";
/// How long after it happened an activity is ingested.
const INGESTION: SignedDuration = SignedDuration::from_secs(65);

/// A running API: token and lists on one port.
pub type PeopleAi = StandIn<Organisation>;

/// Undocumented behaviour and failures that a test can choose.
pub struct Rules {
    /// The lifetime of new tokens.
    pub token_life: SignedDuration,
    /// The most rows on a page, whatever was requested.
    pub page_cap: usize,
    /// The page comes as a bare array.
    pub bare_array: bool,
    /// The last day of a range belongs to it.
    pub to_inclusive: bool,
    /// A range of ingestion lifts the default of the last 30 days.
    pub ingested_lifts_default: bool,
    /// `opportunity_stage_id` comes as text.
    pub stage_as_text: bool,
    /// Participants come without their legacy `uid`.
    pub hides_uid: bool,
    /// Participants of deleted activities are listed, as deleted. They have no `include-deleted`.
    pub lists_deleted_people: bool,
    /// `meta.message`.
    pub notice: Option<String>,
    /// A limit that is enforced. None at the start; the documented one is 5 in 1 s.
    pub limiter: Option<Limiter>,
    /// How often something happens by itself. Never at the start.
    pub activity_every: Option<SignedDuration>,
}

/// The state of the organisation.
pub struct Organisation {
    /// See [`Rules`].
    pub rules: Rules,
    clock: Clock,
    seed: u64,
    made: u64,
    newest: Timestamp,
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
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(seed: u64, activities: u64, days: i64, clock: &Clock) -> io::Result<PeopleAi> {
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
            activity_every: None,
        };
        let (all, edits, tokens, clock) = (Vec::new(), HashMap::new(), Vec::new(), clock.clone());
        let newest = clock.now();
        let mut org = Organisation { rules, clock, seed, made: 0, newest, activities: all, edits, tokens };
        let span = days * 86_400;
        for n in 0..activities as i64 {
            let age = SignedDuration::from_secs(span - span * (n + 1) / (activities as i64 + 1));
            org.add(newest - age);
        }
        StandIn::serve(org)
    }

    /// What to configure as the API's base.
    pub fn base_url(&self) -> String {
        self.url()
    }

    /// What to configure as the token's address.
    pub fn token_url(&self) -> String {
        self.url() + "/auth/v1/tokens"
    }
}

impl Organisation {
    /// Adds an activity at the end; it is ingested now. Returns its number.
    pub fn add(&mut self, happened: Timestamp) -> u64 {
        let n = self.made;
        self.made += 1;
        // An activity of long ago was also ingested long ago, unless the test sets another time.
        let ingested = happened + INGESTION;
        self.activities.push(Activity { n, happened, ingested, version: 0, deleted: false });
        n
    }

    /// Adds the activities that are due. An activity is ingested 65 s after it happened, and listed from then on.
    fn grow(&mut self, now: Timestamp) {
        let Some(every) = self.rules.activity_every else { return };
        while self.newest + every <= now {
            self.newest += every;
            self.add(self.newest - INGESTION);
        }
    }
}

impl Service for Organisation {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.is(&format!("{TOKEN} ")) {
            return self.token(request);
        }
        let now = self.clock.now();
        self.grow(now);
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
                format!("stand-in.{}.{}", self.made, hex32(self.seed, "token", now.as_nanosecond() as u64));
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

    fn refuse(&self, request: &Request, status: u16, message: &str) -> Reply {
        failure(status, message, &request.path, self.clock.now())
    }
}

/// An error in the API's envelope, for scripts; 429 has no header that says how long.
pub fn failure(status: u16, message: &str, path: &str, now: Timestamp) -> Reply {
    let timestamp = now.strftime("%d-%m-%Y %H:%M:%S").to_string();
    let id = hex32(u64::from(status), path, now.as_nanosecond() as u64);
    let body = json!({"code": status, "id": id, "message": message, "path": path, "timestamp": timestamp});
    Reply::json(&body).with_status(status)
}
