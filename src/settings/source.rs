//! Sources of a variable's value: the process, `.env`, a file named by `NAME_FILE`, systemd credentials.

use std::collections::BTreeMap;
use std::path::Path;

use super::env_file::EnvFile;
use super::problem::Problem;

/// systemd sets this to the folder of the credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A source of variables: the process and its files, or a map in tests.
pub trait Vars: Send + Sync {
    /// The unprocessed value, if set.
    fn get(&self, name: &str) -> Option<String>;

    /// A file's content, for `NAME_FILE` and credentials.
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }

    /// Every name that is set, with its origin.
    fn names(&self) -> Vec<Named>;

    /// Where a plain value comes from.
    fn origin(&self, _name: &str) -> VarOrigin {
        VarOrigin::Process
    }

    /// The command-line flag that sets a variable, and its value. It overrides every other source.
    fn flag(&self, _name: &str) -> Option<(&'static str, &str)> {
        None
    }

    /// Errors found while reading this source.
    fn problems(&self) -> &[Problem] {
        &[]
    }
}

impl Vars for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<Named> {
        self.keys().map(|name| Named { name: name.clone(), origin: VarOrigin::Process }).collect()
    }
}

/// A name that is set, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub origin: VarOrigin,
}

/// Where a name is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VarOrigin {
    /// The process environment, which other programs share.
    Process,
    /// `.env`, which belongs to this program: file and line.
    EnvFile(String),
    /// A systemd credential.
    Credential,
}

/// A command-line flag that sets a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValue {
    pub variable: &'static str,
    /// The flag as typed: `--data-dir`.
    pub flag: &'static str,
    pub value: String,
}

/// The process environment. It overrides `.env`; command-line flags override both.
#[derive(Default)]
pub struct ProcessVars {
    process: BTreeMap<String, String>,
    place: String,
    file: EnvFile,
    flags: Vec<FlagValue>,
}

