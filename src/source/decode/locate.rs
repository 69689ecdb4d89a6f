//! Finds the records of a page, and describes the page if there are none.
//!
//! Start at [`locate`].

use super::Layout;
use super::page::{self, Facts, PageError, Root};
use super::value::{self, TextScan};
use crate::domain::syncing::definition::answer::is_nothing;

/// Number of keys that an error about missing records lists.
const NAMED_KEYS: usize = 20;
/// Length of the quoted error value.
const QUOTED_CHARS: usize = 200;
/// Members that contain an error.
const ERRORS: [&str; 2] = ["error", "errors"];
/// Members that contain the total number of rows.
const TOTALS: [&str; 5] = ["total", "total_count", "totalCount", "meta.total", "meta.total_count"];

/// The path that has the records. Includes their text if all paths had to be read.
pub(super) fn locate<'l, 'de>(
    layout: &'l Layout,
    text: &'de str,
) -> Result<(&'l str, Option<&'de str>), PageError> {
    let only = layout.records.len() == 1;
    let fits = |path: &&str| match page::root(text) {
        Root::Array => *path == ".",
        Root::Object => *path != "." || only,
        Root::Scalar => false,
    };
    let paths: Vec<&str> = layout.records.iter().map(String::as_str).filter(fits).collect();
    match paths.as_slice() {
        [] => Err(no_records(layout, text)),
        [path] => Ok((path, None)),
        _ => {
            let raws = page::raw_at(text, &paths)?;
            // Null at one path is ignored if another path has a list.
            let mut present = paths.iter().zip(raws).filter_map(|(path, raw)| Some((*path, Some(raw?))));
            let first = present.next();
            let is_null = |raw: Option<&str>| raw.is_some_and(|raw| value::scan(raw) == TextScan::Null);
            let found = match first {
                Some((_, raw)) if is_null(raw) => present.find(|(_, raw)| !is_null(*raw)).or(first),
                first => first,
            };
            found.ok_or_else(|| no_records(layout, text))
        }
    }
}

/// The error for a page without records: which paths were expected, and which keys the page has.
pub(super) fn no_records(layout: &Layout, text: &str) -> PageError {
    let facts = match Facts::of(text.as_bytes(), &ERRORS) {
        Ok(facts) => facts,
        Err(error) => return error,
    };
    let named: Vec<_> = facts.keys.iter().take(NAMED_KEYS).map(String::as_str).collect();
    let found = match facts.root {
        Root::Array => "a list at its root".to_owned(),
        Root::Scalar => "a bare value at its root".to_owned(),
        Root::Object if named.is_empty() => "no keys".to_owned(),
        Root::Object if named.len() < facts.keys.len() => format!("{} and more", named.join(", ")),
        Root::Object => named.join(", "),
    };
    let error = ERRORS.iter().find_map(|path| facts.value(path).filter(|value| !is_nothing(value)));
    let found = match error {
        Some(error) => format!("{found}, and the error {}", quoted(error)),
        None => found,
    };
    PageError::NoRecords { table: layout.table.clone(), wanted: layout.records.join(" or "), found }
}

/// Why null in place of the records does not mean an empty list, if the rest of the page contradicts it.
pub(super) fn contradicts_empty_list(layout: &Layout, text: &str) -> Option<String> {
    match layout.null_is_empty {
        Some(true) => return None,
        Some(false) => return Some("`null_is_empty` is false".to_owned()),
        None => {}
    }
    let totals = layout.total.as_deref().into_iter().chain(TOTALS);
    let paths: Vec<&str> = totals.chain(ERRORS).collect();
    let facts = Facts::of(text.as_bytes(), &paths).ok()?;
    let (totals, errors) = paths.split_at(paths.len() - ERRORS.len());
    let stated = totals.iter().find_map(|path| Some((path, facts.count(path).filter(|total| *total > 0)?)));
    let error = || errors.iter().find(|path| facts.value(path).is_some_and(|value| !is_nothing(value)));
    match stated {
        Some((path, total)) => Some(format!("{path:?} states {total} rows")),
        None => error().map(|path| format!("the answer has {path:?}")),
    }
}

fn quoted(value: &serde_json::Value) -> String {
    value.to_string().chars().take(QUOTED_CHARS).collect()
}
