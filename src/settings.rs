//! The settings: what the environment, `.env` and systemd's credentials say, checked all at once.
//!
//! Start at [`VARIABLES`], the list of everything that can be set, and [`Settings::from_vars`]. Connectors' own
//! variables are not settings: they are looked up by name through [`lookup`]. Nothing here opens a connection.

mod env_file;
mod names;
mod source;
mod variables;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::domain::plan::{Foreign, Policy};
use crate::domain::proxy::{NoProxy, Proxies, ProxyAddress};
use crate::domain::schedule::parse_duration;
use crate::domain::urls::is_loopback;

pub use names::unknown_names;
pub use source::{Named, Origin, Problem, ProcessVars, Vars, lookup};
use variables::default_of;
pub use variables::{VARIABLES, Variable};

/// A token that is guessed in no lifetime.
const SHORTEST_TOKEN: usize = 16;

/// Everything, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `None`: preview.
    pub tenant: Option<Tenant>,
    /// Time between two looks.
    pub poll_interval: Duration,
    /// Longest look.
    pub poll_timeout: Duration,
    /// How long what cannot be confirmed is held.
    pub hold_for: Duration,
    /// Folder of monitor definitions.
    pub monitors_dir: PathBuf,
    /// Folder of connector definitions.
    pub connectors_dir: PathBuf,
    /// Folder of what is kept.
    pub data_dir: PathBuf,
    /// The log.
    pub log: Log,
    /// Address of the web server.
    pub listen: Option<SocketAddr>,
    /// Who may see the dashboard.
    pub web: Web,
    /// The banner.
    pub policy: Policy,
    /// How often the tenant is read although nothing changed.
    pub recheck: Duration,
    /// Whether a stop clears the banner.
    pub clear_on_stop: bool,
    /// PostgreSQL instead of files; `None`: all stays in [`Settings::data_dir`].
    pub database: Option<DatabaseAddress>,
    /// Further certificate authorities.
    pub extra_ca: Option<PathBuf>,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub proxies: Proxies,
    /// What is allowed but unwise.
    pub warnings: Vec<Problem>,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `None`: console only.
    pub file: Option<PathBuf>,
    /// One JSON object a line instead of the text format.
    pub json: bool,
    /// Filter directives.
    pub level: String,
    /// Bytes.
    pub rotate_size: u64,
    /// Age of a file.
    pub rotate_age: Duration,
    /// Renamed files kept.
    pub keep: usize,
}

/// Who may see the dashboard.
#[derive(Debug, Clone)]
pub struct Web {
    /// Those who have it.
    pub token: Option<SecretString>,
    /// What everybody sees who reaches it.
    pub open: Open,
    /// Names it is reached by.
    pub hosts: Vec<String>,
}

/// What is shown to whoever asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Open {
    /// Nothing.
    #[default]
    Nothing,
    /// Badges and `/api/v2`.
    Status,
    /// Everything.
    Everything,
}

/// Where PostgreSQL is. Whether the URL can be used is for `database` to say.
#[derive(Debug, Clone)]
pub struct DatabaseAddress {
    /// `postgres://…`, perhaps with a password in it.
    pub url: SecretString,
    /// The password, if it is given apart.
    pub password: Option<SecretString>,
}

/// The tenant and how we sign in.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Root, https (http only on loopback).
    pub url: Url,
    /// How we sign in.
    pub credentials: Credentials,
}

/// How we sign in.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A user's key.
    ApiKey(SecretString),
    /// Machine to machine.
    OAuth {
        /// Client.
        id: String,
        /// Its secret.
        secret: SecretString,
    },
}

