//! One value of a row, and the types of columns.
//!
//! Start at [`Cell`]; [`ColumnType::join`] defines how columns widen.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// A value between source and destination. Values are never rounded: an integer beyond 64 bits, or a number
/// that a double cannot represent exactly as written, is a [`Cell::Decimal`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Absent or null at the source.
    Null,
    Bool(bool),
    Int(i64),
    /// A double whose shortest text is the one that the source sent.
    Double(f64),
    /// A number too large or too precise for the above, as the source wrote it.
    Decimal(Box<str>),
    /// A calendar day without a time zone.
    Date(Date),
    /// An instant, UTC.
    Timestamp(Timestamp),
    Text(Box<str>),
    /// A nested value as compact JSON text.
    Json(Box<str>),
}

/// The type of a column. Types only widen, as [`ColumnType::join`] defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Only nulls so far: compatible with every type, stored as text until a value determines the type.
    Unknown,
    Boolean,
    Bigint,
    Double,
    /// Exact decimal of any length.
    Decimal,
    Date,
    /// Instant, UTC.
    Timestamp,
    Json,
    /// Text, the widest type.
    Text,
}

/// The largest integer up to which a double represents every integer.
pub const EXACT_IN_DOUBLE: i64 = 1 << 53;

/// This integer as a double, if a double represents it and every smaller integer exactly.
pub fn exact_double(value: i64) -> Option<f64> {
    (value.unsigned_abs() <= EXACT_IN_DOUBLE.unsigned_abs()).then_some(value as f64)
}

/// A stored value with the form in which the source sent it: requests repeat the source's own form.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced {
    pub cell: Cell,
    /// The JSON text that the source sent, if it cannot be derived from the cell.
    pub raw: Option<Box<str>>,
}

impl From<Cell> for Sourced {
    fn from(cell: Cell) -> Sourced {
        Sourced { cell, raw: None }
    }
}

impl Sourced {
    /// Sets the JSON text that the source sent. It is stored only if the cell does not determine it, since a
    /// run keeps these values for each parent in memory.
    pub fn set_raw(&mut self, raw: Option<&str>) {
        let is_told = |raw: &str| match &self.cell {
            Cell::Int(value) => value.to_string() == raw,
            Cell::Text(value) => {
                raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) == Some(&**value)
            }
            _ => false,
        };
        self.raw = raw.filter(|raw| !is_told(raw)).map(Into::into);
    }

    /// The value in a path or query; `None` for null.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        let sent = self.raw.as_deref().and_then(|raw| match raw.starts_with('"') {
            true => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
            false => Some(Cow::Borrowed(raw)),
        });
        // The cell has the replacement for an empty part of a key.
        sent.filter(|text| !text.is_empty()).or_else(|| self.cell.to_text())
    }

    /// The value in a JSON body.
    pub fn json(&self) -> serde_json::Value {
        if let Some(value) = self.raw.as_deref().and_then(|raw| serde_json::from_str(raw).ok()) {
            return value;
        }
        match &self.cell {
            Cell::Null => serde_json::Value::Null,
            Cell::Bool(value) => (*value).into(),
            Cell::Int(value) => (*value).into(),
            Cell::Double(value) => (*value).into(),
            Cell::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| (&**text).into()),
            cell => cell.to_text().unwrap_or_default().into(),
        }
    }
}

impl Cell {
    /// The narrowest column type that holds this value.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Cell::Null => ColumnType::Unknown,
            Cell::Bool(_) => ColumnType::Boolean,
            Cell::Int(_) => ColumnType::Bigint,
            Cell::Double(_) => ColumnType::Double,
            Cell::Decimal(_) => ColumnType::Decimal,
            Cell::Date(_) => ColumnType::Date,
            Cell::Timestamp(_) => ColumnType::Timestamp,
            Cell::Text(_) => ColumnType::Text,
            Cell::Json(_) => ColumnType::Json,
        }
    }

    /// Whether the value is `true`, or what `true` becomes in a column wider than boolean.
    pub fn is_true(&self) -> bool {
        matches!(self.to_text().as_deref(), Some("true" | "1"))
    }

    /// The length of the value's text in bytes, as a measure of a row's size.
    pub fn text_len(&self) -> usize {
        match self {
            Cell::Decimal(text) | Cell::Text(text) | Cell::Json(text) => text.len(),
            _ => 0,
        }
    }

    /// The value as text, in the form used when a column widens to text; `None` for null. A double has its
    /// shortest digits without an exponent. An instant is `YYYY-MM-DD HH:MM:SS` in UTC with as many
    /// fractional digits as necessary: unlike the form with `T` and `Z`, it sorts by time and compares with
    /// SQL's date functions.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Cell::Null => return None,
            Cell::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Cell::Int(value) => Cow::Owned(value.to_string()),
            Cell::Double(value) => Cow::Owned(value.to_string()),
            Cell::Date(value) => Cow::Owned(value.to_string()),
            Cell::Timestamp(value) => Cow::Owned(instant(*value)),
            Cell::Decimal(value) | Cell::Text(value) | Cell::Json(value) => Cow::Borrowed(value),
        })
    }
}

