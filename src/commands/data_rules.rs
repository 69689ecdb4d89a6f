//! The variables that say what happens with a connector's data in the tenant of `QLIK_TENANT_URL`. Tenants with definitions
//! say it in `[[data]]`.

use crate::definitions::connector;
use crate::domain::data_rule::DataRule;
use crate::domain::file_format::FileFormat;
use crate::domain::syncing::definition::config::variable;
use crate::settings::{Problem, Settings, Vars, lookup};

const SPACE: &str = "qlik_space";
const TABLES: &str = "qlik_tables";
const RELOAD: &str = "qlik_reload";
const FORMAT: &str = "qlik_format";

/// The names of the variables of a connector.
pub(super) fn variables(connector: &str) -> [String; 4] {
    [SPACE, TABLES, RELOAD, FORMAT].map(|key| variable(connector, key))
}

/// Reads the rules.
///
/// # Errors
/// Every variable that is wrong.
pub(super) fn of_variables(settings: &Settings, vars: &dyn Vars) -> Result<Vec<DataRule>, Vec<String>> {
    // Errors in definitions are reported elsewhere.
    let definitions = connector::load(&settings.connectors_dir).unwrap_or_default();
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for definition in definitions {
        match of_connector(&definition.name, vars) {
            Ok(rule) => rules.extend(rule),
            Err(problem) => errors.push(problem.to_string()),
        }
    }
    if errors.is_empty() { Ok(rules) } else { Err(errors) }
}

/// Variables that have no effect, because no tenant is configured or tenants have definitions.
pub(super) fn without_effect<'d>(
    settings: &Settings,
    vars: &dyn Vars,
    connectors: impl Iterator<Item = &'d str>,
) -> Vec<Problem> {
    if settings.tenant.is_some() {
        return Vec::new();
    }
    let why = if settings.shared_credentials.is_some() || settings.tenants_dir.is_dir() {
        "has no effect beside definitions of tenants; write [[data]] into the definition of the tenant"
    } else {
        "has no effect without QLIK_TENANT_URL"
    };
    let is_set = |name: &String| matches!(lookup(vars, name), Ok(Some(_)));
    connectors.flat_map(variables).filter(is_set).map(|name| Problem::new(name, why)).collect()
}

fn of_connector(name: &str, vars: &dyn Vars) -> Result<Option<DataRule>, Problem> {
    let text = |key: &str| {
        let found = lookup(vars, &variable(name, key))?;
        Ok(found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    };
    let list = |key: &str| {
        let members = |text: String| text.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
        let found: Option<Vec<String>> = text(key)?.map(members);
        Ok(found.unwrap_or_default().into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>())
    };
    let (space, tables, reload, format) = (text(SPACE)?, list(TABLES)?, list(RELOAD)?, text(FORMAT)?);
    if space.is_none() && tables.is_empty() && reload.is_empty() && format.is_none() {
        return Ok(None);
    }
    let unknown = |word: &String| {
        Problem::new(variable(name, FORMAT), format!("{word:?} is not a format: parquet, csv"))
    };
    if let (Some(_), None) = (&format, &space) {
        return Err(Problem::new(variable(name, FORMAT), "has no effect without a space to upload to"));
    }
    let format = match &format {
        Some(word) => FileFormat::parse(word).ok_or_else(|| unknown(word))?,
        None => FileFormat::default(),
    };
    let rule = DataRule { connector: name.to_owned(), space, tables, reload, format };
    match rule.problem() {
        Some(problem) => {
            let place = format!("{}, {}", variable(name, SPACE), variable(name, RELOAD));
            Err(Problem::new(place, format!("the rule {problem}")))
        }
        None => Ok(Some(rule)),
    }
}
