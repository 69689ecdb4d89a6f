//! The traps of hosted pages, single vendors, feeds and plain web servers.

use stand_ins::Reply;
use stand_ins::engines::{Level, Model};

use super::{Bench, SICK, broken};

#[tokio::test]
async fn incident_io_without_its_widget_is_judged_by_its_imitation() {
    let bench = broken("incidentio", Level::Partial).quirk("widget_off");
    assert_eq!(bench.says().await, "major: In words");
    let healthy = Bench::of("incidentio").quirk("widget_off");
    assert_eq!(healthy.says().await, "none: In words");
    let both = Bench::of("incidentio").quirk("widget_off");
    both.page.always_on("status.json", Reply::status(404));
    assert!(both.says().await.starts_with("unknown"));
}

/// The imitation lags behind; one request is enough.
#[tokio::test]
async fn the_widget_of_incident_io_decides() {
    let bench = broken("incidentio", Level::Partial).quirk("compat_healthy");
    assert_eq!(bench.says().await, "major: Trouble 11");
    assert_eq!(bench.page.requests().len(), 1);
    bench.page(Model::resolve);
    let lingers = bench.quirk("resolved_lingers");
    assert_eq!(lingers.severity().await, "none");
}

#[tokio::test]
async fn incident_io_components_come_from_its_imitation() {
    let bench = broken("incidentio", Level::Degraded).components(&["Query engine"]).with_incidents();
    assert_eq!(bench.says().await, "minor: Trouble 11");
    let none = Bench::of("incidentio").quirk("no_components").components(&["Query engine"]);
    assert!(none.says().await.starts_with("unknown"));
}

#[tokio::test]
async fn incident_io_groups_come_from_the_page_s_own_document() {
    for (pattern, want) in
        [("EU region", "major"), ("US region", "none"), ("EU region - Query engine", "major")]
    {
        let bench = broken("incidentio-proxy", Level::Partial).components(&[pattern]);
        assert_eq!(bench.severity().await, want, "{pattern}");
    }
}

/// A page below a path.
#[tokio::test]
async fn the_path_of_a_page_is_kept() {
    let mut bench = Bench::of("incidentio");
    bench.monitor.root = format!("{}/us/", bench.page.url()).parse().unwrap();
    assert!(bench.says().await.starts_with("unknown"));
    assert_eq!(bench.page.requests()[0].path, "/us/api/v1/summary");
}

#[tokio::test]
async fn status_io_is_read_by_its_codes() {
    for quirk in ["renamed", "numbers", "no_containers"] {
        assert_eq!(broken("statusio", Level::Partial).quirk(quirk).severity().await, "major", "{quirk}");
        let component = broken("statusio", Level::Partial).quirk(quirk).components(&["Query engine"]);
        assert_eq!(component.severity().await, "major", "{quirk}");
    }
    let wrong = Bench::of("statusio").option("page_id", "000000000000000000000000");
    assert!(wrong.says().await.starts_with("unknown"));
}

#[tokio::test]
async fn regions_of_status_io_are_parts_of_components() {
    for (pattern, want) in [
        ("Query engine - Europe", "critical"),
        ("Query engine - America", "none"),
        ("* - Europe", "critical"),
        ("Storage", "none"),
    ] {
        let bench = broken("statusio", Level::Outage).components(&[pattern]);
        assert_eq!(bench.severity().await, want, "{pattern}");
    }
}

/// An incident in one region of one component.
#[tokio::test]
async fn an_incident_of_status_io_concerns_its_regions_of_its_components() {
    for (pattern, want) in [
        ("Query engine - Europe", "critical"),
        ("Query engine - America", "none"),
        ("Storage - Europe", "none"),
        ("Query engine", "critical"),
    ] {
        let bench = Bench::of("statusio").components(&[pattern]).with_incidents();
        bench.page(|model| model.add_incident("No queries", Level::Outage, &[SICK]));
        assert_eq!(bench.severity().await, want, "{pattern}");
    }
}

/// The last update says 100.
#[tokio::test]
async fn the_impact_of_a_status_io_incident_is_its_worst() {
    let reading = broken("statusio", Level::Partial).with_incidents().outcome().await.unwrap();
    assert_eq!(reading.description, "Trouble 11");
    let event = &reading.open.unwrap()[0];
    assert_eq!((event.impact.as_str(), event.state.as_str()), ("major", "identified"));
    assert_eq!(event.update, "Better.");
}

#[tokio::test]
async fn resources_that_no_one_monitors_prove_nothing() {
    let bench = Bench::of("betterstack").quirk("not_monitored");
    assert!(bench.says().await.starts_with("unknown"));
}

#[tokio::test]
async fn better_stack_is_critical_when_everything_is_down() {
    let bench = Bench::of("betterstack");
    bench.page(|model| model.components.iter_mut().for_each(|one| one.level = Level::Outage));
    assert_eq!(bench.severity().await, "critical");
    let blip = broken("betterstack", Level::Outage);
    blip.page(|model| model.overall = Some(Level::Fine));
    assert_eq!(blip.severity().await, "none");
    assert_eq!(blip.components(&["EU region"]).severity().await, "major");
}

#[tokio::test]
async fn an_open_incident_of_instatus_beats_its_overall_state() {
    for quirk in ["", "other_dates"] {
        let bench = Bench::of("instatus").quirk(quirk);
        bench.page(|model| model.add_incident("Slow", Level::Partial, &[]));
        assert_eq!(bench.says().await, "major: Slow", "{quirk}");
        let reading = bench.outcome().await.unwrap();
        assert!(reading.open.unwrap()[0].begins.is_some(), "{quirk}");
    }
    let newer = broken("instatus", Level::Degraded).quirk("newer");
    assert_eq!(newer.components(&["EU region"]).severity().await, "minor");
}

