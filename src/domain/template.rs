//! Text with holes: `${config.key}` is filled from the configuration, `{column}` from a parent row.
//!
//! That is all there is: no expressions, no defaults, no escapes beyond `{{` for a brace.

use std::fmt;

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
}
