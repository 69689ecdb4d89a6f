//! What goes wrong at the tenant, and what people read of it.

use super::*;

use stand_ins::Reply;
use stand_ins::tenant::data::{ASK_RELOAD, QUOTAS};

const COMMIT: &str = "POST /api/v1/data-files ";

/// Each names what a person must do, stays pending, and is delivered once it is fixed.
#[tokio::test]
async fn a_rejection_says_what_to_do_and_is_retried() {
    for (breaks, part) in [
        (0, "open the space, choose Manage members, and add the user"),
        (1, "the tenant shows us no space named Gone"),
        (2, "has 400 bytes; the tenant accepts 100"),
        (3, "check that the key or client is valid"),
    ] {
        let mut delivery = Delivery::start();
        let id = delivery.tenant.change(|state| state.data.add_space("Other"));
        match breaks {
            0 => {
                delivery.rule.space = Some(id);
                delivery.tenant.change(|state| state.data.rules.member = false);
            }
            1 => delivery.rule.space = Some("Gone".into()),
            2 => delivery.tenant.change(|state| {
                (state.data.rules.direct, state.data.rules.largest) = (100, 100);
            }),
            _ => delivery.tenant.always_on(QUOTAS, Reply::status(401)),
        }
        let export = delivery.export(&[("alert", 400)]);
        delivery.offer(&export);
        let report = delivery.until(|report| report.trouble.is_some()).await;
        let trouble = report.trouble.unwrap();
        assert!(trouble.contains(part), "{trouble}");
        assert!(report.pending_since.is_some());
        delivery.tenant.as_usual();
        delivery.tenant.change(|state| {
            state.data.add_space("Gone");
            (state.data.rules.member, state.data.rules.direct, state.data.rules.largest) = (true, 500, 500);
        });
        let report = delivery.finish().await;
        assert_eq!((report.trouble, report.as_of), (None, Some(export.checkpoint_at)));
    }
}

/// Each may have had its effect, or not.
#[tokio::test]
async fn a_commit_or_reload_with_a_lost_answer_is_looked_up() {
    for what in [COMMIT, "POST /api/v1/reloads "] {
        for reply in [Reply::usual().reset(), Reply::dropped(), Reply::status(502), Reply::usual().half()] {
            let mut delivery = Delivery::start();
            delivery.tenant.next_on(what, reply);
            let export = delivery.export(&[("alert", 40), ("test", 50)]);
            delivery.offer(&export);
            let report = delivery.finish().await;
            assert_eq!(report.trouble, None);
            let writes = delivery.tenant.read(|state| state.data.writes());
            assert_eq!(writes.into_values().collect::<Vec<_>>(), [1, 1], "{}", delivery.tenant.dump());
            assert_eq!(delivery.tenant.reloads().len(), 1, "{}", delivery.tenant.dump());
        }
    }
}

#[tokio::test]
async fn a_pending_reload_is_joined_and_one_more_follows_if_it_read_older_data() {
    for (running, reloads) in [(true, 2), (false, 1)] {
        let mut delivery = Delivery::start();
        delivery.tenant.change(|state| {
            let rules = &mut state.data.rules;
            rules.locks = false;
            rules.queued_for = if running { SignedDuration::ZERO } else { SignedDuration::from_millis(300) };
            rules.runs_for = SignedDuration::from_millis(300);
            state.data.queue_reload(APP, now());
        });
        let export = delivery.export(&[("alert", 40)]);
        delivery.offer(&export);
        let report = delivery.finish().await;
        assert_eq!(report.as_of, Some(export.checkpoint_at));
        let all = delivery.tenant.reloads();
        assert_eq!(all.len(), reloads, "{}", delivery.tenant.dump());
        assert_eq!(all.last().unwrap().read[0].len(), 1);
    }
}

/// Someone else asks for a reload between the look and our request.
#[tokio::test]
async fn a_reload_that_is_pending_when_ours_is_asked_for_is_joined() {
    let mut delivery = Delivery::start();
    delivery.tenant.after(1, "GET /api/v1/reloads ", |state| state.data.queue_reload(APP, now()));
    let export = delivery.export(&[("alert", 40)]);
    delivery.offer(&export);
    delivery.finish().await;
    assert_eq!(delivery.tenant.reloads().len(), 1, "{}", delivery.tenant.dump());
}

#[tokio::test]
async fn the_frequency_quota_and_the_rate_limit_wait() {
    let mut delivery = Delivery::start();
    delivery.tenant.next_on(ASK_RELOAD, Reply::too_many(None));
    delivery.tenant.after(3, ASK_RELOAD, |state| state.data.rules.too_frequent = false);
    delivery.tenant.change(|state| state.data.rules.too_frequent = true);
    let export = delivery.export(&[("alert", 40)]);
    delivery.offer(&export);
    let waiting =
        delivery.until(|report| report.trouble.as_ref().is_some_and(|why| why.contains("quota"))).await;
    assert_eq!(waiting.as_of, None);
    let report = delivery.finish().await;
    assert_eq!((report.trouble, report.as_of), (None, Some(export.checkpoint_at)));
}

