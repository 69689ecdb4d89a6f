//! History, page by page.

use data_sources_monitor::testing::domain::monitoring::assess::Transition;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::domain::syncing::op::End;

use super::{TestServer, ago, run};

fn change(monitor: &str, hours: i64, to: Severity) -> Transition {
    let description = format!("{to} of {monitor}");
    let base: jiff::Timestamp = "2026-05-02T12:00:00Z".parse().unwrap();
    let at = base.checked_sub(jiff::SignedDuration::from_hours(hours)).unwrap();
    Transition { monitor: monitor.into(), at, from: Severity::None, to, description }
}

fn texts(answer: &serde_json::Value, list: &str, field: &str) -> Vec<String> {
    let rows = answer[list].as_array().unwrap().iter();
    rows.map(|row| row[field].as_str().map_or_else(|| row[field].to_string(), str::to_owned)).collect()
}

/// Filtered by monitor and time range; of transitions at the same time none is lost between two pages. The history of
/// a removed monitor stays.
#[tokio::test]
async fn transitions_are_listed_newest_first_and_page_by_page() {
    let served = TestServer::start().await;
    served.reads("Alpha/1 \"x\"", Severity::None, "");
    *served.kept.transitions.lock().unwrap() = vec![
        change("Alpha/1 \"x\"", 0, Severity::Major),
        change("Beta", 5, Severity::Minor),
        change("Gamma", 5, Severity::Critical),
        change("Beta", 5, Severity::None),
        change("Gamma", 20, Severity::Major),
    ];
    let (mut path, mut seen) = ("/api/v1/transitions?limit=2".to_owned(), Vec::new());
    loop {
        let page = served.json(&path).await;
        seen.push(texts(&page, "transitions", "description").join(", "));
        let Some(next) = page["next_before"].as_str() else { break };
        path = format!("/api/v1/transitions?limit=2&before={next}");
    }
    assert_eq!(
        seen,
        ["major of Alpha/1 \"x\", minor of Beta, critical of Gamma, none of Beta", "major of Gamma"]
    );
    for (query, want) in [
        ("monitor=Alpha%2F1+%22x%22", "major of Alpha/1 \"x\""),
        ("monitor=Gamma&from=2026-05-02", "critical of Gamma"),
        ("to=2026-05-01", "major of Gamma"),
        ("from=2026-05-02T12:00:00Z&to=2026-05-02T12:00:00.001Z", "major of Alpha/1 \"x\""),
        ("from=2031-01-01", ""),
    ] {
        let page = served.json(&format!("/api/v1/transitions?{query}")).await;
        assert_eq!(texts(&page, "transitions", "description").join(", "), want, "{query}");
    }
    let (status, detail) = served.refused("/api/v1/transitions?monitor=nobody").await;
    assert_eq!((status, &*detail), (404, "there is no monitor `nobody`; /api/v1/monitors lists all"));
}

/// A run in progress has no end.
#[tokio::test]
async fn runs_of_one_or_all_connectors_are_listed_page_by_page() {
    let served = TestServer::start().await;
    let base = ago(100);
    let at = |hour: i64| base.checked_add(jiff::SignedDuration::from_hours(hour)).unwrap();
    let mut runs = vec![("shop".to_owned(), run(9, at(9), None))];
    for number in (1..9).rev() {
        runs.push(("cake".to_owned(), run(number, at(number), Some(End::Complete))));
        if number % 2 == 0 {
            runs.push(("shop".to_owned(), run(number, at(number), Some(End::Partial))));
        }
    }
    *served.kept.runs.lock().unwrap() = runs;
    served.board.update(|board| {
        board.syncs.entry("cake".into()).or_default();
        board.syncs.entry("shop".into()).or_default();
    });
    let (mut path, mut seen) = ("/api/v1/runs?limit=4".to_owned(), Vec::new());
    loop {
        let page = served.json(&path).await;
        let (names, numbers) = (texts(&page, "runs", "connector"), texts(&page, "runs", "number"));
        seen.push(names.iter().zip(&numbers).map(|(a, b)| format!("{a}{b}")).collect::<Vec<_>>().join(" "));
        let Some(next) = page["next_before"].as_str() else { break };
        path = format!("/api/v1/runs?limit=4&before={next}");
    }
    assert_eq!(seen, ["shop9 cake8 shop8 cake7", "cake6 shop6 cake5 cake4 shop4", "cake3 cake2 shop2 cake1"]);
    let shop = served.json("/api/v1/runs?connector=shop&limit=2").await;
    assert_eq!(texts(&shop, "runs", "end"), ["null", "partial"]);
    assert_eq!(served.refused("/api/v1/runs?connector=nobody").await.0, 404);
    *served.kept.broken.lock().unwrap() = true;
    let (status, detail) = served.refused("/api/v1/runs").await;
    assert_eq!((status, &*detail), (503, "cannot be read: the disk is gone"));
}
