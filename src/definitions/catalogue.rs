//! The catalogue of services: which status page to poll, with which engine and options.
//!
//! Compiled in, a line for each service. Its rows come from public sources; grade B ones were never confirmed by a request.
//! Start at [`find`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::domain::nearest::nearest;

const TEXT: &str = include_str!("catalogue.toml");

/// One service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueService {
    pub slug: String,
    pub name: String,
    #[serde(deserialize_with = "url")]
    pub url: Url,
    pub engine: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Component patterns for a service that shares its page with others.
    #[serde(default)]
    pub components: Vec<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub grade: Grade,
    /// What to know before using it.
    #[serde(default)]
    pub hint: String,
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// How sure an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Grade {
    /// Seen to work in 2026.
    A,
    /// Unconfirmed.
    B,
}

/// All services, by slug.
pub fn services() -> &'static BTreeMap<String, CatalogueService> {
    #[derive(Deserialize)]
    struct Catalogue {
        services: Vec<CatalogueService>,
    }
    static SERVICES: LazyLock<BTreeMap<String, CatalogueService>> = LazyLock::new(|| {
        let read: Vec<CatalogueService> =
            toml::from_str(TEXT).map(|catalogue: Catalogue| catalogue.services).unwrap_or_default();
        read.into_iter().map(|service| (service.slug.clone(), service)).collect()
    });
    &SERVICES
}

pub fn find(slug: &str) -> Option<&'static CatalogueService> {
    services().get(slug)
}

/// The message about a slug that is not in the catalogue.
pub fn unknown(slug: &str) -> String {
    let near = nearest(slug, services().keys().map(String::as_str));
    let near = near.map(|near| format!("did you mean `{near}`?"));
    let near = near.unwrap_or_else(|| "`data-sources-monitor monitor search WORD` lists them".to_owned());
    format!("no service `{slug}` in the catalogue; {near}")
}

/// Services with a word in their slug, name, tags or hint.
pub fn search(word: &str) -> impl Iterator<Item = &'static CatalogueService> {
    let word = word.to_lowercase();
    services().values().filter(move |service| {
        let texts = [&service.slug, &service.name, &service.hint];
        texts.into_iter().chain(&service.tags).any(|text| text.to_lowercase().contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::super::engine::built_in;
    use super::*;

    #[test]
    fn every_entry_can_be_polled() {
        #[derive(Deserialize)]
        struct Catalogue {
            services: Vec<CatalogueService>,
        }
        let all = toml::from_str::<Catalogue>(TEXT).unwrap().services;
        assert!(all.len() > 100, "{}", all.len());
        assert_eq!(all.len(), services().len(), "a slug is used twice");
        for service in all {
            let engine = built_in().get(&service.engine).unwrap_or_else(|| panic!("{}", service.slug));
            for name in engine.needs.keys() {
                assert!(
                    service.options.contains_key(name) || !service.hint.is_empty(),
                    "{}: {name}",
                    service.slug
                );
            }
            for name in service.options.keys() {
                assert!(
                    engine.needs.contains_key(name) || engine.options.contains_key(name),
                    "{}: {name}",
                    service.slug
                );
            }
            assert_eq!(service.url.scheme(), "https", "{}", service.slug);
            assert!(engine.whole_url || service.url.path().ends_with('/'), "{}", service.slug);
        }
    }

    /// Two entries of one page select different parts of it, or say why they do not.
    #[test]
    fn entries_of_one_page_differ() {
        for one in services().values() {
            for other in services().values().filter(|other| other.slug > one.slug && other.url == one.url) {
                let differ = (&one.components, &one.options) != (&other.components, &other.options);
                let said = !one.hint.is_empty() && !other.hint.is_empty();
                assert!(differ || said, "{} and {}", one.slug, other.slug);
            }
        }
    }

    /// Salesforce has a state for each instance, and only the user knows which one counts.
    #[test]
    fn options_that_only_the_user_knows_are_explained() {
        for service in services().values() {
            let needs = built_in()[&service.engine].needs.keys();
            for name in needs.filter(|name| !service.options.contains_key(*name)) {
                assert!(service.hint.contains(&format!("{name} = ")), "{}: {name}", service.slug);
            }
        }
    }

    #[test]
    fn services_are_found_by_slug_and_word() {
        assert_eq!(find("snowflake").map(|service| service.name.as_str()), Some("Snowflake"));
        assert!(unknown("snowflak").contains("did you mean `snowflake`?"));
        assert!(search("FLAKE").any(|service| service.slug == "snowflake"));
    }
}
