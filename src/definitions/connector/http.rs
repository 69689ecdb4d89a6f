//! `[auth]` and `[http]`.

use std::time::Duration;

use super::{Keys, one_of, rules, template, templates};
use crate::domain::monitoring::schedule::parse_duration;
use crate::domain::retry::RetryRules;
use crate::domain::syncing::definition::connector::{Auth, HttpRules, OAuth2, Quota, SendAs};

/// Enough for any reasonable page; larger ones should be requested with a smaller page size.
const MAX_BODY: usize = 64 << 20;
/// The limit of concurrent requests for a service that states none.
const CONCURRENCY: usize = 4;
/// Data pages take longer to generate than status pages.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A token that expires within this time is renewed before it is sent.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// Token endpoints reject clients that request tokens too often.
const MINT_GAP: Duration = Duration::from_secs(30);

impl Default for HttpRules {
    fn default() -> Self {
        HttpRules {
            rates: Vec::new(),
            concurrency: CONCURRENCY,
            timeout: TIMEOUT,
            max_body: MAX_BODY,
            headers: std::collections::BTreeMap::new(),
            retry: RetryRules::default(),
            quota: None,
            rules: Vec::new(),
            notices: Vec::new(),
        }
    }
}

pub(super) fn auth(mut keys: Keys<'_, '_>, at: usize) -> Option<Auth> {
    let (kind, kind_at) = keys.text("kind").unzip();
    let auth = match kind.as_deref() {
        Some("none") => Some(Auth::None),
        Some(which @ ("header" | "query")) => {
            let name = required(&mut keys, "name", at).map(|(name, _)| name);
            let value = filled(&mut keys, "value", at);
            name.zip(value).map(|(name, value)| match which {
                "header" => Auth::Header { name, value },
                _ => Auth::Query { name, value },
            })
        }
        Some("basic") => {
            let user = filled(&mut keys, "user", at);
            let password = filled(&mut keys, "password", at);
            user.zip(password).map(|(user, password)| Auth::Basic { user, password })
        }
        Some("oauth2") => oauth2(&mut keys, at).map(Auth::OAuth2),
        None => {
            keys.wrong(at, "[auth] needs `kind`: none, header, query, basic or oauth2");
            None
        }
        Some(other) => {
            let bearer = other.eq_ignore_ascii_case("bearer");
            let hint = if bearer {
                "; a bearer token is kind = \"header\", name = \"Authorization\", value = \"Bearer ${config.api_key}\""
            } else {
                ""
            };
            let message =
                format!("{other:?} is not a kind of [auth]: none, header, query, basic or oauth2{hint}");
            keys.wrong(kind_at.unwrap_or(at), message);
            return None;
        }
    };
    keys.finish();
    auth
}

fn oauth2(keys: &mut Keys<'_, '_>, at: usize) -> Option<OAuth2> {
    if let Some((grant, at)) = keys.text("grant")
        && grant != "client_credentials"
    {
        keys.wrong(at, "`grant` must be \"client_credentials\": the other grants need a user at a browser");
    }
    let token_url = filled(keys, "token_url", at);
    let client_id = filled(keys, "client_id", at);
    let client_secret = filled(keys, "client_secret", at);
    let scope = template(keys, "scope");
    let sends = [("form", SendAs::Form), ("basic", SendAs::Basic), ("json", SendAs::Json)];
    let send = one_of(keys, "send", &sends).unwrap_or(SendAs::Form);
    let renew_before = keys.duration("renew_before", Duration::ZERO).unwrap_or(RENEW_BEFORE);
    let mint_gap = keys.duration("mint_gap", Duration::ZERO).unwrap_or(MINT_GAP);
    let retry_same_after = keys.duration("retry_same_after", Duration::ZERO);
    Some(OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope,
        send,
        renew_before,
        mint_gap,
        retry_same_after,
    })
}

fn required(keys: &mut Keys<'_, '_>, key: &'static str, at: usize) -> Option<(String, usize)> {
    let text = keys.text(key);
    if text.is_none() {
        keys.wrong(at, format!("`{key}` is missing"));
    }
    text
}

