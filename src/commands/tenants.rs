//! The tenants with their credentials: from `TENANTS_DIR`, or the one of `QLIK_TENANT_URL`.
//!
//! Start at [`configured`] and [`TenantConnector`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Args;
use url::Url;

use super::compose::ReadVars;
use super::{CommandError, compose, connectors, data_rules};
use crate::definitions::tenant::{self, TenantDefaults, TenantDefinition};
use crate::domain::monitoring::audience::Audience;
use crate::domain::monitoring::audience::tenant::{DEFAULT, TenantRules, variable_prefix};
use crate::domain::monitoring::banner::style::BannerStyle;
use crate::http::ClientOptions;
use crate::publish::{DryRun, Qlik, Target};
use crate::qlik::{QlikCredentials, TenantClient};
use crate::runtime::monitoring::connection::ConnectedTenant;
use crate::runtime::monitoring::deliveries::UploadSource;
use crate::runtime::monitoring::tenants::{LoadedTenants, TenantFolder, TenantRoster};
use crate::secrets::Redactor;
use crate::settings::{Credentials, QLIK, Settings, Vars, credential_names, credentials};
use crate::upload::DataClient;

/// A tenant and its credentials.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConfiguredTenant {
    pub(super) rules: TenantRules,
    pub(super) credentials: Credentials,
    /// The prefix of the variables with its credentials.
    pub(super) prefix: String,
}

#[derive(Debug, Args)]
pub struct WhichTenants {
    /// Name of a tenant in TENANTS_DIR
    tenant: Option<String>,
    /// All tenants; `banner clear` needs it where there are several
    #[arg(long, conflicts_with = "tenant")]
    pub(super) all: bool,
}

impl WhichTenants {
    /// The tenant of this name, or all.
    pub(super) fn named(tenant: Option<String>) -> WhichTenants {
        WhichTenants { all: tenant.is_none(), tenant }
    }

    /// The chosen tenants.
    ///
    /// # Errors
    /// If there is no tenant of this name.
    pub(super) fn of<'t>(
        &self,
        tenants: &'t [ConfiguredTenant],
    ) -> Result<Vec<&'t ConfiguredTenant>, CommandError> {
        let Some(name) = &self.tenant else { return Ok(tenants.iter().collect()) };
        let found: Vec<_> = tenants.iter().filter(|tenant| tenant.rules.name == *name).collect();
        if found.is_empty() {
            let known: Vec<&str> = tenants.iter().map(|tenant| tenant.rules.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(anyhow::anyhow!("no tenant is named {name}; known tenants: {known}").into());
        }
        Ok(found)
    }

    /// As [`WhichTenants::of`], and an error without any tenant.
    ///
    /// # Errors
    /// If there is no tenant, or none of this name.
    pub(super) fn some_of<'t>(
        &self,
        tenants: &'t [ConfiguredTenant],
    ) -> Result<Vec<&'t ConfiguredTenant>, CommandError> {
        let chosen = self.of(tenants)?;
        if chosen.is_empty() {
            let reason = "QLIK_TENANT_URL: is missing; without a tenant only `banner preview` works";
            return Err(CommandError::configuration([reason]));
        }
        Ok(chosen)
    }
}

