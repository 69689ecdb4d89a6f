//! The severity scale for all kinds of monitors.

use std::fmt;
use std::str::FromStr;

/// From healthy to the worst. An unreadable status page has no severity: see
/// [`Unknown`](super::observation::Unknown).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    #[default]
    None,
    Maintenance,
    /// Slightly degraded.
    Minor,
    /// A partial outage.
    Major,
    /// A major outage.
    Critical,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Severity; 5] =
        [Severity::None, Severity::Maintenance, Severity::Minor, Severity::Major, Severity::Critical];

    /// The word in configuration, logs, metrics and the dashboard.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::None => "none",
            Severity::Maintenance => "maintenance",
            Severity::Minor => "minor",
            Severity::Major => "major",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Severity::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a severity (none, maintenance, minor, major, critical)"))
    }
}
