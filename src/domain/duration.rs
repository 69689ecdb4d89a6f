//! Durations as people write them: `500ms`, `30s`, `15m`, `6h`, `2d`.

use std::time::Duration;

/// Reads a duration; `None` when it is not one. A bare `0` needs no unit.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units are understood, everything else is refused.
    #[test]
    fn reads_durations() {
        for (text, want) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("15m", Some(900_000)),
            ("6h", Some(21_600_000)),
            ("2d", Some(172_800_000)),
            ("0", Some(0)),
            ("5", None),
            ("m", None),
            ("-5s", None),
            ("99999999999999999999s", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), want, "{text}");
        }
    }
}