impl Settings {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn from_vars(vars: &dyn Vars) -> Result<Settings, Vec<Problem>> {
        let (settings, problems) = Settings::read(vars);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Reads everything, and says what is wrong; a setting that is wrong is as if it were not set. For whoever looks
    /// for further mistakes.
    pub fn read(vars: &dyn Vars) -> (Settings, Vec<Problem>) {
        let mut read = Reader { vars, problems: vars.problems().to_vec(), warnings: Vec::new() };
        let poll_interval = read.at_least("POLL_INTERVAL", Duration::from_secs(1));
        let resolved_for = read.duration("BANNER_RESOLVED_FOR");
        let settings = Settings {
            tenant: read.tenant(),
            poll_interval,
            poll_timeout: read.at_least("POLL_TIMEOUT", Duration::from_millis(100)),
            hold_for: read.at_least("HOLD_FOR", Duration::from_secs(60)),
            monitors_dir: read.text("MONITORS_DIR").into(),
            connectors_dir: read.text("CONNECTORS_DIR").into(),
            data_dir: read.text("DATA_DIR").into(),
            log: Log {
                file: read.unless_off("LOG_FILE").map(PathBuf::from),
                json: read.choice("LOG_FORMAT", [("text", false), ("json", true)]),
                level: read.text("LOG_LEVEL"),
                rotate_size: read.bytes("LOG_ROTATE_SIZE"),
                rotate_age: read.at_least("LOG_ROTATE_AGE", Duration::from_secs(60)),
                keep: read.parsed("LOG_KEEP", "a number", |text| text.parse().ok()),
            },
            listen: read.listen(),
            web: read.web(),
            policy: Policy {
                lease: read.at_least("BANNER_LEASE", Duration::from_secs(60)),
                resolved_for,
                foreign: read
                    .choice("BANNER_FOREIGN", [("borrow", Foreign::Borrow), ("respect", Foreign::Respect)]),
                spacing: read.duration("BANNER_SPACING"),
            },
            recheck: read.at_least("BANNER_RECHECK", Duration::from_secs(1)),
            clear_on_stop: read.choice("BANNER_ON_STOP", [("keep", false), ("clear", true)]),
            database: read.database(),
            extra_ca: read.optional("EXTRA_CA_FILE").map(PathBuf::from),
            proxies: read.proxies(),
            warnings: std::mem::take(&mut read.warnings),
        };
        (settings.warned(), read.problems)
    }

    /// The folders that are set and not there: the default, which is another one, is not what was meant.
    pub fn missing_folders(&self, vars: &dyn Vars) -> Vec<Problem> {
        let folders = [("MONITORS_DIR", &self.monitors_dir), ("CONNECTORS_DIR", &self.connectors_dir)];
        let set = folders.into_iter().filter(|(name, _)| matches!(lookup(vars, name), Ok(Some(_))));
        let missing = |(name, path): (&str, &PathBuf)| {
            let place = path.display();
            match std::fs::metadata(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(Problem::new(
                    name,
                    format!("there is no folder {place}; create it, or unset {name} to use what is built in"),
                )),
                Ok(found) if !found.is_dir() => Some(Problem::new(name, format!("{place} is not a folder"))),
                // What cannot be read is told by whoever reads it.
                Ok(_) | Err(_) => None,
            }
        };
        set.filter_map(missing).collect()
    }

    fn warned(mut self) -> Settings {
        let seconds = self.poll_interval.as_secs();
        if seconds < 30 {
            let words = format!("{seconds} s is often for other people's pages; 60 s is customary");
            self.warnings.push(Problem::new("POLL_INTERVAL", words));
        }
        if self.poll_timeout >= self.poll_interval {
            let words = "is not shorter than POLL_INTERVAL: a page that hangs will miss looks";
            self.warnings.push(Problem::new("POLL_TIMEOUT", words));
        }
        if self.recheck > self.policy.lease / 4 {
            let words = "is longer than a quarter of BANNER_LEASE; a person's change is noticed late";
            self.warnings.push(Problem::new("BANNER_RECHECK", words));
        }
        self
    }
}

/// A size as people write it: `20MB`, `512 KiB`, `1048576`; decimal units without an `i`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

/// The tenant's address made right: `https://` where no scheme stands, no slash at the end.
///
/// # Errors
/// What is wrong with it.
pub fn tenant_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&full).map_err(|e| format!("not an address: {e}"))?;
    if url.host().is_none() {
        return Err("has no host".into());
    }
    if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url)) {
        return Err("must begin with https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password".into());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must be the tenant's root, without path or query (https://acme.eu.qlikcloud.com)".into());
    }
    Ok(url)
}

