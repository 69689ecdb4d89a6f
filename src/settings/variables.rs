//! The list of everything that can be set.

/// A variable, its default and its meaning: the content of `.env.example` and of `--help`.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set; empty: nothing.
    pub default: &'static str,
    /// One line.
    pub meaning: &'static str,
}

const fn var(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Everything that can be set.
pub const VARIABLES: &[Variable] = &[
    var(
        "QLIK_TENANT_URL",
        "",
        "The tenant, e.g. https://acme.eu.qlikcloud.com. Without any QLIK_ variable: preview",
    ),
    var("QLIK_API_KEY", "", "API key of a user with the role TenantAdmin; or the two below"),
    var("QLIK_CLIENT_ID", "", "OAuth machine-to-machine client"),
    var("QLIK_CLIENT_SECRET", "", "Its secret"),
    var("POLL_INTERVAL", "60s", "Time between two looks at a page, 1 s at least"),
    var("POLL_TIMEOUT", "10s", "Total timeout for one poll"),
    var(
        "HOLD_FOR",
        "6h",
        "How long a known problem stays in the banner while its status page cannot be read",
    ),
    var(
        "MONITORS_DIR",
        "monitors",
        "Folder of monitor definitions; the built-in four are used if this is not set and the folder does not exist",
    ),
    var("CONNECTORS_DIR", "connectors", "Folder of connector definitions that add to the built-in ones"),
    var("DATA_DIR", "data", "Folder of the program's memory and of the synced tables"),
    var(
        "DATABASE_URL",
        "",
        "PostgreSQL for all of that instead, e.g. postgres://dsm@db.example.com/dsm?sslmode=require",
    ),
    var("DATABASE_PASSWORD", "", "Its password, if it does not stand in the URL"),
    var("LOG_FILE", "monitor.log", "Log file, or off"),
    var("LOG_FORMAT", "text", "text | json"),
    var("LOG_LEVEL", "info", "error | warn | info | debug | trace, or a filter such as info,reqwest=debug"),
    var("LOG_ROTATE_SIZE", "20MB", "The log file is renamed to monitor.log.1 above this size"),
    var("LOG_ROTATE_AGE", "30d", "... and when it is older than this"),
    var("LOG_KEEP", "5", "How many renamed log files are kept"),
    var("LISTEN", "127.0.0.1:8080", "Address of the dashboard, /healthz, /readyz and /metrics, or off"),
    var(
        "WEB_TOKEN",
        "",
        "Who opens the dashboard must have this secret; wanted where LISTEN is not loopback",
    ),
    var(
        "WEB_OPEN",
        "false",
        "true: everybody who reaches LISTEN may see the dashboard; status: only badges and /api/v2",
    ),
    var(
        "WEB_HOSTS",
        "",
        "Names of this machine that browsers may use besides localhost, comma-separated; * for any",
    ),
    var(
        "BANNER_LEASE",
        "12h",
        "The banner expires this long after its last renewal; it is renewed when a quarter is left",
    ),
    var("BANNER_RESOLVED_FOR", "0s", "How long a green 'Resolved' follows an incident; 0s: none"),
    var(
        "BANNER_FOREIGN",
        "borrow",
        "When a manual banner is up and an incident starts: borrow replaces it and restores it afterwards, respect waits",
    ),
    var("BANNER_SPACING", "10s", "Least time between two writes of the banner while only its words change"),
    var("BANNER_RECHECK", "5m", "How often the tenant is read although nothing changed"),
    var("BANNER_ON_STOP", "keep", "At a stop: keep the banner until its lease ends | clear it"),
    var("EXTRA_CA_FILE", "", "PEM file of further certificate authorities to trust"),
    var(
        "HTTPS_PROXY",
        "",
        "Proxy for https addresses (http, https, socks5, socks5h); these four also in lower case",
    ),
    var("HTTP_PROXY", "", "Proxy for http addresses"),
    var("ALL_PROXY", "", "Proxy for both where the one above is not set"),
    var(
        "NO_PROXY",
        "",
        "Reached directly: host, .domain, host:port, address, address/bits or *, comma-separated",
    ),
];

/// What holds when it is not set.
pub(super) fn default_of(name: &str) -> &'static str {
    VARIABLES.iter().find(|v| v.name == name).map_or("", |v| v.default)
}
