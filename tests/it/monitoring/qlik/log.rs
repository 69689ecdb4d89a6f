//! Log lines of writes, on a tenant and in a preview.

use data_sources_monitor::testing::domain::monitoring::banner::Banner;
use data_sources_monitor::testing::publish::{DryRun, Target};
use tracing::level_filters::LevelFilter;

use super::{banner, with_key, with_oauth, without_link};
use crate::monitoring::captured_log::CapturedLog;
use stand_ins::Reply;
use stand_ins::tenant::{API_KEY, CLIENT_SECRET, Tenant, WRITE};

/// Only the fields that describe what is shown.
#[tokio::test]
async fn a_write_logs_the_tenants_response() {
    let tenant = Tenant::start();
    let (log, _guard) = CapturedLog::begin(LevelFilter::INFO);
    let qlik = with_key(&tenant);
    qlik.write(&banner()).await.unwrap();
    qlik.read().await.unwrap();
    qlik.write(&Banner { enabled: false, ..without_link() }).await.unwrap();
    tenant.next_on(WRITE, Reply::html());
    qlik.write(&banner()).await.unwrap();
    assert_eq!(
        log.lines(),
        [
            "INFO QlikClient: API answer: id=6634a1b2c3d4e5f601234567, enabled=true, type=error",
            "INFO QlikClient: API answer: id=6634a1b2c3d4e5f601234567, enabled=false, type=error",
            "WARN QlikClient: API answer: HTTP 200, unexpected response",
        ]
    );
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let tenant = Tenant::start();
    let (log, _guard) = CapturedLog::begin(LevelFilter::TRACE);
    with_key(&tenant).write(&banner()).await.unwrap();
    let oauth = with_oauth(&tenant);
    oauth.write(&banner()).await.unwrap();
    tenant.invalidate_tokens();
    oauth.write(&banner()).await.unwrap();
    let text = log.lines().join("\n");
    assert!(text.contains("API answer"));
    for secret in [API_KEY, CLIENT_SECRET, "stand-in-token-"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_preview_keeps_the_banner_and_logs_each_write() {
    let (log, _guard) = CapturedLog::begin(LevelFilter::INFO);
    let preview = DryRun::default();
    assert_eq!(preview.read().await, Ok(None));
    let shown = preview.write(&banner()).await.unwrap().unwrap();
    assert_eq!(shown.banner, banner());
    assert_eq!(preview.read().await, Ok(Some(shown)));
    preview.write(&Banner { enabled: false, ..banner() }).await.unwrap();
    assert!(!preview.read().await.unwrap().unwrap().banner.enabled);
    assert_eq!(
        log.lines(),
        [
            "INFO QlikClient: Preview: would set banner: error \"Examplify: Partial System Outage\" until 2026-05-02T13:15:00Z",
            "INFO QlikClient: Preview: would clear the banner",
        ]
    );
}
