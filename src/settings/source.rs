//! Where a variable's value comes from: the process, `.env`, a file named by `NAME_FILE`, systemd's credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::env_file::EnvFile;

/// Where systemd puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where variables come from: the process and its files, or a map in tests.
pub trait Vars: Send + Sync {
    /// The value as given, if any.
    fn get(&self, name: &str) -> Option<String>;

    /// A file's content, for `NAME_FILE` and credentials.
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }

    /// Every name that is set to something, with its place.
    fn names(&self) -> Vec<Named>;

    /// Whether quotes around the value were read as such; elsewhere they are a part of it.
    fn unquotes(&self, _name: &str) -> bool {
        false
    }

    /// What of it cannot be read.
    fn problems(&self) -> &[Problem] {
        &[]
    }
}

impl Vars for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<Named> {
        self.keys().map(|name| Named { name: name.clone(), origin: Origin::Process }).collect()
    }
}

/// A name that is set, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Where it is set.
    pub origin: Origin,
}

/// Where a name is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The process environment, which other programs share.
    Process,
    /// `.env`, which is ours alone: file and line.
    EnvFile(String),
    /// A systemd credential.
    Credential,
}

/// The process environment, and below it a `.env` file.
#[derive(Default)]
pub struct ProcessVars {
    process: BTreeMap<String, String>,
    place: String,
    file: EnvFile,
}

impl ProcessVars {
    /// Reads the process environment, and the file if there is one. What of it cannot be read is in
    /// [`Vars::problems`].
    pub fn load(path: &Path) -> ProcessVars {
        let place = path.display().to_string();
        let file = match std::fs::read_to_string(path) {
            Ok(text) => EnvFile::parse(&place, &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => EnvFile::default(),
            Err(e) => {
                let words = match e.kind() {
                    std::io::ErrorKind::InvalidData => "is not UTF-8; save it as UTF-8".to_owned(),
                    _ => format!("cannot be read: {e}"),
                };
                EnvFile { problems: vec![Problem::new(&place, words)], ..EnvFile::default() }
            }
        };
        // What is not Unicode is told apart by the replacement character when it is looked up.
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let process = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
        ProcessVars { process, place, file }
    }

    fn in_process(&self, name: &str) -> Option<&String> {
        self.process.get(name)
    }
}

impl Vars for ProcessVars {
    fn get(&self, name: &str) -> Option<String> {
        self.in_process(name).or_else(|| self.file.entries.get(name).map(|(value, _)| value)).cloned()
    }

    fn names(&self) -> Vec<Named> {
        let filled = |value: &str| !value.trim().is_empty();
        let process = self.process.iter().filter(|(_, value)| filled(value));
        let process = process.map(|(name, _)| Named { name: name.clone(), origin: Origin::Process });
        let file = self.file.entries.iter().filter(|(_, (value, _))| filled(value));
        let file = file.map(|(name, (_, line))| Named {
            name: name.clone(),
            origin: Origin::EnvFile(format!("{}:{line}", self.place)),
        });
        let folder = self.get(CREDENTIALS).filter(|folder| filled(folder));
        // A folder that cannot be listed is told with each credential that is looked up.
        let entries = folder.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        let credentials = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(Named { name, origin: Origin::Credential })
        });
        process.chain(file).chain(credentials).collect()
    }

    fn unquotes(&self, name: &str) -> bool {
        self.in_process(name).is_none()
    }

    fn problems(&self) -> &[Problem] {
        &self.file.problems
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
/// When it is set in two ways, its file cannot be read, or it cannot be meant as it is: with a line break or another
/// control character, or wrapped in quotes that are a part of it.
pub fn lookup(vars: &dyn Vars, name: &str) -> Result<Option<String>, Problem> {
    let filled = |value: Option<String>| value.filter(|v| !v.trim().is_empty());
    let plain = filled(vars.get(name)).map(|value| (name.to_owned(), value));
    let by_file = filled(vars.get(&format!("{name}_FILE"))).map(|path| (format!("{name}_FILE"), path));
    let by_file = match by_file {
        None => None,
        Some((place, path)) => match vars.read(Path::new(&path)) {
            Ok(value) => Some((place, content(&value))),
            // The path is not shown: a person may have put the secret itself there.
            Err(e) => return Err(Problem::new(place, format!("the file it names cannot be read: {e}"))),
        },
    };
    let credential = match filled(vars.get(CREDENTIALS)) {
        None => None,
        Some(folder) => match vars.read(&Path::new(&folder).join(name)) {
            Ok(value) => Some((format!("the credential {name}"), content(&value))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                return Err(Problem::new(format!("the credential {name}"), format!("cannot be read: {e}")));
            }
        },
    };
    let mut found = [plain, by_file, credential].into_iter().flatten();
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((place, value)), None) => {
            let unquoted = place == name && vars.unquotes(name);
            check(&value, unquoted).map_err(|message| Problem::new(place, message))?;
            Ok(Some(value).filter(|v| !v.is_empty()))
        }
        (Some((a, _)), Some((b, _))) => {
            Err(Problem::new(name, format!("both {a} and {b} are set; keep one")))
        }
    }
}

/// A file's text without what editors put around it.
fn content(text: &str) -> String {
    text.trim_start_matches('\u{feff}').trim_end().to_owned()
}

/// What no setting can mean.
fn check(value: &str, unquoted: bool) -> Result<(), String> {
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err("is not valid UTF-8".to_owned());
    }
    if let Some((at, c)) = value.chars().enumerate().find(|(_, c)| c.is_control()) {
        let what = match c {
            '\n' | '\r' => "a line break".to_owned(),
            '\t' => "a tab".to_owned(),
            other => format!("a control character (U+{:04X})", u32::from(other)),
        };
        let place = if at + 1 == value.chars().count() { "ends in" } else { "holds" };
        return Err(format!("{place} {what} (character {}); write the value alone, on one line", at + 1));
    }
    let ends = (value.chars().next(), value.chars().next_back());
    if !unquoted && value.len() > 1 && matches!(ends, (Some('"'), Some('"')) | (Some('\''), Some('\''))) {
        return Err(
            "is wrapped in quotes, which are a part of the value here (`docker run --env-file` keeps them); \
                    write NAME=value without quotes"
                .to_owned(),
        );
    }
    Ok(())
}
