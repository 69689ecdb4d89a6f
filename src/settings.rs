//! The settings: environment, `.env` and systemd credentials, checked together.
//!
//! Start at [`VARIABLES`], the list of all settings, and at [`Settings::from_vars`]. The variables of
//! connectors are not settings: they are read by name with [`lookup`]. Nothing here opens a connection.

mod credentials;
mod env_file;
mod names;
mod problem;
mod source;
mod variables;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::domain::monitoring::observation::Link;
use crate::domain::monitoring::plan::{Foreign, Policy};
use crate::domain::monitoring::schedule::parse_duration;
use crate::domain::proxy::{NoProxy, Proxies, ProxyAddress};
use crate::domain::text;

pub use credentials::{Credentials, QLIK, Tenant, credential_names, credentials};
pub use names::unknown_names;
pub use problem::Problem;
pub use source::{FlagValue, ProcessVars, ValueOrigin, Vars, locate, lookup};
use variables::default_of;
pub use variables::{Secrecy, VARIABLES, Variable};

/// Long enough that a random token cannot be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Fits the header of a phone.
const LONGEST_TITLE: usize = 60;

/// All settings, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tenant of `QLIK_TENANT_URL`.
    pub tenant: Option<Tenant>,
    /// `false`: preview mode, there is no tenant.
    pub live: bool,
    /// Credentials for tenants without their own.
    pub shared_credentials: Option<Credentials>,
    pub tenants_dir: PathBuf,
    /// Where people reach the dashboard.
    pub dashboard_url: Option<Url>,
    pub poll_interval: Duration,
    pub poll_timeout: Duration,
    /// How long an unconfirmed state is held.
    pub hold_for: Duration,
    pub monitors_dir: PathBuf,
    pub connectors_dir: PathBuf,
    pub engines_dir: PathBuf,
    pub channels_dir: PathBuf,
    /// Folder for state and synced tables.
    pub data_dir: PathBuf,
    pub log: LogOptions,
    pub listen: Option<SocketAddr>,
    /// Who may see the dashboard.
    pub web: Web,
    pub policy: Policy,
    /// How often the tenant is read without a change of the assessment.
    pub recheck: Duration,
    /// Whether the banner is cleared when the daemon stops.
    pub clear_on_stop: bool,
    /// PostgreSQL instead of files; `None`: everything is in [`Settings::data_dir`].
    pub database: Option<DatabaseAddress>,
    /// Additional certificate authorities.
    pub extra_ca: Option<PathBuf>,
    pub export: ExportSettings,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub proxies: Proxies,
    /// Warnings: settings that are allowed but not recommended.
    pub warnings: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// `None`: console only.
    pub file: Option<PathBuf>,
    /// One JSON object per line instead of the text format.
    pub json: bool,
    /// Filter directives.
    pub level: String,
    /// Bytes.
    pub rotate_size: u64,
    pub rotate_age: Duration,
    /// How many rotated files are kept.
    pub keep: usize,
    /// Log the state of all monitors in each cycle, not only when it changes and hourly.
    pub every_cycle: bool,
}

/// Which tables become files, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSettings {
    /// `None`: tables are not exported.
    pub dir: Option<PathBuf>,
    /// Also after runs that ended `partial`.
    pub partial: bool,
    /// Also rows that are marked deleted.
    pub deleted: bool,
}

/// Who may see the dashboard.
#[derive(Debug, Clone)]
pub struct Web {
    pub token: Option<SecretString>,
    /// What is visible without the token.
    pub open: PublicAccess,
    /// Host names under which the dashboard is reached.
    pub hosts: Vec<String>,
    pub title: String,
    pub logo: Option<PathBuf>,
}

/// What is visible without authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PublicAccess {
    #[default]
    Nothing,
    /// Badges and `/api/v2`.
    Status,
    Everything,
}

