//! Text with holes: `${config.key}` is filled from the configuration, `{column}` from a parent row.
//!
//! That is all there is: no expressions, no defaults, no escapes beyond `{{` for a brace.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As written.
    Text(String),
    /// `${config.key}`
    Config(String),
    /// `{column}`
    Row(String),
}

/// A text as written in a definition, cut at its holes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

/// What is wrong with a text that should be a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace that never closes.
    #[error("`{0}` is never closed")]
    Open(String),
    /// Something else than `config.key` in `${…}`.
    #[error("`${{{0}}}` is not known: only `${{config.key}}` is")]
    NotConfig(String),
}

impl Template {
    /// Cuts a text at its holes.
    ///
    /// # Errors
    /// On an open brace and on a `${…}` that is not `${config.key}`.
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
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(match (config, name.strip_prefix("config.")) {
                (true, Some(key)) => Part::Config(key.to_owned()),
                (true, None) => return Err(TemplateError::NotConfig(name.to_owned())),
                (false, _) => Part::Row(name.to_owned()),
            });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The configuration keys it needs.
    pub fn config_keys(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|part| if let Part::Config(key) = part { Some(key.as_str()) } else { None })
    }

    /// The columns of the parent row it needs.
    pub fn row_columns(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|part| if let Part::Row(name) = part { Some(name.as_str()) } else { None })
    }

    /// The text with every hole filled by `fill`; `None` when one cannot be filled.
    pub fn fill<'a>(
        &self,
        mut fill: impl FnMut(&Part) -> Option<std::borrow::Cow<'a, str>>,
    ) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                hole => out.push_str(&fill(hole)?),
            }
        }
        Some(out)
    }
}

/// A JSON value as written in a definition, with holes in its texts.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonTemplate {
    /// A text; one that is a single hole takes the type of what fills it.
    Text(Template),
    /// A number or flag as written.
    Fixed(Value),
    /// A list.
    List(Vec<JsonTemplate>),
    /// An object.
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

    /// The value; `None` where a hole cannot be filled. Members and items that cannot be filled are left out.
    /// `typed`: what fills a text that is nothing but this hole.
    pub fn fill(
        &self,
        text: &impl Fn(&Template) -> Option<String>,
        typed: &impl Fn(&Part) -> Option<Value>,
    ) -> Option<Value> {
        Some(match self {
            JsonTemplate::Fixed(value) => value.clone(),
            JsonTemplate::Text(template) => match template.parts() {
                [hole @ (Part::Config(_) | Part::Row(_))] => typed(hole)?,
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
                Part::Text(text) => f.write_str(text)?,
                Part::Config(key) => write!(f, "${{config.{key}}}")?,
                Part::Row(column) => write!(f, "{{{column}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holes are found wherever they stand; a doubled brace is a brace; anything else is an error that says so.
    #[test]
    fn cuts_templates() {
        let template = Template::parse("/a/{test_id}/${config.kind}?{{x").unwrap();
        let filled = template.fill(|part| match part {
            Part::Row(name) => Some(format!("<{name}>").into()),
            Part::Config(key) => Some(format!("[{key}]").into()),
            Part::Text(_) => None,
        });
        assert_eq!(filled.as_deref(), Some("/a/<test_id>/[kind]?{x"));
        assert_eq!(Template::parse("plain $5").unwrap().to_string(), "plain $5");
        assert_eq!(Template::parse("${env.HOME}"), Err(TemplateError::NotConfig("env.HOME".into())));
        assert_eq!(Template::parse("a{b"), Err(TemplateError::Open("{b".into())));
    }

    #[test]
    fn json_keeps_the_types_of_what_fills_it() {
        use serde_json::json;
        let text = |text: &str| JsonTemplate::Text(Template::parse(text).unwrap());
        let body = JsonTemplate::Object(BTreeMap::from([
            ("flag".into(), JsonTemplate::Fixed(json!(false))),
            ("alone".into(), text("${config.min}")),
            ("within".into(), text("at least ${config.min}")),
            ("unset".into(), text("${config.none}")),
            ("list".into(), JsonTemplate::List(vec![text("a"), text("${config.none}"), text("{row}")])),
        ]));
        let typed = |part: &Part| match part {
            Part::Config(key) if key == "min" => Some(json!(3)),
            Part::Row(_) => Some(json!(7)),
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
