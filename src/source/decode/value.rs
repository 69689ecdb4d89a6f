//! Converts the source text of one JSON value to a [`Cell`].
//!
//! No type is guessed: text stays text unless the definition declares a type. No value is rounded: a number keeps its
//! source text if 64 bits cannot represent it exactly. Start at [`natural`], then [`coerced`].

use std::borrow::Cow;

use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::value::RawValue;

use crate::domain::syncing::cell::{Cell, EXACT_IN_DOUBLE};
use crate::domain::syncing::definition::connector::{Arrays, ColumnKind};
use crate::source::text::non_number;

/// A double represents every number with up to this many significant digits.
const SAFE_DIGITS: usize = 15;

/// The kind of a value, from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextScan {
    Null,
    Bool(bool),
    Number,
    Text,
    Array,
    Object,
}

/// The kind of a valid JSON text without leading white space, as `RawValue` returns it.
pub(super) fn scan(raw: &str) -> TextScan {
    match raw.as_bytes().first() {
        Some(b'"') => TextScan::Text,
        Some(b'{') => TextScan::Object,
        Some(b'[') => TextScan::Array,
        Some(b't') => TextScan::Bool(true),
        Some(b'f') => TextScan::Bool(false),
        Some(b'n') | None => TextScan::Null,
        Some(_) => TextScan::Number,
    }
}

/// The value in its JSON type. `Err` is the reason why it cannot be stored.
pub(super) fn natural(raw: &str, arrays: Arrays) -> Result<Cell, String> {
    let scan = scan(raw);
    refuse_non_number(raw, scan)?;
    Ok(match scan {
        TextScan::Null => Cell::Null,
        TextScan::Bool(value) => Cell::Bool(value),
        TextScan::Number => number(raw),
        TextScan::Text => Cell::Text(text(raw)?.into()),
        TextScan::Object => Cell::Json(compact(raw)),
        TextScan::Array => match arrays {
            Arrays::Json => Cell::Json(compact(raw)),
            Arrays::Comma => comma_separated(raw)?.unwrap_or_else(|| Cell::Json(compact(raw))),
        },
    })
}

/// The value in the declared type. A value that does not fit keeps its JSON type; the caller then widens the column.
pub(super) fn coerced(raw: &str, arrays: Arrays, coerce: ColumnKind) -> Result<Cell, String> {
    let scan = scan(raw);
    if scan == TextScan::Null {
        return Ok(Cell::Null);
    }
    refuse_non_number(raw, scan)?;
    if coerce == ColumnKind::Json {
        return json(raw, scan);
    }
    if coerce == ColumnKind::Text {
        return Ok(Cell::Text(match scan {
            TextScan::Text => text(raw)?.into(),
            TextScan::Array | TextScan::Object => match natural(raw, arrays)? {
                Cell::Text(text) | Cell::Json(text) => text,
                _ => compact(raw),
            },
            _ => raw.into(),
        }));
    }
    // The same rules apply to a number sent as text.
    let source = if scan == TextScan::Text { text(raw)? } else { Cow::Borrowed(raw) };
    if scan == TextScan::Text && is_absent(&source, coerce) {
        return Ok(Cell::Null);
    }
    let fitting = match coerce {
        ColumnKind::Bigint => integer(&source, scan),
        ColumnKind::Double => double(&source, scan),
        ColumnKind::Decimal => is_number(&source).then(|| Cell::Decimal(source.as_ref().into())),
        ColumnKind::Boolean => boolean(&source, scan),
        ColumnKind::Date if scan == TextScan::Text => date(&source),
        ColumnKind::Timestamp if scan == TextScan::Text => instant(&source),
        ColumnKind::EpochMillis => epoch(&source, 3).map(Cell::Timestamp),
        ColumnKind::EpochSeconds => epoch(&source, 0).map(Cell::Timestamp),
        ColumnKind::Text | ColumnKind::Json | ColumnKind::Date | ColumnKind::Timestamp => None,
    };
    match fitting {
        Some(cell) => Ok(cell),
        None => natural(raw, arrays),
    }
}

/// Refuses `NaN` and `Infinity`, also within objects and lists, whatever the type of the column.
fn refuse_non_number(raw: &str, scan: TextScan) -> Result<(), String> {
    // A mark is a number that starts with `0e`.
    let possible = match scan {
        TextScan::Number => raw.as_bytes().get(1) == Some(&b'e'),
        TextScan::Array | TextScan::Object => true,
        TextScan::Null | TextScan::Bool(_) | TextScan::Text => false,
    };
    match possible.then(|| non_number(raw)).flatten() {
        Some(name) => Err(format!("{name}, which is not a number in JSON")),
        None => Ok(()),
    }
}

/// Whether a text means "no value": an empty one, or the zero date of databases without NULL.
fn is_absent(text: &str, coerce: ColumnKind) -> bool {
    let text = text.trim();
    let day = matches!(coerce, ColumnKind::Date | ColumnKind::Timestamp);
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

/// A JSON number: an integer of 64 bits, a double that is equal to the source, or the source text.
pub(super) fn number(source: &str) -> Cell {
    if !source.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return source.parse().map_or_else(|_| Cell::Decimal(source.into()), Cell::Int);
    }
    match source.parse::<f64>() {
        Ok(value) if value.is_finite() && is_same_number(value, source) => Cell::Double(value),
        _ => Cell::Decimal(source.into()),
    }
}

