//! The served OpenAPI description covers exactly what the API does.

use std::collections::BTreeSet;

use data_sources_monitor::testing::web::api::{OPENAPI, paths};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use super::{TestServer, with_everything};

/// The keywords that the checker understands; an unknown one would check nothing.
const KEYWORDS: [&str; 14] = [
    "$ref",
    "oneOf",
    "type",
    "enum",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "description",
    "format",
    "minimum",
    "maximum",
    "example",
    "default",
];
/// TestServer beside the API.
const BESIDE: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Checks values against schemas: required properties are there, and those that are there are described.
pub(super) struct Checker {
    document: Value,
    /// Properties that had a value, as `Schema.property`.
    seen: BTreeSet<String>,
}

impl Checker {
    pub(super) fn new() -> Checker {
        Checker { document: serde_json::from_str(OPENAPI).unwrap(), seen: BTreeSet::new() }
    }

    /// Checks the body of a successful response at a path as the description writes it.
    pub(super) fn answer(&mut self, path: &str, kind: &str, body: &str) {
        let answers = &self.document["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = answers[kind]["schema"].clone();
        assert!(schema.is_object(), "{path}: {kind} is not described");
        let value =
            if kind == "application/json" { serde_json::from_str(body).unwrap() } else { body.into() };
        self.check(&schema, &value, path).unwrap_or_else(|wrong| panic!("{path}: {wrong}\n{body}"));
    }

    fn check(&mut self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let schema = schema.as_object().ok_or("no schema")?;
        if let Some(word) = schema.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
            return Err(format!("{place}: the checker does not know `{word}`"));
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = name.strip_prefix('#').ok_or("a reference elsewhere")?;
            let target = self.document.pointer(pointer).ok_or(format!("nothing at {name}"))?.clone();
            return self.check(&target, value, name.rsplit('/').next().unwrap());
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let fitting = choices.iter().map(|choice| self.check(choice, value, place));
            let failed: Vec<String> = fitting.filter_map(Result::err).collect();
            return if failed.len() + 1 == choices.len() { Ok(()) } else { Err(failed.join(" or ")) };
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => vec![kind.as_str().ok_or("no type")?],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() || !kinds.contains(&"integer") => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !kinds.contains(&kind) {
            return Err(format!("{place}: {value} is no {kinds:?}"));
        }
        if schema.get("enum").and_then(Value::as_array).is_some_and(|words| !words.contains(value)) {
            return Err(format!("{place}: {value} is none of {}", schema["enum"]));
        }
        match value {
            Value::String(text) => formatted(schema, text).map_err(|wrong| format!("{place}: {wrong}")),
            Value::Number(number) => {
                let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
                let number = number.as_f64().unwrap();
                let fits = bound("minimum").is_none_or(|least| number >= least)
                    && bound("maximum").is_none_or(|most| number <= most);
                fits.then_some(()).ok_or(format!("{place}: {number} is out of bounds"))
            }
            Value::Array(items) => {
                items.iter().try_for_each(|item| self.check(&schema["items"], item, place))
            }
            Value::Object(fields) => self.fields(schema, fields, place),
            _ => Ok(()),
        }
    }

    fn fields(
        &mut self,
        schema: &Map<String, Value>,
        fields: &Map<String, Value>,
        place: &str,
    ) -> Result<(), String> {
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(missing) =
            required.iter().filter_map(Value::as_str).find(|key| !fields.contains_key(*key))
        {
            return Err(format!("{place} has no `{missing}`"));
        }
        for (key, value) in fields {
            let own = schema.get("properties").and_then(|all| all.get(key));
            let schema = own
                .or(schema.get("additionalProperties"))
                .ok_or(format!("{place}.{key} is not described"))?;
            if own.is_some() && !value.is_null() {
                self.seen.insert(format!("{place}.{key}"));
            }
            if *schema != Value::Bool(true) {
                self.check(schema, value, &format!("{place}.{key}"))?;
            }
        }
        Ok(())
    }

    /// Described properties of the schemas that were never seen with a value.
    fn unseen(&self) -> Vec<String> {
        let mut all = BTreeSet::new();
        for (name, schema) in self.document["components"]["schemas"].as_object().unwrap() {
            described(schema, name, &mut all);
        }
        all.difference(&self.seen).cloned().collect()
    }
}

fn formatted(schema: &Map<String, Value>, text: &str) -> Result<(), String> {
    let fine = match schema.get("format").and_then(Value::as_str) {
        None => true,
        Some("date-time") => text.ends_with('Z') && text.parse::<Timestamp>().is_ok(),
        Some("date") => text.parse::<Date>().is_ok(),
        Some("uri") => url::Url::parse(text).is_ok(),
        Some(other) => return Err(format!("the checker does not know the format `{other}`")),
    };
    fine.then_some(()).ok_or_else(|| format!("`{text}` is no {}", schema["format"]))
}

fn described(schema: &Value, place: &str, all: &mut BTreeSet<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}.{key}");
        described(inner, &place, all);
        if inner["type"] != "null" {
            all.insert(place);
        }
    }
    if schema["items"].is_object() {
        described(&schema["items"], place, all);
    }
}

