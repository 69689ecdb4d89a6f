//! Proposes a table from one page of an API: the path of the rows, the key, the columns.
//!
//! Proposals are marked as certain or as guesses. The paging rule is proposed in `paging`. Start at
//! [`propose`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::{Map, Value};

use super::guess::Guess;
use super::paging;
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::naming;
use crate::domain::text::counted;

/// A page as received.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The request's path with its query: `/contacts?limit=50`.
    pub path: &'a str,
    pub body: &'a Value,
    /// Whether a `Link` header names a next page.
    pub link_header: bool,
}

/// A proposed table.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Lower snake case, derived from the path.
    pub table: String,
    /// Without its query.
    pub path: String,
    /// The query without paging parameters.
    pub params: Vec<(String, String)>,
    pub seen: usize,
    pub records: Guess,
    pub key: Option<Guess>,
    /// The paging rule, as TOML.
    pub page: Option<Guess>,
    /// Why there are more rows than on this page, in words.
    pub more: Option<String>,
    /// How later runs could read only new rows, as TOML.
    pub cursor: Option<Guess>,
    /// The field that may say that a row is deleted, as TOML.
    pub deleted_if: Option<Guess>,
    /// The fields by their source names.
    pub columns: Vec<ProposedField>,
}

/// A field of the records.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposedField {
    /// A description of the values.
    pub source: String,
    /// A rule, as TOML, if the values alone do not determine the column.
    pub seen: String,
    /// A rule, as TOML, where the values alone would not say enough.
    pub rule: Option<Guess>,
}

/// Fields that usually identify rows.
const IDS: [&str; 5] = ["id", "uid", "uuid", "guid", "_id"];
/// Fields that usually say when a row was last changed.
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
/// Fields that usually mark deleted rows.
const DELETIONS: [&str; 2] = ["deleted", "is_deleted"];
/// Usual names of the list of records; the first of them wins over a longer list.
const LISTS: [&str; 8] = ["data", "results", "items", "records", "rows", "value", "values", "entries"];
/// How deep lists are searched for.
const DEEP: usize = 4;

/// Proposes a table from a sample page.
///
/// # Errors
/// If the page contains nothing that could be rows.
pub fn propose(sample: &Sample<'_>) -> Result<Proposal, String> {
    let (path, query) = sample.path.split_once('?').unwrap_or((sample.path, ""));
    let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let (records, rows) = records(sample.body)?;
    let table = naming::table_name(path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("items"));
    // A table's name must start with a letter.
    let table = if table.starts_with('_') { format!("items{table}") } else { table };
    let fields = FieldSamples::of(&rows);
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

/// One record as received.
type SampleRecord<'a> = &'a Map<String, Value>;

/// The list of objects that is most likely the page's records.
fn records(body: &Value) -> Result<(Guess, Vec<SampleRecord<'_>>), String> {
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
    found: &mut Vec<(String, Vec<SampleRecord<'a>>)>,
) {
    // A name with a dot cannot be written as a path.
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

/// A field that every row has, with a different value in each.
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
    let why = format!("in every one of {}, and different in each", counted(rows.len() as u64, "record"));
    Some(match rank(best) {
        // One row proves only a name that is usual for keys.
        at if at <= IDS.len() && (rows.len() > 1 || at < IDS.len()) => Guess::sure(best, why),
        _ => Guess::unsure(best, format!("{why}; is it the key?")),
    })
}

/// The values of the fields of some records.
#[derive(Default)]
struct FieldSamples(BTreeMap<String, SampleCounts>);

#[derive(Default)]
struct SampleCounts {
    kind: Option<ColumnType>,
    nulls: usize,
    texts: Vec<String>,
    numbers: Vec<i64>,
}

impl FieldSamples {
    fn of(rows: &[&Map<String, Value>]) -> FieldSamples {
        let mut fields = FieldSamples::default();
        for row in rows {
            fields.add_object(row, "");
        }
        fields
    }

    fn add_object(&mut self, object: &Map<String, Value>, at: &str) {
        for (name, value) in object {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let kind = match value {
                Value::Object(inner) if !inner.is_empty() => {
                    self.add_object(inner, &path);
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

    /// The rules of all fields. `key`: the field that keeps its column name, because the key refers to it.
    fn rules(&self, key: Option<&str>) -> Vec<ProposedField> {
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
            fields.push(ProposedField { source: source.clone(), seen: seen.words(), rule });
        }
        fields
    }
}

impl SampleCounts {
    fn words(&self) -> String {
        match self.kind {
            None | Some(ColumnType::Unknown) => "only nulls".to_owned(),
            Some(kind) => {
                let nulls = if self.nulls > 0 { ", some null" } else { "" };
                format!("{}{nulls}", format!("{kind:?}").to_lowercase())
            }
        }
    }

    /// A rule for values whose meaning their type does not tell.
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

/// A number in its canonical form: `007` and `1e5` are identifiers.
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

fn cursor(columns: &[ProposedField]) -> Option<Guess> {
    let of = |field: &&ProposedField| {
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
    Some(Guess::unsure(toml, "if the API can filter by it; use its own parameter name"))
}

fn deleted_if(columns: &[ProposedField]) -> Option<Guess> {
    let of = |field: &&ProposedField| {
        field.seen.starts_with("boolean") && DELETIONS.contains(&naming::column_name(&field.source).as_str())
    };
    let field = columns.iter().find(of)?;
    Some(Guess::unsure(
        super::quoted(&field.source),
        "if it is true for deleted rows: they are marked deleted",
    ))
}
