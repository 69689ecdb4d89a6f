//! Where a variable's value comes from: the process, `.env`, a file named by `NAME_FILE`, systemd's credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Where variables come from: the process and its files, or a map in tests.
pub trait Vars: Send + Sync {
    /// The value as given, if any.
    fn get(&self, name: &str) -> Option<String>;
    /// A file's content, for `NAME_FILE` and credentials.
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

impl Vars for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }
}

/// The process environment, and below it a `.env` file.
pub struct ProcessVars {
    file: BTreeMap<String, String>,
}

impl ProcessVars {
    /// Reads `.env` in the working directory if there is one.
    ///
    /// # Errors
    /// When a line of it cannot be read: half a file would be worse than none. The line is not shown.
    pub fn load(path: &Path) -> Result<ProcessVars, Problem> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(ProcessVars { file: BTreeMap::new() });
            }
            Err(e) => return Err(Problem::new(path.display(), format!("cannot be read: {e}"))),
        };
        let mut file = BTreeMap::new();
        for entry in dotenvy::from_read_iter(text.trim_start_matches('\u{feff}').as_bytes()) {
            let (name, value) = entry.map_err(|e| env_file_problem(path, &text, &e))?;
            file.insert(name, value);
        }
        Ok(ProcessVars { file })
    }
}

fn env_file_problem(path: &Path, text: &str, error: &dotenvy::Error) -> Problem {
    let place = match error {
        dotenvy::Error::LineParse(bad, _) => text.lines().position(|line| line.contains(bad.trim())),
        _ => None,
    };
    let line = place.map_or(String::new(), |at| format!(":{}", at + 1));
    Problem::new(
        format!("{}{line}", path.display()),
        "cannot be understood; put a value with spaces, `$` or `#` in single quotes: NAME='value'",
    )
}

impl Vars for ProcessVars {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.file.get(name).cloned())
    }
}

/// One mistake in the configuration: where, and what to do about it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A variable, or a file with line and column.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: impl fmt::Display, message: impl Into<String>) -> Problem {
        Problem { place: place.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Looks a variable up as `NAME`, as the file named by `NAME_FILE`, and in systemd's credentials. An empty
/// value counts as not set; white space at the end of a file does not count.
///
/// # Errors
/// When it is set in two ways, or its file cannot be read.
pub fn lookup(vars: &dyn Vars, name: &str) -> Result<Option<String>, Problem> {
    let filled = |value: Option<String>| value.filter(|v| !v.trim().is_empty());
    let plain = filled(vars.get(name)).map(|value| (name.to_owned(), value));
    let by_file = filled(vars.get(&format!("{name}_FILE"))).map(|path| (format!("{name}_FILE"), path));
    let by_file = match by_file {
        None => None,
        Some((place, path)) => match vars.read(Path::new(&path)) {
            Ok(value) => Some((place, value.trim_end().to_owned())),
            // The path is not shown: a person may have put the secret itself there.
            Err(e) => return Err(Problem::new(place, format!("the file it names cannot be read: {e}"))),
        },
    };
    let credential = match filled(vars.get("CREDENTIALS_DIRECTORY")) {
        None => None,
        Some(folder) => match vars.read(&Path::new(&folder).join(name)) {
            Ok(value) => Some((format!("the credential {name}"), value.trim_end().to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                return Err(Problem::new(format!("the credential {name}"), format!("cannot be read: {e}")));
            }
        },
    };
    let mut found = [plain, by_file, credential].into_iter().flatten();
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => Ok(Some(value).filter(|v| !v.is_empty())),
        (Some((a, _)), Some((b, _))) => {
            Err(Problem::new(name, format!("both {a} and {b} are set; keep one")))
        }
    }
}
