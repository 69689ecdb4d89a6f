//! Title and logo of one's own.

use data_sources_monitor::testing::web::brand::Brand;
use data_sources_monitor::testing::web::server::security::AccessMode;

use super::{StoredRecords, TestServer};

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";

/// The policy of the logo forbids the scripts that an SVG may contain; the policy of the page stays.
#[tokio::test]
async fn title_and_logo_are_shown_and_the_logo_runs_no_script() {
    let brand = Brand::new("Status of <Acme>".into(), Some(LOGO.as_bytes().to_vec())).unwrap();
    let served = TestServer::branded(StoredRecords::default(), AccessMode::Open, brand, |_| {}).await;
    let page = served.get("/").await;
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    let page = page.text().await.unwrap();
    assert!(
        page.contains(" · Status of &lt;Acme&gt;</title>") && !page.contains("Data Sources Monitor"),
        "{page}"
    );
    let path = page.split("<img class=\"logo\" src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(path.starts_with("/assets/logo.") && path.ends_with(".svg"), "{path}");
    let logo = served.get(path).await;
    assert_eq!(logo.headers()["content-type"], "image/svg+xml");
    let policy = logo.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'")
            && policy.contains("sandbox")
            && !policy.contains("script-src")
    );
    assert!(logo.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(logo.text().await.unwrap(), LOGO);
    assert_eq!(served.get("/assets/logo.0.svg").await.status(), 404);
    let info: serde_json::Value = served.get("/api/v2/status.json").await.json().await.unwrap();
    assert_eq!(info["page"]["name"], "Status of <Acme>");
}
