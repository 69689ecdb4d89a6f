//! One JSON value, as its source text, becomes one [`Cell`].
//!
//! Nothing is guessed: text stays text unless the definition declares a kind. Nothing is rounded: a number keeps
//! its source text whenever 64 bits do not hold it as written. Start at [`natural`], then [`coerced`].

use std::borrow::Cow;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::value::RawValue;

use super::{Arrays, Coerce};
use crate::connectors::text::non_number;
use crate::domain::cell::{Cell, EXACT_IN_DOUBLE};

/// Numbers of no more significant digits than this survive the way through a double, always.
const SAFE_DIGITS: usize = 15;

/// What a value looks like from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Null,
    Bool(bool),
    Number,
    Text,
    Array,
    Object,
}

/// The kind of a valid JSON text without leading white space, as `RawValue` hands it out.
pub(super) fn look(raw: &str) -> Look {
    match raw.as_bytes().first() {
        Some(b'"') => Look::Text,
        Some(b'{') => Look::Object,
        Some(b'[') => Look::Array,
        Some(b't') => Look::Bool(true),
        Some(b'f') => Look::Bool(false),
        Some(b'n') | None => Look::Null,
        Some(_) => Look::Number,
    }
}

/// The value as its own type says. `Err` says why a value cannot be stored at all.
pub(super) fn natural(raw: &str, arrays: Arrays) -> Result<Cell, String> {
    let look = look(raw);
    no_mark(raw, look)?;
    Ok(match look {
        Look::Null => Cell::Null,
        Look::Bool(value) => Cell::Bool(value),
        Look::Number => number(raw),
        Look::Text => Cell::Text(text(raw)?.into()),
        Look::Object => Cell::Json(compact(raw)),
        Look::Array => match arrays {
            Arrays::Json => Cell::Json(compact(raw)),
            Arrays::Comma => comma_separated(raw)?.unwrap_or_else(|| Cell::Json(compact(raw))),
        },
    })
}

/// The value as the definition declares it; a value that does not fit stays what it naturally is, and whoever
/// keeps the column's type widens it.
pub(super) fn coerced(raw: &str, arrays: Arrays, coerce: Coerce) -> Result<Cell, String> {
    let look = look(raw);
    if look == Look::Null {
        return Ok(Cell::Null);
    }
    no_mark(raw, look)?;
    if coerce == Coerce::Json {
        return json(raw, look);
    }
    if coerce == Coerce::Text {
        return Ok(Cell::Text(match look {
            Look::Text => text(raw)?.into(),
            Look::Array | Look::Object => match natural(raw, arrays)? {
                Cell::Text(text) | Cell::Json(text) => text,
                _ => compact(raw),
            },
            _ => raw.into(),
        }));
    }
    // A number sent as text is judged by the same rules as one sent as a number.
    let source = if look == Look::Text { text(raw)? } else { Cow::Borrowed(raw) };
    if look == Look::Text && is_absent(&source, coerce) {
        return Ok(Cell::Null);
    }
    let fitting = match coerce {
        Coerce::Integer => integer(&source, look),
        Coerce::Double => double(&source, look),
        Coerce::Decimal => is_number(&source).then(|| Cell::Decimal(source.as_ref().into())),
        Coerce::Boolean => boolean(&source, look),
        Coerce::Date if look == Look::Text => date(&source),
        Coerce::Timestamp if look == Look::Text => instant(&source),
        Coerce::EpochMs => epoch(&source, 3).map(Cell::Timestamp),
        Coerce::EpochS => epoch(&source, 0).map(Cell::Timestamp),
        Coerce::Text | Coerce::Json | Coerce::Date | Coerce::Timestamp => None,
    };
    match fitting {
        Some(cell) => Ok(cell),
        None => natural(raw, arrays),
    }
}

/// `NaN` and its like are no values, of whatever type the column is; nor are objects and lists that hold one.
fn no_mark(raw: &str, look: Look) -> Result<(), String> {
    // A number that begins otherwise cannot be a mark, and a text is none.
    let possible = match look {
        Look::Number => raw.as_bytes().get(1) == Some(&b'e'),
        Look::Array | Look::Object => true,
        Look::Null | Look::Bool(_) | Look::Text => false,
    };
    match possible.then(|| non_number(raw)).flatten() {
        Some(name) => Err(format!("{name}, which is no number in JSON")),
        None => Ok(()),
    }
}

