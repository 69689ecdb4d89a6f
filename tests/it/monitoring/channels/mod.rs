//! Messages of the daemon to stand-in servers of Slack and of webhooks, judged by what people saw there.

mod delivery;
mod incidents;
mod program;
mod webhooks;

use std::sync::Arc;

use data_sources_monitor::testing::channels::{Channel, SlackBot, Webhook};
use data_sources_monitor::testing::domain::monitoring::audience::Audience;
use data_sources_monitor::testing::domain::monitoring::news::channel::{
    ChannelPlace, ChannelRules, WebhookFormat,
};
use data_sources_monitor::testing::http::{ClientOptions, Network};
use data_sources_monitor::testing::runtime::monitoring::messenger::{ChannelRoster, ConfiguredChannel};
use stand_ins::channels::slack::{self, Slack};
use stand_ins::channels::webhook::Receiver;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

use super::daemon::{Scenario, TestDaemon, folder_watching};

/// The signing secret of webhooks in these tests.
const SIGNING: &str = "a-signing-secret-of-tests";

fn rules(place: &ChannelPlace) -> ChannelRules {
    ChannelRules {
        audience: Audience::default(),
        resolved: true,
        remind_after: None,
        in_place: place.in_place(),
        spacing: std::time::Duration::ZERO,
    }
}

fn client() -> reqwest::Client {
    ClientOptions { network: Network::default(), keep_alive: false }.build().unwrap()
}

pub(crate) fn slack_at(name: &str, api: &str) -> ConfiguredChannel {
    let place = ChannelPlace::Slack { channel: format!("#{}", slack::OPS.1), api_url: None };
    let bot = SlackBot::new(
        client(),
        Some(api),
        "#ops",
        "CHANNEL_OPS_TOKEN".into(),
        &slack::TOKEN.to_owned().into(),
    );
    configured(name, &place, Arc::new(bot.unwrap()))
}

fn hook_at(name: &str, format: WebhookFormat, url: &str) -> ConfiguredChannel {
    let place = ChannelPlace::Webhook(format);
    let signing = SIGNING.to_owned().into();
    let hook = Webhook::new(client(), name, format, &url.to_owned().into(), Some(&signing));
    configured(name, &place, Arc::new(hook.unwrap()))
}

fn hook(name: &str, format: WebhookFormat, receiver: &Receiver) -> ConfiguredChannel {
    hook_at(name, format, &receiver.hook())
}

fn configured(name: &str, place: &ChannelPlace, channel: Arc<dyn Channel>) -> ConfiguredChannel {
    ConfiguredChannel { name: name.to_owned(), kind: place.kind(), rules: rules(place), channel }
}

pub(crate) fn roster(channels: Vec<ConfiguredChannel>) -> ChannelRoster {
    ChannelRoster { channels, again: None, live: true }
}

/// A daemon with channels, its tenant, and a status page `Alpha`.
struct Stage {
    tenant: Tenant,
    page: StatusPage,
    daemon: TestDaemon,
}

impl Stage {
    fn start(channels: Vec<ConfiguredChannel>) -> Stage {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        let folder = folder_watching(&[("Alpha", &page)]);
        let daemon = TestDaemon::start_in(folder, &tenant, scenario(channels));
        Stage { tenant, page, daemon }
    }

    /// Stops as on a signal and starts again with these channels.
    async fn restart(self, channels: Vec<ConfiguredChannel>) -> Stage {
        let Stage { tenant, page, daemon } = self;
        let folder = daemon.stop().await;
        let daemon = TestDaemon::start_in(folder, &tenant, scenario(channels));
        Stage { tenant, page, daemon }
    }
}

fn scenario(channels: Vec<ConfiguredChannel>) -> Scenario {
    Scenario { channels: roster(channels), ..Scenario::default() }
}

/// The title of the only message.
pub(crate) fn title(slack: &Slack) -> String {
    match slack.messages().as_slice() {
        [] => String::new(),
        [one] => one.lines[0].clone(),
        more => format!("{} messages", more.len()),
    }
}

pub(crate) async fn wait_for_title(slack: &Slack, expected: &str) {
    slack.wait_until(|slack| title(slack) == expected).await;
}
