//! What happens with a connector's data in one tenant.

use super::file_format::FileFormat;

/// Which tables go into which space, and which apps are reloaded afterwards. At least one of the two is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRule {
    pub connector: String,
    /// Id or name of the space; `None` only reloads.
    pub space: Option<String>,
    /// Empty for all.
    pub tables: Vec<String>,
    /// Ids of apps.
    pub reload: Vec<String>,
    pub format: FileFormat,
}

impl DataRule {
    /// Why the rule cannot be followed.
    pub fn problem(&self) -> Option<String> {
        if self.space.is_none() && self.reload.is_empty() {
            return Some("names neither a space to upload to nor an app to reload".into());
        }
        if self.space.as_ref().is_some_and(|space| space.trim().is_empty()) {
            return Some("the space has no name".into());
        }
        if self.space.is_none() && !self.tables.is_empty() {
            return Some("names tables, but no space to upload them to".into());
        }
        let is_id = |app: &str| {
            !app.is_empty() && app.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let app = self.reload.iter().find(|app| !is_id(app))?;
        Some(format!("{app:?} is not the id of an app: it is the part after /app/ in the app's address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_needs_an_effect_and_ids_that_can_be_sent() {
        let rule = |space: Option<&str>, tables: &[&str], reload: &[&str]| DataRule {
            connector: "shop".into(),
            space: space.map(str::to_owned),
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            reload: reload.iter().map(|app| (*app).to_owned()).collect(),
            format: FileFormat::Parquet,
        };
        for (rule, problem) in [
            (rule(Some("Sales"), &["orders"], &["a-1"]), None),
            (rule(Some("Sales"), &[], &[]), None),
            (rule(None, &[], &["a-1"]), None),
            (rule(None, &[], &[]), Some("neither a space")),
            (rule(Some(" "), &[], &[]), Some("no name")),
            (rule(None, &["orders"], &["a-1"]), Some("no space to upload")),
            (rule(None, &[], &["https://acme.test/app/1"]), Some("not the id of an app")),
        ] {
            let found = rule.problem();
            assert_eq!(found.is_some(), problem.is_some(), "{rule:?}");
            assert!(found.unwrap_or_default().contains(problem.unwrap_or_default()), "{rule:?}");
        }
    }
}
