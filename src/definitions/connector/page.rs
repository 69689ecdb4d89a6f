//! `page` of a `[[table]]`: the paging rules.

use super::Keys;
use crate::domain::syncing::definition::connector::{Key, Parent};
use crate::domain::syncing::naming;
use crate::domain::syncing::paging::{Next, PageKind, Paging};

/// Reads `page` of a table with this key and this parent.
pub(super) fn page(keys: &mut Keys<'_, '_>, key: &[Key], parent: Option<&Parent>) -> Paging {
    let none = Paging {
        kind: PageKind::None,
        size: None,
        size_max: None,
        total: None,
        pages: None,
        short_ends: false,
        ignore: Vec::new(),
    };
    let Some((table, at)) = keys.table("page") else { return none };
    let mut keys = keys.inner(table);
    let kind = keys.text("kind").map(|(kind, _)| kind).unwrap_or_default();
    let parameter = keys.text("at_param").map(|(name, _)| name);
    let header = keys.text("header").map(|(name, _)| name.to_lowercase());
    let path = keys.text("next").map(|(path, _)| path);
    let column = keys.text("field").map(|(name, _)| naming::column_name(&name));
    let first = keys.value("first").map(|value| {
        let number = value.get_ref().as_integer().and_then(|n| n.as_str().parse::<u64>().ok());
        number.unwrap_or_else(|| {
            keys.wrong(value.span().start, "`first` must be a whole number");
            1
        })
    });
    let next = match (path, header) {
        (Some(path), None) => Some(Next::Path(path)),
        (None, Some(header)) if header == "link" => Some(Next::LinkHeader),
        (None, Some(header)) => Some(Next::Header(header)),
        _ => None,
    };
    let mut need = |what: &str, ok: bool| {
        if !ok {
            keys.wrong(at, format!("a page of kind {kind:?} needs {what}"));
        }
    };
    let at_param = parameter.clone().unwrap_or_default();
    let kind = match kind.as_str() {
        "none" => PageKind::None,
        "page" => {
            need("`at_param`", parameter.is_some());
            PageKind::Number { at: at_param, first: first.unwrap_or(1) }
        }
        "offset" => {
            need("`at_param`", parameter.is_some());
            PageKind::Offset { at: at_param }
        }
        "cursor" => {
            need("`at_param` and either `next` or `header`", parameter.is_some() && next.is_some());
            PageKind::Token { at: at_param, next: next.unwrap_or(Next::LinkHeader) }
        }
        "link" => {
            need("either `next` or `header = \"link\"`", next.is_some());
            PageKind::Link { next: next.unwrap_or(Next::LinkHeader) }
        }
        "keyset" => {
            need("`at_param` and `field`", parameter.is_some() && column.is_some());
            let column = column.unwrap_or_default();
            // The parent's values are the same in all rows of one partition.
            let is_parents =
                |key: &&Key| parent.is_some_and(|parent| parent.columns.contains_key(&key.column));
            let own: Vec<&Key> = key.iter().filter(|key| !is_parents(key)).collect();
            let unique = matches!(own[..], [one] if one.column == column && one.fallbacks.is_empty());
            PageKind::Keyset { at: at_param, column, unique }
        }
        other => {
            keys.wrong(at, format!("`kind` of a page is {other:?}; it must be one of none, page, offset, cursor, link, keyset"));
            PageKind::None
        }
    };
    let size = keys.count("size").map(u64::from);
    let size_param = keys.text("size_param").map(|(name, _)| name);
    if size.is_some() != size_param.is_some() {
        keys.wrong(at, "`size` and `size_param` must be set together");
    }
    let size_max = size_max(&mut keys, &kind, size, key);
    let page = Paging {
        kind,
        size: size_param.zip(size),
        size_max,
        total: keys.text("total").map(|(path, _)| path),
        pages: keys.text("pages").map(|(path, _)| path),
        short_ends: keys.flag("short_ends").unwrap_or(false),
        ignore: keys.texts("ignore").unwrap_or_default(),
    };
    keys.finish();
    page
}

/// The maximum page size. Only offsets address pages of any size, and only rows with a key prove that the
/// service applies them as expected.
fn size_max(keys: &mut Keys<'_, '_>, kind: &PageKind, size: Option<u64>, key: &[Key]) -> Option<u64> {
    let at = keys.place("size_max")?;
    let most = keys.count("size_max").map(u64::from)?;
    for (wrong, why) in [
        (!matches!(kind, PageKind::Offset { .. }), "needs kind = \"offset\""),
        (key.is_empty(), "needs a `key` to recognise rows where pages overlap"),
        (size.is_none(), "needs `size`, the size to start with"),
        (size.is_some_and(|size| most < size), "is less than `size`"),
    ] {
        if wrong {
            keys.wrong(at, format!("`size_max` {why}"));
        }
    }
    Some(most)
}
