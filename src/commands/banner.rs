//! `banner show|preview|clear`: what a person wants to know or do about the banner by hand.

use std::process::ExitCode;

use anyhow::Context;

use super::check::{assessment, look_at_all};
use super::daemon::schema;
use super::{CommandError, compose};
use crate::cli::Banner;
use crate::domain::banner::{MAX_MESSAGE, Wish};
use crate::domain::monitor::Monitor;
use crate::domain::plan::{Coverage, Memory, Reach, Shown, Witnesses, cleared, is_ours};
use crate::domain::text;
use crate::runtime::clock::Clock;
use crate::settings::Settings;
use crate::store::Store;

pub(super) async fn banner(what: Banner) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    match what {
        Banner::Preview => preview(&settings).await,
        Banner::Show => show(&settings).await,
        Banner::Clear => clear(&settings).await,
    }
}

async fn preview(settings: &Settings) -> Result<ExitCode, CommandError> {
    let rows = look_at_all(settings).await?;
    match Wish::from(&assessment(&rows), MAX_MESSAGE) {
        Wish::Quiet => say!("No banner: no page reports an issue."),
        Wish::Raise { kind, message, link, .. } => {
            say!("{kind}: {message}");
            if let Some(link) = link {
                say!("link: {} ({})", link.url, link.label);
            }
        }
    }
    for row in rows.iter().filter(|row| row.outcome.is_err()) {
        if let Err(reason) = &row.outcome {
            eprintln!("{} cannot be read: {reason}", row.monitor.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(settings: &Settings) -> Result<ExitCode, CommandError> {
    let Slot { shown, memory, ours } = look(settings).await?;
    let now = Clock::system().now();
    match shown {
        None => say!("The tenant has no banner."),
        Some(shown) => {
            let whose = if ours { "ours" } else { "a manual banner" };
            let seen = if shown.banner.visible(now) { "people see it" } else { "not shown" };
            say!("{}: {}", shown.banner.kind, shown.banner.message);
            say!("{whose}, {seen}; from {:.0} to {:.0}", shown.banner.start_time, shown.banner.end_time);
            if let (true, Some(url)) = (shown.banner.link_enabled, &shown.banner.link_url) {
                say!("link: {url} ({})", shown.banner.link_label.as_deref().unwrap_or_default());
            }
        }
    }
    if let Some(theirs) = memory.displaced.filter(|banner| banner.has_time_left(now)) {
        say!("To be restored after the incident: {}: {}", theirs.kind, theirs.message);
    }
    Ok(ExitCode::SUCCESS)
}

async fn clear(settings: &Settings) -> Result<ExitCode, CommandError> {
    let Slot { shown, ours, .. } = look(settings).await?;
    let now = Clock::system().now();
    let Some(shown) = shown.filter(|shown| shown.banner.enabled && shown.banner.has_time_left(now)) else {
        say!("Nothing to clear: the tenant shows no banner.");
        return Ok(ExitCode::SUCCESS);
    };
    if !ours {
        let words =
            "it is a manual banner, and we never disable those; change it in the tenant's administration";
        return Err(anyhow::anyhow!("{words} (it says: {})", shown.banner.message).into());
    }
    compose::target(settings)?.write(&cleared(now)).await.context("the banner was not cleared")?;
    say!("Banner cleared. A running daemon leaves it so until the assessment changes.");
    Ok(ExitCode::SUCCESS)
}

/// The tenant's slot, and what we know of it.
struct Slot {
    shown: Option<Shown>,
    memory: Memory,
    ours: bool,
}

async fn look(settings: &Settings) -> Result<Slot, CommandError> {
    let Some(tenant) = &settings.tenant else {
        let words = "QLIK_TENANT_URL: is missing; without a tenant there is only `banner preview`";
        return Err(CommandError::configuration([words]));
    };
    let context = "cannot read the state of the banner";
    let url = tenant.url.as_str();
    let memory = match compose::database(settings)? {
        None => Store::peek(&settings.data_dir, url).context(context)?,
        Some(database) => Store::peek_at(&database, schema(settings), url).await.context(context)?,
    };
    let target = compose::target(settings)?;
    let shown = target.read().await.context("the tenant cannot be read")?;
    let own_user = target.own_user().await;
    let named = |monitor: &Monitor| (text::plain(&monitor.name).into_owned(), Reach::Read);
    let coverage: Coverage = compose::monitors(settings)?.iter().map(named).collect();
    let own_user = own_user.as_deref();
    let witnesses = Witnesses { coverage: &coverage, own_user, policy: settings.policy };
    let ours = shown.as_ref().is_some_and(|shown| is_ours(shown, &memory, witnesses));
    Ok(Slot { shown, memory, ours })
}
