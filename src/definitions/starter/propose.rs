//! One page of an API → what its table may be: where the rows are, what tells them apart, what the columns hold.
//!
//! Guesses, told apart by how certain they are. Whether and how there is a next page is `paging`'s business.
//! Start at [`propose`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::{Map, Value};

use super::paging;
use crate::domain::cell::ColumnType;
use crate::domain::naming;

/// A page as it came.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// What was asked for, with its query: `/contacts?limit=50`.
    pub path: &'a str,
    /// The body.
    pub body: &'a Value,
    /// Whether a `Link` header names a next page.
    pub link_header: bool,
}

/// What a page shows of its table.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Lower snake case, after the path.
    pub table: String,
    /// Without its query.
    pub path: String,
    /// The query, without what concerns pages.
    pub params: Vec<(String, String)>,
    /// Records on the page.
    pub seen: usize,
    /// Where they are.
    pub records: Guess,
    /// What tells them apart.
    pub key: Option<Guess>,
    /// How the next page is found, as TOML.
    pub page: Option<Guess>,
    /// By what the answer says that there is more than this page, in words.
    pub more: Option<String>,
    /// How later runs could read only what is new, as TOML.
    pub cursor: Option<Guess>,
    /// The field that may say that a row is deleted, as TOML.
    pub deleted_if: Option<Guess>,
    /// The fields, by source name.
    pub columns: Vec<Field>,
}

/// Something that a page shows or hints at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// What.
    pub is: String,
    /// The page shows it; else it only hints.
    pub sure: bool,
    /// In words for the author.
    pub why: String,
}

/// A field of the records.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name or dotted path at the source.
    pub source: String,
    /// What was seen, in words.
    pub seen: String,
    /// A rule, as TOML, where the values alone would not say enough.
    pub rule: Option<Guess>,
}

/// Fields that tell rows apart wherever they stand.
const IDS: [&str; 5] = ["id", "uid", "uuid", "guid", "_id"];
/// Fields that say when a row changed last.
const CHANGES: [&str; 10] = [
    "updated_at",
    "modified_at",
    "last_modified",
    "last_modified_at",
    "updated",
    "modified",
    "updated_on",
    "modified_on",
    "last_updated",
    "changed_at",
];
/// Fields that say, where they are true, that a row is gone.
const DELETIONS: [&str; 2] = ["deleted", "is_deleted"];
/// Names of lists that hold records; the first of them wins over a longer list.
const LISTS: [&str; 8] = ["data", "results", "items", "records", "rows", "value", "values", "entries"];
/// How deep lists are looked for.
const DEEP: usize = 4;

impl Guess {
    /// The page shows it.
    pub(super) fn sure(is: impl Into<String>, why: impl Into<String>) -> Guess {
        Guess { is: is.into(), sure: true, why: why.into() }
    }

    /// The page hints at it.
    pub(super) fn unsure(is: impl Into<String>, why: impl Into<String>) -> Guess {
        Guess { is: is.into(), sure: false, why: why.into() }
    }
}

/// What a page shows of its table.
///
/// # Errors
/// When it holds nothing that could be rows.
pub fn propose(sample: &Sample<'_>) -> Result<Proposal, String> {
    let (path, query) = sample.path.split_once('?').unwrap_or((sample.path, ""));
    let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let (records, rows) = records(sample.body)?;
    let table = naming::table_name(path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("items"));
    // A table's name begins with a letter.
    let table = if table.starts_with('_') { format!("items{table}") } else { table };
    let fields = Fields::of(&rows);
    let key = key(&rows, &table);
    let field = key.as_ref().map(|key| key.is.clone());
    let outside = paging::Outside::of(sample.body, &records.is);
    let (page, params) = paging::page(&outside, sample.link_header, query, rows.len(), field.as_deref());
    let more = outside
        .more(rows.len())
        .or_else(|| sample.link_header.then(|| "the Link header names a next page".to_owned()));
    let columns = fields.rules(field.as_deref());
    Ok(Proposal {
        table,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        params,
        seen: rows.len(),
        records,
        key,
        page,
        more,
        cursor: cursor(&columns),
        deleted_if: deleted_if(&columns),
        columns,
    })
}

/// One record as it came.
type Record<'a> = &'a Map<String, Value>;