/// Reads the tenants; none in preview.
///
/// # Errors
/// Every configuration error in the definitions, and missing credentials.
pub(super) fn configured(settings: &Settings, vars: &dyn Vars) -> Result<Vec<ConfiguredTenant>, Vec<String>> {
    let defined = defined(settings)?;
    if defined.is_empty() {
        let Some(tenant) = &settings.tenant else { return Ok(Vec::new()) };
        let data = data_rules::of_variables(settings, vars)?;
        let rules = TenantRules { data, ..default_rules(settings, tenant.url.clone()) };
        let (credentials, prefix) = (tenant.credentials.clone(), QLIK.to_owned());
        return Ok(vec![ConfiguredTenant { rules, credentials, prefix }]);
    }
    if settings.tenant.is_some() {
        let place = settings.tenants_dir.display();
        return Err(vec![format!(
            "QLIK_TENANT_URL: has no effect beside the definitions in {place}; remove it"
        )]);
    }
    let (mut tenants, mut errors) = (Vec::new(), Vec::new());
    let enabled: Vec<TenantRules> =
        defined.into_iter().filter(|one| one.enabled).map(|one| one.rules).collect();
    if enabled.is_empty() {
        let place = settings.tenants_dir.display();
        return Err(vec![format!(
            "TENANTS_DIR {place}: every tenant is disabled; enable one, or remove the files to run in preview"
        )]);
    }
    for rules in enabled {
        let own = variable_prefix(&rules.name);
        match (credentials(vars, &own), &settings.shared_credentials) {
            (Ok(Some(credentials)), _) => tenants.push(ConfiguredTenant { rules, credentials, prefix: own }),
            (Ok(None), Some(shared)) => {
                let (credentials, prefix) = (shared.clone(), QLIK.to_owned());
                tenants.push(ConfiguredTenant { rules, credentials, prefix });
            }
            (Ok(None), None) => {
                let name = &rules.name;
                errors.push(format!(
                    "{own}_API_KEY: is missing; tenant {name} needs it, or {own}_CLIENT_ID and {own}_CLIENT_SECRET, or the \
                     QLIK_ variables of the same names for all tenants"
                ));
            }
            (Err(problems), _) => errors.extend(problems.iter().map(ToString::to_string)),
        }
    }
    if errors.is_empty() { Ok(tenants) } else { Err(errors) }
}

/// The definitions in the folder.
fn defined(settings: &Settings) -> Result<Vec<TenantDefinition>, Vec<String>> {
    let defaults = TenantDefaults { policy: settings.policy, dashboard: settings.dashboard_url.clone() };
    let read = tenant::load(&settings.tenants_dir, &defaults);
    read.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The names of the variables with the credentials of tenants, also of disabled ones; `None` if the definitions cannot be read.
pub(super) fn variable_names(settings: &Settings) -> Option<BTreeSet<String>> {
    let defined = defined(settings).ok()?;
    Some(defined.iter().flat_map(|one| credential_names(&variable_prefix(&one.rules.name))).collect())
}

/// Whether files go into the space of a tenant. Errors in the rules are reported elsewhere.
pub(super) fn upload_something(settings: &Settings, vars: &dyn Vars) -> bool {
    let defined = defined(settings).unwrap_or_default().into_iter().filter(|one| one.enabled);
    let defined = defined.flat_map(|one| one.rules.data);
    let of_variables = data_rules::of_variables(settings, vars).unwrap_or_default();
    defined.chain(of_variables).any(|rule| rule.space.is_some())
}

fn default_rules(settings: &Settings, url: Url) -> TenantRules {
    TenantRules {
        name: DEFAULT.to_owned(),
        url,
        audience: Audience::default(),
        policy: settings.policy,
        style: BannerStyle::default(),
        data: Vec::new(),
    }
}

/// Connects tenants. A tenant that did not change keeps its connection and access token at a reload.
pub(super) struct TenantConnector {
    client: reqwest::Client,
    redactor: Redactor,
    known: Mutex<BTreeMap<String, KnownTenant>>,
}

type KnownTenant = (ConfiguredTenant, TenantTargets);

/// The ways to a tenant. They share one client, and so one access token.
type TenantTargets = (Arc<dyn Target>, Arc<DataClient>);

impl TenantConnector {
    /// All secrets and access tokens of the tenants are registered with `redactor`.
    ///
    /// # Errors
    /// If a certificate authority or a proxy cannot be used.
    pub(super) fn new(settings: &Settings, redactor: &Redactor) -> Result<TenantConnector, CommandError> {
        let options = ClientOptions { network: compose::network(settings), keep_alive: true };
        let client = options.build().map_err(|e| CommandError::configuration([e]))?;
        Ok(TenantConnector { client, redactor: redactor.clone(), known: Mutex::default() })
    }

    pub(super) fn connect(&self, tenants: Vec<ConfiguredTenant>) -> Vec<ConnectedTenant> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *known);
        let mut connected = Vec::new();
        for tenant in tenants {
            let name = tenant.rules.name.clone();
            let same = before.get(&name).filter(|(old, _)| {
                old.rules.url == tenant.rules.url && old.credentials == tenant.credentials
            });
            let targets = same.map_or_else(|| self.targets(&tenant), |(_, targets)| targets.clone());
            let (target, data) = targets.clone();
            connected.push(ConnectedTenant { rules: tenant.rules.clone(), target, data: Some(data) });
            known.insert(name, (tenant, targets));
        }
        connected
    }

    fn targets(&self, tenant: &ConfiguredTenant) -> TenantTargets {
        let client = Arc::new(self.client(tenant));
        (Arc::new(Qlik::new(Arc::clone(&client))), Arc::new(DataClient::new(client)))
    }

    /// Requests to a tenant.
    pub(super) fn client(&self, tenant: &ConfiguredTenant) -> TenantClient {
        let credentials = match tenant.credentials.clone() {
            Credentials::ApiKey(key) => QlikCredentials::ApiKey(key),
            Credentials::OAuth { id, secret } => {
                QlikCredentials::OAuth { client_id: id, client_secret: secret }
            }
        };
        let client = TenantClient::new(self.client.clone(), tenant.rules.url.clone(), credentials);
        self.redactor.include(&format!("tenant {}", tenant.rules.name), client.redactor());
        client
    }
}

