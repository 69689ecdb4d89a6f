//! SenSource's VEA API over synthetic sensors: tokens, static lists, hourly traffic and occupancy.
//!
//! Start at [`SenSource::open`]. Figures are drawn from the seed per entity and hour, so that years of them cost no
//! memory; [`Venue::correct`] overrides one. Groupings other than by hour are not modelled and answer 500.

use std::collections::HashMap;
use std::io;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::draw::uuid;
use crate::{Clock, Reply, Request, Service, StandIn};

mod data;
#[cfg(feature = "testing")]
mod testing;

use data::Counted;
#[cfg(feature = "testing")]
pub use testing::without_results;

/// The API client's id.
pub const CLIENT_ID: &str = "stand-in-vea-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "stand-in-vea-secret";
/// Where tokens are made.
pub const TOKEN: &str = "POST /oauth/token";

/// A running API: token and data endpoints on one port.
pub type SenSource = StandIn<Venue>;

/// Undocumented behaviour and failures that a test can choose.
pub struct Rules {
    /// The lifetime of new tokens.
    pub token_life: SignedDuration,
    /// A new token ends the former one. On.
    pub one_live_token: bool,
    /// A token request sooner than this after the last one gets 429. Zero at the start.
    pub token_spacing: SignedDuration,
    /// Static lists come as `{"results": […]}` instead of a bare array.
    pub wraps_lists: bool,
    /// The zone in which bounds without a time are read. UTC.
    pub zone: TimeZone,
    /// The hour at a date-only end is included, so that adjacent windows share it.
    pub doubles_seam: bool,
    /// Hours without any traffic are left out instead of sent as zeros.
    pub leaves_out_empty: bool,
    /// Counts come as strings.
    pub counts_as_text: bool,
    /// `entityIds` filters. Off: it is ignored.
    pub honours_filters: bool,
    /// Windows of more days get 500.
    pub max_days: Option<i64>,
}

/// The state of the venue.
pub struct Venue {
    /// See [`Rules`].
    pub rules: Rules,
    clock: Clock,
    seed: u64,
    opened: Timestamp,
    lists: HashMap<&'static str, Vec<Value>>,
    counted: HashMap<&'static str, Vec<Counted>>,
    corrections: HashMap<(String, Timestamp), [i64; 2]>,
    tokens: Vec<(String, Timestamp)>,
    minted: u64,
    last_minted: Option<Timestamp>,
}

impl SenSource {
    /// A venue with so many zones, and a third as many spaces, that opened on a day; its figures reach to the clock's
    /// present hour.
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(seed: u64, zones: u64, opened: Date, clock: &Clock) -> io::Result<SenSource> {
        StandIn::serve(Venue::new(seed, zones, opened, clock))
    }

    /// What to configure as the API's base.
    pub fn base_url(&self) -> String {
        self.url() + "/api"
    }

    /// What to configure as the token's address.
    pub fn token_url(&self) -> String {
        self.url() + "/oauth/token"
    }
}

