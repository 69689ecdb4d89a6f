//! The body of an upsert: what the documentation requires and forbids.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Banner, KINDS, MESSAGE_CHARS, Rules};
use crate::Reply;
use crate::draw::hex32;

pub(super) fn bad_fields(details: &[String]) -> Reply {
    let error = |detail: &String| json!({"code": "HTTP-400", "title": "Bad Request", "detail": detail, "status": 400});
    let errors: Vec<Value> = details.iter().map(error).collect();
    Reply::json(&json!({"errors": errors, "traceId": hex32(0, &details[0], 0)})).with_status(400)
}

/// Reads the body of an upsert; forbidden fields are an error, undocumented ones go to `faults`.
pub(super) fn parse(body: &Value, rules: &Rules, faults: &mut Vec<String>) -> Result<Banner, Vec<String>> {
    let known = ["type", "enabled", "message", "startTime", "endTime", "linkEnabled", "linkUrl", "linkLabel"];
    let names = body.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let unknown = names.iter().filter(|name| !known.contains(&name.as_str()));
    faults.extend(unknown.map(|name| format!("the API knows no field {name}")));

    let mut wrong = Vec::new();
    let mut text = |name: &str| {
        body[name].as_str().map(String::from).ok_or_else(|| wrong.push(format!("{name} is required")))
    };
    let (kind, message) = (text("type"), text("message"));
    let (start, end) = (text("startTime"), text("endTime"));
    let mut flag = |name: &str| body[name].as_bool().ok_or_else(|| wrong.push(format!("{name} is required")));
    let (enabled, link_enabled) = (flag("enabled"), flag("linkEnabled"));
    if kind.as_ref().is_ok_and(|kind| !KINDS.contains(&kind.as_str())) {
        wrong.push("type must be one of info, warning, error, resolved".into());
    }
    if rules.limits_message && message.as_ref().is_ok_and(|one| one.chars().count() > MESSAGE_CHARS) {
        wrong.push(format!("message must not be longer than {MESSAGE_CHARS} characters"));
    }
    let mut time = |name: &str, text: Result<String, ()>| {
        let parsed = text.and_then(|text| text.parse::<Timestamp>().map_err(|_| ()));
        parsed.map_err(|()| wrong.push(format!("{name} must be a date-time")))
    };
    let (start, end) = (time("startTime", start), time("endTime", end));
    if start.is_ok() && end.is_ok() && end <= start {
        wrong.push("endTime must be after startTime".into());
    }
    let link = |name: &str| body[name].as_str().map(String::from);
    let (url, label) = (link("linkUrl"), link("linkLabel"));
    if url.as_ref().is_some_and(|url| url::Url::parse(url).is_err()) {
        wrong.push("linkUrl must be a URI".into());
    }
    if link_enabled == Ok(true) && url.as_deref().is_some_and(rules.refuses_link) {
        wrong.push("linkUrl is not allowed".into());
    }
    match (kind, enabled, message, start, end, link_enabled) {
        (Ok(kind), Ok(enabled), Ok(message), Ok(start), Ok(end), Ok(shows)) if wrong.is_empty() => {
            Ok(Banner { kind, enabled, message, start, end, link: (shows, url, label) })
        }
        _ => Err(wrong),
    }
}
