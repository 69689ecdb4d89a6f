//! The program is killed between any two awaits: nothing half, nothing twice, nothing forgotten.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use super::*;

/// Polls a future at most so many times; `None` if it was dropped before its end.
async fn killed_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_program_that_is_killed_at_random_moments_delivers_every_run_once() {
    let mut delivery = Delivery::start();
    let tables = [("alert", 400), ("contact", 1), ("test", 2_500)];
    let mut draw = 17_u64;
    let mut below = |limit: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % limit
    };
    let mut saved = serde_json::to_string(&delivery.state).unwrap();
    let mut newest = delivery.export(&tables);
    for turn in 0..400 {
        if turn % 50 == 49 {
            newest = delivery.export(&tables);
        }
        delivery.offer(&newest);
        let step = delivery.state.next_step(&delivery.rule, now());
        if let DeliveryStep::Wait(until) = step {
            wait_until(until.unwrap_or_else(now)).await;
            continue;
        }
        if delivery.state.intend(&step) {
            saved = serde_json::to_string(&delivery.state).unwrap();
        }
        let polls = if below(3) == 0 { usize::try_from(below(6)).unwrap() } else { usize::MAX };
        match killed_after(polls, delivery.client.perform(&delivery.rule, &step)).await {
            Some(result) => {
                delivery.state.apply(&delivery.rule, &step, result, now(), &PACE, below(u64::MAX));
                saved = serde_json::to_string(&delivery.state).unwrap();
            }
            None => delivery.state = serde_json::from_str(&saved).unwrap(),
        }
    }
    delivery.offer(&newest);
    let report = delivery.finish().await;
    assert_eq!((report.trouble, report.as_of), (None, Some(newest.checkpoint_at)));
    let generation = u8::try_from(delivery.run).unwrap();
    assert_eq!(delivery.generations().into_values().collect::<Vec<_>>(), [generation; 3]);
    let last = delivery.tenant.reloads().pop().unwrap();
    assert!(last.read[0].values().all(|content| content[0] == generation), "no reload after the last commit");
    delivery.assert_reloads_are_whole();
    let writes = delivery.tenant.read(|state| state.data.writes());
    assert!(writes.values().all(|writes| *writes <= usize::from(generation)), "written twice: {writes:?}");
}
