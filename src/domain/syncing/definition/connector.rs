//! A connector definition as values: where the data is, how to request it, and which tables there are.
//!
//! Nothing here reads files or the network. `definitions` creates a [`Definition`] from TOML and checks
//! everything that does not depend on the configuration; `connectors` runs it. Start at [`Definition`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::answer::Rule;
use super::template::{JsonTemplate, Template};
use crate::domain::retry::RetryRules;
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::{Column, TableShape, Write};
use crate::domain::syncing::paging::Paging;

#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Also the prefix of its variables, and the name of its SQLite file and schema.
    pub name: String,
    /// Root of every path; the configuration's `base_url` overrides it.
    pub base_url: Template,
    /// Path that a test of the credentials requests; without it, the test requests one page of the first
    /// table.
    pub check: Option<Template>,
    /// Interval of the daemon's runs; the configuration's `every` overrides it.
    pub every: Duration,
    /// How arrays of scalars become one column.
    pub arrays: Arrays,
    /// The keys of the configuration.
    pub config: BTreeMap<String, ConfigKey>,
    pub auth: Auth,
    /// How requests are made, limited and retried.
    pub http: HttpRules,
    /// The tables, parents before their children.
    pub tables: Vec<Table>,
    /// The author's original text.
    pub source: String,
}

/// One key of a connector's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigKey {
    pub kind: ConfigKind,
    /// The default.
    pub default: Option<String>,
    /// Optional, although there is no default.
    pub optional: bool,
    /// Shown in forms.
    pub description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// Never shown.
    Secret,
    String,
    Integer,
    Boolean,
    /// `YYYY-MM-DD`, or `-730d` for 730 days before today.
    Date,
    /// Comma-separated.
    List,
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigKind::Secret | ConfigKind::String => "a text",
            ConfigKind::Integer => "a whole number",
            ConfigKind::Boolean => "true or false",
            ConfigKind::Date => "a day (YYYY-MM-DD, or -730d for so many days ago)",
            ConfigKind::List => "a comma-separated list",
        })
    }
}

/// How arrays of scalars become one column. Arrays of objects are always JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrays {
    /// Compact JSON text.
    Json,
    /// `a,b,c`.
    Comma,
}

/// How nested objects are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// Columns `parent_child`.
    Flatten,
    /// One column of JSON.
    Json,
}

/// The authentication method.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    None,
    /// A header, such as one with a bearer token.
    Header {
        name: String,
        value: Template,
    },
    /// A parameter in the query string. Never shown in logs, errors or the run history.
    Query {
        name: String,
        value: Template,
    },
    /// HTTP basic.
    Basic {
        user: Template,
        password: Template,
    },
    OAuth2(OAuth2),
}

/// OAuth2 client credentials: one token is shared by all requests and renewed before it expires.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    /// The token endpoint; the configuration's `token_url` overrides it.
    pub token_url: Template,
    pub client_id: Template,
    pub client_secret: Template,
    /// The requested scope.
    pub scope: Option<Template>,
    pub send: SendAs,
    /// A token is renewed this long before it expires.
    pub renew_before: Duration,
    /// Minimum time between two requests for a token.
    pub mint_gap: Duration,
    /// After a 401, retry with the same token after this time before requesting a new one. For services where
    /// a new token invalidates the one that other requests still use.
    pub retry_same_after: Option<Duration>,
}

/// The format of the request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendAs {
    /// Everything in a form.
    Form,
    /// Client id and secret as HTTP basic authentication, the rest in a form.
    Basic,
    /// Everything as JSON.
    Json,
}

/// How requests are made, limited and retried.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRules {
    /// Rate limits that every request must keep: requests, per duration.
    pub rates: Vec<(u32, Duration)>,
    /// Maximum number of concurrent requests.
    pub concurrency: usize,
    /// Timeout of one request, from the first byte sent to the last received.
    pub timeout: Duration,
    /// Maximum size of a body, in bytes.
    pub max_body: usize,
    /// Sent with every request.
    pub headers: BTreeMap<String, Template>,
    pub retry: RetryRules,
    /// Headers in which the service states its quota.
    pub quota: Option<Quota>,
    /// Rules for responses; the first one that matches applies.
    pub rules: Vec<Rule>,
    /// Paths of messages for people (such as deprecations), which are logged.
    pub notices: Vec<String>,
}