/// The list of objects that is most likely the page's records.
fn records(body: &Value) -> Result<(Guess, Vec<Record<'_>>), String> {
    if let Value::Array(items) = body {
        let rows: Vec<_> = items.iter().filter_map(Value::as_object).collect();
        return Ok((Guess::sure(".", format!("the answer is a list of {}", items.len())), rows));
    }
    let Value::Object(object) = body else {
        return Err("the answer is a bare value: there are no records in it".to_owned());
    };
    let mut lists = Vec::new();
    find_lists(object, "", DEEP, &mut lists);
    lists.sort_by_key(|(path, rows): &(String, Vec<_>)| {
        let named = LISTS.iter().position(|name| path.rsplit('.').next() == Some(name));
        (rows.is_empty(), named.unwrap_or(LISTS.len()), usize::MAX - rows.len(), path.clone())
    });
    let others: Vec<String> =
        lists.iter().skip(1).map(|(path, rows)| format!("{path} ({})", rows.len())).collect();
    let others =
        if others.is_empty() { String::new() } else { format!("; other lists: {}", others.join(", ")) };
    match lists.into_iter().next() {
        Some((path, rows)) => {
            let why = format!("a list of {}{others}", rows.len());
            Ok((Guess::sure(path, why), rows))
        }
        None => Ok((Guess::unsure(".", "no list in the answer: the whole answer as one row"), vec![object])),
    }
}

fn find_lists<'a>(
    object: &'a Map<String, Value>,
    at: &str,
    deep: usize,
    found: &mut Vec<(String, Vec<Record<'a>>)>,
) {
    // A name with a dot in it cannot be written as a path.
    for (name, value) in object.iter().filter(|(name, _)| !name.contains('.')) {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        match value {
            Value::Array(items) if items.iter().all(Value::is_object) => {
                found.push((path, items.iter().filter_map(Value::as_object).collect()));
            }
            Value::Object(inner) if deep > 1 => find_lists(inner, &path, deep - 1, found),
            _ => {}
        }
    }
}

/// What is in every row, and different in each.
fn key(rows: &[&Map<String, Value>], table: &str) -> Option<Guess> {
    let first = rows.first()?;
    let tells_apart = |name: &&String| {
        let mut seen = BTreeSet::new();
        rows.iter().all(|row| match row.get(*name) {
            Some(Value::String(text)) if !text.is_empty() => seen.insert(text.clone()),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                seen.insert(number.to_string())
            }
            _ => false,
        })
    };
    let able: Vec<&String> = first.keys().filter(tells_apart).collect();
    let one = table.strip_suffix("ies").map(|stem| format!("{stem}y"));
    let one = one.unwrap_or_else(|| table.strip_suffix('s').unwrap_or(table).to_owned());
    let rank = |name: &str| {
        let column = naming::column_name(name);
        if let Some(at) = IDS.iter().position(|id| *id == column) {
            return at;
        }
        match column.strip_suffix("_id") {
            Some(stem) if stem == one => IDS.len(),
            Some(_) => IDS.len() + 2,
            None if ["key", "code", "slug", "number"].contains(&column.as_str()) => IDS.len() + 1,
            None => IDS.len() + 3,
        }
    };
    let best = able.into_iter().min_by_key(|name| (rank(name), name.len()))?;
    let why = format!("in every one of {} records, and different in each", rows.len());
    Some(match rank(best) {
        // One row proves nothing but a name that says it.
        at if at <= IDS.len() && (rows.len() > 1 || at < IDS.len()) => Guess::sure(best, why),
        _ => Guess::unsure(best, format!("{why}; is it the key?")),
    })
}

/// What the fields of some records hold.
#[derive(Default)]
struct Fields(BTreeMap<String, Seen>);

#[derive(Default)]
struct Seen {
    kind: Option<ColumnType>,
    nulls: usize,
    texts: Vec<String>,
    numbers: Vec<i64>,
}

impl Fields {
    fn of(rows: &[&Map<String, Value>]) -> Fields {
        let mut fields = Fields::default();
        for row in rows {
            fields.look(row, "");
        }
        fields
    }

    fn look(&mut self, object: &Map<String, Value>, at: &str) {
        for (name, value) in object {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let kind = match value {
                Value::Object(inner) if !inner.is_empty() => {
                    self.look(inner, &path);
                    continue;
                }
                Value::Null => ColumnType::Unknown,
                Value::Bool(_) => ColumnType::Boolean,
                Value::Number(number) if number.is_i64() => ColumnType::Bigint,
                Value::Number(number) if number.is_u64() => ColumnType::Decimal,
                Value::Number(_) => ColumnType::Double,
                Value::String(_) => ColumnType::Text,
                Value::Array(_) | Value::Object(_) => ColumnType::Json,
            };
            let seen = self.0.entry(path).or_default();
            seen.kind = Some(seen.kind.map_or(kind, |known| known.join(kind)));
            match value {
                Value::Null => seen.nulls += 1,
                Value::String(text) => seen.texts.push(text.clone()),
                Value::Number(number) => seen.numbers.extend(number.as_i64()),
                _ => {}
            }
        }
    }

