//! SenSource's VEA API over synthetic sensors: tokens, static lists, hourly traffic and occupancy.
//!
//! Start at [`SenSource::start`]. Figures are drawn from the seed per entity and hour, so that years of them cost
//! no memory; [`Venue::correct`] overrides one. What a table should hold is [`SenSource::source_rows`].
//! Groupings other than by hour are not modelled and answer 500.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::clock::millis;
use super::draw::{below, uuid};
use super::{Clock, Fake, Reply, Request, Service};

/// The API client's id.
pub(crate) const CLIENT_ID: &str = "fake-vea-client";
/// Its secret.
pub(crate) const CLIENT_SECRET: &str = "fake-vea-secret";
/// Where tokens are made.
pub(crate) const TOKEN: &str = "POST /oauth/token";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// A window that begins later than this after now is "far in the future".
const FUTURE: SignedDuration = SignedDuration::from_hours(48);

/// A running API: token and data endpoints on one port.
pub(crate) type SenSource = Fake<Venue>;

/// What is unknown or may go wrong, and a test may therefore turn either way.
pub(crate) struct Rules {
    /// The life of tokens to come.
    pub(crate) token_life: SignedDuration,
    /// A new token kills the one before. On.
    pub(crate) one_live_token: bool,
    /// Tokens asked for sooner than this after the last get 429. Zero at the start.
    pub(crate) token_spacing: SignedDuration,
    /// Static lists come as `{"results": […]}` instead of a bare array.
    pub(crate) wraps_lists: bool,
    /// The zone in which bounds without a time are read. UTC.
    pub(crate) zone: TimeZone,
    /// The hour at a date-only end comes too, so that neighbouring windows share it.
    pub(crate) doubles_seam: bool,
    /// Hours without any traffic are left out instead of sent as zeros.
    pub(crate) leaves_out_empty: bool,
    /// Counts come as strings.
    pub(crate) counts_as_text: bool,
    /// `entityIds` filters. Off: it is ignored.
    pub(crate) honours_filters: bool,
    /// Windows of more days get 500.
    pub(crate) max_days: Option<i64>,
}

/// The state of the venue.
pub(crate) struct Venue {
    /// See [`Rules`].
    pub(crate) rules: Rules,
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

/// A zone or space that has figures; it keeps them when it is gone from the static list.
#[derive(Clone)]
struct Counted {
    n: u64,
    id: String,
    name: Value,
}

impl SenSource {
    /// A venue with so many zones, and a third as many spaces, that opened on a day; its figures reach to the
    /// clock's present hour.
    pub(crate) fn start(seed: u64, zones: u64, opened: Date, clock: &Clock) -> SenSource {
        Fake::serve(Venue::new(seed, zones, opened, clock))
    }

    /// What to configure as the API's base.
    pub(crate) fn base_url(&self) -> String {
        self.url() + "/api"
    }

    /// What to configure as the token's address.
    pub(crate) fn token_url(&self) -> String {
        self.url() + "/oauth/token"
    }

    /// The rows a complete sync must find in `traffic`, `occupancy`, `location`, `site`, `zone`, `space` or
    /// `sensor`, as the API spells them with all metrics.
    pub(crate) fn source_rows(&self, table: &str) -> Vec<Value> {
        self.look(|venue| venue.source_rows(table))
    }

    /// Every token made so far stops working.
    pub(crate) fn invalidate_tokens(&self) {
        self.change(Venue::forget_tokens);
    }
}

impl Venue {
    /// Every token made so far stops working.
    pub(crate) fn forget_tokens(&mut self) {
        self.tokens.clear();
    }

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
        let opened = opened.to_zoned(TimeZone::UTC).unwrap().timestamp();
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
    pub(crate) fn add(&mut self, entity: &'static str, row: Value) {
        if let (true, Some(id)) = (["zone", "space"].contains(&entity), row[id_field(entity)].as_str()) {
            let all = self.counted.entry(entity).or_default();
            all.push(Counted { n: all.len() as u64, id: id.into(), name: row["name"].clone() });
        }
        self.lists.entry(entity).or_default().push(row);
    }

    /// Takes a row out of a static list; what was counted there stays, and goes on.
    pub(crate) fn remove(&mut self, entity: &str, id: &str) {
        self.lists.get_mut(entity).unwrap().retain(|row| row[id_field(entity)] != id);
    }

    /// A sensor's late upload: the figures of an hour become these (`ins` and `outs` of a zone, `max` and `min`
    /// of a space).
    pub(crate) fn correct(&mut self, id: &str, hour: Timestamp, figures: [i64; 2]) {
        self.corrections.insert((id.into(), hour), figures);
    }

    fn source_rows(&self, table: &str) -> Vec<Value> {
        let Some(kind) = Kind::named(table) else {
            return self.lists[table].clone();
        };
        self.rows(kind, self.opened, self.clock.now(), &kind.metrics().join(","), None)
    }

    /// The rows of hours that begin from `from` until before `end`, entity by entity.
    fn rows(
        &self,
        kind: Kind,
        from: Timestamp,
        end: Timestamp,
        metrics: &str,
        ids: Option<&str>,
    ) -> Vec<Value> {
        let now = self.clock.now();
        let mut rows = Vec::new();
        for one in self.counted.get(kind.entity()).into_iter().flatten() {
            if ids.is_some_and(|ids| !ids.split(',').any(|id| id == one.id)) {
                continue;
            }
            let mut hour = full_hour(from.max(self.opened));
            while hour < end && hour <= now {
                let figures = self.figures(kind, one, hour);
                if figures != [0, 0] || !self.rules.leaves_out_empty {
                    rows.push(self.row(kind, one, hour, figures, metrics));
                }
                hour += HOUR;
            }
        }
        rows
    }

