//! `[overall]`, `[components]`, `[incidents]` and `[maintenances]`.

use super::super::keys::Keys;
use super::values::{self, Context};
use crate::domain::monitoring::engine::{
    ComponentRules, ComponentState, EventFieldRules, EventRules, Fold, Group, Impact, MaintenanceRules,
    Overall, Parts, Path, Pick, RollUp, WordMap,
};
use crate::domain::monitoring::severity::Severity;

/// For an engine without `[overall]`.
pub(super) fn no_overall() -> Overall {
    Overall {
        from: RollUp::State,
        state: Vec::new(),
        text: Vec::new(),
        map: WordMap::default(),
        floor: false,
        all_unknown: false,
        all_down: None,
    }
}

pub(super) fn overall(keys: &mut Keys<'_, '_>, context: &Context) -> Option<Overall> {
    let (table, at) = keys.table("overall")?;
    let mut keys = keys.inner(table);
    let state = values::sources(&mut keys, "state", context);
    let from = match keys.text("from").as_ref().map(|(text, at)| (text.as_str(), *at)) {
        None => RollUp::State,
        Some(("components", _)) => RollUp::Components,
        Some(("incidents", _)) => RollUp::Incidents,
        Some((_, at)) => {
            keys.wrong(at, "`from` must be \"components\" or \"incidents\"");
            RollUp::State
        }
    };
    let text = values::sources(&mut keys, "text", context);
    let map = values::map(&mut keys, "map", context);
    if !state.is_empty() && map.is_none() {
        keys.wrong(at, "[overall] has `state` but no `map`");
    }
    let mut word = |key: &'static str, known: &str| match keys.text(key) {
        Some((text, at)) if text != known => {
            keys.wrong(at, format!("`{key}` must be \"{known}\""));
            false
        }
        found => found.is_some(),
    };
    let floor = word("floor", "incidents");
    let all_unknown = word("all_unknown", "unknown");
    let all_down = keys.severity("all_down");
    keys.finish();
    Some(Overall { from, state, text, map: map.unwrap_or_default(), floor, all_unknown, all_down })
}

pub(super) fn components(mut keys: Keys<'_, '_>, context: &Context) -> ComponentRules {
    let list = values::sources(&mut keys, "list", context);
    let children = values::path(&mut keys, "children");
    let id = values::paths(&mut keys, "id");
    let name = values::paths(&mut keys, "name");
    let state = component_state(&mut keys, context);
    let map = values::map(&mut keys, "map", context).unwrap_or_default();
    let parts = keys.table("parts").and_then(|(table, at)| {
        let mut keys = keys.inner(table);
        let list = values::path(&mut keys, "list");
        let (name, state) = (values::paths(&mut keys, "name"), values::paths(&mut keys, "state"));
        if list.is_none() || name.is_empty() || state.is_empty() {
            keys.wrong(at, "`parts` needs `list`, `name` and `state`");
        }
        keys.finish();
        Some(Parts { list: list?, name, state })
    });
    let group = keys.table("group").map(|(table, _)| {
        let mut keys = keys.inner(table);
        let group = Group {
            field: values::path(&mut keys, "field"),
            list: values::source(&mut keys, "list", context),
            id: values::path(&mut keys, "id").unwrap_or_else(|| Path::field("id")),
            name: values::path(&mut keys, "name").unwrap_or_else(|| Path::field("name")),
            children: values::path(&mut keys, "children"),
        };
        keys.finish();
        group
    });
    let skip = values::conditions(&mut keys, "skip", context);
    let affected_only = keys.flag("affected_only").unwrap_or(false);
    let from_touches = affected_only && list.is_empty();
    if from_touches && state != ComponentState::Incidents {
        keys.missing("[components] without `list` needs `from_incidents`");
    } else if !from_touches && (list.is_empty() || name.is_empty()) {
        keys.missing("[components] needs `list` and `name`");
    }
    keys.finish();
    ComponentRules { list, children, id, name, state, map, parts, group, skip, affected_only }
}

