//! `.env`: lines `NAME=value`, with comments and quotes. Nothing is substituted, and each line is parsed by
//! itself.

use std::collections::BTreeMap;

use super::problem::Problem;

const QUOTE_IT: &str = "put a value with spaces, `$` or `#` in single quotes: NAME='value'";

/// The parsed file.
#[derive(Default)]
pub(super) struct EnvFile {
    /// Values by name, with their line numbers, from 1.
    pub(super) entries: BTreeMap<String, (String, usize)>,
    /// Every line that cannot be parsed. Values are not shown.
    pub(super) problems: Vec<Problem>,
}

impl EnvFile {
    /// Parses the file's text; `place` is the file's name in messages.
    pub(super) fn parse(place: &str, text: &str) -> EnvFile {
        let mut file = EnvFile::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            let wrong = |message: String| Problem::new(format!("{place}:{}", at + 1), message);
            match entry(line.trim()) {
                Ok(None) => {}
                Ok(Some((name, value))) => {
                    if let Some((_, first)) = file.entries.get(&name) {
                        file.problems.push(wrong(format!("{name} is already set in line {first}; keep one")));
                    }
                    file.entries.insert(name, (value, at + 1));
                }
                Err(message) => file.problems.push(wrong(message)),
            }
        }
        file
    }
}

/// Parses one line. The library gets one line at a time, so that an open quote cannot swallow the next line.
fn entry(line: &str) -> Result<Option<(String, String)>, String> {
    let name = || line.trim_start_matches("export ").split('=').next().unwrap_or_default().trim().to_owned();
    if substitutes(line) {
        return Err(format!("{}: `$` is not substituted; {QUOTE_IT}", name()));
    }
    match dotenvy::from_read_iter(line.as_bytes()).next() {
        None => Ok(None),
        Some(Ok(entry)) => Ok(Some(entry)),
        // The library's error text contains the value.
        Some(Err(_)) if line.contains('=') => {
            Err(format!("{} cannot be parsed (an open quote, an unknown escape?); {QUOTE_IT}", name()))
        }
        Some(Err(_)) => Err(format!("is not NAME=value; {QUOTE_IT}")),
    }
}

/// Whether the library would replace a `$` by another variable's value, which is mostly empty.
fn substitutes(line: &str) -> bool {
    let (mut single, mut escaped) = (false, false);
    !line.starts_with('#')
        && line.chars().any(|c| {
            let found = c == '$' && !single && !escaped;
            single ^= c == '\'' && !escaped;
            escaped = c == '\\' && !single && !escaped;
            found
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_common_forms_of_values() {
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
            ("A='b", Err("open quote")),
            ("A", Err("NAME=value")),
            ("1A=b", Err("cannot be parsed")),
            ("A B=c", Err("cannot be parsed")),
        ] {
            let file = EnvFile::parse(".env", line);
            let problem = file.problems.first().map(ToString::to_string).unwrap_or_default();
            match want {
                Ok(want) => assert_eq!(file.entries["A"].0, want, "{line}: {problem}"),
                Err(words) => assert!(problem.contains(words), "{line}: {problem}"),
            }
        }
    }

    /// A line that cannot be parsed hides no other line, and its value is not shown.
    #[test]
    fn reports_every_bad_line() {
        let text = "\u{feff}A=1\r\n\r\nB=hush hush\r\nC=hush$hush\r\nA=2\r\n# D=hush hush\r\nE=3\r\n";
        let file = EnvFile::parse(".env", text);
        insta::assert_snapshot!(file.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @"
        .env:3: B cannot be parsed (an open quote, an unknown escape?); put a value with spaces, `$` or `#` in single quotes: NAME='value'
        .env:4: C: `$` is not substituted; put a value with spaces, `$` or `#` in single quotes: NAME='value'
        .env:5: A is already set in line 1; keep one
        ");
        assert_eq!(file.entries.into_keys().collect::<Vec<_>>(), ["A", "E"]);
    }
}
