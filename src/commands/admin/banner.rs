//! `banner show|preview|clear`: inspects or disables the banners by hand.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;

use crate::commands::pipeline::check::{Row, assessment, poll_all};
use crate::commands::service::daemon::schema;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::tenants::{ConfiguredTenant, WhichTenants};
use crate::commands::{CommandError, compose, tenants};
use crate::domain::monitoring::audience::Audience;
use crate::domain::monitoring::banner::style::BannerStyle;
use crate::domain::monitoring::banner::{Banner, MAX_MESSAGE, Wish};
use crate::domain::monitoring::monitor::Monitor;
use crate::domain::monitoring::plan::{BannerState, Coverage, Reach, Shown, Witnesses, cleared, is_ours};
use crate::domain::text::{self, counted};
use crate::publish::Target;
use crate::runtime::clock::Clock;
use crate::settings::Settings;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub enum BannerCommand {
    /// Print the banner in the slot of each tenant, and whether the daemon or a person wrote it
    Show(WhichTenants),
    /// Poll every status page once and print the resulting banner; writes nothing to a tenant
    Preview(WhichTenants),
    /// Disable the banner if the daemon wrote it; manual banners are not changed
    Clear(WhichTenants),
}

pub(crate) async fn banner(flags: &SettingFlags, what: BannerCommand) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let tenants = tenants::configured(&settings, &flags.vars()?).map_err(CommandError::Configuration)?;
    match what {
        BannerCommand::Preview(which) => preview(&settings, &which.of(&tenants)?).await,
        BannerCommand::Show(which) => {
            let chosen = which.some_of(&tenants)?;
            each(&settings, &chosen, async |settings, tenant| show(settings, tenant).await).await
        }
        BannerCommand::Clear(which) => {
            let chosen = which.some_of(&tenants)?;
            if chosen.len() > 1 && !which.all {
                let names: Vec<&str> = chosen.iter().map(|tenant| tenant.rules.name.as_str()).collect();
                let reason = format!("name a tenant ({}), or use --all", names.join(", "));
                return Err(anyhow::anyhow!(reason).into());
            }
            each(&settings, &chosen, async |settings, tenant| clear(settings, tenant).await).await
        }
    }
}

/// Continues with the other tenants if one fails, and fails then.
async fn each(
    settings: &Settings,
    tenants: &[&ConfiguredTenant],
    act: impl AsyncFn(&Settings, &ConfiguredTenant) -> Result<(), CommandError>,
) -> Result<ExitCode, CommandError> {
    let mut failed = 0_u64;
    for tenant in tenants {
        if tenants.len() > 1 {
            say!("{}:", tenant.rules.name);
        }
        match act(settings, tenant).await {
            Ok(()) => {}
            Err(error) if tenants.len() == 1 => return Err(error),
            Err(error) => {
                failed += 1;
                eprintln!("{}: {error}", tenant.rules.name);
            }
        }
    }
    if failed > 0 {
        return Err(anyhow::anyhow!("failed for {}", text::counted(failed, "tenant")).into());
    }
    Ok(ExitCode::SUCCESS)
}

