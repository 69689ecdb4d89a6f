//! One value of a row, and the column types values live in.
//!
//! Start at [`Cell`]; [`ColumnType::join`] is the lattice along which a column widens.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};

/// One value on its way from a source to a destination. No value is ever rounded: an integer that does not
/// fit 64 bits, or a number that a double cannot hold exactly as written, travels as [`Cell::Decimal`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Absent or null at the source.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit integer, exact.
    Int(i64),
    /// A binary floating point number whose shortest text is the one the source sent.
    Double(f64),
    /// A number too large or too precise for the above, as the source wrote it.
    Decimal(Box<str>),
    /// A calendar day without a zone.
    Date(Date),
    /// An instant, UTC.
    Timestamp(Timestamp),
    /// Text as sent.
    Text(Box<str>),
    /// A nested value kept as compact JSON text.
    Json(Box<str>),
}

/// The type of a column. Types only widen, along [`ColumnType::join`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Only nulls were seen: fits anything, stored as text until a value decides.
    Unknown,
    /// `true`/`false`.
    Boolean,
    /// 64-bit integer.
    Bigint,
    /// Binary double.
    Double,
    /// Exact decimal of any length.
    Decimal,
    /// Calendar day.
    Date,
    /// Instant, UTC.
    Timestamp,
    /// JSON text.
    Json,
    /// Anything.
    Text,
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

    /// The bytes of text the value holds: what makes one row larger than another.
    pub fn text_len(&self) -> usize {
        match self {
            Cell::Decimal(text) | Cell::Text(text) | Cell::Json(text) => text.len(),
            _ => 0,
        }
    }

    /// The value as text, the same wherever a column widens to text; `None` for a null. A double has its shortest
    /// digits without an exponent. An instant is `YYYY-MM-DD HH:MM:SS` in UTC with as many fractional digits as it
    /// needs: unlike the form with `T` and `Z`, this sorts as time does and compares with SQL's own dates.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Cell::Null => return None,
            Cell::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Cell::Int(value) => Cow::Owned(value.to_string()),
            Cell::Double(value) => Cow::Owned(value.to_string()),
            Cell::Date(value) => Cow::Owned(value.to_string()),
            Cell::Timestamp(value) => Cow::Owned(value.strftime("%Y-%m-%d %H:%M:%S%.f").to_string()),
            Cell::Decimal(value) | Cell::Text(value) | Cell::Json(value) => Cow::Borrowed(value),
        })
    }
}

impl ColumnType {
    /// The narrowest type that holds every value of both: bool/int → bigint → double/decimal → text;
    /// date → timestamp; everything else that differs meets in text.
    #[must_use]
    pub fn join(self, other: ColumnType) -> ColumnType {
        use ColumnType::{Bigint, Boolean, Date, Decimal, Double, Text, Timestamp, Unknown};
        match (self.min(other), self.max(other)) {
            (a, b) if a == b => a,
            (Unknown, b) => b,
            (Boolean, b @ (Bigint | Double | Decimal)) => b,
            // A 64-bit integer does not fit a double exactly, so the two meet in decimal only when they must
            // stay exact; a source that mixes 5 and 3.7 means a double, and `Cell::Decimal` marks the rest.
            (Bigint, b @ (Double | Decimal)) => b,
            (Double, Decimal) => Decimal,
            (Date, Timestamp) => Timestamp,
            _ => Text,
        }
    }
}