    /// Nothing happens in the six hours of the night; the present hour holds what has happened so far.
    fn figures(&self, kind: Kind, one: &Counted, hour: Timestamp) -> [i64; 2] {
        if let Some(corrected) = self.corrections.get(&(one.id.clone(), hour)) {
            return *corrected;
        }
        let index = hour.as_second() / 3600;
        if index % 24 < 6 {
            return [0, 0];
        }
        let place = one.n * 10_000_000 + index as u64;
        let high = below(200, self.seed, kind.entity(), place) as i64;
        let low = below(high as u64 + 1, self.seed, "low", place) as i64;
        let minutes = (self.clock.now().duration_since(hour).as_secs() / 60).min(60);
        [high * minutes / 60, low * minutes / 60]
    }

    fn row(&self, kind: Kind, one: &Counted, hour: Timestamp, [high, low]: [i64; 2], metrics: &str) -> Value {
        let mut row = Map::new();
        row.insert("recordDate_hour_1".into(), json!(millis(hour)));
        row.insert(id_field(kind.entity()).into(), json!(one.id));
        row.insert("name".into(), one.name.clone());
        for metric in metrics.split(',') {
            let count =
                |count: i64| if self.rules.counts_as_text { json!(count.to_string()) } else { json!(count) };
            let (name, value) = match (kind, metric) {
                (Kind::Traffic, "ins") => ("sumins", count(high)),
                (Kind::Traffic, "outs") => ("sumouts", count(low)),
                (Kind::Occupancy, "occupancy(max)") => ("maxoccupancy", count(high)),
                (Kind::Occupancy, "occupancy(min)") => ("minoccupancy", count(low)),
                // The API sends this one, and only this one, as a decimal in a string.
                (Kind::Occupancy, "occupancy(avg)") => {
                    ("avgoccupancy", json!(format!("{:.4}", (high + low) as f64 / 2.0)))
                }
                _ => continue,
            };
            row.insert(name.into(), value);
        }
        Value::Object(row)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Traffic,
    Occupancy,
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        match name {
            "traffic" => Some(Kind::Traffic),
            "occupancy" => Some(Kind::Occupancy),
            _ => None,
        }
    }

    fn entity(self) -> &'static str {
        match self {
            Kind::Traffic => "zone",
            Kind::Occupancy => "space",
        }
    }

    fn metrics(self) -> &'static [&'static str] {
        match self {
            Kind::Traffic => &["ins", "outs"],
            Kind::Occupancy => &["occupancy(max)", "occupancy(min)", "occupancy(avg)"],
        }
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
        match path.map(|path| (path, path.strip_prefix("data/").and_then(Kind::named))) {
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

    fn data(&self, request: &Request, kind: Kind) -> Reply {
        let now = self.clock.now();
        let window = match request.param("relativeDate") {
            Some("custom") => self.window(request),
            Some("today") => {
                Some((now.to_zoned(self.rules.zone.clone()).start_of_day().unwrap().timestamp(), now + HOUR))
            }
            _ => None,
        };
        let Some((start, end)) = window.filter(|(start, end)| start < end && *start <= now + FUTURE) else {
            return broken(500);
        };
        let days = end.duration_since(start).as_hours().unsigned_abs().div_ceil(24) as i64;
        if self.rules.max_days.is_some_and(|most| days > most)
            || request.param("dateGroupings") != Some("hour")
        {
            return broken(500);
        }
        if request.param("entityType") != Some(kind.entity()) {
            return broken(400);
        }
        let ids = request.param("entityIds").filter(|_| self.rules.honours_filters);
        let rows = self.rows(kind, start, end, request.param("metrics").unwrap_or_default(), ids);
        Reply::json(&json!({"messages": [], "results": rows, "error": null}))
    }

    /// The first moment of the window and the first one after it. A date-only end is exclusive, an instant
    /// inclusive: that is how the model was found to behave.
    fn window(&self, request: &Request) -> Option<(Timestamp, Timestamp)> {
        let (start, _) = self.moment(request.param("startDate")?)?;
        let (end, instant) = self.moment(request.param("endDate")?)?;
        let beyond = SignedDuration::from_secs(i64::from(instant || self.rules.doubles_seam));
        Some((start, end + beyond))
    }

    /// A bound, and whether it was an instant: `YYYY-MM-DD`, `MM-DD-YYYY` or RFC 3339.
    fn moment(&self, text: &str) -> Option<(Timestamp, bool)> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some((instant, true));
        }
        let date = Date::strptime("%Y-%m-%d", text).or_else(|_| Date::strptime("%m-%d-%Y", text)).ok()?;
        Some((date.to_zoned(self.rules.zone.clone()).ok()?.timestamp(), false))
    }
}

fn id_field(entity: &str) -> &'static str {
    match entity {
        "location" => "locationId",
        "site" => "siteId",
        "zone" => "zoneId",
        "space" => "spaceId",
        "sensor" => "sensorId",
        other => panic!("SenSource has no {other}"),
    }
}

/// The first full hour from a moment on.
fn full_hour(moment: Timestamp) -> Timestamp {
    let seconds = moment.as_second() + i64::from(moment.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds + (-seconds).rem_euclid(3600)).unwrap()
}

/// A refusal whose body nobody should read.
fn broken(status: u16) -> Reply {
    Reply::text("text/html", "<h1>Something went wrong</h1>").with_status(status)
}

/// A 200 that says in its body that it failed, with a made-up reason.
pub(crate) fn error_in_200() -> Reply {
    Reply::json(&json!({"messages": ["query aborted"], "results": [], "error": "Query timed out"}))
}

/// A 200 without any `results`.
pub(crate) fn without_results() -> Reply {
    Reply::json(&json!({"messages": [], "error": null}))
}
