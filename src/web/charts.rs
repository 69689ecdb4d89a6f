//! Small charts as inline SVG: no script, no style attribute; colours come from the style sheet.
//!
//! What a chart shows is also said in words: each has a label, and each part a title.

use maud::{Markup, html};

use super::days::Cell;
use super::words::{brief, count, some, span, word};
use crate::domain::history::Day;
use crate::domain::severity::Severity;
use crate::runtime::board::Paced;

/// Height of the strip of days in its own units.
const STRIP_HEIGHT: u32 = 32;

/// Worse is taller: the shape tells what the colour tells.
fn height(worst: Option<Severity>) -> u32 {
    match worst {
        None => 5,
        Some(Severity::None) => 15,
        Some(Severity::Maintenance) => 19,
        Some(Severity::Minor) => 23,
        Some(Severity::Major) => 28,
        Some(Severity::Critical) => STRIP_HEIGHT,
    }
}

fn class(worst: Option<Severity>) -> &'static str {
    worst.map_or("unwatched", Severity::as_str)
}

fn state(worst: Option<Severity>) -> &'static str {
    worst.map_or("Not watched", word)
}

/// One bar a day. Days in a row that are alike share a path, so that thousands of bars stay a small page.
pub(super) fn strip(cells: &[Cell]) -> Markup {
    let mut runs: Vec<(usize, &[Cell])> = Vec::new();
    let mut from = 0;
    for run in cells.chunk_by(|a, b| a.worst == b.worst) {
        runs.push((from, run));
        from += run.len();
    }
    let width = cells.len() * 4;
    html! {
        svg class="strip" role="img" aria-label=(summary(cells)) viewBox={ "0 0 " (width) " " (STRIP_HEIGHT) } preserveAspectRatio="none" {
            @for (from, run) in runs {
                path class=(class(run[0].worst)) d=(bars(from, run)) { title { (days(run)) } }
            }
        }
    }
}

/// The first bar, and each other from the begin of the one before it.
fn bars(from: usize, run: &[Cell]) -> String {
    let tall = height(run[0].worst);
    let bar = format!("v-{tall}h3v{tall}z");
    let first = format!("M{} {STRIP_HEIGHT}{bar}", from * 4);
    first + &format!("m4 0{bar}").repeat(run.len() - 1)
}

fn days(run: &[Cell]) -> String {
    let (first, last) = (run[0].date, run[run.len() - 1].date);
    let what = state(run[0].worst);
    if first == last { format!("{first}: {what}") } else { format!("{first} to {last}: {what}") }
}

/// `90 days: 2 with an incident, the worst major; 3 not watched`.
pub(super) fn summary(cells: &[Cell]) -> String {
    let bad = cells.iter().filter(|cell| cell.worst > Some(Severity::Maintenance)).count();
    let unwatched = cells.iter().filter(|cell| cell.worst.is_none()).count();
    let worst = cells.iter().filter_map(|cell| cell.worst).max().filter(|_| bad > 0);
    let mut words = match (bad, worst) {
        (_, Some(worst)) => format!("{} days: {bad} with an incident, the worst {worst}", cells.len()),
        _ => format!("{} days: none with an incident", cells.len()),
    };
    if unwatched > 0 {
        words.push_str(&format!("; {unwatched} not watched"));
    }
    words
}

/// A year as weeks: a column a week, Monday on top. Worse days are larger squares.
pub(super) fn year(cells: &[Cell]) -> Markup {
    const PITCH: i64 = 10;
    let lead = cells.first().map_or(0, |cell| i64::from(cell.date.weekday().to_monday_zero_offset()));
    let columns = (i64::try_from(cells.len()).unwrap_or_default() + lead + 6) / 7;
    let placed = (lead..).zip(cells).map(|(at, cell)| {
        let size = match cell.worst {
            None => 4,
            Some(Severity::None) => 7,
            Some(_) => 9,
        };
        let inset = (PITCH - size) / 2;
        (at / 7 * PITCH + inset, at % 7 * PITCH + inset, size, cell)
    });
    html! {
        svg class="year" role="img" aria-label=(summary(cells)) viewBox={ "0 0 " (columns * PITCH) " " (7 * PITCH) } {
            @for (x, y, size, cell) in placed {
                rect class=(class(cell.worst)) x=(x) y=(y) width=(size) height=(size) rx="1.5" {
                    title { (cell.date) ": " (state(cell.worst)) (times(&cell.day)) }
                }
            }
        }
    }
}

/// `, 3 h 10 min major, 20 min minor`.
fn times(day: &Day) -> String {
    let bad = Severity::ALL
        .into_iter()
        .zip(day.at)
        .rev()
        .filter(|(severity, ms)| *severity > Severity::None && *ms > 0);
    bad.map(|(severity, ms)| format!(", {} {severity}", span(std::time::Duration::from_millis(ms.into()))))
        .collect()
}

/// A point of a trend.
pub(super) struct Bar {
    pub(super) value: u64,
    /// `complete`, `partial`, `deferred`, `failed`.
    pub(super) class: &'static str,
    pub(super) title: String,
}

/// Bars over runs, oldest first; the tallest fills the height.
pub(super) fn trend(label: &str, bars: &[Bar]) -> Markup {
    const TALL: u64 = 40;
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1);
    let width = bars.len().max(12) * 8;
    let left = width - bars.len() * 8;
    html! {
        svg class="trend" role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (TALL) } preserveAspectRatio="none" {
            @for (i, bar) in bars.iter().enumerate() {
                // Nothing is a line as well: a run without rows took place.
                @let tall = (u128::from(bar.value) * u128::from(TALL - 2) / u128::from(most)) as u64 + 2;
                rect class=(bar.class) x=(left + i * 8) y=(TALL - tall) width="6" height=(tall) { title { (bar.title) } }
            }
        }
    }
}

/// Response times, oldest first; looks without a reading stand as full bars of another colour and pattern.
pub(super) fn pace(looks: &[Paced]) -> Markup {
    const TALL: u128 = 80;
    let most =
        looks.iter().filter(|look| look.read).map(|look| look.took.as_millis()).max().unwrap_or(1).max(1);
    let failed = looks.iter().filter(|look| !look.read).count();
    let label = format!(
        "Response times of the last {}: up to {} ms; {} without a reading",
        some(looks.len() as u64, "look", "looks"),
        count(most as u64),
        failed
    );
    let width = looks.len().max(30) * 6;
    let left = width - looks.len() * 6;
    html! {
        svg class="pace" role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (TALL) } preserveAspectRatio="none" {
            @for (i, look) in looks.iter().enumerate() {
                @let tall = if look.read { (look.took.as_millis() * (TALL - 2) / most + 2).min(TALL) } else { TALL };
                rect class=(if look.read { "read" } else { "missed" }) x=(left + i * 6) y=(TALL - tall) width="4" height=(tall) {
                    title { (super::words::utc(look.at)) ": " (brief(look.took)) @if !look.read { ", no reading" } }
                }
            }
        }
    }
}
