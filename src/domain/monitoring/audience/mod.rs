//! Which issues concern the readers of one tenant or channel, and how severe they are for them.
//!
//! Start at [`Audience::narrow`]. Tenants and channels read the same assessment; each sees its own part of it.

pub mod tenant;

use std::fmt;

use super::assess::{Assessment, Issue};
use super::monitor::{Pattern, Remap};
use super::severity::Severity;

/// The prefix of a selector for tags.
pub const TAG: &str = "tag:";

/// The filters of a tenant or a channel. The default lets everything through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Audience {
    /// Only monitors that match one of these; empty: all monitors.
    pub monitors: Vec<Selector>,
    /// Monitors that are left out, even if `monitors` selects them.
    pub ignore: Vec<Selector>,
    /// Maps severities before `min_severity` is compared.
    pub remap: Remap,
    /// Milder issues are left out.
    pub min_severity: Severity,
}

/// Selects monitors by name, or by tag if it is written as `tag:…`.
#[derive(Debug, Clone, PartialEq)]
pub enum Selector {
    Name(Pattern),
    Tag(Pattern),
}

impl Selector {
    /// Accepts every text.
    pub fn new(text: &str) -> Selector {
        match text.strip_prefix(TAG) {
            Some(tag) => Selector::Tag(Pattern::new(tag)),
            None => Selector::Name(Pattern::new(text)),
        }
    }

    /// Whether it selects a monitor.
    pub fn selects(&self, name: &str, tags: &[String]) -> bool {
        match self {
            Selector::Name(pattern) => pattern.matches(name),
            Selector::Tag(pattern) => tags.iter().any(|tag| pattern.matches(tag)),
        }
    }

    /// As it was written.
    pub fn text(&self) -> String {
        match self {
            Selector::Name(pattern) => pattern.as_str().to_owned(),
            Selector::Tag(pattern) => format!("{TAG}{}", pattern.as_str()),
        }
    }
}

impl Audience {
    /// Whether issues of a monitor concern this audience, whatever their severity.
    pub fn selects(&self, name: &str, tags: &[String]) -> bool {
        let any = |selectors: &[Selector]| selectors.iter().any(|selector| selector.selects(name, tags));
        (self.monitors.is_empty() || any(&self.monitors)) && !any(&self.ignore)
    }

    /// The part of an assessment that concerns this audience.
    #[must_use]
    pub fn narrow(&self, whole: &Assessment) -> Assessment {
        let least = self.min_severity.max(Severity::Maintenance);
        let seen = |issue: &Issue| {
            let severity = self.remap.apply(issue.severity);
            let seen = severity >= least && self.selects(&issue.monitor, &issue.tags);
            seen.then(|| Issue { severity, ..issue.clone() })
        };
        Assessment::sorted(whole.issues.iter().filter_map(seen).collect())
    }
}

impl fmt::Display for Audience {
    /// `snowflake*, tag:warehouse, not *sandbox*, minor and worse`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.monitors.is_empty() {
            f.write_str("all monitors")?;
        }
        for (number, selector) in self.monitors.iter().enumerate() {
            write!(f, "{}{}", if number > 0 { ", " } else { "" }, selector.text())?;
        }
        for selector in &self.ignore {
            write!(f, ", not {}", selector.text())?;
        }
        if self.min_severity > Severity::Maintenance {
            write!(f, ", {} and worse", self.min_severity)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn issue(monitor: &str, tags: &[&str], severity: Severity) -> Issue {
        Issue {
            monitor: monitor.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            severity,
            description: "down".to_owned(),
            link: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    fn selectors(texts: &[&str]) -> Vec<Selector> {
        texts.iter().map(|text| Selector::new(text)).collect()
    }

    fn names(assessment: &Assessment) -> Vec<&str> {
        assessment.issues.iter().map(|issue| issue.monitor.as_str()).collect()
    }

    fn four() -> Assessment {
        Assessment::sorted(vec![
            issue("Snowflake EU", &["warehouse"], Severity::Critical),
            issue("Snowflake US", &["warehouse", "us"], Severity::Minor),
            issue("GitHub", &["code"], Severity::Major),
            issue("Slack", &[], Severity::Maintenance),
        ])
    }

    #[test]
    fn names_and_tags_select_and_ignored_ones_are_left_out() {
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&[], &[], &["Snowflake EU", "GitHub", "Snowflake US", "Slack"]),
            (&["snowflake*"], &[], &["Snowflake EU", "Snowflake US"]),
            (&["tag:warehouse"], &["tag:us"], &["Snowflake EU"]),
            (&["github", "tag:us"], &[], &["GitHub", "Snowflake US"]),
            (&[], &["*"], &[]),
            (&["warehouse"], &[], &[]),
        ];
        for (monitors, ignore, seen) in cases {
            let audience =
                Audience { monitors: selectors(monitors), ignore: selectors(ignore), ..Audience::default() };
            assert_eq!(names(&audience.narrow(&four())), seen, "{monitors:?} without {ignore:?}");
        }
    }

    #[test]
    fn severities_are_remapped_before_the_minimum_applies() {
        let remap = Remap(vec![(Severity::Critical, Severity::Minor), (Severity::Minor, Severity::None)]);
        let audience = Audience { remap, min_severity: Severity::Minor, ..Audience::default() };
        let seen = audience.narrow(&four());
        assert_eq!(names(&seen), ["GitHub", "Snowflake EU"]);
        assert_eq!(seen.issues[1].severity, Severity::Minor);
    }
}
