//! Unknown variable names: a mistyped setting is an error.

use std::collections::BTreeSet;

use super::problem::Problem;
use super::source::{Named, VarOrigin, Vars};
use super::variables::VARIABLES;
use crate::domain::nearest::{nearest, slip};

/// Every name with this prefix belongs to this program.
const OWN: &str = "QLIK_";

/// The names of a tenant's credentials begin so; other programs have variables with this prefix, too.
const TENANT: &str = "TENANT_";

/// How the names of a tenant's credentials end.
const CREDENTIALS: [&str; 3] = ["_API_KEY", "_CLIENT_ID", "_CLIENT_SECRET"];

/// Common variables of other programs that are one typing error away from ours.
const FOREIGN: [&str; 2] = ["FTP_PROXY", "ftp_proxy"];

/// Docker Compose reads its own variables from the same `.env`.
const COMPOSE: &str = "COMPOSE_";

/// Variables that commands read besides the settings and the connectors' variables.
const BESIDE: [&str; 1] = ["FIVETRAN_SOURCE"];

/// Every name that is set and unknown. `defined` are the variables of all definitions, if they can be read.
///
/// `.env` belongs to this program, so each unknown name in it is an error. The process environment and the
/// credentials are shared with other programs: there, a name is an error if it starts with `QLIK_`, is the name of
/// a tenant's credentials, or is a typing error away from a known name.
pub fn unknown_names(vars: &dyn Vars, defined: Option<&BTreeSet<String>>) -> Vec<Problem> {
    let settings = VARIABLES.iter().map(|variable| variable.name).chain(BESIDE);
    let known: BTreeSet<&str> = settings.chain(defined.into_iter().flatten().map(String::as_str)).collect();
    let names = vars.names();
    names.iter().filter_map(|named| problem(named, &known, &names, defined.is_some())).collect()
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
        VarOrigin::EnvFile(_) if whole => !name.starts_with(COMPOSE),
        VarOrigin::EnvFile(_) | VarOrigin::Process | VarOrigin::Credential => {
            slip(stem, known.iter().copied()).is_some() || is_own(stem) && !of_a_service(name, all)
        }
    };
    if !ours {
        return None;
    }
    let suffix = if stem == name { "" } else { "_FILE" };
    let upper = stem.to_ascii_uppercase();
    let same = known.get(upper.as_str()).copied();
    let meant = match same.or_else(|| nearest(&upper, known.iter().copied())) {
        Some(known) => format!("did you mean {known}{suffix}?"),
        None if name.starts_with(OWN) => {
            let own: Vec<&str> = known.iter().copied().filter(|known| known.starts_with(OWN)).collect();
            format!("known names: {}", own.join(", "))
        }
        None => "remove it, or move it to the environment of the program that needs it".to_owned(),
    };
    Some(match origin {
        VarOrigin::EnvFile(place) => {
            Problem::new(place, format!("{name} is not a setting of this program or of a connector; {meant}"))
        }
        VarOrigin::Process => Problem::new(name, format!("is not a setting; {meant}")),
        VarOrigin::Credential => {
            Problem::new(format!("the credential {name}"), format!("is not a setting; {meant}"))
        }
    })
}

fn is_own(name: &str) -> bool {
    let of_tenant = name.starts_with(TENANT) && CREDENTIALS.iter().any(|ending| name.ends_with(ending));
    name.starts_with(OWN) || of_tenant
}

/// Proxy variables are common in lower case, too.
fn lower_case(name: &str, known: &BTreeSet<&str>) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.ends_with("_PROXY") && name.to_ascii_lowercase() == *name && known.contains(upper.as_str())
}

/// Kubernetes and Docker links describe each service to every container: `QLIK_PROXY_SERVICE_HOST`.
fn of_a_service(name: &str, all: &[Named]) -> bool {
    all.iter().any(|other| {
        let service = other.name.strip_suffix("_SERVICE_HOST").or_else(|| other.name.strip_suffix("_PORT"));
        let rest = service.and_then(|service| name.strip_prefix(service));
        rest.is_some_and(|rest| {
            rest.starts_with("_SERVICE_") || rest == "_PORT" || rest.starts_with("_PORT_")
        })
    })
}
