//! `tenant list` and `tenant check`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::list::states;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::commands::tenants::{TenantConnector, WhichTenants, configured};
use crate::commands::{CommandError, compose};
use crate::domain::syncing::delivery::{DeliveryStep, StepResult};
use crate::domain::text::counted;
use crate::runtime::clock::Clock;
use crate::runtime::monitoring::connection::ConnectedTenant;
use crate::secrets::Redactor;

#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// List tenants, what each one shows, and its state if a daemon runs
    List(TenantListArgs),
    /// Read the banner of each tenant once, and say which right is missing
    ///
    /// It also looks for the spaces that data goes into. Reading does not prove the right to write, which only the first
    /// banner and the first upload do. Exit: 0 all answered, 1 failed, 78 configuration.
    Check(WhichTenants),
}

#[derive(Debug, Args)]
pub struct TenantListArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn tenant(flags: &SettingFlags, what: TenantCommand) -> Result<ExitCode, CommandError> {
    match what {
        TenantCommand::List(args) => compose::block_on_until_signal(list(flags, args.json)),
        TenantCommand::Check(which) => compose::block_on_until_signal(check(flags, which)),
    }
}

async fn list(flags: &SettingFlags, as_json: bool) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let tenants = configured(&settings, &flags.vars()?).map_err(CommandError::Configuration)?;
    let states = states(&settings, "tenants").await;
    let rows: Vec<[String; 5]> = tenants
        .iter()
        .map(|tenant| {
            let rules = &tenant.rules;
            let state = states.as_ref().and_then(|states| states.get(&rules.name).cloned());
            let state = state.unwrap_or_else(|| "-".to_owned());
            let credentials = format!("{}_*", tenant.prefix);
            [rules.name.clone(), state, rules.audience.to_string(), credentials, rules.url.to_string()]
        })
        .collect();
    if as_json {
        let document = |[name, state, shows, credentials, url]: &[String; 5]| json!({ "name": name, "state": state, "shows": shows, "credentials": credentials, "url": url });
        say!("{:#}", json!({ "tenants": rows.iter().map(document).collect::<Vec<_>>() }));
    } else if rows.is_empty() {
        say!("No tenant is configured: the daemon runs in preview.");
    } else {
        let headings = ["TENANT", "STATE", "SHOWS", "CREDENTIALS", "URL"];
        print_table(&headings, &[], rows.into_iter().map(|row| row.to_vec()).collect());
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(flags: &SettingFlags, which: WhichTenants) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let tenants = configured(&settings, &flags.vars()?).map_err(CommandError::Configuration)?;
    let chosen: Vec<_> = which.some_of(&tenants)?.into_iter().cloned().collect();
    let connected = TenantConnector::new(&settings, &Redactor::default())?.connect(chosen);
    let now = Clock::system().now();
    let mut failed: u64 = 0;
    for tenant in &connected {
        let name = &tenant.rules.name;
        match tenant.target.read().await {
            Ok(shown) => match shown.filter(|shown| shown.banner.visible(now)) {
                Some(shown) => {
                    say!("{name}: answers; it shows {}: {}", shown.banner.kind, shown.banner.message)
                }
                None => say!("{name}: answers; it shows no banner"),
            },
            Err(error) => {
                failed += 1;
                say!("{name}: {error}");
                continue;
            }
        }
        failed += u64::from(!check_spaces(tenant).await);
    }
    if failed > 0 {
        return Err(anyhow::anyhow!("{} cannot be used", counted(failed, "tenant")).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether each space that data goes into can be reached. Nothing is uploaded.
async fn check_spaces(tenant: &ConnectedTenant) -> bool {
    let Some(client) = &tenant.data else { return true };
    let (name, mut all_reached) = (&tenant.rules.name, true);
    for rule in &tenant.rules.data {
        let Some(space) = &rule.space else { continue };
        let connector = &rule.connector;
        match client.perform(rule, &DeliveryStep::Prepare).await {
            StepResult::Prepared(limits) if limits.accepts(rule.format) => {
                say!("{name}: the space {space} takes the {} files of {connector}", rule.format.as_str());
            }
            StepResult::Prepared(_) => {
                say!("{name}: the space {space} takes the data of {connector} as CSV only");
            }
            StepResult::Failed(failure) => {
                all_reached = false;
                say!("{name}: {connector}: {}", failure.detail);
            }
            // Other steps have other results.
            _ => {}
        }
    }
    all_reached
}
