//! What an answer of a service means where its status alone does not say: the rules of a definition.
//!
//! A rule fits when its status and all of its conditions do; the first rule that fits is taken. What counts without a
//! rule is decided where requests are made. Start at [`Rule::fits`].

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A number from here on is a moment (Unix seconds), not a wait: no service asks for thirty years.
const MOMENT: f64 = 1e9;
/// A number from here on is a moment in milliseconds.
const MOMENT_MILLIS: f64 = 1e11;

/// What a particular answer means.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The statuses it is about; empty for all.
    pub statuses: Vec<Statuses>,
    /// What must be true of the answer besides.
    pub conditions: Vec<Condition>,
    /// The meaning.
    pub then: Then,
}

/// Statuses of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// This one.
    One(u16),
    /// All of a hundred: 4 is 400 to 499.
    Class(u16),
}

/// Something that is true of an answer or not.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Something is at the path: not null, false, an empty text or an empty list.
    Has(String),
    /// Nothing is at the path, not even null.
    Absent(String),
    /// Null is at the path.
    Null(String),
    /// This is at the path; a number and its text are the same.
    Equals(String, Value),
    /// The body is empty, or white space.
    EmptyBody,
    /// The header is there, and has this value if one is given (whatever its case).
    Header(String, Option<String>),
}

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// A page without rows.
    Empty,
    /// The last page: its rows count, if it has any, and no further page is requested.
    End,
    /// This child is gone: go on with the next. Nothing is swept then.
    Skip,
    /// As if the connection had broken: retry.
    Retry,
    /// A rate limit; the wait is stated there.
    Limited(Option<StatedWait>),
    /// The access token is no longer valid: get another one.
    Renew,
    /// The run fails.
    Fail,
    /// The window is too wide: halve it.
    Halve,
}

/// Where an answer states how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedWait {
    /// In which place.
    pub at: WaitPlace,
    /// What a number there means; without it the size of the number tells.
    pub unit: Option<WaitUnit>,
}

/// The place of a stated wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitPlace {
    /// A header, in lower case.
    Header(String),
    /// A path in the body.
    Path(String),
}

/// What a stated wait is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitUnit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// A moment: Unix time (seconds or milliseconds) or a date.
    Date,
}

/// An answer as rules look at it.
pub trait Answered {
    /// Its status.
    fn status(&self) -> u16;
    /// Whether its body has nothing but white space.
    fn is_empty(&self) -> bool;
    /// A header's value.
    fn header(&self, name: &str) -> Option<String>;
    /// The value at a path of the body; `Some(Null)` if null is there.
    fn value(&self, path: &str) -> Option<&Value>;
}

impl Rule {
    /// Whether the rule is about this answer.
    pub fn fits(&self, answer: &impl Answered) -> bool {
        let status = answer.status();
        let about = self.statuses.iter().any(|statuses| match statuses {
            Statuses::One(one) => *one == status,
            Statuses::Class(hundred) => *hundred == status / 100,
        });
        (about || self.statuses.is_empty()) && self.conditions.iter().all(|one| one.holds(answer))
    }

    /// The paths of the body that it looks at.
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
            Condition::Equals(path, wanted) => {
                let (is, wanted) = (answer.value(path).and_then(text_of), text_of(wanted));
                is.is_some() && is == wanted
            }
            Condition::EmptyBody => answer.is_empty(),
            Condition::Header(name, wanted) => answer.header(name).is_some_and(|is| {
                wanted.as_ref().is_none_or(|wanted| is.trim().eq_ignore_ascii_case(wanted))
            }),
        }
    }
}

impl StatedWait {
    /// The wait that an answer states; `None` where it states none that can be read.
    pub fn read(&self, answer: &impl Answered, now: Timestamp) -> Option<Duration> {
        let text = match &self.at {
            WaitPlace::Header(name) => answer.header(name)?,
            WaitPlace::Path(path) => text_of(answer.value(path)?)?,
        };
        read_wait(&text, self.unit, now)
    }
}

/// Nothing that means anything: an empty error is no error.
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

/// A wait as services write it: a number (with a fraction, perhaps) or a date. A moment that is over is no wait; a
/// negative number is unreadable.
pub fn read_wait(text: &str, unit: Option<WaitUnit>, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let number = text.trim_end_matches(';').trim_end();
    if let Ok(number) = number.parse::<f64>() {
        if !number.is_finite() || number < 0.0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
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

    struct Made {
        status: u16,
        body: Option<Value>,
        header: (&'static str, &'static str),
    }

    impl Answered for Made {
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

    fn made(status: u16, body: Value) -> Made {
        Made { status, body: Some(body), header: ("x-left", "0") }
    }

    #[test]
    fn a_rule_fits_when_status_and_all_conditions_do() {
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
            assert_eq!(rule.fits(&made(200, body.clone())), fits, "{rule:?}");
        }
        let nothing = Made { status: 204, body: None, header: ("", "") };
        let rule = |condition| Rule { statuses: vec![], conditions: vec![condition], then: Then::End };
        assert!(rule(Condition::EmptyBody).fits(&nothing));
        assert!(
            !rule(Condition::Absent("x".into())).fits(&nothing),
            "no document has no path that is absent"
        );
    }

    #[test]
    fn waits_are_read_in_every_form() {
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
