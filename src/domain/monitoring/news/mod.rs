//! Decides which message a channel gets next, from the assessment and what the channel was sent.
//!
//! Start at [`next`]. The caller saves the state that [`ChannelState::intend`] leaves, sends the message, and reports the
//! result with [`ChannelState::confirm`] or [`ChannelState::fail`]. The rules:
//!
//! - an incident of a channel lasts from its first issue to the moment without any; all its messages have one key;
//! - a message is sent only on a difference to what the receiver confirmed, always with the newest content;
//! - what was sent without an answer may be visible, so it is sent again, and its incident is resolved by a message;
//! - an incident that ends before anything left is not mentioned;
//! - monitors that were not read since a start, or not for too long, prove nothing: their issues keep an incident open but
//!   start none, and stay in its messages until they are read again;
//! - an incident that names a muted monitor is closed without a message.

pub mod channel;
pub mod message;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::assess::Assessment;
use super::plan::{Coverage, Reach};
use super::severity::Severity;
use channel::ChannelRules;
use message::{AffectedService, Content};
pub use message::{News, NewsState};

/// What a receiver needs to change a message later, in the receiver's terms.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Receipt(pub String);

/// The state of one channel, saved over restarts.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct ChannelState {
    /// The incident that the channel knows or is about to know.
    pub open: Option<OpenIncident>,
    #[serde(default)]
    pub report: ChannelReport,
}

/// An incident of a channel.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OpenIncident {
    pub key: String,
    pub since: Timestamp,
    /// Number of the last message; a part of its id.
    pub number: u32,
    /// The last message that the receiver confirmed.
    pub delivered: Option<News>,
    pub delivered_at: Option<Timestamp>,
    /// From the last confirmation.
    pub receipt: Option<Receipt>,
    /// The message that is not confirmed yet.
    pub pending: Option<PendingNews>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PendingNews {
    pub news: News,
    /// This message, or one before it since the last confirmation, was sent without a clear answer, so the receiver may show it.
    pub perhaps_sent: bool,
}

/// What the dashboard shows of a channel. No decision reads it.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ChannelReport {
    pub kind: String,
    /// The last confirmed message.
    pub delivered_at: Option<Timestamp>,
    /// Since when a message is pending.
    pub pending_since: Option<Timestamp>,
    /// Why the last attempt failed, also in part; `None` if it succeeded.
    pub trouble: Option<String>,
    /// The receiver is gone, so nothing is sent until the definition is read again.
    pub stopped: bool,
}

/// The part of the assessment that concerns a channel.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    /// From the monitors that were read since the start.
    pub confirmed: &'a Assessment,
    /// The same, including issues of an earlier run whose monitors have not been read again yet.
    pub held: &'a Assessment,
    pub coverage: &'a Coverage,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NewsStep {
    /// Send this, with the receipt of the incident.
    Send(Box<News>),
    Wait(NewsWait),
}

/// Until when there is nothing to send, unless the assessment changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsWait {
    /// Until then, or until a change.
    Until(Option<Timestamp>),
    /// Until monitors have been polled.
    Unread,
}

/// Decides the next message of a channel. An incident that needs no further message is closed in the state.
pub fn next(
    now: Timestamp,
    channel: &str,
    outlook: Outlook<'_>,
    rules: &ChannelRules,
    state: &mut ChannelState,
) -> NewsStep {
    let step = decide(now, channel, outlook, rules, state);
    match &step {
        NewsStep::Send(_) => drop(state.report.pending_since.get_or_insert(now)),
        NewsStep::Wait(_) if state.open.as_ref().is_none_or(OpenIncident::is_settled) => {
            // What failed need not be sent any more. Without a pending message, the trouble is that of a partial delivery.
            if state.report.pending_since.take().is_some() {
                state.report.trouble = None;
            }
        }
        NewsStep::Wait(_) => {}
    }
    step
}

