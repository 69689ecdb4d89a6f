//! `monitor list` and `monitor search`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::commands::service::healthcheck::reachable;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::commands::{CommandError, compose};
use crate::definitions::catalogue::{self, Grade};
use crate::domain::monitoring::monitor::MonitorSource;
use crate::http::{ClientOptions, Network, read_body};
use crate::runtime::clock::Clock;
use crate::settings::Settings;

/// The daemon is on this machine.
const TIMEOUT: Duration = Duration::from_secs(2);
/// In bytes; 10,000 monitors have about 5 MB.
const MAX_LIST: usize = 32 << 20;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor monitor search google
  data-sources-monitor monitor add bigquery")]
pub struct SearchArgs {
    /// A word in the slug, name, tags or hint; all services without it
    pub word: Option<String>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn list(flags: &SettingFlags, args: &ListArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let monitors = compose::monitors(&settings)?;
    let states = states(&settings, "monitors").await;
    let now = Clock::system().now();
    let rows: Vec<[String; 5]> = monitors
        .iter()
        .map(|monitor| {
            let (kind, of) = match &monitor.source {
                MonitorSource::Page(page) => (page.engine.name.clone(), page.root.to_string()),
                MonitorSource::Sync(rule) => ("sync".to_owned(), rule.connector.clone()),
            };
            let interval = monitor.interval.unwrap_or(settings.poll_interval);
            let muted = monitor.muted_until.filter(|until| now < *until);
            let state = states.as_ref().and_then(|states| states.get(&monitor.name).cloned());
            let state = match (state, muted) {
                (state, Some(until)) => {
                    let muted = format!("muted until {}", until.strftime("%Y-%m-%d %H:%M UTC"));
                    state.map_or(muted.clone(), |state| format!("{state}, {muted}"))
                }
                (state, None) => state.unwrap_or_else(|| "-".to_owned()),
            };
            [monitor.name.clone(), kind, format!("{interval:?}"), state, of]
        })
        .collect();
    if args.json {
        let documents = rows.into_iter().zip(&monitors).map(|([name, kind, interval, state, of], monitor)| {
            let key = if kind == "sync" { "connector" } else { "url" };
            json!({
                "name": name, "kind": kind, "interval": interval, "state": state, key: of, "tags": monitor.tags,
            })
        });
        say!("{:#}", json!({ "monitors": documents.collect::<Vec<_>>() }));
    } else {
        let headings = ["MONITOR", "KIND", "INTERVAL", "STATE", "OF"];
        print_table(&headings, &[], rows.into_iter().map(|row| row.to_vec()).collect());
    }
    Ok(ExitCode::SUCCESS)
}

/// The state of each monitor or channel, from a list of the API of the daemon on this machine; `None` if none answers.
pub(super) async fn states(settings: &Settings, list: &str) -> Option<BTreeMap<String, String>> {
    let listen = settings.listen?;
    let client = ClientOptions { network: Network::default(), keep_alive: false }.build().ok()?;
    let read = async {
        for address in reachable(listen) {
            let mut request = client.get(format!("http://{address}/api/v1/{list}"));
            if let Some(token) = &settings.web.token {
                request = request.bearer_auth(token.expose_secret());
            }
            let Ok(response) = request.send().await else { continue };
            return serde_json::from_slice::<Value>(&read_body(response, MAX_LIST).await.ok()?).ok();
        }
        None
    };
    let document = tokio::time::timeout(TIMEOUT, read).await.ok()??;
    let state = |monitor: &Value| {
        let name = monitor.get("name")?.as_str()?.to_owned();
        Some((name, monitor.get("state")?.as_str()?.to_owned()))
    };
    document.get(list)?.as_array().map(|list| list.iter().filter_map(state).collect())
}

pub(super) fn search(args: &SearchArgs) -> Result<ExitCode, CommandError> {
    let word = args.word.as_deref().unwrap_or_default();
    let found: Vec<_> = catalogue::search(word).collect();
    if args.json {
        let documents = found.iter().map(|service| {
            json!({
                "slug": service.slug, "name": service.name, "url": service.url.as_str(), "engine": service.engine,
                "tags": service.tags, "confirmed": service.grade == Grade::A, "hint": service.hint,
            })
        });
        say!("{:#}", json!({ "services": documents.collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        say!("No service in the catalogue has the word `{word}`.");
        say!(
            "A status page that is not listed is added by its address: monitor add https://status.example.com"
        );
        return Ok(ExitCode::FAILURE);
    }
    let row = |service: &&catalogue::CatalogueService| {
        let confirmed = if service.grade == Grade::A { "" } else { "unconfirmed" };
        let texts = [&service.slug, &service.name, &service.engine];
        let mut row: Vec<String> = texts.into_iter().cloned().collect();
        row.extend([confirmed.to_owned(), service.url.to_string()]);
        row
    };
    print_table(&["SLUG", "SERVICE", "ENGINE", "NOTE", "PAGE"], &[], found.iter().map(row).collect());
    Ok(ExitCode::SUCCESS)
}
