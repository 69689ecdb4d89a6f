//! Checks that need the whole definition: names that must exist, and names that must be unique.

use super::Keys;
use super::table::Placed;
use crate::domain::syncing::definition::answer::{Rule, Then};
use crate::domain::syncing::definition::config::TOKEN_URL;
use crate::domain::syncing::definition::connector::ConfigKind;
use crate::domain::syncing::definition::connector::{Auth, ColumnRule, Definition, Enabled, Table};
use crate::domain::syncing::definition::template::{JsonTemplate, Template};
use crate::domain::syncing::op::Write;
use crate::domain::syncing::paging::PageKind;
use crate::domain::urls::check_url;

/// Checks the tables against the definition and sorts parents before their children.
pub(super) fn check(keys: &mut Keys<'_, '_>, mut definition: Definition, placed: Vec<Placed>) -> Definition {
    for (i, one) in placed.iter().enumerate() {
        if placed[..i].iter().any(|other| other.table.name == one.table.name) {
            keys.wrong(one.at, format!("two tables are named {:?}", one.table.name));
        }
        table(keys, &definition, one, &placed);
    }
    let renews = |rules: &[Rule]| rules.iter().any(|rule| rule.then == Then::Renew);
    if !matches!(definition.auth, Auth::OAuth2(_))
        && (renews(&definition.http.rules) || placed.iter().any(|one| renews(&one.table.rules)))
    {
        keys.missing("then = \"renew\" needs [auth] of kind oauth2: other credentials are not renewed");
    }
    for template in shared_templates(&definition) {
        known_config(keys, &definition, &template, None);
        if let Some(column) = template.row_columns().next() {
            keys.missing(format!(
                "`{{{column}}}` is used where there is no parent row; did you mean ${{config.{column}}}?"
            ));
        }
    }
    definition.tables = parents_first(keys, placed);
    definition
}

/// Checks a base URL that needs no configuration: it must be valid, and safe to send credentials to.
pub(super) fn address(keys: &mut Keys<'_, '_>, definition: &Definition, at: Option<usize>) {
    let Some(at) = at.filter(|_| definition.base_url.config_keys().next().is_none()) else { return };
    if let Err(reason) = check_url(&definition.base_url.to_string(), definition.auth == Auth::None) {
        keys.wrong(at, format!("`base_url`: {reason}"));
    }
}

fn shared_templates(definition: &Definition) -> Vec<Template> {
    let mut all = vec![definition.base_url.clone()];
    all.extend(definition.check.clone());
    all.extend(definition.http.headers.values().cloned());
    match &definition.auth {
        Auth::None => {}
        Auth::Header { value, .. } | Auth::Query { value, .. } => all.push(value.clone()),
        Auth::Basic { user, password } => all.extend([user.clone(), password.clone()]),
        Auth::OAuth2(oauth) => {
            all.extend([oauth.token_url.clone(), oauth.client_id.clone(), oauth.client_secret.clone()]);
            all.extend(oauth.scope.clone());
        }
    }
    all
}

fn known_config(keys: &mut Keys<'_, '_>, definition: &Definition, template: &Template, at: Option<usize>) {
    for key in template.config_keys() {
        if key != TOKEN_URL && !definition.config.contains_key(key) {
            let known: Vec<&str> = definition.config.keys().map(String::as_str).collect();
            let message = format!("${{config.{key}}} is not in [config]; known there: {}", known.join(", "));
            // The template names the position more exactly than the table.
            match definition.source.find(&format!("${{config.{key}}}")).or(at) {
                Some(at) => keys.wrong(at, message),
                None => keys.missing(message),
            }
        }
    }
}

fn table(keys: &mut Keys<'_, '_>, definition: &Definition, placed: &Placed, all: &[Placed]) {
    let (table, at) = (&placed.table, placed.at);
    let name = &table.name;
    for template in templates(table) {
        known_config(keys, definition, template, Some(at));
        for column in template.row_columns() {
            let known = table.parent.as_ref().is_some_and(|parent| parent.columns.contains_key(column));
            if !known {
                keys.wrong(at, format!("table {name}: `{{{column}}}` is not a column named in `parent.as`"));
            }
        }
    }
    if let Some(parent) = &table.parent {
        match all.iter().find(|other| other.table.name == parent.table) {
            None => keys.wrong(
                at,
                format!("table {name}: its parent {:?} is not a table of this definition", parent.table),
            ),
            Some(other) if other.table.name == *name => {
                keys.wrong(at, format!("table {name} is its own parent"))
            }
            Some(_) => {}
        }
        if table.snapshot.is_some()
            && ancestors(table, all).any(|of| of.cursor.is_some() || of.window.is_some())
        {
            keys.wrong(
                at,
                format!(
                    "table {name}: deletes = \"snapshot\" needs parents that are read completely in each run"
                ),
            );
        }
        if table.window.is_some() {
            keys.wrong(at, format!("table {name}: a child table cannot have windows"));
        }
    }
    if let Enabled::Listed { list, .. } = &table.enabled
        && definition.config.get(list).is_none_or(|key| key.kind != ConfigKind::List)
    {
        keys.wrong(
            at,
            format!("table {name}: `enabled.list` names {list:?}, which is not a list in [config]"),
        );
    }
    exclusive(keys, table, at);
    dropped(keys, table, at);
}

