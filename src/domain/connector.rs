//! What a connector definition says, as values: where the data is, how to ask for it, what the tables are.
//!
//! Nothing here reads files or the network. `definitions` makes a [`Definition`] from TOML and has checked
//! everything that can be checked without the configuration; `connectors` runs it. Start at [`Definition`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::Rule;
use super::cell::ColumnType;
use super::config::ConfigKey;
use super::op::{Column, TableShape, Write};
use super::paging::Page;
use super::retry::RetryRules;
use super::template::{JsonTemplate, Template};
use super::window::{ChangeFilter, WindowEnd};

/// One data source.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Also the prefix of its variables, its SQLite file and its schema.
    pub name: String,
    /// Root of every path; the configuration's `base_url` wins.
    pub base_url: Template,
    /// Path that a test of the credentials calls; without it the first table is asked for one page.
    pub check: Option<Template>,
    /// How often the daemon runs it; the configuration's `every` wins.
    pub every: Duration,
    /// How arrays of scalars become one column.
    pub arrays: Arrays,
    /// What a person must or may set.
    pub config: BTreeMap<String, ConfigKey>,
    /// How requests prove who asks.
    pub auth: Auth,
    /// How requests are made, limited and repeated.
    pub http: HttpRules,
    /// The tables, parents before their children.
    pub tables: Vec<Table>,
    /// The definition as its author wrote it.
    pub source: String,
}

/// How arrays of scalars become one column. Arrays of objects are always JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrays {
    /// Compact JSON text.
    Json,
    /// `a,b,c`.
    Comma,
}

/// What becomes of nested objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// Columns `parent_child`.
    Flatten,
    /// One column of JSON.
    Json,
}

/// How requests prove who asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// Not at all.
    None,
    /// A header, such as a bearer key.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Template,
    },
    /// A parameter in the query string. Never shown in a log, error or ledger.
    Query {
        /// Its name.
        name: String,
        /// Its value.
        value: Template,
    },
    /// HTTP basic.
    Basic {
        /// User name.
        user: Template,
        /// Password.
        password: Template,
    },
    /// OAuth2 client credentials.
    OAuth2(OAuth2),
}

/// OAuth2 client credentials: a token is minted, used by all requests and renewed in time.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    /// Where tokens are minted; the configuration's `token_url` wins.
    pub token_url: Template,
    /// Client id.
    pub client_id: Template,
    /// Client secret.
    pub client_secret: Template,
    /// Asked scope.
    pub scope: Option<Template>,
    /// How the request for a token is written.
    pub send: SendAs,
    /// A token is renewed this long before it ends.
    pub renew_before: Duration,
    /// Two tokens are never minted closer together than this.
    pub mint_gap: Duration,
    /// After a 401, try the same token again after this long before minting another. For services where a new
    /// token kills the one that other requests still carry.
    pub retry_same_after: Option<Duration>,
}

/// How the request for a token is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendAs {
    /// Everything in a form.
    Form,
    /// Client id and secret as HTTP basic, the rest in a form.
    Basic,
    /// Everything as JSON.
    Json,
}

/// How requests are made, limited and repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRules {
    /// Token buckets that every request must pass: requests, per this long.
    pub rates: Vec<(u32, Duration)>,
    /// Requests under way at once.
    pub concurrency: usize,
    /// For one request, from the first byte sent to the last received.
    pub timeout: Duration,
    /// The largest body that is read, in bytes.
    pub max_body: usize,
    /// Sent with every request.
    pub headers: BTreeMap<String, Template>,
    /// When and how often a request is made again.
    pub retry: RetryRules,
    /// Headers in which the service tells its limit.
    pub quota: Option<Quota>,
    /// What particular answers mean; the first that fits is taken.
    pub rules: Vec<Rule>,
    /// Paths in answers where the service speaks to people (deprecations): what stands there is noted.
    pub notices: Vec<String>,
}

/// Headers in which a service tells its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Requests left.
    pub remaining: Option<String>,
    /// When there will be more: seconds from now, or the Unix time when larger than any sensible wait.
    pub reset: String,
}

