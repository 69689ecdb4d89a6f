//! Text with placeholders: `${config.key}` is filled from the configuration, `{column}` from a parent row.
//!
//! There are no expressions, no defaults, and no escapes other than `{{` for a brace.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// Literal text.
    Text(String),
    /// `${config.key}`
    Config(String),
    /// `{column}`
    Row(String),
}

/// A template, split at its placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<TemplatePart>,
}

/// Why a text is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its closing brace.
    #[error("`{0}` is never closed")]
    Open(String),
    /// Something other than `config.key` in `${…}`.
    #[error("`${{{0}}}` is not known: only `${{config.key}}` is")]
    NotConfig(String),
}

impl Template {
    /// Splits a text at its placeholders.
    ///
    /// # Errors
    /// An open brace, or a `${…}` that is not `${config.key}`.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push_str(before);
                plain.push('{');
                rest = after;
                continue;
            }
            let config = before.ends_with('$');
            plain.push_str(before.strip_suffix('$').unwrap_or(before));
            let Some(end) = from.find('}') else { return Err(TemplateError::Open(from.to_owned())) };
            let (name, after) = (from[1..end].trim(), &from[end + 1..]);
            if !plain.is_empty() {
                parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
            }
            parts.push(match (config, name.strip_prefix("config.")) {
                (true, Some(key)) => TemplatePart::Config(key.to_owned()),
                (true, None) => return Err(TemplateError::NotConfig(name.to_owned())),
                (false, _) => TemplatePart::Row(name.to_owned()),
            });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(plain));
        }
        Ok(Template { parts })
    }

    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// The configuration keys it needs.
    pub fn config_keys(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|part| if let TemplatePart::Config(key) = part { Some(key.as_str()) } else { None })
    }

    /// The columns of the parent row it needs.
    pub fn row_columns(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|part| if let TemplatePart::Row(name) = part { Some(name.as_str()) } else { None })
    }

    /// The text with every placeholder filled by `fill`; `None` if one cannot be filled.
    pub fn fill<'a>(
        &self,
        mut fill: impl FnMut(&TemplatePart) -> Option<std::borrow::Cow<'a, str>>,
    ) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => out.push_str(text),
                hole => out.push_str(&fill(hole)?),
            }
        }
        Some(out)
    }
}

/// A JSON value in a definition, with placeholders in its texts.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonTemplate {
    /// A text. If it is a single placeholder, the result has the type of the value that fills it.
    Text(Template),
    /// A number or flag.
    Fixed(Value),
    List(Vec<JsonTemplate>),
    Object(BTreeMap<String, JsonTemplate>),
}

impl JsonTemplate {
    /// The templates of all texts in it.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            JsonTemplate::Text(template) => vec![template],
            JsonTemplate::Fixed(_) => Vec::new(),
            JsonTemplate::List(items) => items.iter().flat_map(JsonTemplate::templates).collect(),
            JsonTemplate::Object(members) => members.values().flat_map(JsonTemplate::templates).collect(),
        }
    }

    /// The filled value; `None` if a placeholder cannot be filled. Members and items that cannot be filled
    /// are left out. `typed` returns the value for a text that consists of one placeholder.
    pub fn fill(
        &self,
        text: &impl Fn(&Template) -> Option<String>,
        typed: &impl Fn(&TemplatePart) -> Option<Value>,
    ) -> Option<Value> {
        Some(match self {
            JsonTemplate::Fixed(value) => value.clone(),
            JsonTemplate::Text(template) => match template.parts() {
                [hole @ (TemplatePart::Config(_) | TemplatePart::Row(_))] => typed(hole)?,
                _ => Value::String(text(template)?),
            },
            JsonTemplate::List(items) => {
                Value::Array(items.iter().filter_map(|item| item.fill(text, typed)).collect())
            }
            JsonTemplate::Object(members) => {
                let filled = members.iter();
                Value::Object(
                    filled.filter_map(|(name, of)| Some((name.clone(), of.fill(text, typed)?))).collect(),
                )
            }
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => f.write_str(text)?,
                TemplatePart::Config(key) => write!(f, "${{config.{key}}}")?,
                TemplatePart::Row(column) => write!(f, "{{{column}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A doubled brace is a brace; anything else is an error.
    #[test]
    fn parses_templates() {
        let template = Template::parse("/a/{test_id}/${config.kind}?{{x").unwrap();
        let filled = template.fill(|part| match part {
            TemplatePart::Row(name) => Some(format!("<{name}>").into()),
            TemplatePart::Config(key) => Some(format!("[{key}]").into()),
            TemplatePart::Text(_) => None,
        });
        assert_eq!(filled.as_deref(), Some("/a/<test_id>/[kind]?{x"));
        assert_eq!(Template::parse("plain $5").unwrap().to_string(), "plain $5");
        assert_eq!(Template::parse("${env.HOME}"), Err(TemplateError::NotConfig("env.HOME".into())));
        assert_eq!(Template::parse("a{b"), Err(TemplateError::Open("{b".into())));
    }

    #[test]
    fn a_single_placeholder_keeps_the_type_of_its_value() {
        use serde_json::json;
        let text = |text: &str| JsonTemplate::Text(Template::parse(text).unwrap());
        let body = JsonTemplate::Object(BTreeMap::from([
            ("flag".into(), JsonTemplate::Fixed(json!(false))),
            ("alone".into(), text("${config.min}")),
            ("within".into(), text("at least ${config.min}")),
            ("unset".into(), text("${config.none}")),
            ("list".into(), JsonTemplate::List(vec![text("a"), text("${config.none}"), text("{row}")])),
        ]));
        let typed = |part: &TemplatePart| match part {
            TemplatePart::Config(key) if key == "min" => Some(json!(3)),
            TemplatePart::Row(_) => Some(json!(7)),
            _ => None,
        };
        let texts =
            |template: &Template| template.fill(|part| typed(part).map(|value| value.to_string().into()));
        assert_eq!(
            body.fill(&texts, &typed),
            Some(json!({ "flag": false, "alone": 3, "within": "at least 3", "list": ["a", 7] }))
        );
    }
}
