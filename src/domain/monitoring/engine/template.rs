//! Text with placeholders: `${root}`, `${host}`, an option of the monitor, or `${path}` into the current element.

use super::path::{Path, PathError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineTemplate {
    parts: Vec<EngineTemplatePart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineTemplatePart {
    Text(String),
    /// The root of the page, without its last slash.
    Root,
    /// The host of the page.
    Host,
    Option(String),
    Path(Path),
}

impl EngineTemplate {
    /// Splits a text. A placeholder that is not one of `options` is a path.
    ///
    /// # Errors
    /// A placeholder that is not closed, or is no path.
    pub fn parse(text: &str, options: impl Fn(&str) -> bool) -> Result<EngineTemplate, PathError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if !before.is_empty() {
                parts.push(EngineTemplatePart::Text(before.to_owned()));
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err(PathError::Open(format!("${{{after}")));
            };
            parts.push(match name {
                "root" => EngineTemplatePart::Root,
                "host" => EngineTemplatePart::Host,
                name if options(name) => EngineTemplatePart::Option(name.to_owned()),
                path => EngineTemplatePart::Path(Path::parse(path)?),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(EngineTemplatePart::Text(rest.to_owned()));
        }
        Ok(EngineTemplate { parts })
    }

    pub fn parts(&self) -> &[EngineTemplatePart] {
        &self.parts
    }

    /// The text; `None` if a placeholder has no value.
    pub fn fill(&self, mut value: impl FnMut(&EngineTemplatePart) -> Option<String>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                EngineTemplatePart::Text(text) => out.push_str(text),
                placeholder => out.push_str(&value(placeholder)?),
            }
        }
        Some(out)
    }
}
