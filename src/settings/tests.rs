//! How settings are parsed and validated.

use super::*;
use std::collections::BTreeMap;
use std::path::Path;

use secrecy::ExposeSecret;

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
    Settings::from_vars(&vars(pairs)).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Without variables, every setting has its documented default, and the program runs in preview mode.
#[test]
fn defaults() {
    let settings = Settings::from_vars(&vars(&[])).unwrap();
    assert!(settings.tenant.is_none());
    assert_eq!(settings.poll_interval, Duration::from_secs(60));
    assert_eq!(settings.listen.unwrap().to_string(), "127.0.0.1:8080");
    assert_eq!(settings.policy.lease, Duration::from_secs(12 * 3600));
    assert_eq!(settings.log.file.as_deref(), Some(Path::new("monitor.log")));
    assert_eq!(settings.log.rotate_age, Duration::from_secs(30 * 86_400));
    assert!(settings.warnings.is_empty());
}

#[test]
fn reports_all_errors_at_once() {
    insta::assert_snapshot!(problems(&[
        ("POLL_INTERVAL", "soon"), ("POLL_TIMEOUT", "1ms"), ("LOG_FORMAT", "xml"), ("LISTEN", "8080"),
        ("LOG_ROTATE_SIZE", "big"), ("QLIK_TENANT_URL", "https://acme.test/hub"), ("LOG_KEEP", "-1"),
    ]).join("\n"), @r"
    POLL_INTERVAL: `soon` is not a duration (examples: 60s, 4h, 1h 30m)
    QLIK_API_KEY: is missing (or QLIK_CLIENT_ID and QLIK_CLIENT_SECRET)
    QLIK_TENANT_URL: must be the tenant's root, without path or query (https://acme.eu.qlikcloud.com)
    POLL_TIMEOUT: must be at least 100ms
    LOG_FORMAT: `xml` is not one of text | json
    LOG_ROTATE_SIZE: `big` is not a size of 1 KiB or more (examples: 20MB, 512KiB)
    LOG_KEEP: `-1` is not a number
    LISTEN: `8080` is not an address with a port (example: 127.0.0.1:8080), nor off
    ");
}

/// The message names the missing variable; secrets are not repeated.
#[test]
fn incomplete_tenant_settings_are_an_error() {
    for (pairs, want) in [
        (
            vec![("QLIK_TENANT_URL", "acme.test")],
            "QLIK_API_KEY: is missing (or QLIK_CLIENT_ID and QLIK_CLIENT_SECRET)",
        ),
        (
            vec![("QLIK_API_KEY", "hush-hush")],
            "QLIK_TENANT_URL: is missing (example: https://acme.eu.qlikcloud.com)",
        ),
        (
            vec![("QLIK_TENANT_URL", "acme.test"), ("QLIK_CLIENT_ID", "c")],
            "QLIK_CLIENT_SECRET: is missing; it is required with QLIK_CLIENT_ID",
        ),
        (
            vec![("QLIK_TENANT_URL", "acme.test"), ("QLIK_API_KEY", "hush-hush"), ("QLIK_CLIENT_ID", "c")],
            "QLIK_API_KEY: is set together with QLIK_CLIENT_ID or QLIK_CLIENT_SECRET; keep one of the two",
        ),
    ] {
        assert_eq!(problems(&pairs), [want]);
    }
}

/// A missing scheme is added; unsafe addresses are rejected.
#[test]
fn tenant_addresses() {
    for (text, want) in [
        ("acme.eu.qlikcloud.com", Ok("https://acme.eu.qlikcloud.com/")),
        ("https://acme.eu.qlikcloud.com/", Ok("https://acme.eu.qlikcloud.com/")),
        ("http://127.0.0.1:4711", Ok("http://127.0.0.1:4711/")),
        ("http://localhost:4711/", Ok("http://localhost:4711/")),
        ("http://acme.eu.qlikcloud.com", Err(())),
        ("https://acme.test/api", Err(())),
        ("https://acme.test?x=1", Err(())),
        ("https://me:pw@acme.test", Err(())),
        ("ftp://acme.test", Err(())),
        ("https://", Err(())),
    ] {
        assert_eq!(
            crate::domain::monitoring::audience::tenant::tenant_url(text).map(String::from).map_err(|_| ()),
            want.map(str::to_owned),
            "{text}"
        );
    }
}

/// The last line break is removed; setting a variable in two ways is an error.
#[test]
fn files_and_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(folder.path().join("key"), "hush-hush\n").unwrap();
    std::fs::write(folder.path().join("QLIK_API_KEY"), "from-systemd\n").unwrap();
    let tenant = ("QLIK_TENANT_URL", "acme.test");
    let key_of =
        |pairs: &[(&str, &str)]| match Settings::from_vars(&vars(pairs)).unwrap().tenant.unwrap().credentials
        {
            Credentials::ApiKey(key) => key.expose_secret().to_owned(),
            Credentials::OAuth { .. } => panic!("not a key"),
        };
    assert_eq!(key_of(&[tenant, ("QLIK_API_KEY_FILE", &path("key"))]), "hush-hush");
    let folder_var = ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
    assert_eq!(key_of(&[tenant, folder_var]), "from-systemd");
    assert_eq!(
        problems(&[tenant, ("QLIK_API_KEY", "x"), ("QLIK_API_KEY_FILE", &path("key"))]),
        ["QLIK_API_KEY: both QLIK_API_KEY and QLIK_API_KEY_FILE are set; keep one"]
    );
    assert_eq!(
        problems(&[tenant, ("QLIK_API_KEY", "x"), folder_var]),
        ["QLIK_API_KEY: both QLIK_API_KEY and the credential QLIK_API_KEY are set; keep one"]
    );
    assert!(
        problems(&[tenant, ("QLIK_API_KEY_FILE", &path("gone"))])[0]
            .starts_with("QLIK_API_KEY_FILE: the file it names cannot be read")
    );
}

