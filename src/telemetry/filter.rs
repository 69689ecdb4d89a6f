//! Which events are logged, and under whose name.

use tracing_subscriber::filter::{Directive, EnvFilter, LevelFilter};

/// This crate, as tracing spells it in targets.
const CRATE: &str = "data_sources_monitor";

/// The logger of everything of ours that has no other.
const MAIN: &str = "MainOrchestrator";

/// Whose name stands in the log for which part of the program. The first match counts.
const LOGGERS: [(&str, &str); 6] = [
    ("poll", "StatusClient"),
    ("publish", "QlikClient"),
    ("connectors", "SyncRunner"),
    ("destinations", "SyncRunner"),
    ("protocol", "SyncRunner"),
    ("web", "WebServer"),
];

/// A log level that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log level \"{0}\" is not understood: use error, warn, info, debug, trace or off, \
     and after a comma what differs, such as info,reqwest=debug"
)]
pub struct LevelError(String);

/// The logger's name for a target: a target that is a plain name is one already.
pub(super) fn logger(target: &str) -> &str {
    let (crate_name, path) = target.split_once("::").unwrap_or((target, ""));
    if crate_name != CRATE {
        return crate_name;
    }
    let module = path.split("::").next().unwrap_or_default();
    LOGGERS.iter().find(|(of, _)| *of == module).map_or(MAIN, |(_, name)| name)
}

/// Whether a level, with its exceptions, is understood.
///
/// # Errors
/// If not, how one is written.
pub fn check_level(text: &str) -> Result<(), LevelError> {
    parse(text).map(drop)
}

/// The filter for a level and its exceptions.
pub(super) fn parse(text: &str) -> Result<EnvFilter, LevelError> {
    directives(text)?.into_iter().try_fold(
        EnvFilter::new(LevelFilter::WARN.min(own_level(text)?).to_string()),
        |filter, directive| {
            let parsed: Directive = directive.parse().map_err(|_| LevelError(text.to_owned()))?;
            Ok(filter.add_directive(parsed))
        },
    )
}

/// The directives that say the same to tracing's filter, the general before the particular.
fn directives(text: &str) -> Result<Vec<String>, LevelError> {
    let own = own_level(text)?;
    let mut all: Vec<String> = own_targets().map(|target| format!("{target}={own}")).collect();
    for part in parts(text).filter(|part| level(part).is_none()) {
        // A lone word would be taken for a crate and switch everything in it on: more likely a misspelt level.
        let (target, rest) = part.split_once('=').ok_or_else(|| LevelError(text.to_owned()))?;
        let rest = if rest.eq_ignore_ascii_case("warning") { "warn" } else { rest };
        // The name in the log also stands for the modules behind it.
        let modules = LOGGERS.iter().filter(|(_, name)| *name == target);
        all.extend(modules.map(|(module, _)| format!("{CRATE}::{module}={rest}")));
        all.push(format!("{target}={rest}"));
    }
    Ok(all)
}

fn own_targets() -> impl Iterator<Item = &'static str> {
    [CRATE, MAIN].into_iter().chain(LOGGERS.iter().map(|(_, name)| *name))
}

/// The level that stands alone: this program's.
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

/// The parts between commas, but not between the commas inside a span's brackets.
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

    /// Every target gets a readable name: its own, that of its part of the program, or its crate's.
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

    /// A lone level is ours and leaves other crates at warn; a logger's name reaches the modules behind it.
    #[test]
    fn a_level_is_for_our_own_events() {
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

    /// What is no level is refused, with the words that would do.
    #[test]
    fn a_misspelt_level_is_an_error() {
        for text in ["", " , ", "inof", "info,hyper", "hyper=dbug", "info=info=info", "hyper=[", "3 x"] {
            let error = parse(text).err();
            assert_eq!(error, Some(LevelError(text.to_owned())), "{text:?}");
        }
        insta::assert_snapshot!(LevelError("inof".into()), @r#"the log level "inof" is not understood: use error, warn, info, debug, trace or off, and after a comma what differs, such as info,reqwest=debug"#);
    }
}