impl ProcessVars {
    /// Reads the process environment, and the file if it exists. Errors are in [`Vars::problems`].
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
        // Invalid Unicode becomes the replacement character here and is rejected by `check`.
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        #[expect(clippy::disallowed_methods, reason = "the one place where settings are read")]
        let process = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
        ProcessVars { process, place, file, flags: Vec::new() }
    }

    /// As [`load`](Self::load), for a file that the user named: it must exist.
    pub fn load_named(path: &Path) -> ProcessVars {
        let mut vars = ProcessVars::load(path);
        if let Err(e) = std::fs::metadata(path)
            && e.kind() == std::io::ErrorKind::NotFound
        {
            vars.file.problems.push(Problem::new(&vars.place, "file not found (--env-file)"));
        }
        vars
    }

    pub fn with_flags(self, flags: Vec<FlagValue>) -> ProcessVars {
        ProcessVars { flags, ..self }
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
        let process = process.map(|(name, _)| Named { name: name.clone(), origin: VarOrigin::Process });
        let mut file: Vec<_> = self.file.entries.iter().filter(|(_, (value, _))| filled(value)).collect();
        file.sort_by_key(|(_, (_, line))| *line);
        let file = file.into_iter().map(|(name, (_, line))| Named {
            name: name.clone(),
            origin: VarOrigin::EnvFile(format!("{}:{line}", self.place)),
        });
        let folder = self.get(CREDENTIALS).filter(|folder| filled(folder));
        // If the folder cannot be listed, each lookup of a credential reports that.
        let entries = folder.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        let credentials = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(Named { name, origin: VarOrigin::Credential })
        });
        process.chain(file).chain(credentials).collect()
    }

    fn origin(&self, name: &str) -> VarOrigin {
        match self.file.entries.get(name) {
            Some((_, line)) if self.in_process(name).is_none() => {
                VarOrigin::EnvFile(format!("{}:{line}", self.place))
            }
            _ => VarOrigin::Process,
        }
    }

    fn flag(&self, name: &str) -> Option<(&'static str, &str)> {
        let flag = self.flags.iter().find(|flag| flag.variable == name)?;
        Some((flag.flag, &flag.value))
    }

    fn problems(&self) -> &[Problem] {
        &self.file.problems
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedValue {
    pub value: String,
    pub origin: ValueOrigin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// A command-line flag.
    Flag(&'static str),
    /// The process environment.
    Environment,
    /// `.env`: file and line.
    EnvFile(String),
    /// The file that this variable names. Its path is not shown: the secret itself may have been put there by
    /// mistake.
    File(String),
    /// A systemd credential.
    Credential,
}

/// Looks up a variable as a flag, as `NAME`, as the file named by `NAME_FILE`, and in systemd's credentials.
/// An empty value counts as not set; white space at the end of a file is removed.
///
/// # Errors
/// If the variable is set in two ways, its file cannot be read, or its value contains a line break or another
/// control character or is wrapped in quotes.
pub fn lookup(vars: &dyn Vars, name: &str) -> Result<Option<String>, Problem> {
    Ok(locate(vars, name)?.map(|located| located.value))
}

/// As [`lookup`], with the origin of the value.
///
/// # Errors
/// As [`lookup`].
pub fn locate(vars: &dyn Vars, name: &str) -> Result<Option<LocatedValue>, Problem> {
    if let Some((flag, value)) = vars.flag(name) {
        let checked = if value.trim().is_empty() { Err("is empty".to_owned()) } else { check(value, false) };
        checked.map_err(|message| Problem::new(flag, message))?;
        return Ok(Some(LocatedValue { value: value.to_owned(), origin: ValueOrigin::Flag(flag) }));
    }
    let filled = |value: Option<String>| value.filter(|v| !v.trim().is_empty());
    let plain = filled(vars.get(name)).map(|value| {
        let origin = match vars.origin(name) {
            VarOrigin::EnvFile(place) => ValueOrigin::EnvFile(place),
            VarOrigin::Process | VarOrigin::Credential => ValueOrigin::Environment,
        };
        (name.to_owned(), LocatedValue { value, origin })
    });
    let by_file = filled(vars.get(&format!("{name}_FILE"))).map(|path| (format!("{name}_FILE"), path));
    let by_file = match by_file {
        None => None,
        Some((place, path)) => match vars.read(Path::new(&path)) {
            Ok(text) => {
                let origin = ValueOrigin::File(place.clone());
                Some((place, LocatedValue { value: content(&text), origin }))
            }
            // The path is not shown: the secret itself may have been put there by mistake.
            Err(e) => return Err(Problem::new(place, format!("the file it names cannot be read: {e}"))),
        },
    };
    let credential = match filled(vars.get(CREDENTIALS)) {
        None => None,
        Some(folder) => match vars.read(&Path::new(&folder).join(name)) {
            Ok(text) => {
                let located = LocatedValue { value: content(&text), origin: ValueOrigin::Credential };
                Some((format!("the credential {name}"), located))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => {
                return Err(Problem::new(format!("the credential {name}"), format!("cannot be read: {e}")));
            }
        },
    };
    let mut found = [plain, by_file, credential].into_iter().flatten();
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((place, located)), None) => {
            let unquoted = matches!(located.origin, ValueOrigin::EnvFile(_));
            check(&located.value, unquoted).map_err(|message| Problem::new(place, message))?;
            Ok(Some(located).filter(|located| !located.value.is_empty()))
        }
        (Some((a, _)), Some((b, _))) => {
            Err(Problem::new(name, format!("both {a} and {b} are set; keep one")))
        }
    }
}

/// A file's text without a byte-order mark and trailing white space.
fn content(text: &str) -> String {
    text.trim_start_matches('\u{feff}').trim_end().to_owned()
}

/// Rejects characters and quotes that no setting contains.
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
        let place = if at + 1 == value.chars().count() { "ends with" } else { "contains" };
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
