//! The task of one channel: saves a message, sends it, and retries until the receiver confirms it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{ConfiguredChannel, DesiredBanner, KeptChannel};
use crate::channels::ChannelError;
use crate::domain::monitoring::news::{self, ChannelState, News, NewsStep, NewsWait, Outlook, Receipt};
use crate::domain::monitoring::schedule::backoff;
use crate::runtime::MonitoringContext;
use crate::runtime::lease::Right;

/// Changes of status pages within this time are combined into one message.
const GATHER: Duration = Duration::from_millis(100);
/// Interval at which a message that waits for polls is checked.
const CHECK_COVERAGE: Duration = Duration::from_secs(1);
/// Interval at which saving failed state is retried.
const SAVE_RETRY: Duration = Duration::from_secs(3);
/// First delay after a failure; jitter may halve it.
const RETRY_BASE: Duration = Duration::from_secs(1);
/// Longest delay after a transient failure.
const RETRY_CAP: Duration = Duration::from_secs(120);
/// Delay after a rejection, which a person must fix.
const RETRY_REJECTED: Duration = Duration::from_secs(900);
/// Another message may be accepted, so after a rejection it waits no longer than this.
const FLOOR: Duration = Duration::from_secs(30);

pub(super) struct ChannelWorker {
    pub(super) name: String,
    pub(super) context: MonitoringContext,
    pub(super) orders: watch::Receiver<ConfiguredChannel>,
    pub(super) wishes: watch::Receiver<Option<DesiredBanner>>,
    pub(super) right: Right,
    pub(super) stop: CancellationToken,
    /// Whether the state is saved.
    pub(super) saves: bool,
    pub(super) state: ChannelState,
    /// The state has unsaved changes.
    pub(super) unsaved: bool,
    /// The last attempt to save it failed.
    pub(super) save_failed: bool,
}

/// Failures since the last confirmed message or the last reload; not saved.
#[derive(Default)]
struct Failures {
    count: u32,
    /// The message that failed, and when it is sent again.
    again: Option<(String, Instant)>,
    /// When another message is sent at the earliest.
    not_before: Option<Instant>,
    /// The receiver wants no further requests.
    gone: bool,
}

/// What the task waits for besides a change of the assessment.
struct Pause {
    until: Option<Instant>,
    /// Until monitors have been polled, which is not notified.
    unread: bool,
}

const CHANGE: Pause = Pause { until: None, unread: false };