/// Headers in which a service states its quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Remaining requests.
    pub remaining: Option<String>,
    /// When the quota is reset: seconds from now, or Unix time if larger than any sensible wait.
    pub reset: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Lower snake case.
    pub name: String,
    /// Appended to the base URL, or a complete URL of the same origin.
    pub path: Template,
    pub method: Method,
    pub params: BTreeMap<String, Template>,
    /// Members of a JSON body (POST). Paging parameters are added to it.
    pub body: BTreeMap<String, JsonTemplate>,
    /// Path of the rows in a response: the first one that exists. `.` is the root.
    pub records: Vec<String>,
    /// Whether null in place of the records means an empty list. By default it does, unless the response says
    /// otherwise.
    pub null_is_empty: Option<bool>,
    /// The columns of the key, in order.
    pub key: Vec<Key>,
    pub page: Paging,
    /// The parent table, for a child table.
    pub parent: Option<Parent>,
    /// How later runs read only new rows.
    pub cursor: Option<Cursor>,
    /// How the time range is divided into requests.
    pub window: Option<Window>,
    /// Rules for particular fields, by their name or path at the source.
    pub columns: BTreeMap<String, ColumnRule>,
    pub nested: Nested,
    /// How rows are written.
    pub write: Write,
    /// Maximum share of live rows that a complete run may mark deleted; `None`: no soft deletes.
    pub snapshot: Option<f64>,
    /// Final name of the column in which the source marks a row as deleted.
    pub deleted_if: Option<String>,
    /// Unknown fields are an error instead of new columns.
    pub freeze: bool,
    /// Rules for responses of this table; they precede [`HttpRules::rules`].
    pub rules: Vec<Rule>,
    pub enabled: Enabled,
}

/// The HTTP methods that a definition may use. None of them is used to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    /// For services whose search requests have a body.
    Post,
}

/// One column of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Final column name.
    pub column: String,
    /// Replacements for an absent value: a prefix, and the source field whose value follows it.
    pub fallbacks: Vec<(String, String)>,
    /// A further column with the original value, including NULL.
    pub show: Option<String>,
}

impl Key {
    /// A column without replacements.
    pub fn plain(column: impl Into<String>) -> Key {
        Key { column: column.into(), fallbacks: Vec::new(), show: None }
    }
}

/// The parent table: this table is requested once for each of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub table: String,
    /// Name in this table ← column of the parent.
    pub columns: BTreeMap<String, String>,
}

/// How a later run reads only new rows, by a column that grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Final name of the column.
    pub column: String,
    /// Parameter that filters for newer rows; without it, reading stops at stored rows (newest first only).
    pub param: Option<String>,
    pub format: CursorFormat,
    /// Start of the first run: candidates, of which the first whose configuration is set is used.
    pub start: Vec<Template>,
    /// How far before the cursor a run starts.
    pub lookback: Duration,
    pub order: CursorOrder,
}

/// The format of a cursor value in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorFormat {
    /// `2026-05-02T09:10:00.123Z`, with every digit that the source sent.
    Rfc3339,
    /// Unix seconds.
    EpochSeconds,
    /// Unix milliseconds.
    EpochMillis,
    /// `2026-05-02`.
    Date,
    /// Unchanged.
    Plain,
    /// `strftime` format, UTC.
    Strftime(String),
}

/// The order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorOrder {
    /// Oldest first: the cursor can advance with every page.
    Ascending,
    /// Newest first.
    Descending,
    /// Not documented.
    Unknown,
}