impl Venue {
    fn new(seed: u64, zones: u64, opened: Date, clock: &Clock) -> Venue {
        let rules = Rules {
            token_life: SignedDuration::from_secs(3600),
            one_live_token: true,
            token_spacing: SignedDuration::ZERO,
            wraps_lists: false,
            zone: TimeZone::UTC,
            doubles_seam: false,
            leaves_out_empty: false,
            counts_as_text: false,
            honours_filters: false,
            max_days: None,
        };
        let opened = opened.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |day| day.timestamp());
        let (lists, counted, corrections) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (tokens, last_minted, clock) = (Vec::new(), None, clock.clone());
        let mut venue =
            Venue { rules, clock, seed, opened, lists, counted, corrections, tokens, minted: 0, last_minted };
        let (location, site) = (uuid(seed, "location", 0), uuid(seed, "site", 0));
        venue.add("location", json!({"locationId": location, "orgId": uuid(seed, "org", 0),
            "locationTypeId": null, "name": "Central Library", "description": null, "country": "US",
            "city": "Springfield", "latitude": 44.05, "longitude": -123.02, "createdAt": "2021-03-01T17:20:31.000Z",
            "updatedAt": "2025-11-12T08:01:02.000Z", "settings": {"colour": "#123456", "floors": [1, 2]}}));
        venue.add("site", json!({"siteId": site, "locationId": location, "name": "Ground floor"}));
        for n in 0..zones {
            let sensor = uuid(seed, "sensor", n);
            venue.add(
                "sensor",
                json!({"sensorId": sensor, "siteId": site, "name": format!("Cam {n}"), "port": 554}),
            );
            // The last zone has no name.
            let name = if n + 1 < zones { json!(format!("Door {n}")) } else { Value::Null };
            venue.add("zone", json!({"zoneId": uuid(seed, "zone", n), "sensorId": sensor, "name": name}));
        }
        for n in 0..zones.div_ceil(3) {
            venue.add(
                "space",
                json!({"spaceId": uuid(seed, "space", n), "locationId": location,
                "name": format!("Room {n}"), "maxCapacity": if n == 0 { Value::Null } else { json!(180) }}),
            );
        }
        venue
    }

    /// Adds a row of any shape to a static list; a zone or a space with an id also begins to count.
    pub fn add(&mut self, entity: &'static str, row: Value) {
        if let (true, Some(id)) = (["zone", "space"].contains(&entity), row[id_field(entity)].as_str()) {
            let all = self.counted.entry(entity).or_default();
            all.push(Counted { n: all.len() as u64, id: id.into(), name: row["name"].clone() });
        }
        self.lists.entry(entity).or_default().push(row);
    }

    /// A sensor's late upload: the figures of an hour become these (`ins` and `outs` of a zone, `max` and `min`
    /// of a space).
    pub fn correct(&mut self, id: &str, hour: Timestamp, figures: [i64; 2]) {
        self.corrections.insert((id.into(), hour), figures);
    }
}

impl Service for Venue {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.is(TOKEN) {
            return self.token(request);
        }
        let now = self.clock.now();
        let alive = |(token, ends): &(String, Timestamp)| request.bearer() == Some(token) && now < *ends;
        if !self.tokens.iter().any(alive) {
            return broken(401);
        }
        let path = request.path.strip_prefix("/api/").filter(|_| request.method == "GET");
        match path.map(|path| (path, path.strip_prefix("data/").and_then(data::Kind::named))) {
            Some((_, Some(kind))) => self.data(request, kind),
            Some((entity, None)) if self.lists.contains_key(entity) => {
                let rows = json!(self.lists[entity]);
                Reply::json(&if self.rules.wraps_lists { json!({"results": rows}) } else { rows })
            }
            _ => broken(404),
        }
    }

    fn describe(&self) -> String {
        let zones = self.counted.get("zone").map_or(0, Vec::len);
        format!("{zones} zones since {}, {} corrections", self.opened, self.corrections.len())
    }
}

impl Venue {
    fn token(&mut self, request: &Request) -> Reply {
        let form = request
            .form()
            .map(|pairs| pairs.into_iter().map(|(name, value)| (name, json!(value))).collect::<Map<_, _>>());
        let Some(body) = form.map(Value::Object).or_else(|| request.json()) else {
            return broken(400);
        };
        if body["grant_type"] != "client_credentials" || !body["client_id"].is_string() {
            return broken(400);
        }
        if body["client_id"] != CLIENT_ID || body["client_secret"] != CLIENT_SECRET {
            return broken(401);
        }
        let now = self.clock.now();
        if self.last_minted.is_some_and(|last| now.duration_since(last) < self.rules.token_spacing) {
            return Reply::too_many(None);
        }
        self.last_minted = Some(now);
        if self.rules.one_live_token {
            self.tokens.clear();
        }
        self.minted += 1;
        let token = uuid(self.seed, "token", self.minted);
        self.tokens.push((token.clone(), now + self.rules.token_life));
        Reply::json(&json!({"access_token": token, "refresh_token": uuid(self.seed, "refresh", 0),
            "expires_in": self.rules.token_life.as_secs(), "token_type": "Bearer"}))
    }
}

/// The field that identifies a row of a static list.
fn id_field(entity: &str) -> &'static str {
    match entity {
        "location" => "locationId",
        "site" => "siteId",
        "zone" => "zoneId",
        "space" => "spaceId",
        _ => "sensorId",
    }
}

/// A failure whose body no client should parse.
fn broken(status: u16) -> Reply {
    Reply::text("text/html", "<h1>Something went wrong</h1>").with_status(status)
}

/// A 200 whose body reports a failure, with a made-up reason.
pub fn error_in_200() -> Reply {
    Reply::json(&json!({"messages": ["query aborted"], "results": [], "error": "Query timed out"}))
}