    /// The rules of all fields. `key`: the field that keeps the name of its column, which the key is called by.
    fn rules(&self, key: Option<&str>) -> Vec<Field> {
        let column = |source: &str| source.split('.').map(naming::column_name).collect::<Vec<_>>().join("_");
        let mut taken: BTreeMap<String, &str> = key.map(|key| (column(key), key)).into_iter().collect();
        for source in self.0.keys() {
            taken.entry(column(source)).or_insert(source);
        }
        let mut fields = Vec::new();
        for (source, seen) in &self.0 {
            let own = column(source);
            let other = taken.get(&own).copied().filter(|other| other != source);
            let rule = match other {
                Some(other) => {
                    let free = (2..).map(|n| format!("{own}_{n}")).find(|name| !taken.contains_key(name));
                    let name = free.unwrap_or_default();
                    let rule = format!("{{ name = {} }}", super::quoted(&name));
                    let why = format!("{other} becomes {own} already");
                    taken.insert(name, source);
                    Some(Guess::sure(rule, why))
                }
                None => seen.rule(source),
            };
            fields.push(Field { source: source.clone(), seen: seen.words(), rule });
        }
        fields
    }
}

impl Seen {
    fn words(&self) -> String {
        match self.kind {
            None | Some(ColumnType::Unknown) => "only nulls".to_owned(),
            Some(kind) => {
                let nulls = if self.nulls > 0 { ", some null" } else { "" };
                format!("{}{nulls}", format!("{kind:?}").to_lowercase())
            }
        }
    }

    /// What the values mean that their type does not tell.
    fn rule(&self, source: &str) -> Option<Guess> {
        let typed = |kind: &str| format!("{{ type = \"{kind}\" }}");
        let all = |fits: fn(&str) -> bool| !self.texts.is_empty() && self.texts.iter().all(|text| fits(text));
        match self.kind? {
            ColumnType::Text if all(is_instant) => {
                Some(Guess::sure(typed("timestamp"), "every text is an instant"))
            }
            ColumnType::Text if all(is_day) => Some(Guess::sure(typed("date"), "every text is a day")),
            ColumnType::Text if all(is_naive) => Some(Guess::unsure(
                typed("timestamp"),
                "an instant without an offset, which is then taken as UTC",
            )),
            ColumnType::Text if all(is_number) => {
                Some(Guess::unsure(typed("decimal"), "every text is a number; is it one, or a code?"))
            }
            ColumnType::Bigint if is_moment(source) => {
                let (seconds, millis) =
                    (1_000_000_000..10_000_000_000, 1_000_000_000_000..10_000_000_000_000);
                let all = |range: std::ops::Range<i64>| self.numbers.iter().all(|n| range.contains(n));
                let kind = if all(seconds) { "epoch" } else { "epoch_ms" };
                (kind == "epoch" || all(millis))
                    .then(|| Guess::unsure(typed(kind), "looks like Unix time; is it a moment?"))
            }
            _ => None,
        }
    }
}

fn is_instant(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

fn is_naive(text: &str) -> bool {
    text.len() > 10 && text.parse::<DateTime>().is_ok()
}

/// A number that is written as one: `007` and `1e5` are names.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain
        && digits.parse::<f64>().is_ok()
        && (!digits.starts_with('0') || digits.len() == 1 || digits.starts_with("0."))
}

fn is_moment(source: &str) -> bool {
    let column = naming::column_name(source.rsplit('.').next().unwrap_or(source));
    ["_at", "_on", "time", "timestamp", "date", "created", "updated", "modified"]
        .iter()
        .any(|end| column.ends_with(end))
}

fn cursor(columns: &[Field]) -> Option<Guess> {
    let of = |field: &&Field| {
        let is_time = field
            .rule
            .as_ref()
            .is_some_and(|rule| rule.is.contains("timestamp") || rule.is.contains("epoch"));
        is_time && CHANGES.contains(&naming::column_name(&field.source).as_str())
    };
    let field = columns.iter().find(of)?;
    let toml = format!(
        "{{ field = {}, param = \"updated_since\", lookback = \"1h\", order = \"unknown\" }}",
        super::quoted(&field.source)
    );
    Some(Guess::unsure(toml, "if the API can filter by it, with its own name for the parameter"))
}

fn deleted_if(columns: &[Field]) -> Option<Guess> {
    let of = |field: &&Field| {
        field.seen.starts_with("boolean") && DELETIONS.contains(&naming::column_name(&field.source).as_str())
    };
    let field = columns.iter().find(of)?;
    Some(Guess::unsure(super::quoted(&field.source), "if rows in which it is true are gone: they are marked"))
}
