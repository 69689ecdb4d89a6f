//! Paths into a document: `result.status[]`, `updates[-1].text`, `impacted_services{}.@key`, `entry[kind=incident]`.

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Field(String),
    /// Every element of a list.
    Each,
    /// Every value of an object.
    Values,
    /// An element of a list; negative: from its end.
    Index(i64),
    /// The elements of a list whose field has this word.
    Filter(String, String),
    /// The key of an object's value, or an attribute of an XML element.
    Attribute(String),
}

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path must not be empty; `.` is the whole document")]
    Empty,
    #[error("`{0}` is not closed")]
    Open(String),
    #[error("`[{0}]` is neither [], [number] nor [field=word]")]
    Bracket(String),
    #[error("`{0}` follows a bracket without a dot")]
    Stray(String),
}

impl Path {
    /// # Errors
    /// If the text is not a path.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let text = text.trim();
        let mut rest = text.strip_prefix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let end = rest.find(['.', '[', '{']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if !name.is_empty() {
                steps.push(match name.strip_prefix('@') {
                    Some(attribute) => Step::Attribute(attribute.to_owned()),
                    None => Step::Field(name.to_owned()),
                });
            }
            rest = brackets(after, &mut steps)?;
        }
        Ok(Path { text: text.to_owned(), steps })
    }

    /// The path to one field.
    pub fn field(name: &str) -> Path {
        Path { text: name.to_owned(), steps: vec![Step::Field(name.to_owned())] }
    }

    /// A path that no text names.
    pub fn of(steps: Vec<Step>) -> Path {
        Path { text: String::new(), steps }
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The path in the definition.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Reads the brackets after a name and the dot behind them.
fn brackets<'t>(mut rest: &'t str, steps: &mut Vec<Step>) -> Result<&'t str, PathError> {
    loop {
        if let Some(after) = rest.strip_prefix("{}") {
            steps.push(Step::Values);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some((inner, after)) = after.split_once(']') else {
                return Err(PathError::Open(rest.to_owned()));
            };
            steps.push(match (inner.is_empty(), inner.parse(), inner.split_once('=')) {
                (true, ..) => Step::Each,
                (_, Ok(index), _) => Step::Index(index),
                (_, _, Some((field, word))) if !field.trim().is_empty() => {
                    Step::Filter(field.trim().to_owned(), word.trim().to_owned())
                }
                _ => return Err(PathError::Bracket(inner.to_owned())),
            });
            rest = after;
        } else if rest.starts_with('{') {
            return Err(PathError::Open(rest.to_owned()));
        } else if rest.is_empty() {
            return Ok(rest);
        } else {
            return rest
                .strip_prefix('.')
                .filter(|rest| !rest.is_empty())
                .ok_or_else(|| PathError::Stray(rest.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_into_steps() {
        use Step::{Attribute, Each, Field, Filter, Index, Values};
        let field = |name: &str| Field(name.into());
        for (text, steps) in [
            (".", vec![]),
            (".[]", vec![Each]),
            ("status.indicator", vec![field("status"), field("indicator")]),
            ("a[].b[-1].c", vec![field("a"), Each, field("b"), Index(-1), field("c")]),
            ("impacted{}.@key", vec![field("impacted"), Values, Attribute("key".into())]),
            ("a[kind=x y].b", vec![field("a"), Filter("kind".into(), "x y".into()), field("b")]),
            ("a[][0]", vec![field("a"), Each, Index(0)]),
        ] {
            assert_eq!(Path::parse(text).unwrap().steps(), steps, "{text}");
        }
        for wrong in ["", " ", "a[", "a[x]", "a{", "a[]b", "a.", "a..b.", "a[=x]"] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }
}
