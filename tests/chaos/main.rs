//! The real program under trouble: kills, pauses, lost answers, lost state, manual edits, refusals, wrong clocks.
//!
//! Everything comes from one seed, which a failure prints: `CHAOS_SEED=… CHAOS_SECONDS=…` repeats a run, as far as
//! timing does; `CHAOS_WITHOUT=clocks,kills` leaves things out (the table in [`world`]). Each round disturbs several things, repairs them, and waits for a quiet moment. The oracle ([`judge`])
//! knows the rules of the banner and nothing of the program:
//!
//! - at every quiet moment the tenant shows what it should;
//! - nothing is written without a difference, and nothing that no status page said;
//! - no manual banner is lost: it is up, or comes back after the incident, or its full text is in the log.
//!
//! A binary of its own, so that it runs alone: its rules are about real time.

#![allow(clippy::disallowed_methods, reason = "drives the real program, in real time")]

#[cfg(test)]
mod judge;
#[cfg(test)]
mod world;

use std::time::{Duration, Instant};

use jiff::Timestamp;

use world::World;

/// For everything to come right after a disturbance: one poll, one retry, and a machine under load.
const SETTLE: Duration = Duration::from_secs(45);
/// By then every page has been polled again, and what was under way has been written.
const POLLED: Duration = Duration::from_millis(1_500);
/// How long nothing may be written once it has: several polls, and several readings of the tenant.
const CALM: Duration = Duration::from_millis(2_500);
/// Of a run in CI; longer by `CHAOS_SECONDS`.
const SECONDS: u64 = 60;

/// Small, and the same for the same seed everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// Whatever happens to the daemon, the tenant and the status pages, the banner comes right, and no manual banner is lost.
#[test]
fn the_banner_comes_right_after_any_trouble() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let length = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(SECONDS));
    let seed = number("CHAOS_SEED").unwrap_or_else(|| Timestamp::now().as_nanosecond() as u64 | 1);
    let mut world = World::start(Dice(seed));
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < length {
        rounds += 1;
        world.disturb();
        world.repair();
        if let Err(wrong) = judge::settles(&mut world).and_then(|()| judge::writes(&mut world)) {
            panic!("CHAOS_SEED={seed}, round {rounds}: {wrong}\n{}", world.report());
        }
    }
    println!("CHAOS_SEED={seed}: {rounds} rounds, {} writes", world.history().len());
}
