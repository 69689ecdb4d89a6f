//! Small charts as inline SVG, without script and style attributes; colors come from the style sheet.
//!
//! Each chart has a text label and each part a title, so that nothing is conveyed by shape or color alone.

use maud::{Markup, html};

use super::days::DayCell;
use super::status::severity_label;
use super::words::span;
use crate::domain::monitoring::history::Day;
use crate::domain::monitoring::severity::Severity;

/// In units of the view box.
const STRIP_HEIGHT: u32 = 32;

/// Worse is taller, so that the chart is readable without color.
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

fn label(worst: Option<Severity>) -> &'static str {
    worst.map_or("Not monitored", severity_label)
}

/// One bar per day. Consecutive days of equal severity share a path, which keeps pages with thousands of bars small.
pub(in crate::web) fn strip(cells: &[DayCell]) -> Markup {
    let mut runs: Vec<(usize, &[DayCell])> = Vec::new();
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

/// SVG path data: the first bar, then each relative to the previous one.
fn bars(from: usize, run: &[DayCell]) -> String {
    let tall = height(run[0].worst);
    let bar = format!("v-{tall}h3v{tall}z");
    let first = format!("M{} {STRIP_HEIGHT}{bar}", from * 4);
    first + &format!("m4 0{bar}").repeat(run.len() - 1)
}

fn days(run: &[DayCell]) -> String {
    let (first, last) = (run[0].date, run[run.len() - 1].date);
    let what = label(run[0].worst);
    if first == last { format!("{first}: {what}") } else { format!("{first} to {last}: {what}") }
}

/// `90 days: 2 with an incident, the worst major; 3 not monitored`.
pub(in crate::web) fn summary(cells: &[DayCell]) -> String {
    let bad = cells.iter().filter(|cell| cell.worst > Some(Severity::Maintenance)).count();
    let unwatched = cells.iter().filter(|cell| cell.worst.is_none()).count();
    let worst = cells.iter().filter_map(|cell| cell.worst).max().filter(|_| bad > 0);
    let mut words = match (bad, worst) {
        (_, Some(worst)) => format!("{} days: {bad} with an incident, the worst {worst}", cells.len()),
        _ => format!("{} days: none with an incident", cells.len()),
    };
    if unwatched > 0 {
        words.push_str(&format!("; {unwatched} not monitored"));
    }
    words
}

/// A year with one column per week, Monday at the top. Worse days are larger squares.
pub(in crate::web) fn year(cells: &[DayCell]) -> Markup {
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
    // A month is named above the column of its first day.
    let months = (lead..).zip(cells).filter(|(_, cell)| cell.date.day() == 1);
    html! {
        svg class="year" role="img" aria-label=(summary(cells)) viewBox={ "0 " (-PITCH) " " (columns * PITCH) " " (8 * PITCH) } {
            @for (at, cell) in months {
                text x=(at / 7 * PITCH) y="-3" { (cell.date.strftime("%b")) }
            }
            @for (x, y, size, cell) in placed {
                rect class=(class(cell.worst)) x=(x) y=(y) width=(size) height=(size) rx="1.5" {
                    title { (cell.date) ": " (label(cell.worst)) (times(&cell.day)) }
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

pub(in crate::web) struct ChartBar {
    pub(in crate::web) value: u64,
    /// `complete`, `partial`, `deferred`, `failed`.
    pub(in crate::web) class: &'static str,
    pub(in crate::web) title: String,
}

/// Bars over runs, oldest first; the tallest fills the height.
pub(in crate::web) fn trend(label: &str, bars: &[ChartBar]) -> Markup {
    const TALL: u64 = 40;
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1);
    let width = bars.len().max(12) * 8;
    let left = width - bars.len() * 8;
    html! {
        svg class="trend" role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (TALL) } preserveAspectRatio="none" {
            @for (i, bar) in bars.iter().enumerate() {
                // A run without rows took place too, so its bar is visible.
                @let tall = (u128::from(bar.value) * u128::from(TALL - 2) / u128::from(most)) as u64 + 2;
                rect class=(bar.class) x=(left + i * 8) y=(TALL - tall) width="6" height=(tall) { title { (bar.title) } }
            }
        }
    }
}
