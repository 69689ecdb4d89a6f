//! How bad a service is, on one scale for all kinds of monitors.

use std::fmt;
use std::str::FromStr;

/// From nothing to the worst. What could not be read has no severity: see
/// [`Unknown`](super::observation::Unknown).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Everything works.
    #[default]
    None,
    /// Planned work.
    Maintenance,
    /// Slightly degraded.
    Minor,
    /// A part is out.
    Major,
    /// Most of it is out.
    Critical,
}

impl Severity {
    /// All, mildest first.
    pub const ALL: [Severity; 5] =
        [Severity::None, Severity::Maintenance, Severity::Minor, Severity::Major, Severity::Critical];

    /// The word used in configuration, logs, metrics and pages.
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
            .ok_or_else(|| format!("`{text}` is no severity (none, maintenance, minor, major, critical)"))
    }
}
