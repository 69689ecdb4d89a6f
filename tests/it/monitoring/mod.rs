//! Polling status pages and keeping the banner.

mod captured_log;
pub(crate) mod channels;
mod daemon;
pub(crate) mod demo;
mod engines;
mod failover;
mod qlik;
pub(crate) mod status_page;
mod tenants;

use serde_json::Value;

use crate::http_client::client;

/// The kinds of definitions that the overview reports as invalid. Metrics and API must agree.
async fn reload_errors(address: &str) -> Vec<String> {
    let get = async |path: &str| {
        let answer = client().get(format!("{address}{path}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let page = get("/").await;
    let before = page.split(" definitions have an error").map(|text| text.rsplit(' ').next().unwrap());
    let mut kinds: Vec<String> = before.map(str::to_owned).collect();
    kinds.pop();
    let status: Value = serde_json::from_str(&get("/api/v1/status").await).unwrap();
    assert_eq!(status["definitions"]["ok"], kinds.is_empty(), "{status:#} {page}");
    let metric = format!("dsm_definitions_ok{{}} {}.0\n", u8::from(kinds.is_empty()));
    let metrics = get("/metrics").await;
    assert!(metrics.contains(&metric), "{metrics}");
    kinds
}
