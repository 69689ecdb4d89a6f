//! Many tenants: memory, requests while nothing happens, and how long until the last tenant shows an incident.
//!
//! Each tenant is a stand-in server of its own address. One status page breaks and recovers.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use stand_ins::status_page::StatusPage;
use tokio::net::TcpListener;

use crate::pages::Plan;
use crate::program::Program;
use crate::report;

const COUNTS: [usize; 3] = [1, 100, 500];
/// How long nothing happens; `BANNER_RECHECK` is five minutes, so each tenant is read at most once more.
const QUIET: Duration = Duration::from_secs(60);
/// The last tenant must show a change by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all stand-in tenants count.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    /// Tenants that show a banner.
    shown: AtomicU64,
}

#[derive(Clone)]
struct OneTenant {
    counts: Arc<Counts>,
    banner: Arc<Mutex<Option<Value>>>,
}

struct TenantFigures {
    tenants: usize,
    peak: u64,
    quiet_requests: u64,
    quiet_cpu: Duration,
    raised: Duration,
    cleared: Duration,
}

/// Measures and prints one row for each number of tenants.
pub(crate) async fn measure() -> anyhow::Result<()> {
    println!("  tenants  peak memory  requests in a quiet minute  of a core  raised in all  cleared in all");
    for count in COUNTS {
        println!("{}", measure_one(count).await.with_context(|| format!("{count} tenants"))?);
    }
    Ok(())
}

async fn measure_one(tenants: usize) -> anyhow::Result<TenantFigures> {
    let counts = Arc::new(Counts::default());
    let mut addresses = Vec::new();
    for _ in 0..tenants {
        addresses.push(serve(&counts).await?);
    }
    let page = StatusPage::start();
    let second = Duration::from_secs(1);
    let plan = Plan { count: 1, interval: second, timeout: second / 2, window: QUIET };
    let program = Program::start(plan, None, |folder| define(folder, &page, &addresses))?;
    program.listens_at().await?;
    let all = tenants as u64;
    until(|| counts.requests.load(Ordering::Relaxed) >= all).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, cpu) = (counts.requests.load(Ordering::Relaxed), program.cpu()?);
    tokio::time::sleep(QUIET).await;
    let quiet_requests = counts.requests.load(Ordering::Relaxed) - before;
    let quiet_cpu = program.cpu()?.since(&cpu);
    let began = Instant::now();
    page.set_indicator("major", "Partial System Outage");
    until(|| counts.shown.load(Ordering::Relaxed) == all).await?;
    let (raised, began) = (began.elapsed(), Instant::now());
    page.recover();
    until(|| counts.shown.load(Ordering::Relaxed) == 0).await?;
    let cleared = began.elapsed();
    Ok(TenantFigures { tenants, peak: program.peak_memory()?, quiet_requests, quiet_cpu, raised, cleared })
}

async fn until(condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !condition() {
        anyhow::ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn define(folder: &Path, page: &StatusPage, tenants: &[SocketAddr]) -> anyhow::Result<()> {
    for kind in ["monitors", "tenants"] {
        fs::create_dir(folder.join(kind))?;
    }
    let monitor = format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url());
    fs::write(folder.join("monitors/alpha.toml"), monitor)?;
    for (number, address) in tenants.iter().enumerate() {
        let text = format!("name = \"tenant-{number}\"\nurl = \"http://{address}\"\n");
        fs::write(folder.join(format!("tenants/{number}.toml")), text)?;
    }
    Ok(())
}

async fn serve(counts: &Arc<Counts>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/api/v1/banners", get(read))
        .route("/api/v1/banners/actions/upsert", post(upsert))
        .with_state(OneTenant { counts: Arc::clone(counts), banner: Arc::default() });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn read(State(tenant): State<OneTenant>) -> Response {
    tenant.counts.requests.fetch_add(1, Ordering::Relaxed);
    match tenant.banner.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        Some(banner) => Json(banner).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn upsert(State(tenant): State<OneTenant>, Json(mut banner): Json<Value>) -> Response {
    tenant.counts.requests.fetch_add(1, Ordering::Relaxed);
    let mut slot = tenant.banner.lock().unwrap_or_else(PoisonError::into_inner);
    let is_up = |banner: &Value| banner["enabled"] == true;
    match (slot.as_ref().is_some_and(is_up), is_up(&banner)) {
        (false, true) => drop(tenant.counts.shown.fetch_add(1, Ordering::Relaxed)),
        (true, false) => drop(tenant.counts.shown.fetch_sub(1, Ordering::Relaxed)),
        (true, true) | (false, false) => {}
    }
    banner["id"] = json!("000000000000000000000001");
    banner["updatedAt"] = json!(format!("{:.3}", jiff::Timestamp::now()));
    *slot = Some(banner.clone());
    (StatusCode::CREATED, Json(banner)).into_response()
}

impl fmt::Display for TenantFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TenantFigures { tenants, peak, quiet_requests, quiet_cpu, raised, cleared } = self;
        let share = quiet_cpu.as_secs_f64() / QUIET.as_secs_f64() * 100.0;
        let (raised, cleared) = (raised.as_millis(), cleared.as_millis());
        let megabytes = format!("{:.1} MB", report::megabytes(*peak));
        write!(
            f,
            "{tenants:>9}  {megabytes:>11}  {quiet_requests:>26}  {share:>7.2} %  {raised:>10} ms  {cleared:>11} ms"
        )
    }
}
