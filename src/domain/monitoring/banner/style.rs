//! What a tenant's banners have in common: a prefix of the message, and where the link leads.

use super::{Banner, usable};
use crate::domain::monitoring::assess::Assessment;
use crate::domain::monitoring::observation::Link;

/// Longer prefixes would leave no room for the message.
pub const MAX_PREFIX: usize = 40;

/// The default has no prefix and links the status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BannerStyle {
    /// Empty, or ends in a space.
    prefix: String,
    pub link: BannerLink,
}

/// Where the banner's link leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BannerLink {
    /// The status page or incident of the worst service.
    #[default]
    StatusPage,
    /// Always the same address.
    Fixed(Link),
    Off,
}

impl BannerStyle {
    /// A style with this prefix, which must be one line of at most [`MAX_PREFIX`] characters.
    pub fn new(prefix: &str, link: BannerLink) -> BannerStyle {
        let prefix = prefix.trim();
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix} ") };
        BannerStyle { prefix, link }
    }

    /// What each message starts with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A message without the prefix.
    pub(in crate::domain::monitoring) fn strip<'a>(&self, message: &'a str) -> &'a str {
        message.strip_prefix(&*self.prefix).unwrap_or(message)
    }

    /// A message with another text behind the prefix.
    pub(in crate::domain::monitoring) fn marked(&self, message: &str, mark: &str) -> String {
        format!("{}{mark}{}", self.prefix, self.strip(message))
    }

    /// The link of a banner for an assessment. Links saved by earlier versions are checked again.
    pub(super) fn link_for(&self, assessment: &Assessment) -> Option<Link> {
        match &self.link {
            BannerLink::StatusPage => {
                assessment.issues.iter().find_map(|issue| issue.link.as_ref().and_then(usable))
            }
            BannerLink::Fixed(link) => usable(link),
            BannerLink::Off => None,
        }
    }

    /// Whether a banner has the fixed link of this style.
    pub(in crate::domain::monitoring) fn has_link(&self, banner: &Banner) -> bool {
        let BannerLink::Fixed(link) = &self.link else { return false };
        let (url, label) = (banner.link_url.as_deref(), banner.link_label.as_deref());
        banner.link_enabled && (url, label) == (Some(&*link.url), Some(&*link.label))
    }
}
