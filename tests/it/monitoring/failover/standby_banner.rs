//! What a standby shows of the tenant: what the leader knows, from the shared state.

use jiff::{SignedDuration, Timestamp};

use super::daemon_group::{DaemonGroup, Member};
use crate::monitoring::daemon::banner_view;
use data_sources_monitor::testing::runtime::board::Board;
use stand_ins::Reply;
use stand_ins::tenant::{Banner, WRITE};

const MAJOR: &str = "Alpha: Partial System Outage";

fn shown(board: &Board) -> Option<&str> {
    banner_view(board).report.shown.as_ref().map(|banner| banner.message.as_str())
}

async fn shows_the_same(standby: &Member, leader: &Member) {
    // The leader's last answer is newer than the copy.
    let known = |board: &Board| {
        let mut report = banner_view(board).report.clone();
        report.answered_at = None;
        report
    };
    let want = leader.board.read(known);
    standby
        .wait_until("shows what the leader knows", |board| {
            !board.leads() && banner_view(board).report.answered_at.is_some() && known(board) == want
        })
        .await;
}

#[tokio::test]
async fn a_standby_shows_banner_and_pending_write_of_the_leader() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let now = Timestamp::now();
    group.tenant.person_sets(Banner::of("info", "Party at 5", now, now + SignedDuration::from_hours(1)));
    let ann = group.start_leader("ann").await;
    let bob = group.start("bob");
    bob.wait_until("shows the manual banner", |board| {
        shown(board) == Some("Party at 5") && !banner_view(board).report.ours
    })
    .await;
    group.page.set_indicator("major", "Partial System Outage");
    ann.wait_until("wrote the banner", |board| {
        banner_view(board).report.ours && banner_view(board).report.pending_since.is_none()
    })
    .await;
    bob.wait_until("shows it", |board| {
        let view = &banner_view(board).report;
        shown(board) == Some(MAJOR)
            && view.ours
            && view.displaced.as_ref().is_some_and(|theirs| theirs.message == "Party at 5")
    })
    .await;
    shows_the_same(&bob, &ann).await;
    group.tenant.always_on(WRITE, Reply::status(503));
    group.page.set_indicator("minor", "Slow");
    ann.wait_until("has a pending write", |board| banner_view(board).report.trouble.is_some()).await;
    bob.wait_until("shows the pending write", |board| {
        banner_view(board).report.pending_since.is_some() && banner_view(board).report.trouble.is_some()
    })
    .await;
    // A new leader starts from what it reads itself.
    ann.kill();
    bob.wait_until("leads", |board| board.leads()).await;
    bob.stop().await;
}
