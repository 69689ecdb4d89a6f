//! Which events are logged, and under which logger name.

use tracing_subscriber::filter::{Directive, EnvFilter, LevelFilter};

/// This crate's name in tracing targets.
const CRATE: &str = "data_sources_monitor";

/// The logger of all modules without an own one.
const MAIN: &str = "MainOrchestrator";

/// Loggers by module. The first match counts.
const LOGGERS: [(&str, &str); 7] = [
    ("poll", "StatusClient"),
    ("publish", "QlikClient"),
    ("channels", "Messenger"),
    ("connectors", "SyncRunner"),
    ("destinations", "SyncRunner"),
    ("protocol", "SyncRunner"),
    ("web", "WebServer"),
];

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid log level \"{0}\": use error, warn, info, debug, trace or off, \
     and after a comma what differs, such as info,reqwest=debug"
)]
pub struct LevelError(String);

/// The logger's name for a target. A target without a path is a logger's name.
pub(super) fn logger(target: &str) -> &str {
    let (crate_name, path) = target.split_once("::").unwrap_or((target, ""));
    if crate_name != CRATE {
        return crate_name;
    }
    let module = path.split("::").next().unwrap_or_default();
    LOGGERS.iter().find(|(of, _)| *of == module).map_or(MAIN, |(_, name)| name)
}

/// Checks a level with its exceptions.
///
/// # Errors
/// If it cannot be parsed.
pub fn check_level(text: &str) -> Result<(), LevelError> {
    parse(text).map(drop)
}

pub(super) fn parse(text: &str) -> Result<EnvFilter, LevelError> {
    directives(text)?.into_iter().try_fold(
        EnvFilter::new(LevelFilter::WARN.min(own_level(text)?).to_string()),
        |filter, directive| {
            let parsed: Directive = directive.parse().map_err(|_| LevelError(text.to_owned()))?;
            Ok(filter.add_directive(parsed))
        },
    )
}

/// Translates to directives of tracing's filter, the general before the specific.
fn directives(text: &str) -> Result<Vec<String>, LevelError> {
    let own = own_level(text)?;
    let mut all: Vec<String> = own_targets().map(|target| format!("{target}={own}")).collect();
    for part in parts(text).filter(|part| level(part).is_none()) {
        // The filter would take a single word for a crate and enable it completely; it is more likely a
        // misspelt level.
        let (target, rest) = part.split_once('=').ok_or_else(|| LevelError(text.to_owned()))?;
        let rest = if rest.eq_ignore_ascii_case("warning") { "warn" } else { rest };
        // A logger's name also covers its modules.
        let modules = LOGGERS.iter().filter(|(_, name)| *name == target);
        all.extend(modules.map(|(module, _)| format!("{CRATE}::{module}={rest}")));
        all.push(format!("{target}={rest}"));
    }
    Ok(all)
}

fn own_targets() -> impl Iterator<Item = &'static str> {
    [CRATE, MAIN].into_iter().chain(LOGGERS.iter().map(|(_, name)| *name))
}

/// The level without a target, which applies to this program.
fn own_level(text: &str) -> Result<LevelFilter, LevelError> {
    match parts(text).filter_map(level).next_back() {
        Some(found) => Ok(found),
        None if parts(text).next().is_none() => Err(LevelError(text.to_owned())),
        None => Ok(LevelFilter::INFO),
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    match word.to_ascii_lowercase().as_str() {
        "off" => Some(LevelFilter::OFF),
        "error" => Some(LevelFilter::ERROR),
        "warn" | "warning" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

/// The parts between commas, except for commas inside a span's brackets.
fn parts(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let mut depth = 0_i32;
    let mut split = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
        if c == ',' && depth == 0 {
            split.push(&text[start..at]);
            start = at + 1;
        }
    }
    split.push(&text[start..]);
    split.into_iter().map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target itself, the logger of its module, or its crate.
    #[test]
    fn loggers_have_readable_names() {
        let cases = [
            ("QlikClient", "QlikClient"),
            ("data_sources_monitor", "MainOrchestrator"),
            ("data_sources_monitor::runtime::scheduler", "MainOrchestrator"),
            ("data_sources_monitor::poll", "StatusClient"),
            ("data_sources_monitor::poll::statuspage", "StatusClient"),
            ("data_sources_monitor::publish::qlik", "QlikClient"),
            ("data_sources_monitor::connectors", "SyncRunner"),
            ("data_sources_monitor::destinations::sqlite", "SyncRunner"),
            ("data_sources_monitor::web", "WebServer"),
            ("data_sources_monitor::webhook", "MainOrchestrator"),
            ("hyper_util::client::legacy", "hyper_util"),
            ("reqwest", "reqwest"),
        ];
        for (target, expected) in cases {
            assert_eq!(logger(target), expected, "{target}");
        }
    }

    /// Other crates stay at warn; a logger's name also applies to its modules.
    #[test]
    fn a_level_applies_to_this_program_only() {
        let shown = |text: &str| {
            let mut parts: Vec<String> =
                parse(text).unwrap().to_string().split(',').map(Into::into).collect();
            parts.retain(|part| {
                ["warn", "error", "off"].contains(&part.as_str())
                    || part.contains("Qlik")
                    || part.contains("::")
                    || part.contains("hyper")
            });
            parts.sort();
            parts.join(" ")
        };
        let cases = [
            ("debug", "QlikClient=debug warn"),
            (" WARNING ", "QlikClient=warn warn"),
            ("off", "QlikClient=off off"),
            ("error", "QlikClient=error error"),
            ("info,hyper=debug", "QlikClient=info hyper=debug warn"),
            ("QlikClient=debug", "QlikClient=debug data_sources_monitor::publish=debug warn"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_an_error() {
        for text in ["", " , ", "inof", "info,hyper", "hyper=dbug", "info=info=info", "hyper=[", "3 x"] {
            let error = parse(text).err();
            assert_eq!(error, Some(LevelError(text.to_owned())), "{text:?}");
        }
        insta::assert_snapshot!(LevelError("inof".into()), @r#"invalid log level "inof": use error, warn, info, debug, trace or off, and after a comma what differs, such as info,reqwest=debug"#);
    }
}
