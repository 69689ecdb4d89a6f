//! What is requested: addresses, parameters and bodies, each of which is sent once.
//!
//! Start at [`Wanted`]; [`with_query`] and [`with_missing`] are how parameters get into an address without a change to
//! what stands there already.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, parse};

use crate::domain::connector::Method;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) url: Url,
    /// The link exactly as the service gave it, where parameters of the definition were added to it.
    pub(super) bare: Option<Url>,
    pub(super) method: Method,
    /// Members of a JSON body.
    pub(super) body: BTreeMap<String, Value>,
}

/// The parts of a query, as they are spelled.
fn parts(url: &Url) -> impl Iterator<Item = &str> {
    url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty())
}

/// The name of one part of a query.
fn name_of(part: &str) -> String {
    parse(part.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Adds parameters; each takes the place of those of its name that stand there. Of two of one name the later counts.
pub(super) fn with_query(url: &mut Url, params: &[(String, String)]) {
    if params.is_empty() {
        return;
    }
    let mut query: Vec<String> = parts(url)
        .filter(|part| !params.iter().any(|(name, _)| *name == name_of(part)))
        .map(str::to_owned)
        .collect();
    for (at, (name, value)) in params.iter().enumerate() {
        if !params[at + 1..].iter().any(|(later, _)| later == name) {
            query.push(Serializer::new(String::new()).append_pair(name, value).finish());
        }
    }
    url.set_query(Some(&query.join("&")));
}

/// Adds those parameters whose names do not stand there. Says whether there were any.
pub(super) fn with_missing(url: &mut Url, params: &[(String, String)]) -> bool {
    let there: Vec<String> = parts(url).map(name_of).collect();
    let missing: Vec<(String, String)> =
        params.iter().filter(|(name, _)| !there.contains(name)).cloned().collect();
    with_query(url, &missing);
    !missing.is_empty()
}

/// The parameters of an address.
pub(super) fn params(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().into_owned().collect()
}

/// Leaves the last of several headers of one name: those of the definition come after ours.
pub(super) fn once(headers: &mut HeaderMap) {
    let last_of = |name: &HeaderName| headers.get_all(name).iter().skip(1).last().cloned();
    let doubled: Vec<(HeaderName, HeaderValue)> =
        headers.keys().filter_map(|name| Some((name.clone(), last_of(name)?))).collect();
    for (name, value) in doubled {
        headers.insert(name, value);
    }
}

/// A value as one segment of a path.
pub(super) fn segment(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_parameter_is_sent_once_and_others_keep_their_spelling() {
        for (url, params, want) in [
            ("https://a.test/x", &[][..], "https://a.test/x"),
            ("https://a.test/x", &[("a", "1"), ("a", "2")], "https://a.test/x?a=2"),
            ("https://a.test/x?a=1&b=%20c:d&a=3", &[("a", "2 3")], "https://a.test/x?b=%20c:d&a=2+3"),
            ("https://a.test/x?f[]=1&f[]=2", &[("b", "")], "https://a.test/x?f[]=1&f[]=2&b="),
            ("https://a.test/x?%61=1", &[("a", "2")], "https://a.test/x?a=2"),
        ] {
            let mut url = Url::parse(url).unwrap();
            with_query(&mut url, &pairs(params));
            assert_eq!(url.as_str(), want);
        }
        let mut link = Url::parse("https://a.test/x?page=2&sort=%41").unwrap();
        assert!(!with_missing(&mut link, &pairs(&[("sort", "b"), ("page", "1")])));
        assert!(with_missing(&mut link, &pairs(&[("sort", "b"), ("open", "yes")])));
        assert_eq!(link.as_str(), "https://a.test/x?page=2&sort=%41&open=yes");
    }

    #[test]
    fn a_header_is_sent_once() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("accept", "a"), ("x", "1"), ("accept", "b"), ("x", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        once(&mut headers);
        assert_eq!(
            (headers.len(), &headers["accept"], &headers["x"]),
            (2, &HeaderValue::from_static("b"), &HeaderValue::from_static("1"))
        );
    }
}
