//! What stands behind the question mark, strictly: a misspelt filter that did nothing would pass for an answer.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::problem::Problem;

/// Records in an answer where nothing is said.
const USUAL: usize = 100;
/// The most in one answer: some hundred kilobytes.
pub(super) const MOST: usize = 1000;
/// Longer values are named in part.
const SHOWN: usize = 60;

/// The parameters of a list.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    /// The value of the one filter.
    pub(super) name: Option<String>,
    /// The first moment.
    pub(super) from: Option<Timestamp>,
    /// The moment after the last.
    pub(super) to: Option<Timestamp>,
    /// How many.
    pub(super) limit: usize,
}

impl Asked {
    /// Reads `filter`, `from`, `to`, `before` and `limit`. `before` is where the answer before ended.
    pub(super) fn parse(query: Option<&str>, filter: &str) -> Result<Asked, Problem> {
        let mut asked = Asked { name: None, from: None, to: None, limit: USUAL };
        let (mut before, mut seen) = (None, Vec::new());
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                key if key == filter => asked.name = Some(value.into_owned()),
                "from" => asked.from = Some(moment("from", &value, false)?),
                "to" => asked.to = Some(moment("to", &value, true)?),
                "before" => before = Some(moment("before", &value, false)?),
                "limit" => asked.limit = limit(&value)?,
                _ => {
                    let known = format!("there are {filter}, from, to, before, limit");
                    return Err(Problem::parameter(format!("no parameter `{}`; {known}", short(&key))));
                }
            }
            if seen.contains(&key) {
                return Err(Problem::parameter(format!("`{key}` is there twice; say it once")));
            }
            seen.push(key);
        }
        if let (Some(from), Some(to)) = (asked.from, asked.to)
            && from >= to
        {
            let given = format!("`from` is {from:.0} and `to` ends at {to:.0}");
            return Err(Problem::parameter(format!("{given}; `from` must be the earlier of the two")));
        }
        asked.to = asked.to.into_iter().chain(before).min();
        Ok(asked)
    }
}

fn limit(text: &str) -> Result<usize, Problem> {
    text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| {
        Problem::parameter(format!("`limit` is `{}`; it must be a number from 1 to {MOST}", short(text)))
    })
}

/// A moment, or a day (UTC): its beginning, or with `end` its end.
fn moment(name: &str, text: &str, end: bool) -> Result<Timestamp, Problem> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A `+` in an address is a blank; people forget to write it as %2B.
    if let Ok(at) = text.replace(' ', "+").parse::<Timestamp>() {
        return Ok(at);
    }
    let day =
        Some(text).filter(|text| text.len() == "2026-05-02".len()).and_then(|text| text.parse::<Date>().ok());
    let day = day.and_then(|day| if end { day.tomorrow().ok() } else { Some(day) });
    day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp()).ok_or_else(|| {
        let example = "it must be a time such as 2026-05-02T09:15:00Z or a day such as 2026-05-02 (UTC)";
        Problem::parameter(format!("`{name}` is `{}`; {example}", short(text)))
    })
}

fn short(text: &str) -> String {
    use crate::domain::text;
    text::shorten(&text::plain(text), SHOWN).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    /// Days and moments are understood, and `before` never widens the range.
    #[test]
    fn understands() {
        let ask = |query: &str| Asked::parse(Some(query), "monitor").unwrap();
        let none = Asked { name: None, from: None, to: None, limit: USUAL };
        assert_eq!(Asked::parse(None, "monitor").unwrap(), none);
        assert_eq!(
            ask("monitor=a%2Fb+%22c%22&limit=1000"),
            Asked { name: Some("a/b \"c\"".into()), limit: 1000, ..none }
        );
        let day = ask("from=2026-05-01&to=2026-05-01");
        assert_eq!((day.from, day.to), (at("2026-05-01T00:00:00Z"), at("2026-05-02T00:00:00Z")));
        let page = ask("to=2026-05-01T12:00:00%2B02:00&before=2026-05-03");
        assert_eq!(page.to, at("2026-05-01T10:00:00Z"));
        assert_eq!(ask("before=2026-05-01T12:00:00+02:00").to, at("2026-05-01T10:00:00Z"));
    }

    /// What makes no sense is refused in words that say what would.
    #[test]
    fn refuses() {
        let details: Vec<String> = [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=ten",
            "from=yesterday",
            "to=2026-02-30",
            "from=2026-05-03&to=2026-05-02",
            "from=2026-05-02T10:00:00Z&to=2026-05-02T10:00:00Z",
            "monitr=x",
            "from=2026-05-02&from=2026-05-03",
        ]
        .map(|query| {
            let problem = serde_json::to_value(Asked::parse(Some(query), "monitor").unwrap_err()).unwrap();
            assert_eq!(problem["status"], 400, "{query}");
            problem["detail"].as_str().unwrap().to_owned()
        })
        .into();
        insta::assert_snapshot!(details.join("\n"));
    }
}