fn decide(
    now: Timestamp,
    channel: &str,
    outlook: Outlook<'_>,
    rules: &ChannelRules,
    state: &mut ChannelState,
) -> NewsStep {
    let unread = state.open.iter().flat_map(|open| outlook.unread(&open.named())).collect();
    let content = Content::of(&outlook.held.issues, unread);
    let Some(open) = &mut state.open else {
        return match outlook.confirmed.issues.iter().map(|issue| issue.since).min() {
            None => NewsStep::Wait(NewsWait::Until(None)),
            // One message about all, rather than one for each poll after a start.
            Some(_) if outlook.awaits(&[]) => NewsStep::Wait(NewsWait::Unread),
            Some(since) => {
                let open = OpenIncident::new(channel, now, since.min(now));
                NewsStep::Send(Box::new(open.news(NewsState::Raised, content, false)))
            }
        };
    };
    let named = open.named();
    if outlook.awaits(&named) {
        return NewsStep::Wait(NewsWait::Unread);
    }
    if content.services.is_empty() {
        let says_so = rules.resolved && !outlook.mutes(&named);
        let Some(last) = open.last_seen().filter(|_| says_so) else {
            state.open = None;
            return NewsStep::Wait(NewsWait::Until(None));
        };
        let ended = Content { services: last.services.clone(), more: last.more };
        return NewsStep::Send(Box::new(open.news(NewsState::Resolved, ended, false)));
    }
    let Some(delivered) = &open.delivered else {
        return NewsStep::Send(Box::new(open.news(NewsState::Raised, content, false)));
    };
    let unclear = open.pending.as_ref().filter(|pending| pending.perhaps_sent);
    if content.is_shown_by(delivered, rules.in_place) {
        let reminds = unclear.is_some_and(|pending| pending.news.reminder);
        // Of services that cannot be read it is not known whether their problems last.
        let reminder = rules.remind_after.filter(|_| !outlook.held.issues.is_empty());
        let due = reminder.zip(open.delivered_at).map(|(after, at)| later(at, after));
        if unclear.is_none() && due.is_none_or(|due| now < due) {
            open.pending = None;
            return NewsStep::Wait(NewsWait::Until(due));
        }
        let reminder = reminds || unclear.is_none();
        return NewsStep::Send(Box::new(open.news(NewsState::Changed, content, reminder)));
    }
    let rises = content.worst() > delivered.severity;
    let not_before = open.delivered_at.map(|at| later(at, rules.spacing)).filter(|at| now < *at && !rises);
    match not_before {
        // If the clock was ahead at the last message, it must not block others for long.
        Some(at) if at <= later(now, rules.spacing) => NewsStep::Wait(NewsWait::Until(Some(at))),
        Some(_) | None => NewsStep::Send(Box::new(open.news(NewsState::Changed, content, false))),
    }
}

impl Outlook<'_> {
    /// Whether a message waits for first polls: of monitors with issues, or of those it names.
    fn awaits(&self, named: &[&News]) -> bool {
        let unpolled = |name: &str| self.coverage.get(name) == Some(&Reach::Unpolled);
        let hidden =
            |news: &&News| news.more > 0 && self.coverage.values().any(|found| *found == Reach::Unpolled);
        self.held.issues.iter().any(|issue| unpolled(&issue.spelled()))
            || named.iter().any(hidden)
            || services(named).any(|service| unpolled(&service.name))
    }

    /// The named services without an issue that were not read, as the last message shows each of them.
    fn unread(&self, named: &[&News]) -> Vec<AffectedService> {
        let mut unread: Vec<AffectedService> = Vec::new();
        for service in services(named) {
            let reach = self.coverage.get(&service.name);
            if matches!(reach, Some(Reach::Unread | Reach::Expired))
                && !unread.iter().any(|other| other.name == service.name)
                && !self.held.issues.iter().any(|issue| issue.spelled() == service.name)
            {
                unread.push(service.clone());
            }
        }
        unread
    }

    fn mutes(&self, named: &[&News]) -> bool {
        services(named).any(|service| self.coverage.get(&service.name) == Some(&Reach::Muted))
    }
}

