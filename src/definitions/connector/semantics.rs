//! What only the whole definition tells: names that must exist, names that must not exist twice.

use super::Keys;
use super::table::Placed;
use crate::domain::answer::{Rule, Then};
use crate::domain::config::{ConfigKind, TOKEN_URL};
use crate::domain::connector::{Auth, ColumnRule, Definition, Enabled, Table};
use crate::domain::op::Write;
use crate::domain::paging::PageKind;
use crate::domain::template::{JsonTemplate, Template};
use crate::domain::urls::check_url;

/// Checks the tables against the definition and puts parents before their children.
pub(super) fn check(keys: &mut Keys<'_, '_>, mut definition: Definition, placed: Vec<Placed>) -> Definition {
    for (i, one) in placed.iter().enumerate() {
        if placed[..i].iter().any(|other| other.table.name == one.table.name) {
            keys.wrong(one.at, format!("there are two tables {:?}", one.table.name));
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
                "`{{{column}}}` stands where no parent row is known; did you mean ${{config.{column}}}?"
            ));
        }
    }
    definition.tables = parents_first(keys, placed);
    definition
}

/// An address that needs no configuration must be one, and one that credentials may go to.
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
            // The text says more exactly where than the table does.
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
                keys.wrong(
                    at,
                    format!("table {name}: `{{{column}}}` is not among the columns that `parent.as` brings"),
                );
            }
        }
    }
    if let Some(parent) = &table.parent {
        match all.iter().find(|other| other.table.name == parent.table) {
            None => {
                keys.wrong(at, format!("table {name}: its parent {:?} is not a table here", parent.table))
            }
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
                format!("table {name}: deletes = \"snapshot\" needs parents that are read whole in each run"),
            );
        }
        if table.window.is_some() {
            keys.wrong(at, format!("table {name}: a child table cannot have windows"));
        }
    }
    if let Enabled::Listed { list, .. } = &table.enabled
        && definition.config.get(list).is_none_or(|key| key.kind != ConfigKind::List)
    {
        keys.wrong(at, format!("table {name}: `enabled.list` names {list:?}, which is no list in [config]"));
    }
    exclusive(keys, table, at);
    dropped(keys, table, at);
}

/// The tables above a table, its parent first.
fn ancestors<'a>(table: &'a Table, all: &'a [Placed]) -> impl Iterator<Item = &'a Table> {
    let parent = |table: &Table| {
        let name = &table.parent.as_ref()?.table;
        all.iter().map(|one| &one.table).find(|other| other.name == *name)
    };
    // In a circle, which is told elsewhere, there would be no end.
    std::iter::successors(parent(table), move |table| parent(table)).take(all.len())
}

/// Keys that contradict each other.
fn exclusive(keys: &mut Keys<'_, '_>, table: &Table, at: usize) {
    let name = &table.name;
    let mut wrong = |yes: bool, what: &str| {
        if yes {
            keys.wrong(at, format!("table {name}: {what}"));
        }
    };
    wrong(table.cursor.is_some() && table.window.is_some(), "`cursor` and `window` exclude each other");
    wrong(
        table.write != Write::Upsert && table.snapshot.is_some(),
        "deletes = \"snapshot\" needs write = \"upsert\"",
    );
    wrong(table.write == Write::Append && !table.key.is_empty(), "write = \"append\" has no `key`");
    let partial = table.cursor.is_some() || table.window.is_some();
    wrong(
        partial && table.snapshot.is_some(),
        "deletes = \"snapshot\" needs a table that is read whole in each run",
    );
    wrong(
        partial && table.write == Write::Replace,
        "write = \"replace\" needs a table that is read whole in each run",
    );
    wrong(
        table.parent.is_some() && table.write == Write::Append,
        "a child table cannot be written with \"append\"",
    );
    let halves = table.rules.iter().any(|rule| rule.then == Then::Halve);
    let can_halve = table.window.as_ref().is_some_and(|window| window.halve_to_days.is_some());
    wrong(halves && !can_halve, "then = \"halve\" needs a window with `halve_to`");
    wrong(table.records.is_empty(), "`records` is empty; \".\" is the root");
    let body = table.method == crate::domain::connector::Method::Get && !table.body.is_empty();
    wrong(body, "`body` needs method = \"POST\"");
}

/// Columns that are needed and dropped.
fn dropped(keys: &mut Keys<'_, '_>, table: &Table, at: usize) {
    let dropped: Vec<String> = table
        .columns
        .iter()
        .filter(|(_, rule)| **rule == ColumnRule::Drop)
        .map(|(source, _)| crate::domain::naming::column_name(source))
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

/// Parents before children, else as written. A circle is a mistake.
fn parents_first(keys: &mut Keys<'_, '_>, mut placed: Vec<Placed>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::new();
    while !placed.is_empty() {
        let ready = placed.iter().position(|one| {
            let parent = one.table.parent.as_ref();
            parent.is_none_or(|parent| !placed.iter().any(|other| other.table.name == parent.table))
        });
        let next = ready.unwrap_or_else(|| {
            keys.wrong(
                placed[0].at,
                format!("table {:?} is among its own parents' parents", placed[0].table.name),
            );
            0
        });
        ordered.push(placed.remove(next).table);
    }
    ordered
}