/// And no other is.
#[tokio::test]
async fn every_route_is_described() {
    let served = TestServer::start().await;
    let document = served.json("/api/openapi.json").await;
    assert_eq!(document, serde_json::from_str::<Value>(OPENAPI).unwrap());
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, paths().into_iter().chain(BESIDE).collect());
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods: Vec<&String> = item.as_object().unwrap().keys().collect();
        assert_eq!(methods, ["get"], "{path}");
        assert!(item["get"]["summary"].is_string() && item["get"]["operationId"].is_string(), "{path}");
    }
}

/// What `{name}` stands for in a path.
pub(super) fn name_for(path: &str) -> &'static str {
    match path {
        path if path.contains("connectors") => "statuscake",
        path if path.contains("tenants") => "default",
        _ => "Examplify",
    }
}

/// Of a daemon that knows everything. Each described property has a value in some response.
#[tokio::test]
async fn responses_are_as_described() {
    let served = with_everything().await;
    let mut checker = Checker::new();
    for path in paths().into_iter().chain(BESIDE) {
        let asked = path.replace("{file}", "Examplify.svg");
        let name = name_for(path);
        let answer = served.get(&asked.replace("{name}", name)).await;
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let expected = if path == "/readyz" { 503 } else { 200 };
        assert_eq!(answer.status(), expected, "{path}");
        checker.answer(path, &kind, &answer.text().await.unwrap());
    }
    let monitor = served.json("/api/v1/monitors/StatusCake").await.to_string();
    checker.answer("/api/v1/monitors/{name}", "application/json", &monitor);
    let page = served.json("/api/v1/transitions?limit=1").await.to_string();
    checker.answer("/api/v1/transitions", "application/json", &page);
    let problem = served.get("/api/v1/monitors/nobody").await.text().await.unwrap();
    let refusal = checker.document["components"]["schemas"]["Problem"].clone();
    checker.check(&refusal, &serde_json::from_str(&problem).unwrap(), "Problem").unwrap();
    // Both lists end here, so there is no next page.
    assert_eq!(checker.unseen(), ["Runs.next_before", "Transitions.next_before"]);
}

#[tokio::test]
async fn parameters_accept_exactly_the_described_formats() {
    let served = with_everything().await;
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    for path in ["/api/v1/runs", "/api/v1/transitions"] {
        for name in ["from", "to", "before"] {
            let schema = &document["components"]["parameters"][name]["schema"];
            let choices = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
            for (value, format) in [
                ("2026-05-01T00:00:00Z", "date-time"),
                ("2026-05-01T02:00:00.5%2B02:00", "date-time"),
                ("2026-05-01", "date"),
                ("yesterday", "text"),
                ("1777593600", "text"),
            ] {
                let described = choices.iter().any(|choice| choice["format"] == format);
                let status = served.get(&format!("{path}?{name}={value}")).await.status();
                assert_eq!(status, if described { 200 } else { 400 }, "{path} {name} {value}");
            }
        }
    }
}

#[tokio::test]
async fn responses_of_a_new_daemon_are_as_described() {
    let served = TestServer::start().await;
    served.board.update(|board| {
        board.cycles.finished_at = None;
        board.monitors.entry("Examplify".into()).or_default();
        board.banners.entry("default".into()).or_default();
        board.syncs.entry("statuscake".into()).or_default();
    });
    let mut checker = Checker::new();
    for path in paths().into_iter().filter(|path| path.starts_with("/api/")) {
        let name = name_for(path);
        let body = served.get(&path.replace("{name}", name)).await.text().await.unwrap();
        checker.answer(path, "application/json", &body);
    }
}