/// One table of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Lower snake case.
    pub name: String,
    /// Appended to the base URL; or a whole URL of the same origin.
    pub path: Template,
    /// GET or POST.
    pub method: Method,
    /// Query parameters.
    pub params: BTreeMap<String, Template>,
    /// Members of a JSON body (POST). Paging keys go into it too.
    pub body: BTreeMap<String, JsonTemplate>,
    /// Where the rows are in an answer: the first path that exists. `.` is the root.
    pub records: Vec<String>,
    /// Whether null in place of the records means that there are none; by default unless the answer says otherwise.
    pub null_is_empty: Option<bool>,
    /// The columns of the key, in order.
    pub key: Vec<Key>,
    /// How a table is cut into pages.
    pub page: Page,
    /// Whose rows it is read for.
    pub parent: Option<Parent>,
    /// How a later run reads only what is new.
    pub cursor: Option<Cursor>,
    /// How time is cut into pieces.
    pub window: Option<Window>,
    /// Rules for particular fields, by their name or path at the source.
    pub columns: BTreeMap<String, ColumnRule>,
    /// What becomes of nested objects.
    pub nested: Nested,
    /// How rows meet those there.
    pub write: Write,
    /// The largest share of live rows that a complete pass may mark deleted; `None` keeps what is gone.
    pub snapshot: Option<f64>,
    /// Final name of the column in which the source says of a row that it is deleted.
    pub deleted_if: Option<String>,
    /// Unknown fields are an error instead of new columns.
    pub freeze: bool,
    /// What particular answers mean for this table; before those of [`HttpRules::rules`].
    pub rules: Vec<Rule>,
    /// Whether the table is read.
    pub enabled: Enabled,
}

/// The HTTP methods that a definition may use. Nothing that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Everything in the query.
    Get,
    /// For services whose searches take a body.
    Post,
}

/// One column of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Final column name.
    pub column: String,
    /// What stands in for an absent value: the prefix, and the source field whose value follows it.
    pub fallbacks: Vec<(String, String)>,
    /// A further column that keeps the true value, NULL included.
    pub show: Option<String>,
}

/// Rows of another table that this one is read for, one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The table.
    pub table: String,
    /// Our column ← its column.
    pub columns: BTreeMap<String, String>,
}

/// How a later run reads only what is new, by a field that grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Final name of the column.
    pub column: String,
    /// Parameter that asks for what is newer; without it, reading stops at what is stored (newest first only).
    pub param: Option<String>,
    /// How the parameter is written.
    pub format: super::cursor::Format,
    /// Where a first run begins; candidates, of which the first whose configuration is set counts.
    pub start: Vec<Template>,
    /// How far behind the cursor a run begins again.
    pub lookback: Duration,
    /// In what order rows come.
    pub order: Order,
}

/// In what order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first: the cursor may move with every page.
    Ascending,
    /// Newest first.
    Descending,
    /// Nobody says.
    Unknown,
}

/// How time is cut into pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Parameter of the first day.
    pub from: String,
    /// Parameter of the end.
    pub to: String,
    /// How days are written, in `strftime` letters.
    pub format: String,
    /// The first day; candidates as in [`Cursor::start`].
    pub start: Vec<Template>,
    /// Days asked for at once.
    pub step_days: u32,
    /// Whether the end belongs to the window.
    pub end: WindowEnd,
    /// Days before the last finished day that are read again.
    pub lookback_days: u32,
    /// Days after today that are asked for.
    pub ahead_days: u32,
    /// A window that the service finds too wide is halved down to this many days.
    pub halve_to_days: Option<u32>,
    /// IANA name of the zone whose days these are.
    pub zone: String,
    /// A filter by which later runs see only what changed, over the whole range.
    pub changes: Option<ChangeFilter>,
}

/// A rule for one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnRule {
    /// Not stored.
    Drop,
    /// Stored under another name, as another type, or filled from another field.
    Keep {
        /// Final column name.
        name: Option<String>,
        /// What the text or number means.
        kind: Option<Kind>,
        /// A source field used where this one is absent or null.
        from: Option<String>,
    },
}

/// What a value means that is sent as text or as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true`, `"true"`, 1.
    Boolean,
    /// 64-bit integer.
    Bigint,
    /// Binary double.
    Double,
    /// Exact decimal.
    Decimal,
    /// Calendar day.
    Date,
    /// Instant as RFC 3339.
    Timestamp,
    /// Instant as Unix seconds.
    EpochSeconds,
    /// Instant as Unix milliseconds.
    EpochMillis,
    /// Text, whatever was sent.
    Text,
    /// JSON text, whatever was sent.
    Json,
}

/// Whether a table is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enabled {
    /// By the definition.
    Fixed(bool),
    /// When a list of the configuration has this member.
    Listed {
        /// The configuration key.
        list: String,
        /// The member.
        has: String,
    },
}

impl Definition {
    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl Table {
    /// What is known of the shape before a single row was seen: parent's columns, key, declared columns.
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
                let column = name.clone().unwrap_or_else(|| super::naming::column_name(source));
                add(&column, kind.map_or(ColumnType::Unknown, Kind::column_type));
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

impl Kind {
    /// The type of the column that holds such values.
    pub fn column_type(self) -> ColumnType {
        match self {
            Kind::Boolean => ColumnType::Boolean,
            Kind::Bigint => ColumnType::Bigint,
            Kind::Double => ColumnType::Double,
            Kind::Decimal => ColumnType::Decimal,
            Kind::Date => ColumnType::Date,
            Kind::Timestamp | Kind::EpochSeconds | Kind::EpochMillis => ColumnType::Timestamp,
            Kind::Text => ColumnType::Text,
            Kind::Json => ColumnType::Json,
        }
    }
}