async fn preview(settings: &Settings, tenants: &[&ConfiguredTenant]) -> Result<ExitCode, CommandError> {
    let rows = poll_all(settings).await?;
    let whole = assessment(&rows);
    let usual = (String::new(), Audience::default(), BannerStyle::default());
    let of = |tenant: &&ConfiguredTenant| {
        let rules = &tenant.rules;
        (rules.name.clone(), rules.audience.clone(), rules.style.clone())
    };
    let views = if tenants.is_empty() { vec![usual] } else { tenants.iter().map(of).collect() };
    let several = views.len() > 1;
    for (name, audience, style) in views {
        if several {
            say!("{name}:");
        }
        match Wish::from(&audience.narrow(&whole), &style, MAX_MESSAGE) {
            Wish::Quiet => say!("{}", no_banner(&rows)),
            Wish::Raise { kind, message, link, .. } => {
                say!("{kind}: {message}");
                if let Some(link) = link {
                    say!("link: {} ({})", link.url, link.label);
                }
            }
        }
    }
    for row in rows.iter().filter(|row| row.outcome.is_err()) {
        if let Err(reason) = &row.outcome {
            eprintln!("{}: unknown: {reason}", row.monitor.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A status page that could not be read says nothing about its service.
fn no_banner(rows: &[Row]) -> String {
    let unread = rows.iter().filter(|row| row.outcome.is_err()).count();
    match unread {
        0 => "No banner: no status page reports an issue.".to_owned(),
        _ if unread == rows.len() => "No banner: no status page could be read.".to_owned(),
        _ => {
            let pages = counted(unread as u64, "status page");
            format!("No banner: no status page reports an issue, but {pages} could not be read.")
        }
    }
}

async fn show(settings: &Settings, tenant: &ConfiguredTenant) -> Result<(), CommandError> {
    let SlotReport { shown, banner_state, ours, .. } = read_slot(settings, tenant).await?;
    let now = Clock::system().now();
    if shown.is_some() && !ours && settings.database.is_none() && banner_state == BannerState::default() {
        eprintln!(
            "DATA_DIR {} has no state for this tenant, so a banner that the daemon wrote may be reported as manual. If the \
             daemon uses another folder, set --data-dir.",
            settings.data_dir.display()
        );
    }
    match shown {
        None => say!("The tenant has no banner."),
        Some(shown) => {
            let whose = if ours { "ours" } else { "a manual banner" };
            let visibility = if shown.banner.visible(now) { "visible" } else { "not visible" };
            say!("{}: {}", shown.banner.kind, shown.banner.message);
            say!(
                "{whose}, {visibility}; from {:.0} to {:.0}",
                shown.banner.start_time,
                shown.banner.end_time
            );
            if let (true, Some(url)) = (shown.banner.link_enabled, &shown.banner.link_url) {
                say!("link: {url} ({})", shown.banner.link_label.as_deref().unwrap_or_default());
            }
        }
    }
    if let Some(theirs) = banner_state.displaced.filter(|banner| banner.has_time_left(now)) {
        say!("To be restored after the incident: {}: {}", theirs.kind, theirs.message);
    }
    Ok(())
}

async fn clear(settings: &Settings, tenant: &ConfiguredTenant) -> Result<(), CommandError> {
    let SlotReport { shown, ours, target, .. } = read_slot(settings, tenant).await?;
    let now = Clock::system().now();
    let Some(shown) = shown.filter(|shown| shown.banner.enabled && shown.banner.has_time_left(now)) else {
        say!("Nothing to clear: the tenant shows no banner.");
        return Ok(());
    };
    if !ours {
        let reason = "not cleared: this is a manual banner; change it in the tenant's administration";
        return Err(anyhow::anyhow!("{reason} (message: {})", shown.banner.message).into());
    }
    target.write(&cleared(now)).await.context("cannot clear the banner")?;
    say!("Banner cleared. A running daemon sets it again when the assessment changes.");
    Ok(())
}

/// Whether `banner clear` left this. It saves no state, because a daemon may be running.
fn is_cleared(banner: &Banner) -> bool {
    let left = cleared(banner.start_time);
    !banner.enabled && (&banner.kind, &banner.message) == (&left.kind, &left.message)
}

/// Content of a tenant's banner slot, and the saved state about it.
struct SlotReport {
    shown: Option<Shown>,
    banner_state: BannerState,
    ours: bool,
    target: Arc<dyn Target>,
}

async fn read_slot(settings: &Settings, tenant: &ConfiguredTenant) -> Result<SlotReport, CommandError> {
    let context = "cannot read the saved state of the banner";
    let url = tenant.rules.url.as_str();
    let banner_state = match compose::database(settings)? {
        None => Store::peek(&settings.data_dir, url).context(context)?,
        Some(database) => Store::peek_at(&database, schema(settings), url).await.context(context)?,
    };
    let target = tenants::target(settings, tenant)?;
    let shown = target.read().await.context("cannot read the banner of the tenant")?;
    let own_user = target.own_user().await;
    let named = |monitor: &Monitor| (text::plain(&monitor.name).into_owned(), Reach::Read);
    let coverage: Coverage = compose::monitors(settings)?.iter().map(named).collect();
    let own_user = own_user.as_deref();
    let (policy, style) = (tenant.rules.policy, &tenant.rules.style);
    let witnesses = Witnesses { coverage: &coverage, own_user, policy, style };
    let ours = |shown: &Shown| is_ours(shown, &banner_state, witnesses) || is_cleared(&shown.banner);
    let ours = shown.as_ref().is_some_and(ours);
    Ok(SlotReport { shown, banner_state, ours, target })
}
