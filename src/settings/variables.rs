//! The list of all settings.

/// A variable, its default and its meaning: the content of `.env.example` and of `--help`.
pub struct Variable {
    pub name: &'static str,
    /// The value when it is not set; empty: none.
    pub default: &'static str,
    /// One line.
    pub meaning: &'static str,
    /// How much of its value may be shown.
    pub secrecy: Secrecy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    Public,
    /// Everything but the user name and password of an address.
    Address,
    Secret,
}

const fn var(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning, secrecy: Secrecy::Public }
}

const fn address(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default: "", meaning, secrecy: Secrecy::Address }
}

const fn secret(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default: "", meaning, secrecy: Secrecy::Secret }
}

pub const VARIABLES: &[Variable] = &[
    var(
        "QLIK_TENANT_URL",
        "",
        "URL of the Qlik Cloud tenant, e.g. https://acme.eu.qlikcloud.com. Without any QLIK_ variable: preview mode, no writes",
    ),
    secret(
        "QLIK_API_KEY",
        "API key of a user with the TenantAdmin role; alternatively set the OAuth client below",
    ),
    var("QLIK_CLIENT_ID", "", "Client id of an OAuth machine-to-machine client"),
    secret("QLIK_CLIENT_SECRET", "Client secret of that OAuth client"),
    var(
        "TENANTS_DIR",
        "tenants",
        "Folder of tenant definitions, for several tenants; replaces QLIK_TENANT_URL. The QLIK_ credentials serve tenants without their own",
    ),
    var("POLL_INTERVAL", "60s", "Time between two polls of a status page, at least 1s"),
    var("POLL_TIMEOUT", "10s", "Total timeout for one poll"),
    var(
        "HOLD_FOR",
        "6h",
        "How long the last known problem stays in the banner while its status page cannot be read",
    ),
    var(
        "MONITORS_DIR",
        "monitors",
        "Folder of monitor definitions; the built-in four are used if this is not set and the folder does not exist",
    ),
    var("ENGINES_DIR", "engines", "Folder of status page engines that add to the built-in ones"),
    var("CHANNELS_DIR", "channels", "Folder of channel definitions: where messages about incidents are sent"),
    var("CONNECTORS_DIR", "connectors", "Folder of connector definitions that add to the built-in ones"),
    var("DATA_DIR", "data", "Folder for the state database and the synced tables"),
    address(
        "DATABASE_URL",
        "PostgreSQL instead of DATA_DIR, e.g. postgres://dsm@db.example.com/dsm?sslmode=require",
    ),
    secret("DATABASE_PASSWORD", "Password for DATABASE_URL, if the URL does not contain it"),
    var(
        "EXPORT_DIR",
        "",
        "Folder for Parquet files of the synced tables, written after each complete run; off if not set",
    ),
    var("EXPORT_PARTIAL", "false", "Export also after runs that ended partial"),
    var("EXPORT_DELETED", "false", "Export also rows that are marked deleted, with _deleted_at"),
    var("LOG_FILE", "monitor.log", "Path of the log file, or off"),
    var("LOG_FORMAT", "text", "Log format: text | json"),
    var(
        "LOG_LEVEL",
        "info",
        "Log level: error | warn | info | debug | trace, or a filter such as info,reqwest=debug",
    ),
    var("LOG_ROTATE_SIZE", "20MB", "The log file is rotated (renamed to monitor.log.1) above this size"),
    var("LOG_ROTATE_AGE", "30d", "The log file is rotated when it is older than this"),
    var("LOG_KEEP", "5", "How many rotated log files are kept"),
    var(
        "LOG_EVERY_CYCLE",
        "false",
        "Log the state of all monitors in every cycle (true), or when it changes and hourly",
    ),
    var(
        "LISTEN",
        "127.0.0.1:8080",
        "Listen address for the dashboard, /healthz, /readyz and /metrics, or off",
    ),
    secret("WEB_TOKEN", "Token that protects the dashboard; required unless LISTEN is a loopback address"),
    var(
        "WEB_OPEN",
        "false",
        "Access without a token: true for the whole dashboard, status for badges and /api/v2 only",
    ),
    var("DASHBOARD_TITLE", "Data Sources Monitor", "Title of the dashboard and of /api/v2"),
    var(
        "DASHBOARD_URL",
        "",
        "Address of the dashboard for users of the tenants, for banners that link to it",
    ),
    var(
        "DASHBOARD_LOGO_FILE",
        "",
        "PNG, SVG or WebP file of at most 256 KiB, shown beside the title; read at the start",
    ),
    var("WEB_HOSTS", "", "Host names accepted from browsers besides localhost, comma-separated; * for any"),
    var(
        "BANNER_LEASE",
        "12h",
        "The banner expires this long after its last write; it is renewed when a quarter of the time is left",
    ),
    var(
        "BANNER_RESOLVED_FOR",
        "0s",
        "How long a green 'Resolved' banner is shown after an incident; 0s: not at all",
    ),
    var(
        "BANNER_FOREIGN",
        "borrow",
        "When a manual banner is up and an incident starts: borrow replaces it and restores it afterwards, respect waits",
    ),
    var("BANNER_SPACING", "10s", "Minimum time between two banner writes while only the message changes"),
    var("BANNER_RECHECK", "5m", "How often the tenant is read when nothing has changed"),
    var("BANNER_ON_STOP", "keep", "When the daemon stops: keep the banner until it expires | clear it"),
    var("EXTRA_CA_FILE", "", "PEM file with additional trusted certificate authorities"),
    address(
        "HTTPS_PROXY",
        "Proxy for https addresses (http, https, socks5, socks5h); all four proxy variables also work in lower case",
    ),
    address("HTTP_PROXY", "Proxy for http addresses"),
    address("ALL_PROXY", "Proxy for http and https where the specific variable is not set"),
    var(
        "NO_PROXY",
        "",
        "Hosts reached without a proxy: host, .domain, host:port, address, address/bits or *, comma-separated",
    ),
];

pub(super) fn default_of(name: &str) -> &'static str {
    VARIABLES.iter().find(|v| v.name == name).map_or("", |v| v.default)
}
