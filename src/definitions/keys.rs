//! Reads a table of a definition key by key, so that all errors are reported together, each with its
//! position.
//!
//! A derived deserializer would stop at the first error. Start at [`Keys::of`]; [`Keys::finish`] reports
//! unknown keys.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{DefinitionError, line_and_column};
use crate::domain::monitoring::severity::Severity;

/// A file being read, with the errors found so far.
pub struct File<'a> {
    name: String,
    text: &'a str,
    /// In the order of their discovery.
    pub errors: Vec<DefinitionError>,
}

impl<'a> File<'a> {
    /// A file's content; `name` appears in messages.
    pub fn new(name: impl Into<String>, text: &'a str) -> File<'a> {
        File { name: name.into(), text, errors: Vec::new() }
    }

    /// The root table. A syntax error is recorded, and the result is `None`.
    pub fn parse(&mut self) -> Option<DeTable<'a>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table.into_inner()),
            Err(error) => {
                self.wrong(error.span().map(|span| span.start), error.message().replace('\n', "; "));
                None
            }
        }
    }

    /// Records an error at a byte offset.
    pub fn wrong(&mut self, offset: Option<usize>, message: impl Into<String>) {
        let at = offset.map(|offset| line_and_column(self.text, offset));
        self.errors.push(DefinitionError { file: self.name.clone(), at, message: message.into() });
    }
}

/// One table of a file.
pub struct Keys<'f, 'a> {
    file: &'f mut File<'a>,
    table: DeTable<'a>,
    /// The first key of a nested table.
    at: Option<usize>,
    known: Vec<&'static str>,
}

impl<'f, 'a> Keys<'f, 'a> {
    /// Starts to read a table.
    pub fn of(file: &'f mut File<'a>, table: DeTable<'a>) -> Keys<'f, 'a> {
        Keys { file, table, at: None, known: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.remove(&Spanned::new(0..0, DeString::from(key)))
    }

    /// Whether a key exists and has not been taken yet.
    pub fn has(&self, key: &'static str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether a key exists, has not been taken yet and is a table.
    pub fn is_table(&self, key: &'static str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// The position of a key's value, if the key exists and has not been taken yet.
    pub fn place(&self, key: &'static str) -> Option<usize> {
        self.table.get(key).map(|value| value.span().start)
    }

    /// Records an error about a key that was taken.
    pub fn wrong(&mut self, offset: usize, message: impl Into<String>) {
        self.file.wrong(Some(offset), message);
    }

    /// Records an error about the table as a whole.
    pub fn missing(&mut self, message: impl Into<String>) {
        self.file.wrong(self.at, message);
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl Fn(&DeValue<'a>) -> Option<T>,
    ) -> Option<(T, usize)> {
        let value = self.take(key)?;
        let offset = value.span().start;
        let read = read(value.get_ref());
        if read.is_none() {
            self.wrong(offset, format!("`{key}` must be {what}"));
        }
        read.map(|read| (read, offset))
    }

    /// A text and its position.
    pub fn text(&mut self, key: &'static str) -> Option<(String, usize)> {
        self.typed(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool).map(|(flag, _)| flag)
    }

    /// A whole number from 1 up.
    pub fn count(&mut self, key: &'static str) -> Option<u32> {
        let read = |value: &DeValue<'a>| {
            let number = value.as_integer()?;
            u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| *n > 0)
        };
        self.typed(key, "a whole number of at least 1", read).map(|(count, _)| count)
    }

    /// A duration such as `"90s"`, at least `least`.
    pub fn duration(&mut self, key: &'static str, least: Duration) -> Option<Duration> {
        let what = format!("a duration in quotes of at least {least:?} (examples: \"90s\", \"2h\")");
        let read = |value: &DeValue<'a>| {
            value
                .as_str()
                .and_then(crate::domain::monitoring::schedule::parse_duration)
                .filter(|d| *d >= least)
        };
        self.typed(key, &what, read).map(|(duration, _)| duration)
    }

    pub fn severity(&mut self, key: &'static str) -> Option<Severity> {
        let what = "one of none, maintenance, minor, major, critical, in quotes";
        self.typed(key, what, |value| value.as_str()?.parse().ok()).map(|(severity, _)| severity)
    }

    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let read = |value: &DeValue<'a>| {
            let items = value.as_array()?.iter();
            items.map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        self.typed(key, "a list of texts in quotes", read).map(|(texts, _)| texts)
    }

    /// A table that maps severities to severities.
    pub fn severities(&mut self, key: &'static str) -> Option<Vec<(Severity, Severity)>> {
        let what = "a table of severities: { maintenance = \"none\", minor = \"maintenance\" }";
        let read = |value: &DeValue<'a>| {
            let pairs = value.as_table()?.iter();
            pairs
                .map(|(from, to)| {
                    let to_text = to.get_ref().as_str()?.to_owned();
                    Some([(from.get_ref().to_string(), from.span().start), (to_text, to.span().start)])
                })
                .collect::<Option<Vec<_>>>()
        };
        let (pairs, _) = self.typed(key, what, read)?;
        let mut severity = |(text, at): (String, usize)| {
            let read: Option<Severity> = text.parse().ok();
            if read.is_none() {
                let known = "none, maintenance, minor, major or critical";
                self.wrong(at, format!("`{key}`: {text:?} is not a severity: {known}"));
            }
            read
        };
        // Both are read, so that two errors are reported together.
        let pairs = pairs.into_iter().map(|[from, to]| severity(from).zip(severity(to)));
        pairs.collect::<Vec<_>>().into_iter().collect()
    }

    /// A value of any kind, to be checked by the caller.
    pub fn value(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.take(key)
    }

    /// A table and its position.
    pub fn table(&mut self, key: &'static str) -> Option<(DeTable<'a>, usize)> {
        self.typed(key, "a table", |value| value.as_table().cloned())
    }

    /// A list of tables and their positions.
    pub fn tables(&mut self, key: &'static str) -> Option<Vec<(DeTable<'a>, usize)>> {
        let read = |value: &DeValue<'a>| {
            let items = value.as_array()?.iter();
            items.map(|item| Some((item.get_ref().as_table()?.clone(), item.span().start))).collect()
        };
        self.typed(key, "a list of tables", read).map(|(tables, _)| tables)
    }

    /// Starts to read a nested table.
    pub fn inner(&mut self, table: DeTable<'a>) -> Keys<'_, 'a> {
        let at = table.iter().map(|(key, _)| key.span().start).min();
        Keys { at, ..Keys::of(self.file, table) }
    }

    /// Reports the remaining keys as unknown.
    pub fn finish(self) {
        for (key, _) in &self.table {
            let message = format!("unknown key `{}`; known here: {}", key.get_ref(), self.known.join(", "));
            self.file.wrong(Some(key.span().start), message);
        }
    }
}