/// Whether the shortest text of the double is the same number as the source text.
fn is_same_number(value: f64, source: &str) -> bool {
    let Some((digits, exponent)) = significant(source) else { return false };
    if digits.len() <= SAFE_DIGITS && (-300..300).contains(&exponent) {
        return true;
    }
    significant(&format!("{value:e}")) == Some((digits, exponent))
}

/// The digits of a number without leading and trailing zeros, and the exponent for a decimal point before the first of
/// them. `None` if the exponent overflows.
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

/// Whether a text is a JSON number.
fn is_number(source: &str) -> bool {
    source.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(source).is_ok_and(|raw| raw.get().len() == source.len())
}

fn integer(source: &str, scan: TextScan) -> Option<Cell> {
    if let TextScan::Bool(value) = scan {
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

/// The integer value of a double without a fraction, in the range where doubles represent every integer.
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT_IN_DOUBLE as f64).then_some(value as i64)
}

fn double(source: &str, scan: TextScan) -> Option<Cell> {
    if let TextScan::Bool(value) = scan {
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

fn boolean(source: &str, scan: TextScan) -> Option<Cell> {
    match (scan, source) {
        (TextScan::Bool(value), _) => Some(Cell::Bool(value)),
        (_, "1") => Some(Cell::Bool(true)),
        (_, "0") => Some(Cell::Bool(false)),
        (_, text) if text.eq_ignore_ascii_case("true") => Some(Cell::Bool(true)),
        (_, text) if text.eq_ignore_ascii_case("false") => Some(Cell::Bool(false)),
        _ => None,
    }
}

/// A date, or an instant at midnight UTC: a time of day is never dropped.
fn date(source: &str) -> Option<Cell> {
    if source.len() == 10 {
        return source.parse::<civil::Date>().ok().map(Cell::Date);
    }
    let moment = timestamp(source)?.to_zoned(TimeZone::UTC).datetime();
    (moment.time() == civil::Time::midnight()).then(|| Cell::Date(moment.date()))
}

/// An instant. A midnight at the end of the year 9999, beyond the range of [`Timestamp`], becomes a date, which a
/// timestamp column accepts too.
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

/// `24:00` is the end of a day (ISO 8601) and so the start of the next.
fn end_of_day(source: &str) -> Option<Timestamp> {
    let (day, time) = source.split_at_checked(10)?;
    let rest = time.strip_prefix(['T', ' '])?.strip_prefix("24:00")?;
    let rest = rest.strip_prefix(":00").unwrap_or(rest);
    let rest = rest.strip_prefix(".000").unwrap_or(rest);
    let next = day.parse::<civil::Date>().ok()?.tomorrow().ok()?;
    timestamp(&format!("{next}T00:00:00{rest}"))
}

/// RFC 3339 with an offset, or a date with or without time, which is read as UTC.
fn timestamp(source: &str) -> Option<Timestamp> {
    if !source.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') || source.len() < 10 {
        return None;
    }
    source.parse::<Timestamp>().ok().or_else(|| {
        // A text with an offset that jiff refuses must not be read as UTC; only one without an offset may.
        let bare = !source.bytes().skip(10).any(|b| matches!(b, b'+' | b'-' | b'Z' | b'z' | b'['));
        let civil = bare.then(|| source.parse::<civil::DateTime>().ok()).flatten();
        match civil {
            Some(civil) => civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
            None => end_of_day(source),
        }
    })
}

/// Seconds (with `shift` 3: milliseconds) since 1970, with a fraction of up to nanoseconds.
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

/// A value of a column declared as JSON. A text that contains an object or array is parsed, because some services send
/// JSON inside a string; any other value keeps its JSON form.
fn json(raw: &str, scan: TextScan) -> Result<Cell, String> {
    if scan == TextScan::Text {
        let inner = text(raw)?;
        if inner.trim_start().starts_with(['{', '['])
            && let Ok(nested) = serde_json::from_str::<&RawValue>(&inner)
        {
            return Ok(Cell::Json(compact(nested.get())));
        }
    }
    Ok(Cell::Json(compact(raw)))
}

/// An array of scalars as comma-separated text; `None` for an array with nested values.
fn comma_separated(raw: &str) -> Result<Option<Cell>, String> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|e| e.to_string())?;
    let mut out = String::with_capacity(raw.len());
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match scan(item.get()) {
            TextScan::Null => {}
            TextScan::Text => out.push_str(&text(item.get())?),
            TextScan::Bool(_) | TextScan::Number => out.push_str(item.get()),
            TextScan::Array | TextScan::Object => return Ok(None),
        }
    }
    Ok(Some(Cell::Text(out.into())))
}

/// JSON text without white space between its tokens; the order of keys and the texts of numbers do not change.
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