/// A text that stands for no value: an empty one, and the day that is none in databases that know no NULL.
fn is_absent(text: &str, coerce: Coerce) -> bool {
    let text = text.trim();
    let day = matches!(coerce, Coerce::Date | Coerce::Timestamp);
    text.is_empty()
        || day
            && text.starts_with("0000-00-00")
            && text.bytes().all(|b| matches!(b, b'0' | b'-' | b':' | b'.' | b' ' | b'T' | b'Z' | b'+'))
}

/// The text of a JSON string, borrowed if it has no escapes.
pub(super) fn text(raw: &str) -> Result<Cow<'_, str>, String> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw)
        .map(Cow::Owned)
        .map_err(|e| format!("a text that is not valid Unicode ({e})"))
}

/// A JSON number: an integer that fits 64 bits, a double that says the same as the source, or the source's text.
pub(super) fn number(source: &str) -> Cell {
    if !source.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return source.parse().map_or_else(|_| Cell::Decimal(source.into()), Cell::Int);
    }
    match source.parse::<f64>() {
        Ok(value) if value.is_finite() && says_the_same(value, source) => Cell::Double(value),
        _ => Cell::Decimal(source.into()),
    }
}

/// Whether the shortest text of the double is the same number as the source's text.
fn says_the_same(value: f64, source: &str) -> bool {
    let Some((digits, exponent)) = significant(source) else { return false };
    if digits.len() <= SAFE_DIGITS && (-300..300).contains(&exponent) {
        return true;
    }
    significant(&format!("{value:e}")) == Some((digits, exponent))
}

/// The significant digits of a number without leading and trailing zeros, and the power of ten of a point before
/// the first of them. `None` if the exponent itself is beyond all sense.
fn significant(source: &str) -> Option<(String, i64)> {
    let unsigned = source.trim_start_matches(['-', '+']);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = String::with_capacity(whole.len() + fraction.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let digits = digits.trim_matches('0').to_owned();
    if digits.is_empty() {
        return Some((digits, 0));
    }
    let point = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading).ok()?)?;
    Some((digits, point.checked_add(exponent)?))
}

/// Whether a text is a number in JSON's grammar.
fn is_number(source: &str) -> bool {
    source.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(source).is_ok_and(|raw| raw.get().len() == source.len())
}

fn integer(source: &str, look: Look) -> Option<Cell> {
    if let Look::Bool(value) = look {
        return Some(Cell::Int(value.into()));
    }
    if !is_number(source) {
        return None;
    }
    match number(source) {
        Cell::Double(value) => whole(value).map(Cell::Int).or(Some(Cell::Double(value))),
        other => Some(other),
    }
}

/// A double without a fraction, in the range where doubles count every integer.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT_IN_DOUBLE as f64).then_some(value as i64)
}

#[allow(clippy::cast_precision_loss)]
fn double(source: &str, look: Look) -> Option<Cell> {
    if let Look::Bool(value) = look {
        return Some(Cell::Double(f64::from(u8::from(value))));
    }
    if !is_number(source) {
        return None;
    }
    match number(source) {
        Cell::Int(value) if value.abs_diff(0) <= EXACT_IN_DOUBLE.unsigned_abs() => {
            Some(Cell::Double(value as f64))
        }
        Cell::Int(_) => Some(Cell::Decimal(source.into())),
        other => Some(other),
    }
}

fn boolean(source: &str, look: Look) -> Option<Cell> {
    match (look, source) {
        (Look::Bool(value), _) => Some(Cell::Bool(value)),
        (_, "1") => Some(Cell::Bool(true)),
        (_, "0") => Some(Cell::Bool(false)),
        (_, text) if text.eq_ignore_ascii_case("true") => Some(Cell::Bool(true)),
        (_, text) if text.eq_ignore_ascii_case("false") => Some(Cell::Bool(false)),
        _ => None,
    }
}

/// A calendar day, or an instant that is exactly its midnight in UTC: a time of day is never cut off.
fn date(source: &str) -> Option<Cell> {
    if source.len() == 10 {
        return source.parse::<civil::Date>().ok().map(Cell::Date);
    }
    let moment = timestamp(source)?.to_zoned(TimeZone::UTC).datetime();
    (moment.time() == civil::Time::midnight()).then(|| Cell::Date(moment.date()))
}