fn filled(
    keys: &mut Keys<'_, '_>,
    key: &'static str,
    at: usize,
) -> Option<crate::domain::syncing::definition::template::Template> {
    let (text, at) = required(keys, key, at)?;
    super::template_of(keys, key, &text, at)
}

pub(super) fn requests(mut keys: Keys<'_, '_>) -> HttpRules {
    let default = HttpRules::default();
    let requests = HttpRules {
        rates: rates(&mut keys),
        concurrency: keys.count("concurrency").map_or(default.concurrency, |n| n.min(64) as usize),
        timeout: keys.duration("timeout", Duration::from_millis(100)).unwrap_or(default.timeout),
        max_body: keys.count("max_body_mb").map_or(default.max_body, |mb| (mb as usize).min(1024) << 20),
        headers: templates(&mut keys, "headers"),
        retry: keys.table("retry").map_or(default.retry, |(table, _)| retry(keys.inner(table))),
        quota: keys.table("quota").and_then(|(table, at)| quota(keys.inner(table), at)),
        rules: rules::read(&mut keys),
        notices: keys.texts("notices").unwrap_or_default(),
    };
    keys.finish();
    requests
}

/// `"5/s"` (5 in every second), or a list of such.
fn rates(keys: &mut Keys<'_, '_>) -> Vec<(u32, Duration)> {
    let Some(value) = keys.value("rate") else { return Vec::new() };
    let texts: Vec<Option<String>> = match value.get_ref().as_array() {
        Some(items) => items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect(),
        None => vec![value.get_ref().as_str().map(str::to_owned)],
    };
    let read: Option<Vec<_>> = texts.iter().map(|text| rate(text.as_deref()?)).collect();
    read.unwrap_or_else(|| {
        keys.wrong(
            value.span().start,
            "`rate` must be a text such as \"5/s\" or \"60/m\", or a list of such",
        );
        Vec::new()
    })
}

fn rate(text: &str) -> Option<(u32, Duration)> {
    let (count, span) = text.split_once('/')?;
    let span = match span.trim() {
        unit @ ("s" | "m" | "h" | "d") => parse_duration(&format!("1{unit}"))?,
        other => parse_duration(other)?,
    };
    let count = count.trim().parse().ok().filter(|n| (1..=10_000).contains(n))?;
    (!span.is_zero()).then_some((count, span))
}

fn retry(mut keys: Keys<'_, '_>) -> RetryRules {
    let default = RetryRules::default();
    let delays = keys.value("delays").map(|value| {
        let items = value.get_ref().as_array().into_iter().flatten();
        let read: Option<Vec<_>> = items.map(|item| parse_duration(item.get_ref().as_str()?)).collect();
        read.filter(|delays| !delays.is_empty()).unwrap_or_else(|| {
            keys.wrong(value.span().start, "`delays` must be a list of durations such as [\"2s\", \"4s\"]");
            Vec::new()
        })
    });
    let delays = delays.unwrap_or_default();
    let tries = keys.count("tries");
    let after_delays = u32::try_from(delays.len()).ok().filter(|n| *n > 0).map(|n| n + 1);
    let rules = RetryRules {
        tries: tries.or(after_delays).unwrap_or(default.tries).min(100),
        base: keys.duration("base", Duration::ZERO).unwrap_or(default.base),
        cap: keys.duration("cap", Duration::ZERO).unwrap_or(default.cap),
        delays,
        budget: keys.duration("budget", Duration::ZERO).unwrap_or(default.budget),
        limited_tries: keys.count("limited_tries").unwrap_or(default.limited_tries),
    };
    keys.finish();
    rules
}

fn quota(mut keys: Keys<'_, '_>, at: usize) -> Option<Quota> {
    let remaining = keys.text("remaining").map(|(name, _)| name.to_lowercase());
    let reset = required(&mut keys, "reset", at).map(|(name, _)| name.to_lowercase());
    keys.finish();
    Some(Quota { remaining, reset: reset? })
}
