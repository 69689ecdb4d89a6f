//! The parts of a request: URL, parameters and body. Each parameter and header is sent once.
//!
//! Start at [`RequestSpec`]; [`with_query`] and [`with_missing`] add parameters to a URL and do not change the spelling of
//! its other parameters.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, parse};

use crate::domain::syncing::definition::connector::Method;

#[derive(Debug, Clone)]
pub(in crate::source) struct RequestSpec {
    pub(in crate::source) url: Url,
    /// The link exactly as the service sent it, if parameters of the definition were added to `url`.
    pub(in crate::source) bare: Option<Url>,
    pub(in crate::source) method: Method,
    /// Members of a JSON body.
    pub(in crate::source) body: BTreeMap<String, Value>,
    /// Whether the page size is larger than in the definition, so that it can be reduced.
    pub(in crate::source) grown: bool,
}

/// The parts of a query in their spelling.
fn parts(url: &Url) -> impl Iterator<Item = &str> {
    url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty())
}

/// The decoded name of one part of a query.
fn name_of(part: &str) -> String {
    parse(part.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Adds parameters; each replaces those of the same name. Of two parameters with one name, the later is used.
pub(in crate::source) fn with_query(url: &mut Url, params: &[(String, String)]) {
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

/// Adds the parameters whose names the URL does not have. Returns whether there were any.
pub(in crate::source) fn with_missing(url: &mut Url, params: &[(String, String)]) -> bool {
    let present: Vec<String> = parts(url).map(name_of).collect();
    let missing: Vec<(String, String)> =
        params.iter().filter(|(name, _)| !present.contains(name)).cloned().collect();
    with_query(url, &missing);
    !missing.is_empty()
}

/// The parameters of a URL.
pub(in crate::source) fn params(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().into_owned().collect()
}

/// Keeps the last of several headers with one name: the definition's headers are added after ours.
pub(in crate::source) fn remove_duplicates(headers: &mut HeaderMap) {
    let last_of = |name: &HeaderName| headers.get_all(name).iter().skip(1).last().cloned();
    let duplicates: Vec<(HeaderName, HeaderValue)> =
        headers.keys().filter_map(|name| Some((name.clone(), last_of(name)?))).collect();
    for (name, value) in duplicates {
        headers.insert(name, value);
    }
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
        remove_duplicates(&mut headers);
        assert_eq!(
            (headers.len(), &headers["accept"], &headers["x"]),
            (2, &HeaderValue::from_static("b"), &HeaderValue::from_static("1"))
        );
    }
}