#[test]
fn a_key_instead_of_a_path_stays_hidden() {
    let reported =
        problems(&[("QLIK_TENANT_URL", "acme.test"), ("QLIK_API_KEY_FILE", "hush-hush")]).join(" ");
    assert!(reported.contains("QLIK_API_KEY_FILE") && !reported.contains("hush"), "{reported}");
}

#[test]
fn debug_hides_secrets() {
    let settings = Settings::from_vars(&vars(&[
        ("QLIK_TENANT_URL", "acme.test"),
        ("QLIK_CLIENT_ID", "c"),
        ("QLIK_CLIENT_SECRET", "hush-hush"),
    ]))
    .unwrap();
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn unusual_values_give_warnings() {
    let settings = Settings::from_vars(&vars(&[("POLL_INTERVAL", "5s"), ("POLL_TIMEOUT", "10s")])).unwrap();
    let places: Vec<_> = settings.warnings.iter().map(|w| w.place.as_str()).collect();
    assert_eq!(places, ["POLL_INTERVAL", "POLL_TIMEOUT"]);
}

/// The token must be long enough, and WEB_TOKEN excludes WEB_OPEN=true.
#[test]
fn dashboard_access_is_set_in_one_way() {
    let token = ("WEB_TOKEN", "0123456789abcdef");
    let web = Settings::from_vars(&vars(&[token, ("WEB_HOSTS", "a.test, b.test,")])).unwrap().web;
    assert_eq!(web.hosts, ["a.test", "b.test"]);
    assert!(web.token.is_some() && web.open == PublicAccess::Nothing);
    let both = Settings::from_vars(&vars(&[token, ("WEB_OPEN", "status")])).unwrap().web;
    assert!(both.token.is_some() && both.open == PublicAccess::Status);
    assert_eq!(
        problems(&[token, ("WEB_OPEN", "true")]),
        ["WEB_OPEN: is true beside WEB_TOKEN; keep one of the two"]
    );
    let short = problems(&[("WEB_TOKEN", "hush-hush")]).join(" ");
    assert!(short.contains("16 characters or more") && !short.contains("hush"), "{short}");
}

#[test]
fn sizes_and_durations() {
    for (text, want) in
        [("20MB", Some(20_000_000)), ("512 KiB", Some(524_288)), ("7", Some(7)), ("1x", None), ("", None)]
    {
        assert_eq!(parse_bytes(text), want, "{text}");
    }
    for (text, want) in
        [("1h 30m", Some(5_400)), ("30d", Some(2_592_000)), ("0s", Some(0)), ("60", None), ("-5s", None)]
    {
        assert_eq!(parse_duration(text).map(|d| d.as_secs()), want, "{text}");
    }
}

/// Invalid values are rejected from every source. `.env` removes one pair of quotes.
#[test]
fn invalid_values_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let path = file.display().to_string();
    std::fs::write(&file, "\u{feff}0123456789abcdef\r\n").unwrap();
    let web = Settings::from_vars(&vars(&[("WEB_TOKEN_FILE", &path)])).unwrap().web;
    assert_eq!(web.token.unwrap().expose_secret(), "0123456789abcdef");
    std::fs::write(&file, "0123456789\nabcdef\n").unwrap();
    assert_eq!(
        problems(&[("WEB_TOKEN_FILE", &path)]),
        ["WEB_TOKEN_FILE: contains a line break (character 11); write the value alone, on one line"]
    );
    std::fs::write(folder.path().join(".env"), "WEB_TOKEN='\"quotes-of-its-own\"'\n").unwrap();
    let from_file = ProcessVars::load(&folder.path().join(".env"));
    assert_eq!(lookup(&from_file, "WEB_TOKEN").unwrap().as_deref(), Some("\"quotes-of-its-own\""));
    assert!(problems(&[("WEB_TOKEN", "\"quotes-of-its-own\"")])[0].contains("is wrapped in quotes"));
    std::fs::write(folder.path().join(".env"), b"\xff\xfeA\0").unwrap();
    let utf16 = ProcessVars::load(&folder.path().join(".env"));
    assert!(utf16.problems()[0].message.contains("is not UTF-8"));
}

