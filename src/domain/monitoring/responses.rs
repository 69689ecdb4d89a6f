//! Response times of polls, by hour and day.
//!
//! An hour is a histogram, so that parts add up in any order and a day of a monitor has a fixed upper size. Start at
//! [`ResponseHour`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Upper bounds of the buckets in ms; one more bucket is above the last bound.
const BOUNDS: [u16; BUCKETS - 1] =
    [30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000];
const BUCKETS: usize = 16;

/// How many days with response times are kept.
pub const KEEP_RESPONSE_DAYS: i64 = 31;

/// The polls of one hour. All counts saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHour {
    /// Successful polls by duration.
    counts: [u16; BUCKETS],
    failed: u16,
    /// Of successful polls; meaningless without any.
    min_ms: u16,
    max_ms: u16,
}

/// The hours (UTC) of one day that have polls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseDay(pub BTreeMap<u8, ResponseHour>);

/// Days by monitor and date, to be added to the stored ones.
pub type ResponseTotals = BTreeMap<(String, Date), ResponseDay>;

/// A day of a monitor, as stored.
pub type MonitorResponses = (String, Date, ResponseDay);

/// The day and hour (UTC) of a poll.
pub fn hour_of(at: Timestamp) -> (Date, u8) {
    let at = TimeZone::UTC.to_datetime(at);
    (at.date(), u8::try_from(at.hour()).unwrap_or_default())
}

impl ResponseHour {
    /// Counts a poll.
    pub fn record(&mut self, took: Duration, succeeded: bool) {
        if !succeeded {
            self.failed = self.failed.saturating_add(1);
            return;
        }
        let ms = u16::try_from(took.as_millis()).unwrap_or(u16::MAX);
        let mut one = ResponseHour { min_ms: ms, max_ms: ms, ..ResponseHour::default() };
        one.counts[BOUNDS.partition_point(|bound| *bound < ms)] = 1;
        self.add(&one);
    }

    pub fn add(&mut self, other: &ResponseHour) {
        if other.succeeded() > 0 {
            self.min_ms = if self.succeeded() > 0 { self.min_ms.min(other.min_ms) } else { other.min_ms };
            self.max_ms = self.max_ms.max(other.max_ms);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
        self.failed = self.failed.saturating_add(other.failed);
    }

    /// Successful polls.
    pub fn succeeded(&self) -> u32 {
        self.counts.iter().copied().map(u32::from).sum()
    }

    pub fn failed(&self) -> u32 {
        self.failed.into()
    }

    /// The longest successful poll.
    pub fn longest(&self) -> Option<Duration> {
        (self.succeeded() > 0).then(|| Duration::from_millis(self.max_ms.into()))
    }

    /// The duration below which this share (0 to 1) of the successful polls lies, interpolated within its bucket.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.succeeded();
        let rank = share.clamp(0.0, 1.0) * f64::from(total);
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if rank <= below + count {
                let low = bucket.checked_sub(1).map_or(0, |before| BOUNDS[before]).max(self.min_ms);
                let high = BOUNDS.get(bucket).copied().unwrap_or(u16::MAX).min(self.max_ms).max(low);
                let part = (rank - below) / count;
                let ms = f64::from(low) + f64::from(high - low) * part;
                return Some(Duration::from_millis(ms.round() as u64));
            }
            below += count;
        }
        None
    }

    /// The part that the other one lacks.
    fn without(mut self, other: &ResponseHour) -> ResponseHour {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_sub(theirs);
        }
        self.failed = self.failed.saturating_sub(other.failed);
        self
    }

    fn is_empty(&self) -> bool {
        self.succeeded() == 0 && self.failed == 0
    }

    fn numbers(self) -> impl Iterator<Item = u16> {
        self.counts.into_iter().chain([self.failed, self.min_ms, self.max_ms])
    }
}

impl ResponseDay {
    /// Bytes of an encoded hour.
    const HOUR: usize = 1 + 2 * (BUCKETS + 3);

    pub fn add(&mut self, other: &ResponseDay) {
        for (hour, polls) in &other.0 {
            self.0.entry(*hour).or_default().add(polls);
        }
    }

