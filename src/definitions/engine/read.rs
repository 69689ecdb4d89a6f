//! `[[read]]`: the documents of a page.

use std::time::Duration;

use url::Url;

use super::super::keys::Keys;
use super::values::{self, Context};
use crate::domain::monitoring::engine::{
    DocumentAddress, EngineTemplate, EngineTemplatePart, Format, Fresh, ReadRules,
};
use crate::domain::urls::is_loopback;

/// More requests per poll would be impolite.
const MAX_READS: usize = 3;

/// Default size limit of a document, in bytes.
const DEFAULT_MAX: usize = 1 << 20;

/// Largest size limit of a document, in bytes.
const LARGEST_MAX: usize = 16 << 20;

pub(super) fn reads(keys: &mut Keys<'_, '_>, context: &mut Context) -> Vec<ReadRules> {
    let tables = keys.tables("read").unwrap_or_default();
    if tables.is_empty() || tables.len() > MAX_READS {
        keys.missing(format!("an engine has 1 to {MAX_READS} tables [[read]]"));
    }
    let mut reads = Vec::new();
    for (table, at) in tables {
        let mut keys = keys.inner(table);
        let id = keys.text("id").map_or_else(|| "page".to_owned(), |(id, _)| id);
        if context.reads.contains(&id) {
            keys.wrong(at, format!("two [[read]] have the id `{id}`"));
        }
        let address = address(&mut keys, at, context);
        let format = format(&mut keys);
        let max = keys.text("max").map_or(DEFAULT_MAX, |(text, at)| {
            size(&text).filter(|size| *size <= LARGEST_MAX).unwrap_or_else(|| {
                keys.wrong(at, "`max` must be a size of at most 16MiB (examples: \"512KiB\", \"4MiB\")");
                DEFAULT_MAX
            })
        });
        let require = values::texts(&mut keys, "require");
        let require = require.into_iter().filter_map(|(text, at)| {
            let path = crate::domain::monitoring::engine::Path::parse(&text);
            path.map_err(|error| keys.wrong(at, format!("`require`: {error}"))).ok()
        });
        let require = require.collect();
        let fresh = keys.table("fresh").and_then(|(table, at)| {
            let mut keys = keys.inner(table);
            let paths = values::paths(&mut keys, "path");
            let within = keys.duration("within", Duration::from_secs(1));
            if paths.is_empty() || within.is_none() {
                keys.wrong(
                    at,
                    "`fresh` needs `path` and `within` (example: { path = \"updated\", within = \"30m\" })",
                );
            }
            keys.finish();
            Some(Fresh { paths, within: within? })
        });
        let detect = keys.flag("detect").unwrap_or(false);
        let empty_is_unknown = match keys.text("empty").as_ref().map(|(text, at)| (text.as_str(), *at)) {
            None | Some(("none", _)) => false,
            Some(("unknown", _)) => true,
            Some((_, at)) => {
                keys.wrong(at, "`empty` must be \"none\" or \"unknown\"");
                false
            }
        };
        let empty_if = values::conditions(&mut keys, "empty_if", context);
        let optional = keys.flag("optional").unwrap_or(false);
        keys.finish();
        context.reads.push(id.clone());
        reads.extend(address.map(|address| ReadRules {
            id,
            address,
            format,
            max,
            require,
            detect,
            optional,
            fresh,
            empty_is_unknown,
            empty_if,
        }));
    }
    reads
}

fn address(keys: &mut Keys<'_, '_>, at: usize, context: &Context) -> Option<DocumentAddress> {
    let (place, below) = (keys.place("url"), keys.place("path"));
    let url = values::template(keys, "url", context);
    let path = values::template(keys, "path", context);
    for (key, template) in [("url", &url), ("path", &path)] {
        for part in template.iter().flat_map(EngineTemplate::parts) {
            let name = match part {
                EngineTemplatePart::Path(path) => path.as_str(),
                EngineTemplatePart::Root => "root",
                _ => continue,
            };
            let known = context.options.join(", ");
            let known = if known.is_empty() { "none" } else { &known };
            keys.wrong(
                if key == "url" { place } else { below }.unwrap_or(at),
                format!("`{key}`: `${{{name}}}` is not one of the options: {known}"),
            );
        }
    }
    if path.as_ref().is_some_and(leaves_page) {
        keys.wrong(below.unwrap_or(at), "`path` must be below the page: another host needs `url`");
    }
    match (url, path) {
        (Some(url), None) => {
            if !names_host(&url) {
                keys.wrong(
                    place.unwrap_or(at),
                    "`url` must begin with https:// and a host without placeholders",
                );
            }
            Some(DocumentAddress::Url(url))
        }
        (None, Some(path)) if path.parts() == [EngineTemplatePart::Text(".".into())] => {
            Some(DocumentAddress::Whole)
        }
        (None, Some(path)) => Some(DocumentAddress::Path(path)),
        _ => {
            keys.wrong(at, "[[read]] needs `path` (below the page) or `url`");
            None
        }
    }
}

/// Whether the first part of an address contains scheme and host, so that no option can change them.
fn names_host(url: &EngineTemplate) -> bool {
    let Some(EngineTemplatePart::Text(start)) = url.parts().first() else { return false };
    let whole = url.parts().len() == 1;
    let Ok(parsed) = Url::parse(start) else { return false };
    let after_host = start.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    (whole || after_host) && parsed.has_host() && (parsed.scheme() == "https" || is_loopback(&parsed))
}

fn format(keys: &mut Keys<'_, '_>) -> Format {
    let format = match keys.text("format") {
        None => Format::Json,
        Some((text, at)) => match text.as_str() {
            "json" => Format::Json,
            "xml" => Format::Xml,
            "text" => Format::Text,
            "http" => Format::Http,
            other => {
                keys.wrong(at, format!("`format`: unknown format `{other}`; known: json, xml, text, http"));
                Format::Json
            }
        },
    };
    match keys.text("decode").as_ref().map(|(text, at)| (text.as_str(), *at)) {
        // The byte order mark and the charset of Content-Type are always followed.
        None | Some(("utf-8" | "bom", _)) => format,
        Some(("jsonp", _)) => Format::Jsonp,
        Some((other, at)) => {
            keys.wrong(at, format!("`decode`: unknown value `{other}`; known: utf-8, bom, jsonp"));
            format
        }
    }
}

/// Whether a path is an address of its own.
fn leaves_page(path: &EngineTemplate) -> bool {
    let Some(EngineTemplatePart::Text(start)) = path.parts().first() else { return false };
    start.starts_with("//") || start.contains(['\\', ':'])
}

/// `512KiB`, `4MiB`.
fn size(text: &str) -> Option<usize> {
    let (number, unit) = text.trim().split_at(text.trim().find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit.trim() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit).filter(|size| *size > 0)
}
