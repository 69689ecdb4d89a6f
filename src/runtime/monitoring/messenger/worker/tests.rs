//! Crashes at every point at which the task of a channel waits, and what is saved of a stopped channel.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;

use super::*;
use crate::channels::Channel;
use crate::domain::monitoring::assess::{Assessment, MonitorState};
use crate::domain::monitoring::audience::Audience;
use crate::domain::monitoring::news::NewsState;
use crate::domain::monitoring::news::channel::ChannelRules;
use crate::domain::monitoring::plan::Reach;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{self, BoardWriter};
use crate::runtime::clock::Clock;
use crate::secrets::Redactor;
use crate::store::Store;

/// More than the task is polled before it waits for a change.
const POLLS: usize = 24;

/// Shows messages, and waits before and after it takes one.
#[derive(Default)]
struct Wall {
    shown: Mutex<Vec<News>>,
    gone: AtomicBool,
    redactor: Redactor,
}

#[async_trait]
impl Channel for Wall {
    async fn send(&self, news: &News, last: Option<&Receipt>) -> Result<Receipt, ChannelError> {
        tokio::task::yield_now().await;
        if self.gone.load(Ordering::Relaxed) {
            return Err(ChannelError::Gone("HTTP 410".to_owned()));
        }
        let place = {
            let mut shown = self.shown.lock().unwrap();
            match last.map(|receipt| receipt.0.parse::<usize>().unwrap()) {
                Some(place) => {
                    shown[place] = news.clone();
                    place
                }
                None => {
                    shown.push(news.clone());
                    shown.len() - 1
                }
            }
        };
        tokio::task::yield_now().await;
        Ok(Receipt(place.to_string()))
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

fn desired(severity: Severity) -> DesiredBanner {
    let state = MonitorState { severity, since: Some(Timestamp::UNIX_EPOCH), ..MonitorState::default() };
    let all = Assessment::of([("Alpha", &[][..], &state)].into_iter());
    let coverage = [("Alpha".to_owned(), Reach::Read)].into();
    DesiredBanner { confirmed: all.clone(), held: all, coverage, changed_at: None }
}

/// A task on the state in the folder, and what stops it.
fn worker(
    folder: &Path,
    wall: &Arc<Wall>,
    wishes: &watch::Sender<Option<DesiredBanner>>,
    board: BoardWriter,
) -> (ChannelWorker, watch::Sender<ConfiguredChannel>, CancellationToken, crate::store::Closer) {
    let (store, closer, saved) = Store::open(folder).unwrap();
    let clock = Clock::starting_at("2026-05-02T09:15:00Z".parse().unwrap());
    let second = Duration::from_secs(1);
    let context =
        MonitoringContext { clock, board, store, live: false, recheck: second, clear_on_stop: false };
    let rules = ChannelRules {
        audience: Audience::default(),
        resolved: true,
        remind_after: None,
        in_place: true,
        spacing: Duration::ZERO,
    };
    let configured =
        ConfiguredChannel { name: "wall".to_owned(), kind: "webhook", rules, channel: Arc::clone(wall) as _ };
    let (orders, receiver) = watch::channel(configured);
    let stop = CancellationToken::new();
    let worker = ChannelWorker {
        name: "wall".to_owned(),
        context,
        orders: receiver,
        wishes: wishes.subscribe(),
        right: Right::forever(),
        stop: stop.clone(),
        saves: true,
        state: saved.channels.get("wall").cloned().unwrap_or_default(),
        unsaved: false,
        save_failed: false,
    };
    (worker, orders, stop, closer)
}

fn unseen() -> BoardWriter {
    board::channel(Timestamp::UNIX_EPOCH, true).0
}

/// Polls a future so many times and then drops it.
async fn crash_after(polls: usize, future: impl Future) {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        left = left.saturating_sub(1);
        if left == 0 || future.as_mut().poll(context).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Runs a task until the last message is this one, and stops it: what it sends is confirmed then.
async fn run_until(
    is: impl Fn(&News) -> bool,
    folder: &Path,
    wall: &Arc<Wall>,
    wishes: &watch::Sender<Option<DesiredBanner>>,
) {
    let (writer, reader) = board::channel(Timestamp::UNIX_EPOCH, true);
    let (worker, _orders, stop, closer) = worker(folder, wall, wishes, writer);
    let confirmed = || {
        let report = reader.read(|board| board.channels.get("wall").map(|view| view.report.clone()));
        report.is_some_and(|report| report.pending_since.is_none())
    };
    let running = tokio::spawn(worker.run());
    while !(confirmed() && wall.shown.lock().unwrap().last().is_some_and(&is)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    let (_, kept) = running.await.unwrap();
    assert!(kept.state.open.is_none_or(|open| open.pending.is_none()));
    closer.join();
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_repeats_at_most_one_message_and_the_last_is_the_truth() {
    let mut duplicates = 0;
    for polls in 1..POLLS {
        let (folder, wall) = (tempfile::tempdir().unwrap(), Arc::new(Wall::default()));
        let wishes = watch::Sender::new(Some(desired(Severity::Minor)));
        for severity in [Severity::Minor, Severity::Major] {
            wishes.send_replace(Some(desired(severity)));
            let (worker, _orders, _stop, closer) = worker(folder.path(), &wall, &wishes, unseen());
            crash_after(polls, worker.run()).await;
            closer.join();
        }
        run_until(|news| news.severity == Severity::Major, folder.path(), &wall, &wishes).await;
        wishes.send_replace(Some(desired(Severity::None)));
        let (worker, _orders, _stop, closer) = worker(folder.path(), &wall, &wishes, unseen());
        crash_after(polls, worker.run()).await;
        closer.join();
        run_until(|news| news.state == NewsState::Resolved, folder.path(), &wall, &wishes).await;
        let shown = wall.shown.lock().unwrap();
        // Two crashes before the first receipt.
        assert!(shown.len() <= 3, "after {polls} polls: {shown:#?}");
        assert!(shown.iter().all(|news| news.key == shown[0].key), "{shown:#?}");
        duplicates = duplicates.max(shown.len() - 1);
    }
    // Without one, the crashes would not have hit the answer.
    assert!(duplicates >= 1);
}

/// A standby shows the saved state.
#[tokio::test(start_paused = true)]
async fn that_a_channel_stopped_is_saved_until_it_sends_again() {
    let (folder, wall) = (tempfile::tempdir().unwrap(), Arc::new(Wall::default()));
    let wishes = watch::Sender::new(Some(desired(Severity::Minor)));
    let saved_as_stopped = || {
        let (store, closer, saved) = Store::open(folder.path()).unwrap();
        drop(store);
        closer.join();
        saved.channels["wall"].report.stopped
    };
    wall.gone.store(true, Ordering::Relaxed);
    let (writer, reader) = board::channel(Timestamp::UNIX_EPOCH, true);
    let (worker, _orders, stop, closer) = worker(folder.path(), &wall, &wishes, writer);
    let running = tokio::spawn(worker.run());
    while !reader.read(|board| board.channels.get("wall").is_some_and(|view| view.report.stopped)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    running.await.unwrap();
    closer.join();
    assert!(saved_as_stopped());
    wall.gone.store(false, Ordering::Relaxed);
    run_until(|news| news.severity == Severity::Minor, folder.path(), &wall, &wishes).await;
    assert!(!saved_as_stopped());
}