/// The ancestors of a table, its parent first.
fn ancestors<'a>(table: &'a Table, all: &'a [Placed]) -> impl Iterator<Item = &'a Table> {
    let parent = |table: &Table| {
        let name = &table.parent.as_ref()?.table;
        all.iter().map(|one| &one.table).find(|other| other.name == *name)
    };
    // Without this limit a loop, which is reported elsewhere, would never end.
    std::iter::successors(parent(table), move |table| parent(table)).take(all.len())
}

fn exclusive(keys: &mut Keys<'_, '_>, table: &Table, at: usize) {
    let name = &table.name;
    let mut wrong = |yes: bool, what: &str| {
        if yes {
            keys.wrong(at, format!("table {name}: {what}"));
        }
    };
    wrong(table.cursor.is_some() && table.window.is_some(), "`cursor` and `window` cannot be combined");
    wrong(
        table.write != Write::Upsert && table.snapshot.is_some(),
        "deletes = \"snapshot\" needs write = \"upsert\"",
    );
    wrong(table.write == Write::Append && !table.key.is_empty(), "write = \"append\" has no `key`");
    let partial = table.cursor.is_some() || table.window.is_some();
    wrong(
        partial && table.snapshot.is_some(),
        "deletes = \"snapshot\" needs a table that is read completely in each run",
    );
    wrong(
        partial && table.write == Write::Replace,
        "write = \"replace\" needs a table that is read completely in each run",
    );
    wrong(
        table.parent.is_some() && table.write == Write::Append,
        "a child table cannot be written with \"append\"",
    );
    let halves = table.rules.iter().any(|rule| rule.then == Then::Halve);
    let can_halve = table.window.as_ref().is_some_and(|window| window.halve_to_days.is_some());
    wrong(halves && !can_halve, "then = \"halve\" needs a window with `halve_to`");
    wrong(table.records.is_empty(), "`records` is empty; \".\" is the root");
    let body =
        table.method == crate::domain::syncing::definition::connector::Method::Get && !table.body.is_empty();
    wrong(body, "`body` needs method = \"POST\"");
}

/// Columns that are both required and dropped.
fn dropped(keys: &mut Keys<'_, '_>, table: &Table, at: usize) {
    let dropped: Vec<String> = table
        .columns
        .iter()
        .filter(|(_, rule)| **rule == ColumnRule::Drop)
        .map(|(source, _)| crate::domain::syncing::naming::column_name(source))
        .collect();
    let keyset = match &table.page.kind {
        PageKind::Keyset { column, .. } => Some(column),
        _ => None,
    };
    let needed =
        table.key.iter().map(|key| &key.column).chain(keyset).chain(table.cursor.as_ref().map(|c| &c.column));
    for column in needed {
        if dropped.contains(column) {
            keys.wrong(
                at,
                format!("table {}: the column {column:?} is needed and cannot be dropped", table.name),
            );
        }
    }
}

fn templates(table: &Table) -> impl Iterator<Item = &Template> {
    std::iter::once(&table.path)
        .chain(table.params.values())
        .chain(table.body.values().flat_map(JsonTemplate::templates))
        .chain(table.cursor.iter().flat_map(|cursor| &cursor.start))
        .chain(table.window.iter().flat_map(|window| &window.start))
}

/// Sorts parents before children, otherwise as written. A loop is a configuration error.
fn parents_first(keys: &mut Keys<'_, '_>, mut placed: Vec<Placed>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::new();
    while !placed.is_empty() {
        let ready = placed.iter().position(|one| {
            let parent = one.table.parent.as_ref();
            parent.is_none_or(|parent| !placed.iter().any(|other| other.table.name == parent.table))
        });
        let next = ready.unwrap_or_else(|| {
            keys.wrong(placed[0].at, format!("table {:?} is its own ancestor", placed[0].table.name));
            0
        });
        ordered.push(placed.remove(next).table);
    }
    ordered
}
