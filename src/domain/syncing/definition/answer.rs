//! The meaning of a response when its status alone does not say it: the rules of a definition.
//!
//! A rule matches if its status and all of its conditions match; the first matching rule applies. The meaning
//! without a rule is decided where requests are fake_answer. Start at [`Rule::fits`].

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A number of at least this value is a point in time (Unix seconds), not a wait: no service asks for thirty
/// years.
const MOMENT: f64 = 1e9;
/// A number of at least this value is a point in time in milliseconds.
const MOMENT_MILLIS: f64 = 1e11;

/// What a particular response means.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Matching statuses; empty: all.
    pub statuses: Vec<Statuses>,
    /// Further conditions; all must be true.
    pub conditions: Vec<Condition>,
    pub then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    One(u16),
    /// A class: 4 means 400 to 499.
    Class(u16),
}

/// A condition on a response.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The path has a value: not null, false, an empty text or an empty list.
    Has(String),
    /// The path does not exist.
    Absent(String),
    /// The path is null.
    Null(String),
    /// The path has this value; a number equals its text.
    Equals(String, Value),
    /// The body is empty or white space.
    EmptyBody,
    /// The header exists, and has this value if one is given (ignoring case).
    Header(String, Option<String>),
}

/// The meaning of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// A page without rows.
    Empty,
    /// The last page: its rows, if any, are stored, and no further page is requested.
    End,
    /// This child no longer exists: continue with the next one. No row is marked deleted in this run.
    Skip,
    /// Retry, as after a broken connection.
    Retry,
    /// A rate limit, with the place of the stated wait.
    Limited(Option<StatedWait>),
    /// The access token is no longer valid: request a new one.
    Renew,
    Fail,
    /// The window is too wide: halve it.
    Halve,
}

/// Where a response states how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedWait {
    pub at: WaitPlace,
    /// The unit of a number there; without it the unit is derived from the size of the number.
    pub unit: Option<WaitUnit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitPlace {
    /// A header, in lower case.
    Header(String),
    /// A path in the body.
    Path(String),
}

/// The unit of a stated wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitUnit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// A point in time: Unix time (seconds or milliseconds) or a date.
    Date,
}

/// A response, as seen by the rules.
pub trait Answered {
    fn status(&self) -> u16;
    /// Whether its body is empty or white space.
    fn is_empty(&self) -> bool;
    fn header(&self, name: &str) -> Option<String>;
    /// The value at a path of the body; `Some(Null)` for null.
    fn value(&self, path: &str) -> Option<&Value>;
}

impl Rule {
    /// Whether the rule applies to this response.
    pub fn fits(&self, answer: &impl Answered) -> bool {
        let status = answer.status();
        let about = self.statuses.iter().any(|statuses| match statuses {
            Statuses::One(one) => *one == status,
            Statuses::Class(hundred) => *hundred == status / 100,
        });
        (about || self.statuses.is_empty()) && self.conditions.iter().all(|one| one.holds(answer))
    }

    /// The body paths that the rule needs.
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        let looked = self.conditions.iter().filter_map(|condition| match condition {
            Condition::Has(path)
            | Condition::Absent(path)
            | Condition::Null(path)
            | Condition::Equals(path, _) => Some(path),
            Condition::EmptyBody | Condition::Header(..) => None,
        });
        let stated = match &self.then {
            Then::Limited(Some(StatedWait { at: WaitPlace::Path(path), .. })) => Some(path),
            _ => None,
        };
        looked.chain(stated)
    }
}

impl Condition {
    fn holds(&self, answer: &impl Answered) -> bool {
        match self {
            Condition::Has(path) => answer.value(path).is_some_and(|value| !is_nothing(value)),
            Condition::Absent(path) => !answer.is_empty() && answer.value(path).is_none(),
            Condition::Null(path) => answer.value(path).is_some_and(Value::is_null),
            Condition::Equals(path, expected) => {
                let (is, expected) = (answer.value(path).and_then(text_of), text_of(expected));
                is.is_some() && is == expected
            }
            Condition::EmptyBody => answer.is_empty(),
            Condition::Header(name, expected) => answer.header(name).is_some_and(|is| {
                expected.as_ref().is_none_or(|expected| is.trim().eq_ignore_ascii_case(expected))
            }),
        }
    }
}

impl StatedWait {
    /// The wait that a response states; `None` if there is none or it cannot be parsed.
    pub fn read(&self, answer: &impl Answered, now: Timestamp) -> Option<Duration> {
        let text = match &self.at {
            WaitPlace::Header(name) => answer.header(name)?,
            WaitPlace::Path(path) => text_of(answer.value(path)?)?,
        };
        read_wait(&text, self.unit, now)
    }
}

/// Null, false and empty values: an empty error field does not mean an error.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.trim().to_owned()),
        scalar => Some(scalar.to_string()),
    }
}

