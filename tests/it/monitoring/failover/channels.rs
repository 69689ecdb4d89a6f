//! Messages of daemons that share a state: the leader sends them, and the next leader continues.

use stand_ins::channels::slack::{POST, Slack};
use stand_ins::{Gate, Reply};

use super::daemon_group::DaemonGroup;
use crate::monitoring::channels::wait_for_title;

/// Over a crash and a stop of the leader, an incident is one message, and standbys show what the leader sent.
#[tokio::test]
async fn a_new_leader_changes_the_message_of_the_old_one() {
    let Some(mut group) = DaemonGroup::set_up().await else { return };
    let slack = Slack::start();
    group.slack = Some(slack.api());
    let ann = group.start_leader("ann").await;
    let bob = group.start("bob");
    group.page.set_indicator("minor", "Slow");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    bob.wait_until("shows what the leader sent", |board| {
        !board.leads() && board.channels.get("ops").is_some_and(|ops| ops.report.delivered_at.is_some())
    })
    .await;
    assert_eq!(bob.board.read(|board| board.channels["ops"].sent.len()), 0);
    ann.kill();
    bob.wait_until("leads", |board| board.leads()).await;
    group.page.set_indicator("major", "Partial System Outage");
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    let cem = group.start("cem");
    cem.wait_until("is a standby", |board| board.lease.as_ref().is_some_and(|lease| lease.known)).await;
    bob.stop().await;
    cem.wait_until("leads", |board| board.leads()).await;
    group.page.recover();
    wait_for_title(&slack, "✅ Resolved: Alpha").await;
    slack.wait_until(|slack| slack.replies().len() == 2).await;
    assert_eq!(slack.messages().len(), 1);
    slack.assert_well_behaved();
    cem.stop().await;
}

/// The leader dies after the message was stored and before it knew: one message too many, and the last one is the truth.
#[tokio::test]
async fn a_leader_that_dies_while_sending_leaves_at_most_one_duplicate() {
    let Some(mut group) = DaemonGroup::set_up().await else { return };
    let slack = Slack::start();
    group.slack = Some(slack.api());
    let ann = group.start_leader("ann").await;
    let bob = group.start("bob");
    let gate = Gate::new();
    slack.next_on(POST, Reply::usual().held_by(&gate));
    group.page.set_indicator("minor", "Slow");
    slack.wait_until(|slack| slack.messages().len() == 1).await;
    ann.kill();
    slack.wait_until(|slack| slack.messages().len() == 2).await;
    bob.wait_until("knows that it arrived", |board| {
        board.leads() && board.channels.get("ops").is_some_and(|ops| ops.report.delivered_at.is_some())
    })
    .await;
    group.page.recover();
    slack.wait_until(|slack| slack.messages()[1].lines[0] == "✅ Resolved: Alpha").await;
    assert_eq!(slack.messages().len(), 2);
    bob.stop().await;
}