/// Upper case overrides lower case, with a warning; `ALL_PROXY` applies where no specific proxy is set.
#[test]
fn proxies_in_either_case() {
    let settings = Settings::from_vars(&vars(&[
        ("HTTP_PROXY", "http://capital.test"),
        ("http_proxy", "http://small.test"),
        ("all_proxy", "socks5h://all.test"),
        ("no_proxy", "a.test b.test:80"),
    ]))
    .unwrap();
    let expected =
        "https through socks5h://all.test, http through http://capital.test; a.test, b.test:80 directly";
    assert_eq!(settings.proxies.to_string(), expected);
    assert_eq!(settings.warnings.iter().map(|w| w.place.as_str()).collect::<Vec<_>>(), ["HTTP_PROXY"]);
}

/// The other settings stay valid, so that further errors are found.
#[test]
fn an_invalid_setting_counts_as_not_set() {
    let (settings, problems) = Settings::read(&vars(&[("POLL_INTERVAL", "soon"), ("LOG_KEEP", "7")]));
    assert_eq!((settings.poll_interval.as_secs(), settings.log.keep, problems.len()), (60, 7, 1));
}

fn unknown(pairs: &[(&str, &str)], connectors: &[&str]) -> Vec<String> {
    let known = connectors.iter().map(|name| (*name).to_owned()).collect();
    unknown_names(&vars(pairs), Some(&known)).iter().map(ToString::to_string).collect()
}

/// Names of other programs, proxies and services are not errors.
#[test]
fn unknown_names_are_reported() {
    let connectors = ["ACME_API_KEY", "ACME_EVERY"];
    assert_eq!(
        unknown(&[("ACME_APIKEY", "x")], &connectors),
        ["ACME_APIKEY: is not a setting; did you mean ACME_API_KEY?"]
    );
    assert_eq!(
        unknown(&[("QLIK_TENANT_FILE", "x")], &[]),
        ["QLIK_TENANT_FILE: is not a setting; did you mean QLIK_TENANT_URL_FILE?"]
    );
    for name in [
        "ACME_API_KEY",
        "ACME_API_KEY_FILE",
        "ACME_TEAM",
        "PATH",
        "LISTEN_PID",
        "ftp_proxy",
        "all_proxy",
        "LOG_DIR",
        "WEB_PORT",
        "FIVETRAN_SOURCE",
        "DATA_DIRECTORY",
    ] {
        assert_eq!(unknown(&[(name, "x")], &connectors), [""; 0], "{name}");
    }
    let service =
        [("QLIK_API_SERVICE_HOST", "x"), ("QLIK_API_PORT", "x"), ("QLIK_API_PORT_80_TCP_ADDR", "x")];
    assert_eq!(unknown(&service, &[]), [""; 0]);
}
