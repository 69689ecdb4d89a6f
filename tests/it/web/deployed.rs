//! The dashboard and the alert rules under `deploy/` query what `/metrics` exports: names, labels and values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::observation::{Observation, Unknown};
use data_sources_monitor::testing::domain::monitoring::plan::Why;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::runtime::board::{LastRun, channel};
use data_sources_monitor::testing::web::metrics;
use serde::Deserialize;

/// Labels that Prometheus itself puts on everything it scrapes.
const SCRAPED: [&str; 2] = ["job", "instance"];
/// Series that Prometheus itself makes for a target.
const ITS_OWN: [&str; 1] = ["up"];
/// Words of the query language that look like names.
const WORDS: [&str; 12] = [
    "by",
    "on",
    "without",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
];

/// By name of a series: its labels, and the values of each.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The metrics of a daemon with a page that failed, a banner, and a connector that ran.
fn exported() -> Exported {
    let now = jiff::Timestamp::now();
    let (writer, board) = channel(now, true);
    writer.update(|board| {
        let monitor = board.monitors.entry("Examplify".into()).or_default();
        let outcome = Err(Unknown::Timeout);
        let seen = Observation { monitor: "Examplify".into(), at: now, outcome };
        monitor.looked(Duration::from_millis(80), false, &seen);
        (monitor.state.read_at, monitor.state.severity) = (Some(now), Severity::Major);
        board.banners.entry("default".into()).or_default().wrote(Why::Raise, Some(Duration::from_millis(70)));
        (
            board.banners.entry("default".into()).or_default().report.pending_since,
            board.banners.entry("default".into()).or_default().report.answered_at,
        ) = (Some(now), Some(now));
        board.cycles.finished_at = Some(now);
        board.channels.entry("ops".into()).or_default().report.delivered_at = Some(now);
        let sync = board.syncs.entry("statuscake".into()).or_default();
        (sync.every, sync.last_success) = (Duration::from_secs(900), Some(now));
        let rows = [("uptime_test".to_owned(), 7)].into();
        let took = Duration::from_secs(2);
        sync.last_run =
            Some(LastRun { ended_at: now, end: "complete", reason: None, took, rows, waited: took });
        (sync.exports.on, sync.exports.last_success) = (true, Some(now));
        let data = board.deliveries.entry(("prod".into(), "statuscake".into())).or_default();
        (data.report.as_of, data.report.pending_since) = (Some(now), Some(now));
    });
    let mut exported = Exported::new();
    for line in metrics::render(&board, Default::default(), now)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let known = exported.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap();
            known.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    exported
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for", default)]
    lasting: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// Each has a name of its own, one of three severities, a summary and what to do.
#[test]
fn alerts_query_exported_metrics() {
    let (exported, rules): (Exported, Rules) =
        (exported(), serde_norway::from_str(&file("prometheus/alerts.yaml")).unwrap());
    let mut seen = BTreeSet::new();
    for rule in rules.groups.iter().flat_map(|group| {
        assert!(seen.insert(group.name.clone()), "{} twice", group.name);
        &group.rules
    }) {
        check(&rule.expr, &exported).unwrap_or_else(|wrong| panic!("{}: {wrong}", rule.alert));
        let keys = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            (keys(&rule.labels), keys(&rule.annotations)),
            ("severity".into(), "description summary".into())
        );
        assert!(["page", "ticket", "info"].contains(&rule.labels["severity"].as_str()), "{}", rule.alert);
        let lasting = rule.lasting.as_deref().unwrap_or("0s");
        assert!(lasting.ends_with(['s', 'm', 'h']) && lasting[..lasting.len() - 1].parse::<u32>().is_ok());
    }
    let alerts: Vec<&String> = rules.groups.iter().flat_map(|g| &g.rules).map(|rule| &rule.alert).collect();
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "an alert twice: {alerts:?}");
}

#[test]
fn each_metric_that_the_documentation_says_to_watch_has_an_alert() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let watched = docs.split("## What to watch").nth(1).unwrap().split("\n## ").next().unwrap();
    let rules: Rules = serde_norway::from_str(&file("prometheus/alerts.yaml")).unwrap();
    let queries: Vec<&str> =
        rules.groups.iter().flat_map(|group| &group.rules).map(|rule| rule.expr.as_str()).collect();
    let metrics: Vec<&str> = watched.split('`').filter(|word| word.starts_with("dsm_")).collect();
    assert!(metrics.len() > 5, "{metrics:?}");
    for metric in metrics {
        assert!(queries.iter().any(|query| query.contains(metric)), "no rule for {metric}");
    }
}

