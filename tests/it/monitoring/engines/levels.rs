//! What every engine must get right: each severity, filters, maintenance, resolved incidents.

use stand_ins::engines::Level;

use super::{Bench, SICK};

/// What an engine can say.
struct Ability {
    engine: &'static str,
    /// The severities of [`Level::Maintenance`] to [`Level::Outage`], and of a word that no one knows.
    levels: [&'static str; 5],
    /// Whether single components can be monitored.
    has_components: bool,
    /// Whether maintenance in progress makes a page `maintenance`, and announced one is listed.
    maintenance: (bool, bool),
    /// Whether incidents have a title.
    has_titles: bool,
}

const UNKNOWN: &str = "unknown";
const USUAL: [&str; 5] = ["maintenance", "minor", "major", "critical", UNKNOWN];

const fn ability(
    engine: &'static str,
    levels: [&'static str; 5],
    has_components: bool,
    maintenance: (bool, bool),
    has_titles: bool,
) -> Ability {
    Ability { engine, levels, has_components, maintenance, has_titles }
}

const ABILITIES: &[Ability] = &[
    ability("aws", ["none", "minor", "major", "critical", UNKNOWN], true, (false, false), true),
    ability("azure-devops", [UNKNOWN, "minor", "minor", "critical", UNKNOWN], true, (false, false), false),
    ability("betterstack", ["maintenance", "minor", "major", "major", UNKNOWN], true, (true, true), true),
    ability("cachet", [UNKNOWN, "minor", "major", "critical", UNKNOWN], true, (false, false), true),
    ability("feed", ["minor", "minor", "minor", "minor", "minor"], true, (false, true), true),
    ability("freshstatus", USUAL, true, (false, false), false),
    ability("gatus", ["major", "major", "major", "major", UNKNOWN], true, (false, false), false),
    ability("google", ["none", "major", "major", "critical", UNKNOWN], true, (false, false), true),
    ability("heroku", ["maintenance", "minor", "critical", "critical", UNKNOWN], true, (false, true), true),
    ability("http", ["minor", "minor", "minor", "minor", "minor"], false, (false, false), false),
    ability(
        "hyperping",
        ["maintenance", "minor", "critical", "critical", UNKNOWN],
        false,
        (false, false),
        false,
    ),
    ability("incidentio", USUAL, true, (true, true), true),
    ability("incidentio-proxy", USUAL, true, (true, true), true),
    ability("instatus", ["maintenance", "minor", "major", "critical", UNKNOWN], true, (true, true), true),
    ability("microsoft", [UNKNOWN, "minor", "minor", "minor", UNKNOWN], false, (false, false), true),
    ability("oci", USUAL, false, (false, false), false),
    ability("openstatus", USUAL, false, (true, true), true),
    ability("rootly", USUAL, false, (false, false), true),
    ability("salesforce", USUAL, false, (false, false), true),
    ability("slack", ["none", "minor", "major", "major", UNKNOWN], true, (false, false), true),
    ability("sorry", USUAL, true, (false, false), true),
    ability("statuscast", USUAL, true, (false, false), true),
    ability("statusio", USUAL, true, (true, true), true),
    ability("stripe", [UNKNOWN, "minor", "critical", "critical", UNKNOWN], true, (false, false), false),
    ability("upptime", [UNKNOWN, "minor", "major", "major", UNKNOWN], true, (false, false), false),
    ability("uptime-kuma", ["maintenance", "minor", "major", "major", UNKNOWN], true, (false, true), true),
    ability("zendesk", ["minor", "minor", "critical", "critical", "critical"], true, (false, false), true),
];

const LEVELS: [Level; 5] = [Level::Maintenance, Level::Degraded, Level::Partial, Level::Outage, Level::Odd];

/// The component that gets worse.
/// The name that a filter gives it.
fn name(engine: &str, sick: bool) -> &'static str {
    match (engine, sick) {
        ("aws", true) => "query-engine-*",
        ("aws", false) => "storage-*",
        ("stripe", true) => "query-engine",
        ("stripe", false) => "storage",
        (_, true) => "Query engine",
        (_, false) => "Storage",
    }
}

#[test]
fn every_engine_has_a_row() {
    let mut rows: Vec<&str> = ABILITIES.iter().map(|row| row.engine).collect();
    rows.push("statuspage");
    rows.sort_unstable();
    let engines = data_sources_monitor::testing::definitions::engine::built_in().keys();
    assert_eq!(rows, engines.map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_healthy_page_is_healthy() {
    for Ability { engine, has_components, .. } in ABILITIES {
        assert_eq!(Bench::of(engine).severity().await, "none", "{engine}");
        if *has_components {
            let one = Bench::of(engine).components(&[name(engine, true)]);
            assert_eq!(one.severity().await, "none", "{engine}: {:?}", one.says().await);
            let all = Bench::of(engine).components(&["*"]);
            assert_eq!(all.severity().await, "none", "{engine}: {:?}", all.says().await);
        }
    }
}

#[tokio::test]
async fn each_severity_is_read() {
    for row in ABILITIES {
        for (level, want) in LEVELS.into_iter().zip(row.levels) {
            let bench = Bench::of(row.engine);
            bench.page(|model| model.break_component(SICK, level));
            assert_eq!(bench.severity().await, want, "{} {level:?}: {}", row.engine, bench.says().await);
        }
    }
}

#[tokio::test]
async fn a_component_is_judged_by_itself() {
    for row in ABILITIES.iter().filter(|row| row.has_components) {
        for (level, want) in LEVELS.into_iter().zip(row.levels) {
            let sick = Bench::of(row.engine).components(&[name(row.engine, true)]);
            sick.page(|model| model.break_component(SICK, level));
            assert_eq!(sick.severity().await, want, "{} {level:?}: {}", row.engine, sick.says().await);
            let well = Bench::of(row.engine).components(&[name(row.engine, false)]);
            well.page(|model| model.break_component(SICK, level));
            assert_eq!(well.severity().await, "none", "{} {level:?}: {}", row.engine, well.says().await);
        }
    }
}

#[tokio::test]
async fn a_resolved_incident_does_not_count() {
    for row in ABILITIES {
        let bench = Bench::of(row.engine).with_incidents();
        bench.page(|model| {
            model.break_component(SICK, Level::Outage);
            model.resolve();
        });
        assert_eq!(bench.severity().await, "none", "{}: {}", row.engine, bench.says().await);
        let open = bench.outcome().await.unwrap().open.unwrap_or_default();
        assert_eq!(open, [], "{}", row.engine);
    }
}

#[tokio::test]
async fn an_open_incident_is_listed_with_its_title() {
    for row in ABILITIES.iter().filter(|row| row.has_titles) {
        let bench = Bench::of(row.engine).with_incidents();
        bench.page(|model| model.break_component(SICK, Level::Outage));
        let reading = bench.outcome().await.unwrap();
        let title =
            reading.open.unwrap_or_default().first().map(|event| event.title.clone()).unwrap_or_default();
        let want = if row.engine == "microsoft" { "All of it" } else { "Trouble 11" };
        assert_eq!(title, want, "{}", row.engine);
    }
}

#[tokio::test]
async fn maintenance_counts_only_while_it_runs() {
    for row in ABILITIES {
        let announced = Bench::of(row.engine).with_incidents();
        announced.page(|model| model.add_maintenance("Upgrade", 90, &[SICK]));
        let reading = announced.outcome().await.unwrap();
        assert_eq!(reading.severity.as_str(), "none", "{}", row.engine);
        let listed = reading
            .open
            .unwrap_or_default()
            .iter()
            .any(|event| event.planned && event.title.contains("Upgrade"));
        assert_eq!(listed, row.maintenance.1, "{}", row.engine);
        if row.maintenance.0 {
            let running = Bench::of(row.engine).with_incidents();
            running.page(|model| {
                model.add_maintenance("Upgrade", -10, &[SICK]);
                model.components[0].level = Level::Maintenance;
            });
            assert_eq!(running.says().await, "maintenance: Upgrade", "{}", row.engine);
        }
    }
}
