//! Query parameters of lists, parsed strictly: a misspelled filter must not be ignored silently.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::problem::ApiProblem;

/// Default number of records in a response.
const DEFAULT_LIMIT: usize = 100;
/// Most records in one response: some hundred kilobytes.
pub(super) const MAX_LIMIT: usize = 1000;
/// Characters of a value that an error quotes.
const QUOTED: usize = 60;

#[derive(Debug, PartialEq)]
pub(super) struct ListQuery {
    /// The value of the filter parameter.
    pub(super) name: Option<String>,
    /// Inclusive.
    pub(super) from: Option<Timestamp>,
    /// Exclusive.
    pub(super) to: Option<Timestamp>,
    pub(super) limit: usize,
}

impl ListQuery {
    /// Reads `filter`, `from`, `to`, `before` and `limit`. `before` is where the previous page ended.
    pub(super) fn parse(query: Option<&str>, filter: &str) -> Result<ListQuery, ApiProblem> {
        let mut asked = ListQuery { name: None, from: None, to: None, limit: DEFAULT_LIMIT };
        let (mut before, mut seen) = (None, Vec::new());
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                key if key == filter => asked.name = Some(value.into_owned()),
                "from" => asked.from = Some(moment("from", &value, false)?),
                "to" => asked.to = Some(moment("to", &value, true)?),
                "before" => before = Some(moment("before", &value, false)?),
                "limit" => asked.limit = limit(&value)?,
                _ => {
                    let known = format!("valid are {filter}, from, to, before, limit");
                    return Err(ApiProblem::parameter(format!("no parameter `{}`; {known}", short(&key))));
                }
            }
            if seen.contains(&key) {
                return Err(ApiProblem::parameter(format!("`{key}` is given twice; give it once")));
            }
            seen.push(key);
        }
        if let (Some(from), Some(to)) = (asked.from, asked.to)
            && from >= to
        {
            let given = format!("`from` is {from:.0} and `to` ends at {to:.0}");
            return Err(ApiProblem::parameter(format!("{given}; `from` must be the earlier of the two")));
        }
        asked.to = asked.to.into_iter().chain(before).min();
        Ok(asked)
    }
}

fn limit(text: &str) -> Result<usize, ApiProblem> {
    text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        ApiProblem::parameter(format!(
            "`limit` is `{}`; it must be a number from 1 to {MAX_LIMIT}",
            short(text)
        ))
    })
}

/// A time, or a day (UTC): its start, or with `end` its end.
fn moment(name: &str, text: &str, end: bool) -> Result<Timestamp, ApiProblem> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // An unencoded `+` in a query decodes to a space; people forget to write %2B.
    if let Ok(at) = text.replace(' ', "+").parse::<Timestamp>() {
        return Ok(at);
    }
    let day =
        Some(text).filter(|text| text.len() == "2026-05-02".len()).and_then(|text| text.parse::<Date>().ok());
    let day = day.and_then(|day| if end { day.tomorrow().ok() } else { Some(day) });
    day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp()).ok_or_else(|| {
        let example = "it must be a time such as 2026-05-02T09:15:00Z or a day such as 2026-05-02 (UTC)";
        ApiProblem::parameter(format!("`{name}` is `{}`; {example}", short(text)))
    })
}

fn short(text: &str) -> String {
    use crate::domain::text;
    text::shorten(&text::plain(text), QUOTED).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn parses_times_and_days_and_before_never_widens_the_range() {
        let ask = |query: &str| ListQuery::parse(Some(query), "monitor").unwrap();
        let none = ListQuery { name: None, from: None, to: None, limit: DEFAULT_LIMIT };
        assert_eq!(ListQuery::parse(None, "monitor").unwrap(), none);
        assert_eq!(
            ask("monitor=a%2Fb+%22c%22&limit=1000"),
            ListQuery { name: Some("a/b \"c\"".into()), limit: 1000, ..none }
        );
        let day = ask("from=2026-05-01&to=2026-05-01");
        assert_eq!((day.from, day.to), (at("2026-05-01T00:00:00Z"), at("2026-05-02T00:00:00Z")));
        let page = ask("to=2026-05-01T12:00:00%2B02:00&before=2026-05-03");
        assert_eq!(page.to, at("2026-05-01T10:00:00Z"));
        assert_eq!(ask("before=2026-05-01T12:00:00+02:00").to, at("2026-05-01T10:00:00Z"));
    }

    #[test]
    fn invalid_parameters_are_refused_with_what_is_valid() {
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
            let problem =
                serde_json::to_value(ListQuery::parse(Some(query), "monitor").unwrap_err()).unwrap();
            assert_eq!(problem["status"], 400, "{query}");
            problem["detail"].as_str().unwrap().to_owned()
        })
        .into();
        insta::assert_snapshot!(details.join("\n"));
    }
}
