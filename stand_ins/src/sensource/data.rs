//! The figures by the hour: traffic of zones, occupancy of spaces.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{Venue, broken, id_field};
use crate::clock::millis;
use crate::draw::below;
use crate::{Reply, Request};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// A window that begins later than this after now is "far in the future".
const FUTURE: SignedDuration = SignedDuration::from_hours(48);

/// A zone or space that has figures; it keeps them when it is gone from the static list.
#[derive(Clone)]
pub(super) struct Counted {
    pub(super) n: u64,
    pub(super) id: String,
    pub(super) name: Value,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Traffic,
    Occupancy,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<Kind> {
        match name {
            "traffic" => Some(Kind::Traffic),
            "occupancy" => Some(Kind::Occupancy),
            _ => None,
        }
    }

    pub(super) fn entity(self) -> &'static str {
        match self {
            Kind::Traffic => "zone",
            Kind::Occupancy => "space",
        }
    }
}

impl Venue {
    /// The rows of hours that begin from `from` until before `end`, entity by entity.
    pub(super) fn rows(
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

    /// The six hours of the night are empty; the current hour holds the figures so far.
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

    pub(super) fn data(&self, request: &Request, kind: Kind) -> Reply {
        let now = self.clock.now();
        let window = match request.param("relativeDate") {
            Some("custom") => self.window(request),
            Some("today") => now
                .to_zoned(self.rules.zone.clone())
                .start_of_day()
                .ok()
                .map(|day| (day.timestamp(), now + HOUR)),
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

/// The first full hour from a moment on.
fn full_hour(moment: Timestamp) -> Timestamp {
    let seconds = moment.as_second() + i64::from(moment.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds + (-seconds).rem_euclid(3600)).unwrap_or(moment)
}
