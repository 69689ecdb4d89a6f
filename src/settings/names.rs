//! Names that are set and mean nothing: a mistyped setting is an error, not silence.

use std::collections::BTreeSet;

use super::source::{Named, Origin, Problem, Vars};
use super::variables::VARIABLES;
use crate::domain::nearest::{nearest, slip};

/// What is ours whatever follows.
const OWN: &str = "QLIK_";

/// Other programs' variables that a slip of the keyboard would make ours.
const FOREIGN: [&str; 2] = ["FTP_PROXY", "ftp_proxy"];

/// Docker Compose reads its own variables from the same `.env`.
const COMPOSE: &str = "COMPOSE_";

/// Variables that commands read beside the settings and the connectors' own.
const BESIDE: [&str; 1] = ["FIVETRAN_SOURCE"];

/// Every name that is set and means nothing. `connectors` are the variables of all connectors that are
/// defined, if their definitions can be read.
///
/// `.env` is ours, so that each unknown name in it is a mistake. The process environment and the credentials are shared
/// with other programs: there it is what begins with `QLIK_`, or is a slip away from a known name.
pub fn unknown_names(vars: &dyn Vars, connectors: Option<&BTreeSet<String>>) -> Vec<Problem> {
    let settings = VARIABLES.iter().map(|variable| variable.name).chain(BESIDE);
    let known: BTreeSet<&str> =
        settings.chain(connectors.into_iter().flatten().map(String::as_str)).collect();
    let names = vars.names();
    names.iter().filter_map(|named| problem(named, &known, &names, connectors.is_some())).collect()
}

fn problem(
    Named { name, origin }: &Named,
    known: &BTreeSet<&str>,
    all: &[Named],
    whole: bool,
) -> Option<Problem> {
    let stem = name.strip_suffix("_FILE").unwrap_or(name);
    let is_known = |name: &str| known.contains(name) || lower_case(name, known);
    if is_known(name) || is_known(stem) || FOREIGN.contains(&name.as_str()) {
        return None;
    }
    let ours = match origin {
        Origin::EnvFile(_) if whole => !name.starts_with(COMPOSE),
        Origin::EnvFile(_) | Origin::Process | Origin::Credential => {
            slip(stem, known.iter().copied()).is_some() || name.starts_with(OWN) && !of_a_service(name, all)
        }
    };
    if !ours {
        return None;
    }
    let suffix = if stem == name { "" } else { "_FILE" };
    let meant = match nearest(stem, known.iter().copied()) {
        Some(known) => format!("did you mean {known}{suffix}?"),
        None if name.starts_with(OWN) => {
            let own: Vec<&str> = known.iter().copied().filter(|known| known.starts_with(OWN)).collect();
            format!("known are {}", own.join(", "))
        }
        None => "remove it, or put it into the environment of the program that it is for".to_owned(),
    };
    Some(match origin {
        Origin::EnvFile(place) => {
            Problem::new(place, format!("{name} is not a setting of this program or of a connector; {meant}"))
        }
        Origin::Process => Problem::new(name, format!("is not a setting; {meant}")),
        Origin::Credential => {
            Problem::new(format!("the credential {name}"), format!("is not a setting; {meant}"))
        }
    })
}

/// Proxies are customarily set in either case.
fn lower_case(name: &str, known: &BTreeSet<&str>) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.ends_with("_PROXY") && name.to_ascii_lowercase() == *name && known.contains(upper.as_str())
}

/// Kubernetes (and Docker's links) describe each service to every container: `QLIK_PROXY_SERVICE_HOST`.
fn of_a_service(name: &str, all: &[Named]) -> bool {
    all.iter().any(|other| {
        let service = other.name.strip_suffix("_SERVICE_HOST").or_else(|| other.name.strip_suffix("_PORT"));
        let rest = service.and_then(|service| name.strip_prefix(service));
        rest.is_some_and(|rest| {
            rest.starts_with("_SERVICE_") || rest == "_PORT" || rest.starts_with("_PORT_")
        })
    })
}
