//! `.env`: lines `NAME=value`, with comments and quotes. Nothing is substituted, and no line hides another.

use std::collections::BTreeMap;

use super::source::Problem;

const QUOTE_IT: &str = "put a value with spaces, `$` or `#` in single quotes: NAME='value'";

/// What stands in the file.
#[derive(Default)]
pub(super) struct EnvFile {
    /// Values by name, with their lines, from 1.
    pub(super) entries: BTreeMap<String, (String, usize)>,
    /// Every line that cannot be read. Values are not shown.
    pub(super) problems: Vec<Problem>,
}

impl EnvFile {
    /// Reads the file's text; `place` is what people call it.
    pub(super) fn parse(place: &str, text: &str) -> EnvFile {
        let mut file = EnvFile::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            let wrong = |message: String| Problem::new(format!("{place}:{}", at + 1), message);
            match entry(line.trim()) {
                Ok(None) => {}
                Ok(Some((name, value))) => {
                    if let Some((_, first)) = file.entries.get(name) {
                        file.problems.push(wrong(format!("{name} is set in line {first} already; keep one")));
                    }
                    file.entries.insert(name.to_owned(), (value, at + 1));
                }
                Err(message) => file.problems.push(wrong(message)),
            }
        }
        file
    }
}

fn entry(line: &str) -> Result<Option<(&str, String)>, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, rest) = line.split_once('=').ok_or_else(|| format!("cannot be understood; {QUOTE_IT}"))?;
    let name = name.trim_end();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
        return Err("does not begin with a name; write NAME=value".to_owned());
    }
    value(name, rest.trim_start()).map(|value| Some((name, value)))
}

fn value(name: &str, text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    // A comment may follow at once where there is no value.
    if text.starts_with('#') {
        return Ok(out);
    }
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => out.push(c),
            (_, '$') => {
                return Err(format!("{name}: `$` is not substituted; {QUOTE_IT}"));
            }
            (_, '\\') => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('\\' | '\'' | '"' | '$' | ' ')) => out.push(c),
                _ => return Err(format!("{name}: `\\` begins an escape that is not known; {QUOTE_IT}")),
            },
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                let rest = chars.as_str().trim_start();
                if rest.is_empty() || rest.starts_with('#') {
                    break;
                }
                return Err(format!("{name} cannot be understood; {QUOTE_IT}"));
            }
            (_, c) => out.push(c),
        }
    }
    match quote {
        None => Ok(out),
        Some(quote) => Err(format!("{name}: the quote {quote} is not closed in this line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_people_write_them() {
        for (line, want) in [
            ("A=b", Ok("b")),
            ("  export A = b  # comment", Ok("b")),
            ("A=b#c", Ok("b#c")),
            ("A=", Ok("")),
            ("A= # comment", Ok("")),
            ("A='a $b #c \\d'", Ok("a $b #c \\d")),
            ("A=\"a \\\"b\\\" \\$c\" # d", Ok("a \"b\" $c")),
            ("A=a'b c'd", Ok("ab cd")),
            ("A='\"b\"'", Ok("\"b\"")),
            ("A=b\r", Ok("b")),
            ("A=abc$def", Err("single quotes")),
            ("A=\"abc${def}\"", Err("single quotes")),
            ("A=b c", Err("single quotes")),
            ("A=b\\c", Err("escape")),
            ("A='b", Err("not closed")),
            ("A", Err("cannot be understood")),
            ("1A=b", Err("name")),
            ("A B=c", Err("name")),
        ] {
            let file = EnvFile::parse(".env", line);
            let problem = file.problems.first().map(ToString::to_string).unwrap_or_default();
            match want {
                Ok(want) => assert_eq!(file.entries["A"].0, want, "{line}: {problem}"),
                Err(words) => assert!(problem.contains(words), "{line}: {problem}"),
            }
        }
    }

    /// A line that cannot be read hides no other, and its value is not shown.
    #[test]
    fn tells_every_line() {
        let text = "\u{feff}A=1\r\n\r\nB=hush hush\r\nC=hush$hush\r\nA=2\r\n# D=hush hush\r\nE=3\r\n";
        let file = EnvFile::parse(".env", text);
        insta::assert_snapshot!(file.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @"
        .env:3: B cannot be understood; put a value with spaces, `$` or `#` in single quotes: NAME='value'
        .env:4: C: `$` is not substituted; put a value with spaces, `$` or `#` in single quotes: NAME='value'
        .env:5: A is set in line 1 already; keep one
        ");
        assert_eq!(file.entries.into_keys().collect::<Vec<_>>(), ["A", "E"]);
    }
}
