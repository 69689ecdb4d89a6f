//! Stored texts of days and instants as numbers. Written by hand, since a row has several of them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// An instant in microseconds since 1970, and what was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Micros {
    pub(super) micros: i64,
    /// Whether the text has more digits.
    pub(super) is_cut: bool,
}

/// Days since 1970.
pub(super) fn days(text: &str) -> Option<i32> {
    let date: Date = pad_negative_year(text).parse().ok()?;
    i32::try_from(since_epoch(date.year().into(), date.month().into(), date.day().into())).ok()
}

/// Reads `YYYY-MM-DD HH:MM:SS[.fraction]`, UTC.
pub(super) fn micros(text: &[u8]) -> Option<Micros> {
    fast(text).or_else(|| slow(std::str::from_utf8(text).ok()?))
}

fn fast(text: &[u8]) -> Option<Micros> {
    let (head, fraction) = text.split_at_checked(19)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2] = *head else {
        return None;
    };
    // Other characters than digits become large numbers, which are refused together.
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    let two = |tens: u8, ones: u8| digit(tens) * 10 + digit(ones);
    let all = [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2];
    if !all.iter().fold(true, |all, byte| all & byte.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (two(y1, y2) * 100 + two(y3, y4), two(m1, m2), two(d1, d2));
    let (hour, minute, second) = (two(h1, h2), two(n1, n2), two(s1, s2));
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let days = since_epoch(i64::from(year), i64::from(month), i64::from(day));
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second);
    let (micros, is_cut) = match fraction {
        [] => (0, false),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let (mut nanos, mut unit) = (0, 100_000_000);
            for byte in digits {
                if !byte.is_ascii_digit() {
                    return None;
                }
                nanos += digit(*byte) * unit;
                unit /= 10;
            }
            (nanos / 1_000, !nanos.is_multiple_of(1_000))
        }
        _ => return None,
    };
    Some(Micros { micros: seconds * 1_000_000 + i64::from(micros), is_cut })
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn slow(text: &str) -> Option<Micros> {
    let civil: DateTime = pad_negative_year(text).replacen(' ', "T", 1).parse().ok()?;
    let at: Timestamp = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let nanos = at.as_nanosecond();
    let micros = i64::try_from(nanos.div_euclid(1_000)).ok()?;
    Some(Micros { micros, is_cut: nanos.rem_euclid(1_000) != 0 })
}

/// Days since 1970 of a date of the proleptic Gregorian calendar, by counting from March in cycles of 400 years.
fn since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

/// Negative years are stored with fewer digits than the parser requires.
fn pad_negative_year(text: &str) -> String {
    match text.strip_prefix('-').and_then(|rest| rest.split_once('-')) {
        Some((year, rest)) => format!("-{year:0>6}-{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::syncing::cell::Cell;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a destination stores is read back.
        #[test]
        fn stored_instants_and_days_are_read(
            second in prop_oneof![-62_167_219_200_i64..253_402_207_200, -377_705_023_201_i64..-62_167_219_200],
            nano in prop_oneof![Just(0), 0..1_000_000_000, Just(500_000_000), Just(123_456_000)],
        ) {
            let at = Timestamp::new(second, nano).unwrap();
            let text = Cell::Timestamp(at).to_text().unwrap().into_owned();
            let nanos = at.as_nanosecond();
            let want = Micros {
                micros: i64::try_from(nanos.div_euclid(1_000)).unwrap(), is_cut: nanos.rem_euclid(1_000) != 0,
            };
            prop_assert_eq!(micros(text.as_bytes()), Some(want), "{}", text);
            let date = TimeZone::UTC.to_datetime(at).date();
            let day = Cell::Date(date).to_text().unwrap().into_owned();
            prop_assert_eq!(days(&day), Some(i32::try_from(second.div_euclid(86_400)).unwrap()), "{}", day);
        }

        #[test]
        fn any_text_is_accepted(text in "[0-9 :.-]{0,30}|.{0,30}") {
            let _ = (micros(text.as_bytes()), days(&text));
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in ["", "2026-02-30 00:00:00", "2026-01-01 24:00:00", "2026-01-01 00:00:00.", "x"] {
            assert_eq!(micros(text.as_bytes()), None, "{text}");
        }
        assert_eq!((days("2026-13-01"), days("1970-01-02")), (None, Some(1)));
    }
}
