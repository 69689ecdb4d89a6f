//! What is right, by the rules of the banner.

use std::time::{Duration, Instant};

use super::world::{NAMES, Problem, Truth, World};
use super::{CALM, POLLED, SETTLE};
use stand_ins::tenant::{Author, Banner, Write};

/// A write follows from what the pages told within this time: pauses, a poll that waits, one retry.
const BASIS: Duration = Duration::from_secs(20);

/// What the tenant shows.
#[derive(PartialEq)]
enum Shown {
    Right,
    /// Right for now: a person's choice that stands, unless the program saw the pages change only after it.
    Allowed,
}

/// Waits until the tenant shows what it should, and goes on doing so without a further write.
pub(super) fn settles(world: &mut World) -> Result<(), String> {
    let until = Instant::now() + SETTLE;
    loop {
        if !world.runs() {
            return Err("the program ended by itself".to_owned());
        }
        let wrong = match shown(world) {
            Err(wrong) => wrong,
            Ok(_) => {
                world.wait(POLLED);
                let (before, writes) = (shown(world), world.history().len());
                world.wait(CALM);
                let (after, more) = (shown(world), world.history().split_off(writes));
                match (before, after) {
                    (Ok(_), Ok(_)) if more.is_empty() => {
                        if expected_kind(world.truth()).is_none() {
                            let now = world.now();
                            world.all_is_well(
                                world.tenant.banner().is_some_and(|banner| banner.shows_at(now)),
                            );
                        }
                        return Ok(());
                    }
                    (Ok(Shown::Right), Ok(_)) => {
                        return Err(format!("written although all was right: {}", told(&more)));
                    }
                    (Ok(Shown::Right), Err(wrong)) => return Err(format!("no longer: {wrong}")),
                    (_, Err(wrong)) | (Err(wrong), _) => wrong,
                    (Ok(Shown::Allowed), Ok(_)) => "a person's choice did not stay".to_owned(),
                }
            }
        };
        if Instant::now() > until {
            return Err(format!("after {} s: {wrong}", SETTLE.as_secs()));
        }
        world.wait(Duration::from_millis(50));
    }
}

/// Whether the tenant shows what it should.
fn shown(world: &World) -> Result<Shown, String> {
    let slot = world.tenant.banner();
    let visible = slot.clone().filter(|banner| banner.shows_at(world.now()));
    if let Some(kind) = expected_kind(world.truth()) {
        if visible.as_ref().is_some_and(|banner| banner.kind == kind && tells(banner, world.truth())) {
            return Ok(Shown::Right);
        }
        if world.choice.is_some() && slot == world.choice {
            return Ok(Shown::Allowed);
        }
        return Err(format!("the tenant shows {visible:?}, the pages tell {:?}", world.truth()));
    }
    match (&visible, &world.manual) {
        (None, None) => Ok(Shown::Right),
        (Some(banner), Some(manual)) if same(banner, manual) => Ok(Shown::Right),
        (None, Some(_)) if world.manual_in_doubt => Ok(Shown::Allowed),
        (None, Some(manual)) if world.forgotten && world.log().contains(&manual.message) => {
            Ok(Shown::Allowed)
        }
        _ => Err(format!("all is well, the tenant shows {visible:?} instead of {:?}", world.manual)),
    }
}

fn expected_kind(truth: &Truth) -> Option<&'static str> {
    let kinds: Vec<&str> = truth.iter().flatten().map(|problem| problem.kind).collect();
    ["error", "warning", "info"].into_iter().find(|kind| kinds.contains(kind))
}

fn part(name: &str, problem: &Problem) -> String {
    format!("{name}: {}", problem.words)
}

/// Whether a banner tells all problems and no other.
fn tells(banner: &Banner, truth: &Truth) -> bool {
    let mut wanted: Vec<String> =
        NAMES.into_iter().zip(truth).filter_map(|(n, p)| Some(part(n, p.as_ref()?))).collect();
    let mut parts: Vec<&str> = banner.message.split(" | ").collect();
    wanted.sort();
    parts.sort_unstable();
    wanted == parts
}

/// The same but for the moments, which may be written in another way.
fn same(one: &Banner, other: &Banner) -> bool {
    one.kind == other.kind
        && one.message == other.message
        && one.link == other.link
        && one.enabled == other.enabled
}

/// Judges what was written since the last time.
pub(super) fn writes(world: &mut World) -> Result<(), String> {
    let history = world.history();
    for index in world.judged..history.len() {
        let write = &history[index];
        if write.author == Author::Program {
            let before = index.checked_sub(1).map(|before| &history[before]);
            let wrong = needless(write, before).or_else(|| baseless(world, write, world.seen[index]));
            if let Some(wrong) = wrong {
                return Err(format!("{wrong}: {}", told(&history[index.saturating_sub(1)..=index])));
            }
        }
    }
    world.judged = history.len();
    Ok(())
}

/// A write that changes nothing people see. Renewals are not due within such a run.
fn needless(write: &Write, before: Option<&Write>) -> Option<String> {
    let before = before?;
    let (was, is) = (before.banner.shows_at(write.at), write.banner.shows_at(write.at));
    (same(&before.banner, &write.banner) && was == is).then(|| "written without a difference".to_owned())
}

/// A write that nothing told by the pages explains. They are read one by one, so each may be of another moment.
fn baseless(world: &World, write: &Write, at: Instant) -> Option<String> {
    let from = at.checked_sub(BASIS)?;
    let recent = |index: usize| {
        let until = world.truths.get(index + 1).map(|(until, _)| *until);
        world.truths[index].0 <= at && until.is_none_or(|until| until >= from)
    };
    let recent: Vec<&Truth> =
        (0..world.truths.len()).filter(|index| recent(*index)).map(|index| &world.truths[index].1).collect();
    let banner = &write.banner;
    let manual = world.manual_texts.contains(&banner.message);
    let parts: Vec<&str> =
        if manual || !banner.enabled { Vec::new() } else { banner.message.split(" | ").collect() };
    let explained = |page: usize, parts: &[&str]| {
        recent.iter().any(|truth| match &truth[page] {
            None => !parts.iter().any(|told| told.starts_with(&format!("{}: ", NAMES[page]))),
            Some(problem) => parts.contains(&part(NAMES[page], problem).as_str()),
        })
    };
    let known = parts.iter().all(|told| NAMES.iter().any(|name| told.starts_with(&format!("{name}: "))));
    (!(known && explained(0, &parts) && explained(1, &parts))).then(|| "no page told this".to_owned())
}

fn told(writes: &[Write]) -> String {
    writes.iter().map(|write| format!("\n  {:?} {}", write.author, write.banner)).collect()
}
