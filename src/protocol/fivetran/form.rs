//! The setup form, from the connector's configuration keys.

use super::generated::{
    ConfigurationFormResponse, ConfigurationTest, FormField, TextField, ToggleField, form_field::Type,
};
use crate::domain::syncing::definition::config::{BASE_URL, TOKEN_URL};
use crate::domain::syncing::definition::connector::{Auth, Definition};
use crate::domain::syncing::definition::connector::{ConfigKey, ConfigKind};
use crate::domain::syncing::definition::template::Template;

/// The name of the only test.
pub(super) const CONNECTION_TEST: &str = "connection";

/// The form of a connector: required fields first.
pub(super) fn form(definition: &Definition) -> ConfigurationFormResponse {
    let required = |key: &ConfigKey| key.default.is_none() && !key.optional;
    let (must, may): (Vec<_>, Vec<_>) = definition.config.iter().partition(|(_, key)| required(key));
    let mut fields: Vec<FormField> =
        must.into_iter().chain(may).map(|(name, key)| field(name, key, required(key))).collect();
    let mut address = |name: &str, default: &Template, description: &str| {
        if !definition.config.contains_key(name) {
            fields.push(address(name, default, description));
        }
    };
    address(BASE_URL, &definition.base_url, "URL of the service, if not the usual one");
    if let Auth::OAuth2(oauth) = &definition.auth {
        address(TOKEN_URL, &oauth.token_url, "URL of the token endpoint, if not the usual one");
    }
    ConfigurationFormResponse {
        schema_selection_supported: false,
        table_selection_supported: true,
        fields,
        tests: vec![ConfigurationTest {
            name: CONNECTION_TEST.into(),
            label: "Address and credentials".into(),
        }],
    }
}

fn field(name: &str, key: &ConfigKey, required: bool) -> FormField {
    let (kind, placeholder) = match key.kind {
        ConfigKind::Secret => (Type::TextField(TextField::Password.into()), None),
        ConfigKind::Boolean => (Type::ToggleField(ToggleField {}), None),
        ConfigKind::String => (Type::TextField(TextField::PlainText.into()), None),
        ConfigKind::Integer => (Type::TextField(TextField::PlainText.into()), Some("a whole number")),
        ConfigKind::Date => {
            (Type::TextField(TextField::PlainText.into()), Some("YYYY-MM-DD, or -730d for so many days ago"))
        }
        ConfigKind::List => (Type::TextField(TextField::PlainText.into()), Some("comma-separated")),
    };
    FormField {
        name: name.to_owned(),
        label: label(name),
        required: Some(required),
        description: key.description.clone(),
        default_value: key.default.clone(),
        placeholder: placeholder.map(str::to_owned),
        r#type: Some(kind),
    }
}

fn address(name: &str, default: &Template, description: &str) -> FormField {
    FormField {
        name: name.to_owned(),
        label: label(name),
        required: Some(false),
        description: Some(description.to_owned()),
        default_value: None,
        placeholder: Some(default.to_string()),
        r#type: Some(Type::TextField(TextField::PlainText.into())),
    }
}

/// `api_key` → `API key`.
fn label(name: &str) -> String {
    let words = name.split('_').map(|word| match word {
        "api" | "id" | "url" => word.to_ascii_uppercase(),
        _ => word.to_owned(),
    });
    let label = words.collect::<Vec<_>>().join(" ");
    let mut letters = label.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