/// The way to one tenant, for commands.
///
/// # Errors
/// As [`TenantConnector::new`].
pub(super) fn target(
    settings: &Settings,
    tenant: &ConfiguredTenant,
) -> Result<Arc<dyn Target>, CommandError> {
    Ok(TenantConnector::new(settings, &Redactor::default())?.targets(tenant).0)
}

/// The tenants of the daemon, with the function that reads them again at a reload.
pub(super) fn roster(
    settings: &Settings,
    vars: ReadVars,
    redactor: &Redactor,
) -> Result<TenantRoster, CommandError> {
    let first = configured(settings, &*vars()?).map_err(CommandError::Configuration)?;
    if first.is_empty() {
        return preview(settings);
    }
    let connector = TenantConnector::new(settings, redactor)?;
    let (tenants, data) = (connector.connect(first), upload_source(settings)?);
    let settings = settings.clone();
    let (path, every) = (settings.tenants_dir.clone(), settings.poll_interval);
    let read = move |_: &Path| -> LoadedTenants {
        let vars = vars().map_err(CommandError::into_lines)?;
        // The variables of the tenants may have changed; settings need a restart.
        let found = configured(&settings, &*vars)?;
        if found.is_empty() {
            let place = settings.tenants_dir.display();
            return Err(vec![format!("TENANTS_DIR {place} has no definition")]);
        }
        Ok(connector.connect(found))
    };
    Ok(TenantRoster {
        tenants,
        again: Some(TenantFolder { path, every, read: Arc::new(read) }),
        data: Some(data),
    })
}

/// Where the data of connectors comes from, and the files that are uploaded are written.
///
/// # Errors
/// If the database of the tables cannot be used.
pub(super) fn upload_source(settings: &Settings) -> Result<UploadSource, CommandError> {
    let folder = match &settings.export.dir {
        Some(dir) => dir.join(".upload"),
        None => settings.data_dir.join("upload"),
    };
    let place = connectors::destination_kind(settings)?;
    Ok(UploadSource { place, folder, deleted: settings.export.deleted })
}

/// In preview one target logs what would be written.
fn preview(settings: &Settings) -> Result<TenantRoster, CommandError> {
    let url = Url::parse("preview:").context("cannot build the address of the preview")?;
    let tenant = ConnectedTenant {
        rules: default_rules(settings, url),
        target: Arc::new(DryRun::default()),
        data: None,
    };
    Ok(TenantRoster { tenants: vec![tenant], again: None, data: None })
}