/// Parses a wait: a number, possibly with a fraction, or a date. A past date gives a wait of zero; a negative
/// number is invalid.
pub fn read_wait(text: &str, unit: Option<WaitUnit>, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let number = text.trim_end_matches(';').trim_end();
    if let Ok(number) = number.parse::<f64>() {
        if !number.is_finite() || number < 0.0 {
            return None;
        }
        let since = |seconds: f64| (seconds - now.as_millisecond() as f64 / 1000.0).max(0.0);
        let seconds = match unit {
            Some(WaitUnit::Seconds) => number,
            Some(WaitUnit::Millis) => number / 1000.0,
            _ if number >= MOMENT_MILLIS => since(number / 1000.0),
            Some(WaitUnit::Date) => since(number),
            None if number >= MOMENT => since(number),
            None => number,
        };
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let moment = text.parse::<Timestamp>().ok();
    let moment = moment.or_else(|| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp()));
    let moment = moment.or_else(|| {
        let naive = text.parse::<DateTime>().ok()?;
        naive.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })?;
    Some(Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct FakeAnswer {
        status: u16,
        body: Option<Value>,
        header: (&'static str, &'static str),
    }

    impl Answered for FakeAnswer {
        fn status(&self) -> u16 {
            self.status
        }

        fn is_empty(&self) -> bool {
            self.body.is_none()
        }

        fn header(&self, name: &str) -> Option<String> {
            (name == self.header.0).then(|| self.header.1.to_owned())
        }

        fn value(&self, path: &str) -> Option<&Value> {
            self.body.as_ref()?.get(path)
        }
    }

    fn fake_answer(status: u16, body: Value) -> FakeAnswer {
        FakeAnswer { status, body: Some(body), header: ("x-left", "0") }
    }

    #[test]
    fn a_rule_applies_if_its_status_and_all_conditions_match() {
        let has = |path: &str| Condition::Has(path.into());
        let equals = |path: &str, value: Value| Condition::Equals(path.into(), value);
        let header = |value: Option<&str>| Condition::Header("x-left".into(), value.map(str::to_owned));
        let body = json!({ "code": 42, "text": "42", "no": null, "empty": "", "done": true, "zero": 0 });
        for (statuses, conditions, fits) in [
            (vec![], vec![], true),
            (vec![Statuses::One(404)], vec![], false),
            (vec![Statuses::One(404), Statuses::Class(2)], vec![], true),
            (vec![Statuses::Class(2)], vec![has("code"), has("no")], false),
            (vec![], vec![has("empty")], false),
            (vec![], vec![has("zero")], false),
            (vec![], vec![Condition::Absent("gone".into())], true),
            (vec![], vec![Condition::Absent("no".into())], false),
            (vec![], vec![Condition::Null("no".into())], true),
            (vec![], vec![Condition::Null("gone".into())], false),
            (vec![], vec![equals("code", json!(42)), equals("text", json!(42))], true),
            (vec![], vec![equals("code", json!("42")), equals("done", json!(true))], true),
            (vec![], vec![equals("no", json!(null))], false),
            (vec![], vec![Condition::EmptyBody], false),
            (vec![], vec![header(None), header(Some("0"))], true),
            (vec![], vec![header(Some("1"))], false),
        ] {
            let rule = Rule { statuses, conditions, then: Then::Empty };
            assert_eq!(rule.fits(&fake_answer(200, body.clone())), fits, "{rule:?}");
        }
        let nothing = FakeAnswer { status: 204, body: None, header: ("", "") };
        let rule = |condition| Rule { statuses: vec![], conditions: vec![condition], then: Then::End };
        assert!(rule(Condition::EmptyBody).fits(&nothing));
        assert!(
            !rule(Condition::Absent("x".into())).fits(&nothing),
            "without a document no path counts as absent"
        );
    }

    #[test]
    fn parses_waits_in_every_form() {
        use WaitUnit::{Date, Millis, Seconds};
        let now: Timestamp = "2026-05-02T09:00:00Z".parse().unwrap();
        for (text, unit, want) in [
            ("13", None, Some(13_000)),
            ("0", None, Some(0)),
            ("1.4", None, Some(1_400)),
            ("0.493", None, Some(493)),
            ("2;", None, Some(2_000)),
            ("1500", Some(Millis), Some(1_500)),
            ("1500", Some(Seconds), Some(1_500_000)),
            ("1777712520", None, Some(120_000)),
            ("1777712520", Some(Date), Some(120_000)),
            ("1777712520500", None, Some(120_500)),
            ("1777712000", None, Some(0)),
            ("Sat, 02 May 2026 09:02:00 GMT", None, Some(120_000)),
            ("2026-05-02T09:00:30Z", Some(Date), Some(30_000)),
            ("2026-05-02 09:00:30", Some(Date), Some(30_000)),
            ("2026-05-02T08:00:00Z", None, Some(0)),
            ("-5", None, None),
            ("soon", None, None),
            ("NaN", None, None),
            ("inf", None, None),
            ("", None, None),
        ] {
            let read = read_wait(text, unit, now).map(|wait| wait.as_millis());
            assert_eq!(read, want, "{text} {unit:?}");
        }
    }
}
