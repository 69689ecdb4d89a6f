//! The chart of response times: the last polls one by one, or the stored hours of a day, a week or a month.
//!
//! Labels of the axes are text beside the image, so that they do not stretch with it. Start at [`ChartRange`] and
//! [`chart`].

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::words::{brief, count, some, utc};
use crate::domain::monitoring::responses::{MonitorResponses, ResponseHour, hour_of};
use crate::runtime::board::Paced;

/// Part of the chart's height, in units of the view box.
const TALL: u64 = 80;
/// Height of the mark for failed polls.
const FAILED: u64 = 5;

/// What the chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum ChartRange {
    /// The last polls since the start, one by one.
    Polls,
    Day,
    Week,
    Month,
}

/// A bar: one poll, or the polls of some hours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::web) struct ResponseBar {
    /// Start of the hours, or the end of the poll.
    at: Timestamp,
    /// Median and 95th percentile; `None` without a successful poll.
    middle: Option<Duration>,
    high: Option<Duration>,
    failed: u32,
    succeeded: u32,
}

impl ChartRange {
    pub(in crate::web) const ALL: [ChartRange; 4] =
        [ChartRange::Polls, ChartRange::Day, ChartRange::Week, ChartRange::Month];

    /// The value of the query parameter `range`.
    pub(in crate::web) fn word(self) -> &'static str {
        match self {
            ChartRange::Polls => "polls",
            ChartRange::Day => "24h",
            ChartRange::Week => "7d",
            ChartRange::Month => "30d",
        }
    }

    pub(in crate::web) fn parse(word: &str) -> Option<ChartRange> {
        ChartRange::ALL.into_iter().find(|range| range.word() == word)
    }

    pub(in crate::web) fn label(self) -> &'static str {
        match self {
            ChartRange::Polls => "Last polls",
            ChartRange::Day => "24 h",
            ChartRange::Week => "7 d",
            ChartRange::Month => "30 d",
        }
    }

    /// Hours that one bar covers, and the number of bars; zero for single polls.
    fn bars(self) -> (i64, i64) {
        match self {
            ChartRange::Polls => (0, 0),
            ChartRange::Day => (1, 24),
            ChartRange::Week => (2, 84),
            ChartRange::Month => (6, 120),
        }
    }

    /// How many days back the range starts.
    pub(in crate::web) fn days(self) -> i64 {
        let (hours, bars) = self.bars();
        hours * bars / 24
    }
}

/// Bars for single polls, oldest first.
pub(in crate::web) fn of_polls(polls: &[Paced]) -> Vec<ResponseBar> {
    let bar = |poll: &Paced| ResponseBar {
        at: poll.at,
        middle: poll.read.then_some(poll.took),
        high: poll.read.then_some(poll.took),
        failed: u32::from(!poll.read),
        succeeded: u32::from(poll.read),
    };
    polls.iter().map(bar).collect()
}

/// Bars for stored hours up to `now`, oldest first, and all their polls together. Hours without polls are empty bars.
pub(in crate::web) fn of_hours(
    range: ChartRange,
    stored: &[MonitorResponses],
    now: Timestamp,
) -> (Vec<ResponseBar>, ResponseHour) {
    let (hours, count) = range.bars();
    let hour = SignedDuration::from_hours(1);
    let this_hour = Timestamp::from_second(now.as_second().div_euclid(3_600) * 3_600).unwrap_or(now);
    let (mut bars, mut all) = (Vec::new(), ResponseHour::default());
    for bar in (0..count).rev() {
        let start = this_hour.checked_sub(hour * i32::try_from((bar + 1) * hours - 1).unwrap_or(0));
        let Ok(start) = start else { continue };
        let mut polls = ResponseHour::default();
        for nth in 0..hours {
            let (date, hour) = start
                .checked_add(hour * i32::try_from(nth).unwrap_or(0))
                .map_or((jiff::civil::Date::MIN, 0), hour_of);
            let days = stored.iter().filter(|(_, of, _)| *of == date);
            days.filter_map(|(.., day)| day.0.get(&hour)).for_each(|hour| polls.add(hour));
        }
        all.add(&polls);
        bars.push(ResponseBar {
            at: start,
            middle: polls.quantile(0.5),
            high: polls.quantile(0.95),
            failed: polls.failed(),
            succeeded: polls.succeeded(),
        });
    }
    (bars, all)
}

