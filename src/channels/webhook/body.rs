//! The bodies of the formats.

use serde_json::{Value, json};

use super::teams;
use crate::channels::texts;
use crate::domain::monitoring::news::channel::WebhookFormat;
use crate::domain::monitoring::news::{News, NewsState};
use crate::domain::monitoring::severity::Severity;

/// Changes when a field of our own format changes its meaning.
const VERSION: u32 = 1;

/// Services that a chat message lists.
const MAX_LINES: usize = 50;

/// Mattermost accepts 4,000 characters on old servers, Discord 2,000; Slack shortens at 40,000.
const MAX_TEXT_BYTES: usize = 1_600;

/// Apprise splits longer bodies into several messages.
const MAX_BODY_BYTES: usize = 1_600;

pub(super) fn of(format: WebhookFormat, news: &News) -> Value {
    match format {
        WebhookFormat::Json => own(news),
        WebhookFormat::Slack => slack(news),
        WebhookFormat::Teams => teams::message(news),
        WebhookFormat::Apprise => apprise(news),
    }
}

/// Absent fields are left out; none is null.
fn own(news: &News) -> Value {
    let mut document = json!(news);
    document["version"] = VERSION.into();
    document
}

fn slack(news: &News) -> Value {
    let mut lines = vec![texts::mrkdwn(&texts::title(news))];
    lines.extend(news.lines(MAX_LINES, MAX_TEXT_BYTES).iter().map(|line| texts::mrkdwn(line)));
    let link = news.link.as_ref().map(|url| format!(", {}", texts::link(url, texts::LINK)));
    lines.push(format!("{}{}", news.start(), link.unwrap_or_default()));
    json!({ "text": lines.join("\n"), "mrkdwn": false, "link_names": false, "unfurl_links": false })
}

/// Source: <https://github.com/caronc/apprise-api>.
fn apprise(news: &News) -> Value {
    let kind = match (news.state, news.severity) {
        (NewsState::Resolved, _) => "success",
        (_, Severity::Critical | Severity::Major) => "failure",
        (_, Severity::Minor) => "warning",
        (_, Severity::Maintenance | Severity::None) => "info",
    };
    let mut lines = news.lines(MAX_LINES, MAX_BODY_BYTES);
    lines.push(news.start());
    lines.extend(news.link.clone());
    json!({
        "title": texts::silent(&news.title), "body": texts::silent(&lines.join("\n")), "type": kind, "format": "text",
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::monitoring::news::message::AffectedService;

    fn service(name: &str, description: &str) -> AffectedService {
        AffectedService {
            name: name.to_owned(),
            severity: Severity::Major,
            description: description.to_owned(),
            link: None,
            since: Timestamp::UNIX_EPOCH,
            worse: false,
        }
    }

    fn news(services: Vec<AffectedService>) -> News {
        News {
            id: "ops-1-1".to_owned(),
            key: "ops-1".to_owned(),
            severity: Severity::Major,
            title: "Acme (major)".to_owned(),
            services,
            link: Some("https://status.acme.test/?a=1&b=<c|d>".to_owned()),
            test: false,
            ..News::test("ops", Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn our_own_format_is_documented_and_has_no_null() {
        insta::assert_snapshot!(format!("{:#}", own(&news(vec![service("Acme", "Partial outage")]))), @r#"
        {
          "id": "ops-1-1",
          "key": "ops-1",
          "link": "https://status.acme.test/?a=1&b=<c|d>",
          "services": [
            {
              "description": "Partial outage",
              "name": "Acme",
              "severity": "major",
              "since": "1970-01-01T00:00:00Z"
            }
          ],
          "severity": "major",
          "since": "1970-01-01T00:00:00Z",
          "state": "raised",
          "title": "Acme (major)",
          "version": 1
        }
        "#);
    }

    #[test]
    fn no_text_pings_anyone_or_starts_markup() {
        let hostile = "<!channel> @channel @here `code` [x](https://evil.test) & <https://evil.test|y>";
        let text = slack(&news(vec![service("Acme", hostile)]))["text"].as_str().unwrap().to_owned();
        insta::assert_snapshot!(text.replace('\u{200b}', "·"), @"
        🔴 Acme (major)
        Acme: &lt;!channel&gt; @·channel @·here 'code' [x] (https://evil.test) &amp; &lt;https://evil.test|y&gt;
        since 1970-01-01 00:00 UTC, <https://status.acme.test/?a=1&amp;b=%3Cc%7Cd%3E|Status page>
        ");
        let body = apprise(&news(vec![service("Acme", hostile)]));
        assert!(!body.to_string().contains("@channel"), "{body}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A request of Teams has at most 28 KB; with 21 KB there is room for what the flow adds.
        #[test]
        fn forty_services_fit_every_format(text in prop::collection::vec("\\PC{0,300}|[\"\\\\]{300}|[漢😀]{300}", 40)) {
            let services = text.iter().enumerate().map(|(n, text)| service(&format!("Service {n}"), text)).collect();
            let news = news(services);
            for (format, most) in [(WebhookFormat::Teams, 21_000), (WebhookFormat::Slack, 8_000), (WebhookFormat::Apprise, 8_000)] {
                let body = of(format, &news).to_string();
                prop_assert!(body.len() <= most, "{format:?} {}", body.len());
                prop_assert!(body.contains("Service 0"));
            }
        }
    }
}