    /// The part that the other one lacks.
    #[must_use]
    pub fn without(&self, other: &ResponseDay) -> ResponseDay {
        let rest = self.0.iter().map(|(hour, polls)| {
            (*hour, polls.without(other.0.get(hour).unwrap_or(&ResponseHour::default())))
        });
        ResponseDay(rest.filter(|(_, polls)| !polls.is_empty()).collect())
    }

    /// For storage: each hour with its number and its counts, in big-endian order.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::HOUR);
        for (hour, polls) in &self.0 {
            bytes.push(*hour);
            bytes.extend(polls.numbers().flat_map(u16::to_be_bytes));
        }
        bytes
    }

    /// Reads what [`ResponseDay::encode`] wrote. What cannot be read is left out, because it is for display only.
    pub fn decode(bytes: &[u8]) -> ResponseDay {
        let mut day = ResponseDay::default();
        for bytes in bytes.chunks_exact(Self::HOUR) {
            let mut numbers = bytes[1..].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let mut next = || numbers.next().unwrap_or_default();
            let hour = ResponseHour {
                counts: std::array::from_fn(|_| next()),
                failed: next(),
                min_ms: next(),
                max_ms: next(),
            };
            if bytes[0] < 24 {
                day.0.entry(bytes[0]).or_default().add(&hour);
            }
        }
        day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(polls: &[u64], failed: u32) -> ResponseHour {
        let mut hour = ResponseHour::default();
        for ms in polls {
            hour.record(Duration::from_millis(*ms), true);
        }
        for _ in 0..failed {
            hour.record(Duration::from_secs(9), false);
        }
        hour
    }

    #[test]
    fn quantiles_lie_within_their_bucket_and_within_what_was_measured() {
        for (polls, median, high) in [
            (&[][..], None, None),
            (&[84], Some(84), Some(84)),
            (&[30, 30, 30], Some(30), Some(30)),
            (&[80, 90, 100, 4_000], Some(93), Some(3_800)),
            (&[200_000], Some(65_535), Some(65_535)),
            (&[0, 0], Some(0), Some(0)),
        ] {
            let hour = hour(polls, 3);
            let ms = |share| hour.quantile(share).map(|took: Duration| took.as_millis() as u64);
            assert_eq!((ms(0.5), ms(0.95)), (median, high), "{polls:?}");
            assert_eq!((hour.succeeded() as usize, hour.failed()), (polls.len(), 3));
        }
    }

    #[test]
    fn parts_add_up_in_any_order() {
        let (a, b) = (hour(&[10, 700], 1), hour(&[5, 90_000], 0));
        let whole = hour(&[10, 700, 5, 90_000], 1);
        let sum = |parts: [&ResponseHour; 2]| {
            let mut sum = ResponseHour::default();
            parts.iter().for_each(|part| sum.add(part));
            sum
        };
        assert_eq!((sum([&a, &b]), sum([&b, &a])), (whole, whole));
        let day = |polls| ResponseDay([(3, polls)].into());
        assert_eq!(day(whole).without(&day(whole)), ResponseDay::default());
        assert_eq!(day(whole).without(&ResponseDay::default()), day(whole));
        assert_eq!(day(whole).without(&day(a)).0[&3].succeeded(), 2);
    }

    /// A day is at most 2 KB, whatever happens in it.
    #[test]
    fn a_day_is_stored_in_bounded_space() {
        let mut day = ResponseDay::default();
        for number in 0..24 * 5_000_u64 {
            let hour = day.0.entry((number % 24) as u8).or_default();
            hour.record(Duration::from_millis(number * 7 % 70_000), !number.is_multiple_of(11));
        }
        let bytes = day.encode();
        assert!(bytes.len() <= 1_000, "{} bytes", bytes.len());
        assert_eq!(ResponseDay::decode(&bytes), day);
        assert_eq!(ResponseDay::decode(&bytes[..bytes.len() - 1]).0.len(), 23);
        assert_eq!(ResponseDay::decode(&[99; ResponseDay::HOUR]), ResponseDay::default());
    }
}