/// The services of messages, from the last one to the first.
fn services<'a>(named: &[&'a News]) -> impl Iterator<Item = &'a AffectedService> {
    named.iter().rev().flat_map(|news| &news.services)
}

impl OpenIncident {
    fn new(channel: &str, now: Timestamp, since: Timestamp) -> OpenIncident {
        OpenIncident {
            key: format!("{channel}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ")),
            since,
            number: 0,
            delivered: None,
            delivered_at: None,
            receipt: None,
            pending: None,
        }
    }

    /// The messages that the receiver may show.
    fn named(&self) -> Vec<&News> {
        let pending = self.pending.iter().filter(|pending| pending.perhaps_sent).map(|pending| &pending.news);
        self.delivered.iter().chain(pending).collect()
    }

    /// The last message that the receiver may show.
    fn last_seen(&self) -> Option<&News> {
        self.named().pop()
    }

    fn is_settled(&self) -> bool {
        self.delivered.is_some() && self.pending.is_none()
    }

    /// A message with this content. If the last attempt had the same, it is the same message.
    fn news(&self, state: NewsState, content: Content, reminder: bool) -> News {
        let seen = match state {
            NewsState::Raised | NewsState::Resolved => None,
            // What was sent as resolved may have closed the incident at the receiver.
            NewsState::Changed => self.last_seen().filter(|last| last.state == NewsState::Resolved),
        };
        let before = if state == NewsState::Changed { seen.or(self.delivered.as_ref()) } else { None };
        let content = content.marked(before);
        let pending = self.pending.as_ref().map(|pending| &pending.news);
        let repeats = pending.filter(|pending| {
            pending.state == state
                && pending.reminder == reminder
                && pending.services == content.services
                && pending.more == content.more
        });
        let next = || format!("{}-{}", self.key, self.number.saturating_add(1));
        let severity = if state == NewsState::Resolved { Severity::None } else { content.worst() };
        News {
            id: repeats.map_or_else(next, |pending| pending.id.clone()),
            key: self.key.clone(),
            state,
            severity,
            title: content.title(state, reminder),
            link: content.services.iter().find_map(|service| service.link.clone()),
            services: content.services,
            more: content.more,
            since: self.since,
            reminder,
            test: false,
        }
    }
}

impl ChannelState {
    /// Records a message that is about to be sent. Must be saved before the message leaves, so that after a crash it counts as
    /// sent. Returns whether the receiver may show an unconfirmed message already, for [`ChannelState::fail`].
    pub fn intend(&mut self, news: &News) -> bool {
        let open = self.open.get_or_insert_with(|| OpenIncident {
            key: news.key.clone(),
            ..OpenIncident::new("", news.since, news.since)
        });
        let pending = open.pending.take();
        let earlier = pending.as_ref().is_some_and(|pending| pending.perhaps_sent);
        if pending.is_none_or(|pending| pending.news.id != news.id) {
            open.number = open.number.saturating_add(1);
        }
        open.pending = Some(PendingNews { news: news.clone(), perhaps_sent: true });
        earlier
    }

    /// Records that the receiver has the pending message.
    pub fn confirm(&mut self, receipt: Receipt, now: Timestamp) {
        self.report.delivered_at = Some(now);
        (self.report.pending_since, self.report.trouble) = (None, None);
        let Some(open) = &mut self.open else { return };
        let Some(PendingNews { news, .. }) = open.pending.take() else { return };
        if news.state == NewsState::Resolved {
            self.open = None;
            return;
        }
        (open.delivered, open.delivered_at, open.receipt) = (Some(news), Some(now), Some(receipt));
    }

    /// Records a failed attempt. `perhaps_sent`: the receiver may show this message or an unconfirmed one before it.
    pub fn fail(&mut self, perhaps_sent: bool, trouble: &str) {
        self.report.trouble = Some(trouble.to_owned());
        if let Some(pending) = self.open.as_mut().and_then(|open| open.pending.as_mut()) {
            pending.perhaps_sent = perhaps_sent;
        }
    }

    /// The receipt of the open incident.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.open.as_ref()?.receipt.as_ref()
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
