//! A tenant, as its definition describes it.

use url::Url;

use super::Audience;
use crate::domain::data_rule::DataRule;
use crate::domain::monitoring::banner::style::{BannerStyle, MAX_PREFIX};
use crate::domain::monitoring::plan::Policy;
use crate::domain::text;
use crate::domain::urls::is_loopback;

/// The tenant of `QLIK_TENANT_URL`.
pub const DEFAULT: &str = "default";

/// A validated definition, without credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantRules {
    /// Lower-case letters, digits and `-`; unique.
    pub name: String,
    /// The tenant's root; unique.
    pub url: Url,
    /// Which issues are shown there.
    pub audience: Audience,
    pub policy: Policy,
    pub style: BannerStyle,
    /// What happens with the data of connectors, by connector.
    pub data: Vec<DataRule>,
}

/// The start of the names of a tenant's variables: `TENANT_PROD_EU` for `prod-eu`.
pub fn variable_prefix(name: &str) -> String {
    format!("TENANT_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Normalises a tenant's address: adds a missing `https://`, removes a trailing slash.
///
/// # Errors
/// Why the address cannot be used.
pub fn tenant_url(address: &str) -> Result<Url, String> {
    let address = address.trim();
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let url = Url::parse(&full).map_err(|e| format!("not an address: {e}"))?;
    if url.host().is_none() {
        return Err("has no host".into());
    }
    if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url)) {
        return Err("must begin with https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password".into());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must be the tenant's root, without path or query (https://acme.eu.qlikcloud.com)".into());
    }
    Ok(url)
}

/// Whether a text can be a tenant's name: it becomes part of variables, labels and addresses.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    name.len() <= 40 && name.chars().all(fits) && edge(name.chars().next()) && edge(name.chars().last())
}

/// Whether a prefix can be used as it is written.
pub fn is_prefix(prefix: &str) -> bool {
    let trimmed = prefix.trim();
    text::plain(trimmed) == trimmed && trimmed.chars().count() <= MAX_PREFIX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_variables_and_labels() {
        for (name, fits) in [
            ("prod", true),
            ("prod-eu2", true),
            ("Prod", false),
            ("prod_eu", false),
            ("-prod", false),
            ("prod-", false),
            ("", false),
            ("a/b", false),
        ] {
            assert_eq!(is_name(name), fits, "{name}");
        }
        assert_eq!(variable_prefix("prod-eu2"), "TENANT_PROD_EU2");
    }
}