impl ChannelWorker {
    /// Runs until stopped; a message that is being sent is finished.
    pub(super) async fn run(mut self) -> (String, KeptChannel) {
        let (stop, mut failures) = (self.stop.clone(), Failures::default());
        while !stop.is_cancelled() {
            self.wishes.mark_unchanged();
            let pause = self.step(&mut failures).await;
            self.show();
            let until = pause.until.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                changed = self.orders.changed() => match changed {
                    Ok(()) => failures = Failures::default(),
                    Err(_) => break,
                },
                changed = self.wishes.changed() => match changed {
                    Ok(()) => sleep(GATHER).await,
                    // The watcher has stopped.
                    Err(_) => stop.cancelled().await,
                },
                () = sleep_until(until) => {}
                () = sleep(CHECK_COVERAGE), if pause.unread => {}
                () = sleep(SAVE_RETRY), if self.unsaved && self.saves => drop(self.save().await),
            }
        }
        if self.right.left().is_some() {
            self.save().await;
        }
        (self.name, KeptChannel { state: self.state, unsaved: self.unsaved })
    }

    /// Sends the next message if one is due. Returns what to wait for.
    async fn step(&mut self, failures: &mut Failures) -> Pause {
        let configured = self.orders.borrow_and_update().clone();
        let Some(step) = self.next(&configured, failures.gone) else { return CHANGE };
        let news = match step {
            NewsStep::Send(news) => news,
            NewsStep::Wait(wait) => {
                self.save().await;
                return match wait {
                    NewsWait::Unread => Pause { until: None, unread: true },
                    NewsWait::Until(at) => Pause { until: at.map(|at| self.instant(at)), unread: false },
                };
            }
        };
        if failures.gone {
            return CHANGE;
        }
        if let Some(until) = failures.blocked_until(&news.id) {
            return Pause { until: Some(until), unread: false };
        }
        self.deliver(&configured, &news, failures).await;
        Pause { until: Some(Instant::now()), unread: false }
    }

    /// Decides what to send; `None` before the first assessment.
    fn next(&mut self, configured: &ConfiguredChannel, gone: bool) -> Option<NewsStep> {
        let before = self.state.clone();
        let now = self.context.clock.now();
        let wanted = self.wishes.borrow();
        let wanted = wanted.as_ref()?;
        let rules = &configured.rules;
        let (confirmed, held) = (rules.narrow(&wanted.confirmed), rules.narrow(&wanted.held));
        let outlook = Outlook { confirmed: &confirmed, held: &held, coverage: &wanted.coverage };
        let step = news::next(now, &self.name, outlook, rules, &mut self.state);
        self.state.report.kind = configured.kind.to_owned();
        self.state.report.stopped = gone;
        self.unsaved |= self.state != before;
        Some(step)
    }

    async fn deliver(&mut self, configured: &ConfiguredChannel, news: &News, failures: &mut Failures) {
        let earlier = self.state.intend(news);
        self.unsaved = true;
        // Alone, the daemon continues without saving. Where another one may take over, it must know of each message.
        let sent = if !self.save().await && self.right.is_lease() {
            Err(unsent("the state cannot be saved, so nothing is sent"))
        } else {
            self.send(configured, news).await
        };
        match sent {
            Ok(receipt) => self.confirm(receipt, news, failures),
            Err(ChannelError::InPart(detail)) => self.confirm_in_part(detail, news, failures),
            Err(error) => self.fail(&error, earlier, &news.id, failures),
        }
        self.unsaved = true;
        self.save().await;
    }

    /// Sends only while the lease is valid. If it expires before the answer, the receiver may have the message.
    async fn send(&self, configured: &ConfiguredChannel, news: &News) -> Result<Receipt, ChannelError> {
        let Some(left) = self.right.left() else {
            return Err(unsent("the lease has expired, so nothing is sent"));
        };
        let sending = configured.channel.send(news, self.state.receipt());
        timeout(left, sending).await.unwrap_or_else(|_| {
            let detail = "the lease expired before the receiver answered".to_owned();
            Err(ChannelError::Trouble { wait: None, perhaps_sent: true, detail })
        })
    }

    fn confirm(&mut self, receipt: Receipt, news: &News, failures: &mut Failures) {
        *failures = Failures::default();
        if self.saves {
            let (name, state, title, answer) = (&self.name, news.state.as_str(), &news.title, &receipt.0);
            tracing::info!(target: "Messenger", "Channel {name}: sent ({state}): {title} ({answer})");
        }
        self.state.confirm(receipt, self.context.clock.now());
        let (name, state) = (&self.name, news.state);
        self.context.board.update(|board| {
            *board.channels.entry(name.clone()).or_default().sent.entry(state).or_default() += 1;
        });
    }

    fn confirm_in_part(&mut self, detail: String, news: &News, failures: &mut Failures) {
        let name = self.name.clone();
        tracing::warn!(target: "Messenger", "Channel {name}: {detail}");
        self.context.board.update(|board| board.channels.entry(name).or_default().failures += 1);
        self.confirm(Receipt("in part".to_owned()), news, failures);
        self.state.report.trouble = Some(detail);
    }

    fn fail(&mut self, error: &ChannelError, earlier: bool, id: &str, failures: &mut Failures) {
        self.state.fail(earlier || error.perhaps_sent(), &error.to_string());
        let name = &self.name;
        self.context.board.update(|board| board.channels.entry(name.clone()).or_default().failures += 1);
        failures.gone = matches!(error, ChannelError::Gone(_));
        self.state.report.stopped = failures.gone;
        if failures.gone {
            tracing::error!(target: "Messenger", "Channel {name}: {error}. Nothing more is sent until the channels are reloaded or the daemon starts again.");
            return;
        }
        let seed = u64::from(self.context.clock.since_epoch().subsec_nanos());
        let random = backoff(failures.count, RETRY_BASE, RETRY_CAP, seed);
        let (wait, floor) = if error.is_permanent() {
            (RETRY_REJECTED, FLOOR)
        } else {
            let wait = error.retry_after().map_or(random, |asked| asked.max(random));
            (wait, wait)
        };
        failures.failed(id, wait, floor);
        if failures.count.is_power_of_two() {
            let (seconds, count) = (wait.as_secs().max(1), failures.count);
            let next = format!("Next attempt in {seconds} s (failure {count} in a row).");
            if error.is_permanent() {
                tracing::error!(target: "Messenger", "Channel {name}: the message was not sent: {error}. {next}");
            } else {
                tracing::warn!(target: "Messenger", "Channel {name}: the message was not sent: {error}. {next}");
            }
        }
    }

    /// Saves the state. Returns whether it is saved.
    async fn save(&mut self) -> bool {
        if !self.unsaved || !self.saves {
            return true;
        }
        let saved = self.context.store.keep_channel_state(&self.name, Some(self.state.clone())).await;
        self.unsaved = saved.is_err();
        let new = std::mem::replace(&mut self.save_failed, self.unsaved) != self.unsaved;
        let name = &self.name;
        match saved {
            Err(e) if new => {
                let then = if self.right.is_lease() {
                    "nothing is sent"
                } else {
                    "messages are sent without saving, and a restart may repeat them"
                };
                tracing::error!(target: "Messenger", "Channel {name}: cannot save its state: {e}. Until it can be saved, {then}.");
            }
            Ok(()) if new => {
                tracing::info!(target: "Messenger", "Channel {name}: its state can be saved again.");
            }
            Err(_) | Ok(()) => {}
        }
        !self.unsaved
    }

    fn show(&self) {
        let (name, report) = (&self.name, self.state.report.clone());
        let kind = self.orders.borrow().kind;
        self.context.board.update(|board| {
            let view = board.channels.entry(name.clone()).or_default();
            view.report = report;
            view.report.kind = kind.to_owned();
        });
    }

    /// The time on the clock of timers.
    fn instant(&self, at: Timestamp) -> Instant {
        let left = at.duration_since(self.context.clock.now()).max(SignedDuration::ZERO);
        // A clock that was set may be noticed late, but not by more than this.
        Instant::now() + Duration::try_from(left).unwrap_or_default().min(Duration::from_secs(60))
    }
}

impl Failures {
    fn failed(&mut self, id: &str, wait: Duration, floor: Duration) {
        self.count = self.count.saturating_add(1);
        let now = Instant::now();
        (self.again, self.not_before) = (Some((id.to_owned(), now + wait)), Some(now + floor));
    }

    /// When this message may be sent, if not now.
    fn blocked_until(&self, id: &str) -> Option<Instant> {
        let same = self.again.as_ref().filter(|(failed, _)| failed == id).map(|(_, at)| *at);
        same.or(self.not_before).filter(|at| Instant::now() < *at)
    }
}

fn unsent(detail: &str) -> ChannelError {
    ChannelError::Trouble { wait: None, perhaps_sent: false, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