/// The next run asks again.
#[tokio::test]
async fn a_script_error_is_shown_and_the_next_run_reloads_again() {
    let mut delivery = Delivery::start();
    let message = "Field 'price' not found";
    delivery.tenant.change(|state| {
        state.data.rules.script_errors.insert(APP.into(), message.into());
    });
    let export = delivery.export(&[("alert", 40)]);
    delivery.offer(&export);
    let report = delivery.finish().await;
    assert_eq!(report.trouble.unwrap(), format!("the reload of app {APP} ended failed: {message}"));
    assert_eq!((report.as_of, delivery.tenant.reloads().len()), (None, 1));
    delivery.tenant.change(|state| state.data.rules.script_errors.clear());
    let next = RunExport { run: 2, ..export };
    delivery.offer(&next);
    assert_eq!(delivery.finish().await.as_of, Some(next.checkpoint_at));
}

#[tokio::test]
async fn a_deleted_app_is_named_and_delays_no_other() {
    let mut delivery = Delivery::start();
    delivery.rule.reload.insert(0, "app-0".into());
    let export = delivery.export(&[("alert", 40)]);
    delivery.offer(&export);
    let report = delivery.until(|report| report.trouble.is_some() && report.apps[APP].as_of.is_some()).await;
    assert!(report.trouble.unwrap().contains("the tenant has no app app-0"));
    assert_eq!(report.as_of, None);
    // Someone shares the app with us.
    delivery.tenant.change(|state| state.data.add_app("app-0"));
    let report = delivery.finish().await;
    assert_eq!((report.trouble, report.as_of), (None, Some(export.checkpoint_at)));
}

#[tokio::test]
async fn contents_that_expired_are_uploaded_again() {
    for what in ["GET /api/v1/data-files ", "HEAD /api/v1/temp-contents", "PATCH /api/v1/temp-contents"] {
        let mut delivery = Delivery::start();
        if what.starts_with("HEAD") {
            delivery.tenant.next_on("PATCH /api/v1/temp-contents", Reply::dropped());
        }
        delivery.tenant.after(1, what, |state| state.data.expire_uploads());
        let export = delivery.export(&[("alert", 40), ("test", 2_500)]);
        delivery.offer(&export);
        let report = delivery.finish().await;
        assert_eq!((report.trouble, report.as_of), (None, Some(export.checkpoint_at)));
        assert_eq!(delivery.generations().into_values().collect::<Vec<_>>(), [1, 1]);
        delivery.assert_reloads_are_whole();
    }
}

/// A part that is still being stored, a cut, and an answer that was lost after the part was stored.
#[tokio::test]
async fn an_upload_continues_where_the_tenant_has_it() {
    for reply in [Reply::status(423), Reply::dropped(), Reply::usual().reset(), Reply::status(409)] {
        let mut delivery = Delivery::start();
        delivery.tenant.next_on("PATCH /api/v1/temp-contents", reply);
        let export = delivery.export(&[("test", 2_500)]);
        delivery.offer(&export);
        delivery.finish().await;
        let created = "POST /api/v1/temp-contents/files ";
        let uploads = delivery.tenant.requests().into_iter().filter(|request| request.is(created)).count();
        assert_eq!((uploads, delivery.generations().len()), (1, 1), "{}", delivery.tenant.dump());
    }
}

/// A file that the next export replaced is not mixed with files of the run before.
#[tokio::test]
async fn files_that_are_replaced_during_the_upload_wait_for_their_run() {
    let mut delivery = Delivery::start();
    let tables = [("alert", 40), ("test", 50)];
    let first = delivery.export(&tables);
    delivery.offer(&first);
    let second = delivery.export(&tables);
    let report = delivery.finish().await;
    assert!(report.trouble.unwrap().contains("was replaced"));
    assert!(delivery.generations().is_empty() && delivery.tenant.reloads().is_empty());
    delivery.offer(&second);
    delivery.finish().await;
    assert_eq!(delivery.generations().into_values().collect::<Vec<_>>(), [2, 2]);
}

/// The tenant's clock decides what a reload read, not ours.
#[tokio::test]
async fn a_clock_that_is_off_by_an_hour_changes_nothing() {
    for hours in [-1, 1] {
        let mut delivery = Delivery::start();
        delivery.tenant.change(|state| state.rules.ahead = SignedDuration::from_hours(hours));
        for _ in 0..2 {
            let export = delivery.export(&[("alert", 40), ("test", 50)]);
            delivery.offer(&export);
            assert_eq!(delivery.finish().await.as_of, Some(export.checkpoint_at));
        }
        assert_eq!(delivery.tenant.reloads().len(), 2);
        delivery.assert_reloads_are_whole();
    }
}
