//! Finds the engine of a status page by its answers.
//!
//! A proposal for a definition, or the explanation of a failure: a monitor's engine never changes by itself. Start at
//! [`detect`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::fetch::{PageDocuments, Request};
use crate::domain::monitoring::engine::Engine;
use crate::domain::monitoring::monitor::StatusPage;
use crate::domain::monitoring::observation::Unknown;
use crate::http::PageClient;

/// A page whose engine was found.
#[derive(Debug)]
pub struct Detection {
    pub engine: Arc<Engine>,
    /// The root of the page.
    pub root: Url,
}

/// Requests the documents that identify each engine, in the order of `engines`, below the address and below its origin.
///
/// # Errors
/// What each engine's document was instead; one entry alone if the page cannot be reached or refuses to answer.
pub async fn detect(
    client: &PageClient,
    root: &Url,
    engines: &[Arc<Engine>],
    timeout: Duration,
) -> Result<Detection, Vec<(String, Unknown)>> {
    let host = root.host_str().unwrap_or_default();
    if let Some(known) = engines.iter().find(|engine| engine.hosts.iter().any(|name| name == host)) {
        let root = known.root.clone().unwrap_or_else(|| root.clone());
        return Ok(Detection { engine: Arc::clone(known), root });
    }
    let deadline = Instant::now() + timeout;
    let mut tried = Vec::new();
    for engine in engines.iter().filter(|engine| engine.needs.is_empty()) {
        let Some(read) = engine.reads.iter().position(|read| read.detect) else { continue };
        for root in roots(root, engine) {
            let page = StatusPage {
                root: root.clone(),
                engine: Arc::clone(engine),
                options: BTreeMap::new(),
                components: Vec::new(),
                ignore: Vec::new(),
                incidents: false,
                announce: None,
            };
            match probe(client, &page, read, deadline).await {
                Ok(()) => return Ok(Detection { engine: Arc::clone(engine), root }),
                // The page would answer every engine so, or be taken for one that comes later.
                Err(why) if hides_page(&why) => return Err(vec![(engine.name.clone(), why)]),
                Err(why) => tried.push((engine.name.clone(), why)),
            }
        }
    }
    Err(tried)
}

/// Whether an answer says nothing about the page.
fn hides_page(why: &Unknown) -> bool {
    why.may_be_our_network() || matches!(why, Unknown::RateLimited(_) | Unknown::BotChallenge(_))
}

/// The address as it is, then the origin without its path.
fn roots(root: &Url, engine: &Engine) -> Vec<Url> {
    let mut roots = vec![root.clone()];
    if !engine.whole_url && root.path() != "/" {
        let mut origin = root.clone();
        origin.set_path("/");
        roots.push(origin);
    }
    roots
}

#[expect(clippy::disallowed_methods, reason = "Retry-After names times of day")]
async fn probe(
    client: &PageClient,
    page: &StatusPage,
    read: usize,
    deadline: Instant,
) -> Result<(), Unknown> {
    let (not_before, now) = (Instant::now(), Timestamp::now());
    let request = Request { client, page, read, deadline, not_before, now };
    request.send(&PageDocuments::of(page)).await.outcome.map(drop)
}