fn component_state(keys: &mut Keys<'_, '_>, context: &Context) -> ComponentState {
    let own = values::paths(keys, "state");
    let mut join = keys.text("state_from").and_then(|(text, at)| {
        let join = values::join(keys, &text, at, context);
        if join.is_none() {
            keys.wrong(
                at,
                "`state_from` must contain `${id}` as a key or in a filter: \"beats: list.${id}[-1].status\"",
            );
        }
        join
    });
    let place = keys.place("state_if");
    let only = values::conditions(keys, "state_if", context);
    match &mut join {
        Some(join) => join.only = only,
        None if only.is_empty() => {}
        None => keys.wrong(place.unwrap_or_default(), "`state_if` belongs to `state_from`"),
    }
    if let Some((table, at)) = keys.table("assume") {
        let mut keys = keys.inner(table);
        let list = values::source(&mut keys, "when_absent_from", context);
        let state = keys.text("state").map(|(word, _)| word);
        match &mut join {
            Some(join) if list.is_some() && state.is_some() => join.absent = state,
            _ => keys.wrong(at, "`assume` belongs to `state_from` and needs `when_absent_from` and `state`"),
        }
        keys.finish();
    }
    let incidents = keys.flag("from_incidents").unwrap_or(false);
    match (own.is_empty(), join, incidents) {
        (false, None, false) => ComponentState::Own(own),
        (true, Some(join), false) => ComponentState::Join(join),
        (true, None, true) => ComponentState::Incidents,
        _ => {
            keys.missing("[components] needs one of `state`, `state_from` and `from_incidents`");
            ComponentState::Own(own)
        }
    }
}

pub(super) fn incidents(mut keys: Keys<'_, '_>, context: &Context) -> EventRules {
    let list = values::sources(&mut keys, "list", context);
    if list.is_empty() {
        keys.missing("[incidents] needs `list`");
    }
    let open = values::conditions(&mut keys, "open", context);
    let fields = fields(&mut keys, context);
    keys.finish();
    EventRules { list, open, fields }
}

pub(super) fn maintenances(mut keys: Keys<'_, '_>, context: &Context) -> MaintenanceRules {
    let running = values::sources(&mut keys, "running", context);
    let running_if = values::conditions(&mut keys, "running_if", context);
    let upcoming = values::sources(&mut keys, "upcoming", context);
    let upcoming_if = values::conditions(&mut keys, "upcoming_if", context);
    if running.is_empty() && upcoming.is_empty() {
        keys.missing("[maintenances] needs `running` or `upcoming`");
    }
    let fields = fields(&mut keys, context);
    keys.finish();
    MaintenanceRules { running, running_if, upcoming, upcoming_if, fields }
}

fn fields(keys: &mut Keys<'_, '_>, context: &Context) -> EventFieldRules {
    let (state, state_words) = values::worded(keys, "state");
    EventFieldRules {
        id: values::paths(keys, "id"),
        title: values::paths(keys, "title"),
        impact: impact(keys, context),
        state,
        state_words,
        begins: values::paths(keys, "begins"),
        ends: values::paths(keys, "ends"),
        update: values::paths(keys, "update"),
        link: values::template(keys, "link", context),
        touches: values::paths(keys, "touches"),
        touches_parts: values::paths(keys, "touches_parts"),
        fold: keys.table("fold").map(|(table, _)| {
            let mut keys = keys.inner(table);
            let fold =
                Fold { by: values::paths(&mut keys, "by"), newest: values::paths(&mut keys, "newest") };
            keys.finish();
            fold
        }),
    }
}

fn impact(keys: &mut Keys<'_, '_>, context: &Context) -> Option<Impact> {
    let (table, at) = keys.table("impact")?;
    let mut keys = keys.inner(table);
    let paths = values::paths(&mut keys, "path");
    let pick = match keys.text("fold").as_ref().map(|(text, at)| (text.as_str(), *at)) {
        None | Some(("worst", _)) => Pick::Worst,
        Some(("first", _)) => Pick::First,
        Some(("last", _)) => Pick::Last,
        Some((_, at)) => {
            keys.wrong(at, "`fold` must be \"worst\", \"first\" or \"last\"");
            Pick::Worst
        }
    };
    let map = values::map(&mut keys, "map", context).unwrap_or_default();
    let otherwise = keys.severity("otherwise");
    let at_most = keys.severity("at_most").unwrap_or(Severity::Critical);
    if (paths.is_empty() || map == WordMap::default()) && otherwise.is_none() {
        keys.wrong(at, "`impact` needs `path` and `map`, or `otherwise`");
    }
    keys.finish();
    Some(Impact { paths, pick, map, otherwise, at_most })
}
