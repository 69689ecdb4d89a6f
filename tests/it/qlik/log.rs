//! What the log says of a write, on a tenant and in a preview.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use data_sources_monitor::domain::banner::Banner;
use data_sources_monitor::publish::{DryRun, Target};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;

use super::{banner, with_key, with_oauth, without_link};
use stand_ins::Reply;
use stand_ins::tenant::{API_KEY, CLIENT_SECRET, Tenant, WRITE};

/// Collects the lines of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin(level: LevelFilter) -> (Log, DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// After a write the log has the tenant's answer, and only of it what says what is shown.
#[tokio::test]
async fn tells_the_answer() {
    let tenant = Tenant::start();
    let (log, _guard) = Log::begin(LevelFilter::INFO);
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
            "WARN QlikClient: API answer: HTTP 200, not understood",
        ]
    );
}

/// Even at the chattiest level no key, secret or token is logged.
#[tokio::test]
async fn logs_no_secret() {
    let tenant = Tenant::start();
    let (log, _guard) = Log::begin(LevelFilter::TRACE);
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

/// A preview keeps the banner in memory as a tenant would, and says what it would do.
#[tokio::test]
async fn previews() {
    let (log, _guard) = Log::begin(LevelFilter::INFO);
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