/// The address of PostgreSQL. `database` checks whether the URL can be used.
#[derive(Debug, Clone)]
pub struct DatabaseAddress {
    /// `postgres://…`, possibly with a password.
    pub url: SecretString,
    /// The password, if it is set separately.
    pub password: Option<SecretString>,
}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// All configuration errors together.
    pub fn from_vars(vars: &dyn Vars) -> Result<Settings, Vec<Problem>> {
        let (settings, problems) = Settings::read(vars);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Reads all settings and returns what is wrong. An invalid setting counts as not set, so that the caller
    /// can look for further errors.
    pub fn read(vars: &dyn Vars) -> (Settings, Vec<Problem>) {
        let mut read = SettingsReader { vars, problems: vars.problems().to_vec(), warnings: Vec::new() };
        let poll_interval = read.at_least("POLL_INTERVAL", Duration::from_secs(1));
        let tenants_dir: PathBuf = read.text("TENANTS_DIR").into();
        let qlik = credentials::qlik_variables(vars, &tenants_dir);
        read.problems.extend(qlik.problems);
        let resolved_for = read.duration("BANNER_RESOLVED_FOR");
        let settings = Settings {
            live: qlik.tenant.is_some() || qlik.has_definitions,
            tenant: qlik.tenant,
            shared_credentials: qlik.shared,
            tenants_dir,
            dashboard_url: read.dashboard_url(),
            poll_interval,
            poll_timeout: read.at_least("POLL_TIMEOUT", Duration::from_millis(100)),
            hold_for: read.at_least("HOLD_FOR", Duration::from_secs(60)),
            monitors_dir: read.text("MONITORS_DIR").into(),
            connectors_dir: read.text("CONNECTORS_DIR").into(),
            engines_dir: read.text("ENGINES_DIR").into(),
            channels_dir: read.text("CHANNELS_DIR").into(),
            data_dir: read.text("DATA_DIR").into(),
            log: LogOptions {
                file: read.unless_off("LOG_FILE").map(PathBuf::from),
                json: read.choice("LOG_FORMAT", [("text", false), ("json", true)]),
                level: read.text("LOG_LEVEL"),
                rotate_size: read.bytes("LOG_ROTATE_SIZE"),
                rotate_age: read.at_least("LOG_ROTATE_AGE", Duration::from_secs(60)),
                keep: read.parsed("LOG_KEEP", "a number", |text| text.parse().ok()),
                every_cycle: read.choice("LOG_EVERY_CYCLE", [("false", false), ("true", true)]),
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
            export: ExportSettings {
                dir: read.optional("EXPORT_DIR").map(PathBuf::from),
                partial: read.choice("EXPORT_PARTIAL", [("false", false), ("true", true)]),
                deleted: read.choice("EXPORT_DELETED", [("false", false), ("true", true)]),
            },
            proxies: read.proxies(),
            warnings: std::mem::take(&mut read.warnings),
        };
        (settings.warned(), read.problems)
    }

    /// Folders that are set but do not exist. The built-in definitions are not what the user meant then.
    pub fn missing_folders(&self, vars: &dyn Vars) -> Vec<Problem> {
        let folders = [
            ("MONITORS_DIR", &self.monitors_dir),
            ("CONNECTORS_DIR", &self.connectors_dir),
            ("ENGINES_DIR", &self.engines_dir),
            ("CHANNELS_DIR", &self.channels_dir),
            ("TENANTS_DIR", &self.tenants_dir),
        ];
        let set = folders.into_iter().filter(|(name, _)| matches!(lookup(vars, name), Ok(Some(_))));
        let missing = |(name, path): (&str, &PathBuf)| {
            let place = path.display();
            match std::fs::metadata(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(Problem::new(
                    name,
                    format!("folder {place} does not exist; create it, or unset {name}"),
                )),
                Ok(found) if !found.is_dir() => Some(Problem::new(name, format!("{place} is not a folder"))),
                // A folder that cannot be read is reported when it is read.
                Ok(_) | Err(_) => None,
            }
        };
        set.filter_map(missing).collect()
    }

    fn warned(mut self) -> Settings {
        let seconds = self.poll_interval.as_secs();
        if seconds < 30 {
            let message =
                format!("polling every {seconds} s is a lot for a third party's status page; 60 s is usual");
            self.warnings.push(Problem::new("POLL_INTERVAL", message));
        }
        if self.poll_timeout >= self.poll_interval {
            let message = "is not shorter than POLL_INTERVAL: a status page that hangs will miss polls";
            self.warnings.push(Problem::new("POLL_TIMEOUT", message));
        }
        if self.recheck > self.policy.lease / 4 {
            let message = "is longer than a quarter of BANNER_LEASE; a change made by hand is noticed late";
            self.warnings.push(Problem::new("BANNER_RECHECK", message));
        }
        self
    }
}

/// A size such as `20MB`, `512 KiB` or `1048576`; units without an `i` are decimal.
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

struct SettingsReader<'a> {
    vars: &'a dyn Vars,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl SettingsReader<'_> {
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

    fn at_least(&mut self, name: &'static str, min: Duration) -> Duration {
        let before = self.problems.len();
        let duration = self.duration(name);
        if self.problems.len() == before && duration < min {
            self.problems.push(Problem::new(name, format!("must be at least {min:?}")));
        }
        duration.max(min)
    }

    fn bytes(&mut self, name: &'static str) -> u64 {
        let parse = |text: &str| parse_bytes(text).filter(|bytes| *bytes >= 1024);
        self.parsed(name, "a size of 1 KiB or more (examples: 20MB, 512KiB)", parse)
    }

    fn choice<T: Copy + Default, const N: usize>(&mut self, name: &'static str, of: [(&str, T); N]) -> T {
        let choices = of.map(|(word, _)| word).join(" | ");
        self.parsed(name, &format!("one of {choices}"), |text| {
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
        let words = [
            ("false", PublicAccess::Nothing),
            ("status", PublicAccess::Status),
            ("true", PublicAccess::Everything),
        ];
        let open = self.choice("WEB_OPEN", words);
        if open == PublicAccess::Everything && token.is_some() {
            self.problems.push(Problem::new("WEB_OPEN", "is true beside WEB_TOKEN; keep one of the two"));
        }
        let title = self.parsed("DASHBOARD_TITLE", "a text of at most 60 characters", |text| {
            let plain = text::plain(text);
            (1..=LONGEST_TITLE).contains(&plain.chars().count()).then_some(plain.into_owned())
        });
        let logo = self.optional("DASHBOARD_LOGO_FILE").map(PathBuf::from);
        Web { token: token.map(SecretString::from), open, hosts: self.hosts(), title, logo }
    }

    fn dashboard_url(&mut self) -> Option<Url> {
        let text = self.optional("DASHBOARD_URL")?;
        let link = Link::checked(text.trim(), "Dashboard").and_then(|link| Url::parse(&link.url).ok());
        if link.is_none() {
            self.wrong("DASHBOARD_URL", "is not an address (example: https://monitor.example.com/)")
        } else {
            link
        }
    }

    /// Names without a port: the port of the browser's `Host` header is ignored, too.
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

    /// Proxy variables are common in upper and in lower case; upper case wins.
    fn in_either_case(&mut self, name: &'static str) -> Option<(String, String)> {
        let lower = name.to_ascii_lowercase();
        let (capital, small) = (self.optional(name), self.optional(&lower));
        if capital.is_some() && small.is_some() && capital != small {
            self.warnings.push(Problem::new(name, format!("is used; {lower} has a different value")));
        }
        capital.map(|text| (name.to_owned(), text)).or(small.map(|text| (lower, text)))
    }

    fn database(&mut self) -> Option<DatabaseAddress> {
        let [url, password] = ["DATABASE_URL", "DATABASE_PASSWORD"].map(|name| self.optional(name));
        match (url, password) {
            (Some(url), password) => {
                Some(DatabaseAddress { url: url.into(), password: password.map(SecretString::from) })
            }
            (None, Some(_)) => {
                self.wrong("DATABASE_URL", "is missing; it is required with DATABASE_PASSWORD")
            }
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