/// How a time range is divided into requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Parameter of the first day.
    pub from: String,
    /// Parameter of the end.
    pub to: String,
    /// The format of days, for `strftime`.
    pub format: String,
    /// The first day: candidates as in [`Cursor::start`].
    pub start: Vec<Template>,
    /// Days per request.
    pub step_days: u32,
    /// Whether the end belongs to the window.
    pub end: WindowEnd,
    /// Days before the last finished day that are read again.
    pub lookback_days: u32,
    /// Days after today that are requested.
    pub ahead_days: u32,
    /// If the service rejects a window as too wide, it is halved down to this many days.
    pub halve_to_days: Option<u32>,
    /// IANA name of the time zone of the days.
    pub zone: String,
    /// A filter with which later runs read only changes, over the whole range.
    pub changes: Option<ChangeFilter>,
}

/// Whether the requested end belongs to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowEnd {
    /// The end is the first day after the window.
    Exclusive,
    /// The end is the last day of the window.
    Inclusive,
}

/// A filter with which later runs read only what changed at the source since the last complete run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Parameter of the first day of change.
    pub from: String,
    /// Parameter of the last day of change.
    pub to: Option<String>,
    /// Days before the last complete run that are requested again.
    pub lookback_days: u32,
    /// Days of the range per request.
    pub step_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnRule {
    Drop,
    /// Stored under another name, as another type, or filled from another field.
    Keep {
        /// Final column name.
        name: Option<String>,
        /// The declared type.
        kind: Option<ColumnKind>,
        /// A source field used if this one is absent or null.
        from: Option<String>,
    },
}

/// The declared type of a value that is sent as text or as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `true`, `"true"`, 1.
    Boolean,
    Bigint,
    Double,
    Decimal,
    Date,
    /// RFC 3339.
    Timestamp,
    /// Unix seconds.
    EpochSeconds,
    /// Unix milliseconds.
    EpochMillis,
    /// Text, for any value.
    Text,
    /// JSON text, for any value.
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enabled {
    /// By the definition.
    Fixed(bool),
    /// By a list of the configuration, if it has this member.
    Listed { list: String, has: String },
}

impl Definition {
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl Table {
    /// The shape before the first row: the parent's columns, the key, the declared columns.
    pub fn declared_shape(&self) -> TableShape {
        let mut columns: Vec<Column> = Vec::new();
        let mut add = |name: &str, kind: ColumnType| match columns.iter_mut().find(|c| c.name == name) {
            Some(column) if column.kind == ColumnType::Unknown => column.kind = kind,
            Some(_) => {}
            None => columns.push(Column { name: name.to_owned(), kind }),
        };
        for name in self.parent.iter().flat_map(|parent| parent.columns.keys()) {
            add(name, ColumnType::Unknown);
        }
        for key in &self.key {
            add(&key.column, ColumnType::Unknown);
            if let Some(show) = &key.show {
                add(show, ColumnType::Unknown);
            }
        }
        for (source, rule) in &self.columns {
            if let ColumnRule::Keep { name, kind, .. } = rule {
                let column =
                    name.clone().unwrap_or_else(|| crate::domain::syncing::naming::column_name(source));
                add(&column, kind.map_or(ColumnType::Unknown, ColumnKind::column_type));
            }
        }
        let key = self.key.iter().map(|key| key.column.clone()).collect();
        TableShape {
            table: self.name.clone(),
            columns,
            key,
            write: self.write,
            deleted_if: self.deleted_if.clone(),
        }
    }
}

impl ColumnKind {
    /// The type of a column of such values.
    pub fn column_type(self) -> ColumnType {
        match self {
            ColumnKind::Boolean => ColumnType::Boolean,
            ColumnKind::Bigint => ColumnType::Bigint,
            ColumnKind::Double => ColumnType::Double,
            ColumnKind::Decimal => ColumnType::Decimal,
            ColumnKind::Date => ColumnType::Date,
            ColumnKind::Timestamp | ColumnKind::EpochSeconds | ColumnKind::EpochMillis => {
                ColumnType::Timestamp
            }
            ColumnKind::Text => ColumnType::Text,
            ColumnKind::Json => ColumnType::Json,
        }
    }
}