/// Every panel, variable and annotation, each with a description.
#[test]
fn the_dashboard_queries_exported_metrics() {
    let exported = exported();
    let dashboard: serde_json::Value = serde_json::from_str(&file("grafana/dashboard.json")).unwrap();
    let mut asked = Vec::new();
    collect(&dashboard, &mut asked);
    assert!(asked.len() > 20, "{asked:#?}");
    for (expression, legend) in &asked {
        check(expression, &exported).unwrap_or_else(|wrong| panic!("{expression}: {wrong}"));
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            let known =
                SCRAPED.contains(&label) || exported.values().any(|labels| labels.contains_key(label));
            assert!(known, "{legend}: no label `{label}`");
        }
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id twice");
    assert!(panels.iter().all(|panel| !panel["title"].as_str().unwrap().is_empty()));
}

/// A wrong series, label or value, and a counter without `_total`.
#[test]
fn wrong_queries_are_found() {
    let exported = exported();
    for (expression, fine) in [
        (
            "sum by (connector, end) (rate(dsm_sync_runs_total{job=~\"$job\",end!=\"failed\"}[$__rate_interval])) > 0",
            true,
        ),
        ("label_values(dsm_build_info, job)", true),
        ("dsm_monitor_severity unless on (monitor) dsm_monitor_unknown == 1", true),
        ("histogram_quantile(0.9, sum by (le) (dsm_banner_lag_seconds_bucket))", true),
        ("rate(dsm_sync_runs[5m])", false),
        ("dsm_monitor_severty > 1", false),
        ("dsm_monitor_severity{name=\"x\"}", false),
        ("sum by (page) (dsm_monitor_severity)", false),
        ("dsm_sync_last_run_end{end=\"broken\"}", false),
    ] {
        assert_eq!(check(expression, &exported).is_ok(), fine, "{expression}");
    }
}

/// Every query in the dashboard, with the legend beside it.
fn collect(value: &serde_json::Value, asked: &mut Vec<(String, String)>) {
    let text = |key: &str| value.get(key).and_then(|text| text.as_str()).map(str::to_owned);
    if let Some(expression) = text("expr").or(text("definition")) {
        let legend = text("legendFormat").or(text("titleFormat")).unwrap_or_default();
        asked.push((expression, legend));
    }
    match value {
        serde_json::Value::Object(map) => map.values().for_each(|value| collect(value, asked)),
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect(value, asked)),
        _ => {}
    }
}

/// What is wrong with a query: a series, a label or a word that is not exported.
fn check(expression: &str, exported: &Exported) -> Result<(), String> {
    let known =
        |label: &str| SCRAPED.contains(&label) || exported.values().any(|labels| labels.contains_key(label));
    let mut rest = expression;
    while let Some(at) =
        rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || "\"[$0123456789".contains(c))
    {
        rest = &rest[at..];
        // Texts, spans of time, numbers and variables name no series.
        let skipped = match rest.as_bytes()[0] {
            b'"' => rest[1..].find('"').map(|end| end + 2),
            b'[' => rest.find(']'),
            b'$' | b'0'..=b'9' => Some(1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1)),
            _ => None,
        };
        if let Some(skipped) = skipped {
            rest = &rest[skipped..];
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = (&rest[..end], rest[end..].trim_start());
        rest = after;
        if WORDS.contains(&word) {
            if matches!(word, "by" | "on" | "without" | "ignoring") {
                let (labels, after) =
                    after.strip_prefix('(').and_then(|l| l.split_once(')')).ok_or("no list")?;
                if let Some(wrong) = labels.split(',').map(str::trim).find(|label| !known(label)) {
                    return Err(format!("no label `{wrong}`"));
                }
                rest = after;
            }
        } else if word == "label_values" {
            let (series, label) = after.rsplit_once(',').ok_or("no label")?;
            let label = label.trim_end_matches(')').trim();
            return if known(label) {
                check(&series[1..], exported)
            } else {
                Err(format!("no label `{label}`"))
            };
        } else if !after.starts_with('(') && !after.starts_with("by ") && !after.starts_with("without ") {
            let labels = after.strip_prefix('{').and_then(|l| l.split_once('}'));
            if !ITS_OWN.contains(&word) {
                matchers(word, labels.map_or("", |(labels, _)| labels), exported)?;
            }
            rest = labels.map_or(after, |(_, after)| after);
        }
    }
    Ok(())
}

fn matchers(series: &str, matchers: &str, exported: &Exported) -> Result<(), String> {
    let labels = exported.get(series).ok_or_else(|| format!("no series `{series}`"))?;
    for matcher in matchers.split(',').filter(|matcher| !matcher.is_empty()) {
        let (label, value) = matcher.split_once(['=', '!']).ok_or("no matcher")?;
        let value = value.trim_start_matches(['=', '~']).trim_matches('"');
        if SCRAPED.contains(&label) {
            continue;
        }
        let values = labels.get(label).ok_or_else(|| format!("`{series}` has no label `{label}`"))?;
        if !value.starts_with('$') && !value.split('|').all(|value| values.contains(value)) {
            return Err(format!("`{series}` has no {label} `{value}`"));
        }
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}