#[tokio::test]
async fn the_list_of_slack_decides() {
    assert_eq!(broken("slack", Level::Partial).quirk("ok_beside_incident").severity().await, "major");
    assert_eq!(broken("slack", Level::Fine).severity().await, "none");
    // The word contradicts the list.
    assert!(Bench::of("slack").quirk("active_without_list").says().await.starts_with("unknown"));
}

#[tokio::test]
async fn an_incident_of_zendesk_is_at_least_minor() {
    let bench = broken("zendesk", Level::Outage).quirk("no_outage_field");
    assert_eq!(bench.severity().await, "minor");
    assert_eq!(bench.components(&["Query engine"]).severity().await, "critical");
}

#[tokio::test]
async fn an_unknown_instance_of_salesforce_is_unknown() {
    assert_eq!(Bench::of("salesforce").option("instance", "XX1").says().await, "unknown: HTTP 404");
}

#[tokio::test]
async fn both_lists_of_sorry_are_read() {
    for quirk in ["", "wrapped"] {
        let bench = broken("sorry", Level::Partial).quirk(quirk).components(&["Query engine"]);
        assert_eq!(bench.severity().await, "major", "{quirk}");
    }
}

#[tokio::test]
async fn ignored_leaves_of_freshstatus_do_not_count() {
    assert_eq!(Bench::of("freshstatus").quirk("ignored_outage").severity().await, "none");
    let bench = broken("freshstatus", Level::Partial).quirk("ignored_outage");
    assert_eq!(bench.severity().await, "major");
}

#[tokio::test]
async fn pages_that_refuse_automated_readers_are_unknown() {
    for engine in ["statuscast", "rootly"] {
        let bench = Bench::of(engine);
        bench
            .page
            .always_on("GET ", Reply::text("text/html", "Invalid request blocked (v1)").with_status(403));
        assert!(bench.says().await.starts_with("unknown: HTTP 403"), "{engine}");
    }
}

#[tokio::test]
async fn feeds_are_folded_to_the_newest_entry_of_an_incident() {
    for quirk in ["", "atom", "oldest_first"] {
        let bench = broken("feed", Level::Outage).quirk(quirk);
        assert_eq!(bench.says().await, "minor: Trouble 11", "{quirk}");
        assert_eq!(bench.components(&["Query engine"]).severity().await, "minor", "{quirk}");
        let over = broken("feed", Level::Outage).quirk(quirk);
        over.page(Model::resolve);
        assert_eq!(over.severity().await, "none", "{quirk}");
    }
}

/// Entries without a closing word count for a day; those without a date count always.
#[tokio::test]
async fn old_entries_of_a_feed_are_over() {
    assert_eq!(broken("feed", Level::Outage).quirk("old_entries").severity().await, "none");
    assert_eq!(broken("feed", Level::Outage).quirk("no_dates").severity().await, "minor");
}

#[tokio::test]
async fn an_empty_feed_is_healthy_only_if_it_is_fresh() {
    for quirk in ["", "atom"] {
        assert_eq!(Bench::of("feed").quirk(quirk).severity().await, "none");
        assert!(Bench::of("feed").quirk(quirk).quirk("stale").says().await.starts_with("unknown"));
    }
}

#[tokio::test]
async fn words_that_only_contain_a_closing_word_do_not_close() {
    for title in ["Still unresolved", "Unscheduled outage", "Errors"] {
        let bench = Bench::of("feed");
        bench.page(|model| model.add_incident(title, Level::Outage, &[]));
        assert_eq!(bench.severity().await, "minor", "{title}");
    }
    for title in ["Resolved: errors", "[RESOLVED] errors", "Errors - Mitigated"] {
        let bench = Bench::of("feed");
        bench.page(|model| model.add_incident(title, Level::Outage, &[]));
        assert_eq!(bench.severity().await, "none", "{title}");
    }
}

#[tokio::test]
async fn a_probe_judges_the_status_and_a_text() {
    for (reply, contains, want) in [
        (Reply::status(204), "", "none"),
        (Reply::status(401), "", "minor"),
        (Reply::status(500), "", "minor"),
        (Reply::redirect(301, "/health/"), "", "minor"),
        (Reply::text("text/plain", "all\nis well"), "is well", "none"),
        (Reply::text("text/plain", "database is down"), "is well", "minor"),
        (Reply::status(200), "is well", "minor"),
        (Reply::dropped(), "", "unknown"),
        (Reply::status(299), "", "unknown"),
    ] {
        let mut bench = Bench::of("http");
        if !contains.is_empty() {
            bench = bench.option("contains", contains);
        }
        bench.page.always_on("/health ", reply);
        assert_eq!(bench.severity().await, want, "{contains}");
    }
}

/// A page that asks to sign in says nothing about the service behind it.
#[tokio::test]
async fn a_sign_in_page_does_not_prove_that_an_address_answers() {
    let bench = Bench::of("http");
    bench.page.always_on("/health ", Reply::redirect(302, "/login?next=health"));
    bench.page.always_on("GET /login", Reply::html());
    let says = bench.says().await;
    assert!(says.starts_with("unknown: ") && says.contains("sign"), "{says}");
}