struct Reader<'a> {
    vars: &'a dyn Vars,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Reader<'_> {
    fn optional(&mut self, name: &str) -> Option<String> {
        lookup(self.vars, name).unwrap_or_else(|problem| {
            self.problems.push(problem);
            None
        })
    }

    fn text(&mut self, name: &'static str) -> String {
        self.optional(name).unwrap_or_else(|| default_of(name).to_owned())
    }

    fn unless_off(&mut self, name: &'static str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.trim().eq_ignore_ascii_case("off"))
    }

    fn parsed<T: Default>(&mut self, name: &'static str, what: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let text = self.text(name);
        parse(text.trim()).unwrap_or_else(|| {
            self.problems.push(Problem::new(name, format!("`{}` is not {what}", text.trim())));
            parse(default_of(name)).unwrap_or_default()
        })
    }

    fn duration(&mut self, name: &'static str) -> Duration {
        self.parsed(name, "a duration (examples: 60s, 4h, 1h 30m)", parse_duration)
    }

    fn at_least(&mut self, name: &'static str, least: Duration) -> Duration {
        let before = self.problems.len();
        let duration = self.duration(name);
        if self.problems.len() == before && duration < least {
            self.problems.push(Problem::new(name, format!("must be at least {least:?}")));
        }
        duration.max(least)
    }

    fn bytes(&mut self, name: &'static str) -> u64 {
        let parse = |text: &str| parse_bytes(text).filter(|bytes| *bytes >= 1024);
        self.parsed(name, "a size of 1 KiB or more (examples: 20MB, 512KiB)", parse)
    }

    fn choice<T: Copy + Default, const N: usize>(&mut self, name: &'static str, of: [(&str, T); N]) -> T {
        let words = of.map(|(word, _)| word).join(" | ");
        self.parsed(name, &format!("one of {words}"), |text| {
            of.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
        })
    }

    fn listen(&mut self) -> Option<SocketAddr> {
        let text = self.unless_off("LISTEN")?;
        let address = text.trim().replace("localhost:", "127.0.0.1:");
        address
            .parse()
            .map_err(|_| {
                let words =
                    format!("`{text}` is not an address with a port (example: 127.0.0.1:8080), nor off");
                self.problems.push(Problem::new("LISTEN", words));
            })
            .ok()
    }

    fn web(&mut self) -> Web {
        let token = self.optional("WEB_TOKEN");
        if token.as_ref().is_some_and(|token| token.chars().count() < SHORTEST_TOKEN) {
            let words =
                format!("must have {SHORTEST_TOKEN} characters or more; `openssl rand -hex 16` makes one");
            self.problems.push(Problem::new("WEB_TOKEN", words));
        }
        let words = [("false", Open::Nothing), ("status", Open::Status), ("true", Open::Everything)];
        let open = self.choice("WEB_OPEN", words);
        if open == Open::Everything && token.is_some() {
            self.problems.push(Problem::new("WEB_OPEN", "is true beside WEB_TOKEN; keep one of the two"));
        }
        Web { token: token.map(SecretString::from), open, hosts: self.hosts() }
    }

    /// Names alone: what browsers send is compared without its port.
    fn hosts(&mut self) -> Vec<String> {
        let text = self.optional("WEB_HOSTS").unwrap_or_default();
        let mut hosts = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let bare = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(part);
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
            if part == "*" || bare.parse::<IpAddr>().is_ok() || part.chars().all(fits) {
                hosts.push(bare.to_owned());
            } else {
                let words = format!(
                    "`{part}` is not a host name; write it without scheme, port and path (example: monitor.example.com)"
                );
                self.problems.push(Problem::new("WEB_HOSTS", words));
            }
        }
        hosts
    }

    fn proxies(&mut self) -> Proxies {
        let all = self.proxy("ALL_PROXY");
        let https = self.proxy("HTTPS_PROXY").or_else(|| all.clone());
        let http = self.proxy("HTTP_PROXY").or(all);
        let except = match self.in_either_case("NO_PROXY") {
            None => NoProxy::default(),
            Some((name, text)) => NoProxy::parse(&text).unwrap_or_else(|message| {
                self.problems.push(Problem::new(name, message));
                NoProxy::default()
            }),
        };
        Proxies { https, http, except }
    }

    fn proxy(&mut self, name: &'static str) -> Option<ProxyAddress> {
        let (name, text) = self.in_either_case(name)?;
        let read = ProxyAddress::parse(&text);
        read.map_err(|message| self.problems.push(Problem::new(name, message))).ok()
    }

    /// Proxies are customarily set in capitals or in small letters; capitals win.
    fn in_either_case(&mut self, name: &'static str) -> Option<(String, String)> {
        let lower = name.to_ascii_lowercase();
        let (capital, small) = (self.optional(name), self.optional(&lower));
        if capital.is_some() && small.is_some() && capital != small {
            self.warnings.push(Problem::new(name, format!("is used; {lower} says something else")));
        }
        capital.map(|text| (name.to_owned(), text)).or(small.map(|text| (lower, text)))
    }

    fn tenant(&mut self) -> Option<Tenant> {
        let names = ["QLIK_TENANT_URL", "QLIK_API_KEY", "QLIK_CLIENT_ID", "QLIK_CLIENT_SECRET"];
        let before = self.problems.len();
        let [url, key, id, secret] = names.map(|name| self.optional(name));
        if self.problems.len() > before || [&url, &key, &id, &secret].iter().all(|v| v.is_none()) {
            return None;
        }
        let credentials = match (key, id, secret) {
            (Some(key), None, None) => self.api_key(key),
            (None, Some(id), Some(secret)) => Some(Credentials::OAuth { id, secret: secret.into() }),
            (None, None, None) => {
                self.wrong("QLIK_API_KEY", "is missing (or QLIK_CLIENT_ID and QLIK_CLIENT_SECRET)")
            }
            (Some(_), _, _) => self.wrong(
                "QLIK_API_KEY",
                "is set beside QLIK_CLIENT_ID or QLIK_CLIENT_SECRET; keep one of the two ways",
            ),
            (None, None, Some(_)) => self.wrong("QLIK_CLIENT_ID", "is missing beside QLIK_CLIENT_SECRET"),
            (None, Some(_), None) => self.wrong("QLIK_CLIENT_SECRET", "is missing beside QLIK_CLIENT_ID"),
        };
        let url = match url.as_deref().map(tenant_url) {
            None => self.wrong("QLIK_TENANT_URL", "is missing (example: https://acme.eu.qlikcloud.com)"),
            Some(Err(why)) => self.wrong("QLIK_TENANT_URL", &why),
            Some(Ok(url)) => Some(url),
        };
        Some(Tenant { url: url?, credentials: credentials? })
    }

    fn api_key(&mut self, key: String) -> Option<Credentials> {
        if let Some(at) = key.trim().chars().position(|c| !c.is_ascii_graphic()) {
            let message =
                format!("holds a character that no API key has (character {}); copy it again", at + 1);
            return self.wrong("QLIK_API_KEY", &message);
        }
        Some(Credentials::ApiKey(key.trim().into()))
    }

    fn database(&mut self) -> Option<DatabaseAddress> {
        let [url, password] = ["DATABASE_URL", "DATABASE_PASSWORD"].map(|name| self.optional(name));
        match (url, password) {
            (Some(url), password) => {
                Some(DatabaseAddress { url: url.into(), password: password.map(SecretString::from) })
            }
            (None, Some(_)) => self.wrong("DATABASE_URL", "is missing beside DATABASE_PASSWORD"),
            (None, None) => None,
        }
    }

    fn wrong<T>(&mut self, name: &str, message: &str) -> Option<T> {
        self.problems.push(Problem::new(name, message));
        None
    }
}

#[cfg(test)]
mod tests;
