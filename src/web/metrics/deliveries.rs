//! Metrics of the data that tenants get.

use std::fmt;

use prometheus_client::registry::Unit;

use super::out::{MetricWriter, seconds};
use crate::domain::syncing::delivery::ReloadOutcome;
use crate::runtime::board::{Board, DeliveryName, DeliveryView};

type Labels<'b> = [(&'static str, &'b str); 2];

fn labels((tenant, connector): &DeliveryName) -> Labels<'_> {
    [("tenant", tenant), ("connector", connector)]
}

/// Of connectors whose data a tenant gets.
pub(super) fn write(out: &mut MetricWriter<'_, '_>, board: &Board) -> fmt::Result {
    let all = || board.deliveries.iter();
    if all().next().is_none() {
        return Ok(());
    }
    let count = |of: fn(&DeliveryView) -> u64| all().map(move |(name, view)| (labels(name), of(view)));
    out.counters("upload_files", "Files put into the space of a tenant", count(|of| of.files))?;
    out.counters("upload_bytes", "Bytes put into the space of a tenant", count(|of| of.bytes))?;
    let meaning = "Failed requests of uploads and reloads";
    out.counters("upload_failures", meaning, count(|of| of.failures))?;
    // Zero counts included, so that the first event of each kind is seen as an increase.
    let reloads = all().flat_map(|(name, view)| {
        let one = |outcome: ReloadOutcome| {
            let [tenant, connector] = labels(name);
            let times = view.reloads.get(outcome.as_str()).copied().unwrap_or(0);
            ([tenant, connector, ("outcome", outcome.as_str())], times)
        };
        ReloadOutcome::ALL.map(one)
    });
    out.counters("reload_ends", "Awaited reloads of apps by outcome", reloads)?;
    let as_of = all().filter_map(|(name, view)| Some((labels(name), seconds(view.report.as_of?))));
    let meaning = "Start of the run whose data the apps show, or if none is reloaded, the space";
    out.gauges("upload_data_timestamp", meaning, Some(&Unit::Seconds), as_of)?;
    let since = all().filter_map(|(name, view)| Some((labels(name), seconds(view.report.pending_since?))));
    out.gauges("upload_pending_timestamp", "Since when newer data waits", Some(&Unit::Seconds), since)?;
    let trouble =
        all().map(|(name, view)| (labels(name), f64::from(u8::from(view.report.trouble.is_some()))));
    out.gauges("upload_trouble", "1 while the data in Qlik cannot be brought up to date", None, trouble)
}
