//! What is sent, and in which order.

use super::*;

use data_sources_monitor::testing::domain::syncing::delivery::{DeliveryPhase, ReloadOutcome};
use stand_ins::Reply;

/// Files above the limit of one request go in parts.
#[tokio::test]
async fn all_files_are_uploaded_then_committed_then_the_app_is_reloaded_once() {
    let mut delivery = Delivery::start();
    let export = delivery.export(&[("alert", 400), ("test", 3_500), ("empty", 1)]);
    delivery.offer(&export);
    let report = delivery.finish().await;
    assert_eq!((report.trouble, report.phase), (None, DeliveryPhase::Idle));
    assert_eq!((report.as_of, report.pending_since), (Some(export.checkpoint_at), None));
    let contents = delivery.tenant.read(|state| state.data.contents());
    for file in &export.files {
        let content = std::fs::read(&file.path).unwrap();
        assert!(contents[&format!("shop-{}.parquet", file.table)] == content, "{}", file.table);
    }
    let calls: Vec<String> = delivery
        .tenant
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .filter(|call| !call.starts_with("GET"))
        .map(|call| call.split("/files/").next().unwrap().to_owned())
        .collect();
    let parts = vec!["PATCH /api/v1/temp-contents"; 4];
    let want = [
        vec!["POST /api/v1/temp-contents"; 2],
        vec!["POST /api/v1/temp-contents/files"],
        parts,
        vec!["POST /api/v1/data-files"; 3],
        vec!["POST /api/v1/reloads"],
    ];
    assert_eq!(calls, want.concat());
    delivery.assert_reloads_are_whole();
}

/// The second time the files are replaced in place; a run that changed nothing sends nothing.
#[tokio::test]
async fn only_changed_files_are_written_again() {
    let mut delivery = Delivery::start();
    let first = delivery.export(&[("alert", 40), ("test", 50)]);
    delivery.offer(&first);
    delivery.finish().await;
    let mut second = delivery.export(&[("test", 60)]);
    second.files.push(first.files[0].clone());
    delivery.offer(&second);
    delivery.finish().await;
    let writes = delivery.tenant.read(|state| state.data.writes());
    assert_eq!(writes, [("shop-alert.parquet".to_owned(), 1), ("shop-test.parquet".to_owned(), 2)].into());
    assert_eq!(delivery.tenant.reloads().len(), 2);
    let unchanged = RunExport { run: 3, checkpoint_at: now(), ..second };
    delivery.offer(&unchanged);
    let report = delivery.finish().await;
    assert_eq!(report.as_of, Some(unchanged.checkpoint_at), "the app shows the data of this run");
    assert_eq!(delivery.tenant.reloads().len(), 2);
}

#[tokio::test]
async fn a_rule_without_a_space_only_reloads() {
    let mut delivery = Delivery::start();
    delivery.rule.space = None;
    let export = RunExport { files: Vec::new(), ..delivery.export(&[]) };
    delivery.offer(&export);
    let report = delivery.finish().await;
    assert_eq!(report.apps[APP].outcome, Some(ReloadOutcome::Succeeded));
    assert_eq!(report.as_of, Some(export.checkpoint_at));
    let others = delivery.tenant.requests().into_iter().filter(|request| !request.is("/api/v1/reloads"));
    assert_eq!(others.count(), 0);
}

/// The tenant lists no `.parquet`, and gives its list as one text.
#[tokio::test]
async fn csv_files_are_sent_where_parquet_is_not_accepted() {
    let mut delivery = Delivery::start();
    delivery.tenant.change(|state| {
        state.data.rules.extensions = vec!["csv".into(), "qvd".into()];
        state.data.rules.extensions_as_text = true;
    });
    let mut export = delivery.export(&[("alert", 40)]);
    delivery.offer(&export);
    let report = delivery.until(|report| report.trouble.is_some()).await;
    assert!(report.trouble.unwrap().contains("accepts no .parquet files (it accepts csv, qvd)"));
    export.files.extend(delivery.export_as(&[("alert", 30)], FileFormat::Csv).files);
    delivery.offer(&export);
    delivery.finish().await;
    assert_eq!(delivery.generations(), [("shop-alert.csv".to_owned(), 2)].into());
}

#[tokio::test]
async fn the_space_is_found_by_its_id_or_its_whole_name() {
    let mut delivery = Delivery::start();
    let id = delivery.tenant.change(|state| {
        state.data.add_space(&format!("{SPACE} (old)"));
        state.data.add_space("Other")
    });
    let export = delivery.export(&[("alert", 40)]);
    delivery.offer(&export);
    delivery.finish().await;
    delivery.rule.space = Some(id);
    delivery.state = DeliveryState::default();
    delivery.offer(&export);
    let report = delivery.finish().await;
    assert_eq!(report.trouble, None);
    let by_name = delivery.tenant.requests().into_iter().filter(|request| request.is("GET /api/v1/spaces "));
    assert_eq!(by_name.count(), 1);
}

#[tokio::test]
async fn an_oauth_client_renews_its_token_between_two_parts() {
    let mut delivery = Delivery::start();
    delivery.client = with_credentials(&delivery.tenant, oauth());
    delivery
        .tenant
        .after(2, "PATCH /api/v1/temp-contents", |state| state.rules.token_life = SignedDuration::ZERO);
    delivery.tenant.next_on("PATCH /api/v1/temp-contents", Reply::status(401));
    let export = delivery.export(&[("test", 3_500)]);
    delivery.offer(&export);
    delivery.until(|report| report.phase == DeliveryPhase::Reloading).await;
    assert_eq!(delivery.generations().len(), 1);
}