/// An instant in SQL's format, in UTC. Written by hand, because a row has several and the general formatter
/// took as long as all other work on it.
fn instant(moment: Timestamp) -> String {
    let civil = TimeZone::UTC.to_datetime(moment);
    let Ok(year @ 0..=9999) = u32::try_from(civil.year()) else {
        return moment.strftime("%Y-%m-%d %H:%M:%S%.f").to_string();
    };
    let mut out = String::with_capacity(29);
    let mut digits = |mut value: u32, width: u32, before: &str| {
        out.push_str(before);
        let mut unit = 10_u32.pow(width - 1);
        while unit > 0 {
            out.push(char::from(b'0' + (value / unit % 10) as u8));
            value %= unit;
            unit /= 10;
        }
    };
    digits(year, 4, "");
    digits(civil.month().unsigned_abs().into(), 2, "-");
    digits(civil.day().unsigned_abs().into(), 2, "-");
    digits(civil.hour().unsigned_abs().into(), 2, " ");
    digits(civil.minute().unsigned_abs().into(), 2, ":");
    digits(civil.second().unsigned_abs().into(), 2, ":");
    let fraction = civil.subsec_nanosecond().unsigned_abs();
    if fraction > 0 {
        digits(fraction, 9, ".");
        out.truncate(out.trim_end_matches('0').len());
    }
    out
}

impl ColumnType {
    /// The narrowest type that holds every value of both: bigint → double/decimal → text; date → timestamp;
    /// all other pairs become text. A boolean is not joined with numbers: its later text would be `0` or
    /// `false`, depending on whether it was stored before the text came.
    #[must_use]
    pub fn join(self, other: ColumnType) -> ColumnType {
        use ColumnType::{Bigint, Date, Decimal, Double, Text, Timestamp, Unknown};
        match (self.min(other), self.max(other)) {
            (a, b) if a == b => a,
            (Unknown, b) => b,
            // A double does not hold every 64-bit integer, but a source that mixes 5 and 3.7 means doubles.
            // Values that must stay exact are `Cell::Decimal`.
            (Bigint, b @ (Double | Decimal)) => b,
            (Double, Decimal) => Decimal,
            (Date, Timestamp) => Timestamp,
            _ => Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn requests_repeat_the_source_s_own_form() {
        let at = Cell::Timestamp("2026-05-01T23:00:00.25Z".parse().unwrap());
        let sourced =
            |cell: &Cell, raw: Option<&str>| Sourced { cell: cell.clone(), raw: raw.map(Into::into) };
        for (value, text, json) in [
            (
                sourced(&at, Some(r#""2026-05-02T01:00:00.250+02:00""#)),
                "2026-05-02T01:00:00.250+02:00",
                json!("2026-05-02T01:00:00.250+02:00"),
            ),
            (sourced(&at, Some("1777676400")), "1777676400", json!(1_777_676_400)),
            (sourced(&Cell::Text("007".into()), Some("007")), "007", json!("007")),
            (sourced(&Cell::Double(1.0), Some("1.0")), "1.0", json!(1.0)),
            (Cell::Int(7).into(), "7", json!(7)),
            (Cell::Text("7".into()).into(), "7", json!("7")),
            (sourced(&Cell::Text("id:7".into()), Some("\"\"")), "id:7", json!("")),
        ] {
            assert_eq!((value.text().as_deref(), value.json()), (Some(text), json), "{value:?}");
        }
        assert_eq!(Sourced::from(Cell::Null).text(), None);
    }

    proptest! {
        /// Compared with the general formatter; the text sorts by time.
        #[test]
        fn instants_have_sql_s_format(
            a in -62_167_219_200_i64..253_402_207_200, b in any::<i32>(), nanos in prop_oneof![Just(0), 0..1_000_000_000, Just(500_000_000)],
        ) {
            let a = Timestamp::new(a, nanos).unwrap();
            let text = Cell::Timestamp(a).to_text().unwrap().into_owned();
            prop_assert_eq!(&text, &a.strftime("%Y-%m-%d %H:%M:%S%.f").to_string());
            let b = Timestamp::new(b.into(), 1).unwrap();
            prop_assert_eq!(text.as_str().cmp(&Cell::Timestamp(b).to_text().unwrap()), a.cmp(&b));
        }

        #[test]
        fn joining_types_is_independent_of_order(a in 0_usize..9, b in 0_usize..9, c in 0_usize..9) {
            use ColumnType::{Bigint, Boolean, Date, Decimal, Double, Json, Text, Unknown};
            let all = [Unknown, Boolean, Bigint, Double, Decimal, Date, ColumnType::Timestamp, Json, Text];
            let (a, b, c) = (all[a], all[b], all[c]);
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(b).join(a), a.join(b));
        }
    }
}