/// The image with its axes and legend.
pub(in crate::web) fn chart(range: ChartRange, bars: &[ResponseBar]) -> Markup {
    let longest = bars.iter().filter_map(|bar| bar.high).max().unwrap_or_default();
    let top = ceiling(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
    let failed: u64 = bars.iter().map(|bar| u64::from(bar.failed)).sum();
    let what = match range {
        ChartRange::Polls => format!("the last {}", some(bars.len() as u64, "poll", "polls")),
        range => format!("the last {}", range.label()),
    };
    let label = format!("Response times of {what}: up to {}; {} failed", brief(longest), count(failed));
    let width = bars.len().max(24) * 6;
    let left = width - bars.len() * 6;
    let height = |took: Option<Duration>| {
        took.map(|took| (u64::try_from(took.as_millis()).unwrap_or(top) * TALL / top).clamp(1, TALL))
    };
    html! {
        figure class="response" {
            div class="y" aria-hidden="true" {
                span { (brief(Duration::from_millis(top))) }
                span { (brief(Duration::from_millis(top / 2))) }
                span { "0" }
            }
            svg class="pace" role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (TALL) } preserveAspectRatio="none" {
                path class="grid" d={ "M0 " (TALL / 2) "h" (width) "M0 .5h" (width) } {}
                @for (i, bar) in bars.iter().enumerate() {
                    @let x = left + i * 6;
                    g {
                        title { (title(range, bar)) }
                        // The whole height shows the title.
                        rect class="area" x=(x) y="0" width="6" height=(TALL) {}
                        @if let Some(high) = height(bar.high).filter(|_| range != ChartRange::Polls) {
                            rect class="high" x=(x) y=(TALL - high) width="5" height=(high) {}
                        }
                        @if let Some(middle) = height(bar.middle) {
                            rect class="read" x=(x) y=(TALL - middle) width="5" height=(middle) {}
                        }
                        @if bar.failed > 0 { rect class="missed" x=(x) y="0" width="5" height=(FAILED) {} }
                    }
                }
            }
            p class="axis" {
                @if let (Some(first), Some(last)) = (bars.first(), bars.last()) {
                    span { (axis_time(range, first.at)) } span { (axis_time(range, last.at)) }
                }
            }
            figcaption class="legend" {
                ul {
                    li { span class="swatch read" {} @if range == ChartRange::Polls { "Response time" } @else { "Median" } }
                    @if range != ChartRange::Polls { li { span class="swatch high" {} "95th percentile" } }
                    li { span class="swatch missed" {} "Failed polls" }
                }
            }
        }
    }
}

/// A week needs no time of day.
fn axis_time(range: ChartRange, at: Timestamp) -> String {
    match range {
        ChartRange::Polls | ChartRange::Day => utc(at),
        ChartRange::Week | ChartRange::Month => hour_of(at).0.to_string(),
    }
}

fn title(range: ChartRange, bar: &ResponseBar) -> String {
    let at = utc(bar.at);
    match (bar.middle, bar.high) {
        (Some(middle), _) if range == ChartRange::Polls => format!("{at}: {}", brief(middle)),
        _ if range == ChartRange::Polls => format!("{at}: failed"),
        (Some(middle), Some(high)) => {
            let (polls, failed) = (count((bar.succeeded + bar.failed).into()), count(bar.failed.into()));
            format!("{at}: median {}, 95 % {}, {polls} polls, {failed} failed", brief(middle), brief(high))
        }
        _ if bar.failed > 0 => format!("{at}: {} failed", some(bar.failed.into(), "poll", "polls")),
        _ => format!("{at}: no poll"),
    }
}

/// The smallest of 1, 2, 5, 10, 20, … ms that is not below.
fn ceiling(ms: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for top in [step, step * 2, step * 5] {
            if top >= ms {
                return top;
            }
        }
        step *= 10;
        if step >= 1_000_000_000 {
            return ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::monitoring::responses::ResponseDay;

    #[test]
    fn the_axis_ends_at_a_round_number() {
        for (ms, want) in [(0, 1), (1, 1), (3, 5), (84, 100), (101, 200), (2_345, 5_000), (65_535, 100_000)] {
            assert_eq!(ceiling(ms), want, "{ms}");
        }
    }

    #[test]
    fn stored_hours_become_bars_up_to_now() {
        let now: Timestamp = "2026-05-04T01:30:00Z".parse().unwrap();
        let mut hour = ResponseHour::default();
        hour.record(Duration::from_millis(80), true);
        hour.record(Duration::from_millis(80), false);
        let day = |date: &str, hours: &[u8]| {
            let hours = hours.iter().map(|number| (*number, hour)).collect();
            ("A".to_owned(), date.parse().unwrap(), ResponseDay(hours))
        };
        let stored = [day("2026-04-04", &[1, 2]), day("2026-05-03", &[1, 2, 23]), day("2026-05-04", &[0, 1])];
        for (range, bars, first, polls) in [
            (ChartRange::Day, 24, "2026-05-03T02:00:00Z", 4),
            (ChartRange::Week, 84, "2026-04-27T02:00:00Z", 5),
            (ChartRange::Month, 120, "2026-04-04T02:00:00Z", 6),
        ] {
            let (found, all) = of_hours(range, &stored, now);
            assert_eq!((found.len(), found[0].at.to_string().as_str()), (bars, first), "{range:?}");
            assert_eq!((all.succeeded(), all.failed()), (polls, polls), "{range:?}");
            let last = found.last().unwrap();
            assert_eq!((last.middle, last.failed > 0), (Some(Duration::from_millis(80)), true));
        }
        assert!(of_hours(ChartRange::Polls, &stored, now).0.is_empty());
    }
}
