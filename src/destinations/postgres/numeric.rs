//! Encodes decimal text in the binary format of PostgreSQL's `numeric`: digits in groups of four, with the same scale.

/// Digits before the decimal point that `numeric` can store.
const MOST_BEFORE: usize = 131_072;

/// Digits after the decimal point that `numeric` can store.
const MOST_AFTER: usize = 16_383;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;

/// Appends a number. Returns `None`, and appends nothing, if it is not a number or does not fit.
pub(super) fn append(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let special = match text {
        "NaN" => Some(NAN),
        "inf" => Some(INFINITY),
        "-inf" => Some(NEGATIVE_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        header(0, 0, sign, 0, out);
        return Some(());
    }
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if before.len() + after.len() == 0 || !plain(before) || !plain(after) {
        return None;
    }
    let mut digits: Vec<u8> = before.bytes().chain(after.bytes()).map(|byte| byte - b'0').collect();
    // The position of the decimal point, from the left.
    let mut point = i64::try_from(before.len()).ok()?.checked_add(exponent)?;
    let scale = i64::try_from(digits.len()).ok()?.checked_sub(point)?.max(0);
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    point -= i64::try_from(zeros).ok()?;
    if digits.is_empty() {
        let scale = usize::try_from(scale).ok().filter(|scale| *scale <= MOST_AFTER)?;
        header(0, 0, 0, u16::try_from(scale).ok()?, out);
        return Some(());
    }
    let scale = usize::try_from(scale).ok().filter(|scale| *scale <= MOST_AFTER)?;
    if point > i64::try_from(MOST_BEFORE).ok()? {
        return None;
    }
    // Groups of four, aligned at the decimal point.
    let lead = usize::try_from(point.rem_euclid(4)).ok()?;
    let weight = if lead == 0 { point.div_euclid(4) - 1 } else { point.div_euclid(4) };
    let padding = if lead == 0 { 0 } else { 4 - lead };
    let mut groups: Vec<u16> = Vec::with_capacity(digits.len() / 4 + 2);
    let padded = std::iter::repeat_n(0, padding).chain(digits);
    for (i, digit) in padded.enumerate() {
        if i % 4 == 0 {
            groups.push(0);
        }
        let place = [1_000, 100, 10, 1].get(i % 4).copied().unwrap_or(1);
        if let Some(group) = groups.last_mut() {
            *group += u16::from(digit) * place;
        }
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let count = u16::try_from(groups.len()).ok()?;
    let sign = if negative { NEGATIVE } else { 0 };
    header(count, i16::try_from(weight).ok()?, sign, u16::try_from(scale).ok()?, out);
    out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    Some(())
}

fn header(groups: u16, weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&groups.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        let mut out = Vec::new();
        match append(text, &mut out) {
            Some(()) => {
                let words: Vec<String> =
                    out.chunks(2).map(|w| u16::from_be_bytes([w[0], w[1]]).to_string()).collect();
                words.join(" ")
            }
            None => {
                assert!(out.is_empty());
                "no".into()
            }
        }
    }

    #[test]
    fn numbers_become_groups_of_four() {
        for (text, want) in [
            ("0", "0 0 0 0"),
            ("0.00", "0 0 0 2"),
            ("1", "1 0 0 0 1"),
            ("-1", "1 0 16384 0 1"),
            ("12345.6789", "3 1 0 4 1 2345 6789"),
            ("10000", "1 1 0 0 1"),
            ("0.0001", "1 65535 0 4 1"),
            ("0.00001", "1 65534 0 5 1000"),
            ("1.50", "1 0 0 2 1 5000".replace("1 0 0 2", "2 0 0 2").as_str()),
            ("1.5e3", "1 0 0 0 1500"),
            ("1e-5", "1 65534 0 5 1000"),
            ("+7E+2", "1 0 0 0 700"),
            ("NaN", "0 0 49152 0"),
            ("-inf", "0 0 61440 0"),
            ("", "no"),
            (".", "no"),
            ("1e", "no"),
            ("0x1", "no"),
            ("1e131072", "no"),
            ("1e-16384", "no"),
        ] {
            assert_eq!(encoded(text), want, "{text}");
        }
        assert!(encoded("1e131071").starts_with("1 32767 0 0 1000"));
    }
}
