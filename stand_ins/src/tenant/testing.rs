//! What tests check in the tenant: start at [`Tenant::seen`] and [`Tenant::assert_well_behaved`].

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use jiff::Timestamp;
use serde_json::json;

use super::banner_views::{BannerView, timeline};
use super::{API_KEY, Author, Banner, ME, READ, State, TOKEN, Tenant, WRITE, Write};
use crate::{Clock, Reply};

impl Tenant {
    /// A tenant without any banner yet.
    pub fn start() -> Tenant {
        Tenant::start_at(&Clock::system())
    }

    /// The same with a clock of the test's own.
    pub fn start_at(clock: &Clock) -> Tenant {
        Tenant::open(clock).unwrap().recording()
    }

    /// What was written through the API and accepted, in order.
    pub fn writes(&self) -> Vec<Write> {
        self.read(|state| state.writes.iter().filter(|one| one.author == Author::Program).cloned().collect())
    }

    /// Every change of the banner by any author, in order.
    pub fn history(&self) -> Vec<Write> {
        self.read(|state| state.writes.clone())
    }

    /// The banner that a user sees at this moment of the tenant's clock.
    pub fn visible(&self) -> Option<Banner> {
        self.read(|state| {
            state.writes.last().map(|write| &write.banner).filter(|one| one.shows_at(state.now())).cloned()
        })
    }

    /// What users saw from the first write until now: each view lasts until the next starts. A write starts a
    /// new view even if it shows the same, because it brings back a banner that a user had dismissed.
    pub fn seen(&self) -> Vec<BannerView> {
        self.read(|state| timeline(&state.writes, state.now()))
    }

    /// How many times a banner appeared to users.
    pub fn appearances(&self) -> usize {
        self.seen().iter().filter(|sight| sight.banner.is_some()).count()
    }

    /// Every token made so far stops working.
    pub fn invalidate_tokens(&self) {
        self.change(|state| state.tokens.iter_mut().for_each(|(_, ends)| *ends = Timestamp::MIN));
    }

    /// How many tokens were made.
    pub fn tokens_made(&self) -> u64 {
        self.read(|state| state.tokens_made)
    }

    /// Panics if a request went anywhere but to the banner and its token, carried a bearer that was never valid,
    /// or a body with other than the documented fields. Requests with scripted answers are judged too.
    pub fn assert_well_behaved(&self) {
        let mut faults = self.read(|state| state.faults.clone());
        for request in self.requests() {
            let call = format!("{} {}", request.method, request.path);
            let known = self.read(|state| state.knows(request.bearer()));
            if ![READ, WRITE, TOKEN, ME].contains(&call.as_str()) || !request.query.is_empty() {
                faults.push(format!("a path that is not the banner's: {request}"));
            } else if call != TOKEN && !known {
                faults.push(format!("no bearer, or a wrong one: {request}"));
            }
        }
        assert!(faults.is_empty(), "{faults:#?}\n{}", self.dump());
    }
}

impl State {
    fn knows(&self, bearer: Option<&str>) -> bool {
        bearer
            .is_some_and(|one| one.starts_with(API_KEY) || self.tokens.iter().any(|(token, _)| token == one))
    }
}

/// For [`super::Rules::normalises`]: surrounding blanks of the message go.
pub fn trims_message(banner: &mut Banner) {
    banner.message = banner.message.trim().to_string();
}

/// The tenant's 429 with its header and its body, which lacks status and trace.
pub fn rate_limited(seconds: u32) -> Reply {
    let detail = format!("You need to wait {seconds} seconds until limit is lifted.");
    let error = json!({"code": "HTTP-429", "title": "API rate limit reached.", "detail": detail});
    Reply::json(&json!({"errors": [error]})).with_status(429).header("retry-after", &seconds.to_string())
}