/// An instant; beyond the last one that an instant can be, the midnights of the year 9999 are days, which a column of
/// instants takes as well.
fn instant(source: &str) -> Option<Cell> {
    timestamp(source).map(Cell::Timestamp).or_else(|| {
        let (day, time) = source.split_at_checked(10)?;
        let midnight = matches!(
            time.trim_end_matches('Z').trim_end_matches("+00:00"),
            "" | "T00:00:00" | " 00:00:00" | "T00:00:00.000"
        );
        let day = day.parse::<civil::Date>().ok().filter(|day| midnight && day.year() == 9999)?;
        Some(Cell::Date(day))
    })
}

/// `24:00` is the end of a day (ISO 8601), which is the beginning of the next.
fn end_of_day(source: &str) -> Option<Timestamp> {
    let (day, time) = source.split_at_checked(10)?;
    let rest = time.strip_prefix(['T', ' '])?.strip_prefix("24:00")?;
    let rest = rest.strip_prefix(":00").unwrap_or(rest);
    let rest = rest.strip_prefix(".000").unwrap_or(rest);
    let next = day.parse::<civil::Date>().ok()?.tomorrow().ok()?;
    timestamp(&format!("{next}T00:00:00{rest}"))
}

/// RFC 3339 with its offset, or a civil date and time, or a day, both taken as UTC.
fn timestamp(source: &str) -> Option<Timestamp> {
    if !source.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') || source.len() < 10 {
        return None;
    }
    source.parse::<Timestamp>().ok().or_else(|| {
        // An offset that jiff's instant refuses must not be read as UTC: only a bare civil time may.
        let bare = !source.bytes().skip(10).any(|b| matches!(b, b'+' | b'-' | b'Z' | b'z' | b'['));
        let civil = bare.then(|| source.parse::<civil::DateTime>().ok()).flatten();
        match civil {
            Some(civil) => civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
            None => end_of_day(source),
        }
    })
}

/// A count of seconds (or, with `shift` 3, of milliseconds) since 1970, with a fraction down to nanoseconds.
fn epoch(source: &str, shift: usize) -> Option<Timestamp> {
    let (sign, digits) = source.strip_prefix('-').map_or((1, source), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 9_usize.checked_sub(shift)?;
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > scale {
        return None;
    }
    let unit = 10_i128.pow(u32::try_from(scale).ok()?);
    let mut parts: i128 = 0;
    if !fraction.is_empty() {
        let missing = u32::try_from(scale - fraction.len()).ok()?;
        parts = fraction.parse::<i128>().ok()?.checked_mul(10_i128.pow(missing))?;
    }
    let nanoseconds = whole.parse::<i128>().ok()?.checked_mul(unit)?.checked_add(parts)?;
    Timestamp::from_nanosecond(sign * nanoseconds).ok()
}

/// A value of a column declared as JSON. Text that holds an object or array is taken as that (services like to
/// send JSON inside a string); any other value is kept in its JSON form.
fn json(raw: &str, look: Look) -> Result<Cell, String> {
    if look == Look::Text {
        let inner = text(raw)?;
        if inner.trim_start().starts_with(['{', '['])
            && let Ok(nested) = serde_json::from_str::<&RawValue>(&inner)
        {
            return Ok(Cell::Json(compact(nested.get())));
        }
    }
    Ok(Cell::Json(compact(raw)))
}

/// An array of scalars as comma-separated text; `None` for an array that holds anything nested.
fn comma_separated(raw: &str) -> Result<Option<Cell>, String> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|e| e.to_string())?;
    let mut out = String::with_capacity(raw.len());
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match look(item.get()) {
            Look::Null => {}
            Look::Text => out.push_str(&text(item.get())?),
            Look::Bool(_) | Look::Number => out.push_str(item.get()),
            Look::Array | Look::Object => return Ok(None),
        }
    }
    Ok(Some(Cell::Text(out.into())))
}

/// JSON text without the white space between its tokens; order of keys and texts of numbers stay as sent.
pub(super) fn compact(raw: &str) -> Box<str> {
    if !raw.bytes().any(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')) {
        return raw.into();
    }
    let (mut in_text, mut escaped) = (false, false);
    raw.chars()
        .filter(|&c| {
            let keep = in_text || !matches!(c, ' ' | '\n' | '\r' | '\t');
            match c {
                '"' if !escaped => in_text = !in_text,
                _ => {}
            }
            escaped = in_text && c == '\\' && !escaped;
            keep
        })
        .collect::<String>()
        .into()
}
