//! Invalid settings are errors, in `validate` and at the start of the daemon, with the same message.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::processes::binary::{Running, output, watching};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;

const TENANT: (&str, &str) = ("QLIK_TENANT_URL", "https://acme.test");

/// The errors that both report for an environment; `None` if there are none, and the daemon is not started.
fn refused(vars: &[(&str, &str)]) -> Option<String> {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let vars = [&[("LISTEN", "off"), ("POLL_INTERVAL", "1s")], vars].concat();
    let (code, out, said) = output(folder.path(), &["validate"], &vars);
    if code == 0 {
        return None;
    }
    assert_eq!(code, 78, "{out}{said}");
    let (code, _, at_start) = output(folder.path(), &["run"], &vars);
    assert_eq!((code, &at_start), (78, &said));
    Some(said)
}

#[test]
fn invalid_settings_are_refused_with_the_same_message() {
    for (vars, words) in [
        (vec![("QLIK_APIKEY", "x")], "QLIK_APIKEY: is not a setting; did you mean QLIK_API_KEY?"),
        (vec![("QLIK_TENANT", "x")], "did you mean QLIK_TENANT_URL?"),
        (vec![("QLIK_COLOUR", "x")], "QLIK_COLOUR: is not a setting; known names: QLIK_API_KEY, "),
        (vec![("QLIK_APIKEY_FILE", "x")], "did you mean QLIK_API_KEY_FILE?"),
        (vec![("POLL_INTERVALL", "60s")], "did you mean POLL_INTERVAL?"),
        (vec![("STATUSCAKE_APIKEY", "x")], "did you mean STATUSCAKE_API_KEY?"),
        (vec![TENANT, ("QLIK_API_KEY", "'eyJhbGci'")], "QLIK_API_KEY: is wrapped in quotes"),
        (vec![TENANT, ("QLIK_API_KEY", "eyJhbGci\n")], "QLIK_API_KEY: ends with a line break (character 9)"),
        (vec![TENANT, ("QLIK_API_KEY", "eyJ\nhbGci")], "QLIK_API_KEY: contains a line break (character 4)"),
        (
            vec![TENANT, ("QLIK_API_KEY", "eyJ hbGci")],
            "QLIK_API_KEY: contains a character that is not allowed in an API key (character 4)",
        ),
        (vec![("STATUSCAKE_API_KEY", "\"k\"")], "STATUSCAKE_API_KEY: is wrapped in quotes"),
        (
            vec![("STATUSCAKE_API_KEY", "key\u{7}key")],
            "STATUSCAKE_API_KEY: contains a control character (U+0007)",
        ),
        (vec![("DATA_DIR", "/proc/x")], "DATA_DIR /proc/x: cannot be created"),
        (vec![("STATUSCAKE_API_KEY", "short")], "STATUSCAKE_API_KEY has fewer than 6 characters"),
        (vec![("STATUSCAKE_EVERY", "never")], "statuscake: every: \"never\" is not a duration"),
        (
            vec![("MONITORS_DIR", "typo")],
            "MONITORS_DIR: folder typo does not exist; create it, or unset MONITORS_DIR",
        ),
        (vec![("CONNECTORS_DIR", "typo")], "CONNECTORS_DIR: folder typo does not exist"),
        (vec![("MONITORS_DIR", "monitors/Alpha.toml")], "monitors/Alpha.toml is not a folder"),
        (vec![("LOG_LEVEL", "loud")], "LOG_LEVEL: invalid log level \"loud\""),
        (vec![("LOG_FILE", "none/x.log")], "LOG_FILE: "),
        (vec![("EXTRA_CA_FILE", "none.pem")], "EXTRA_CA_FILE none.pem"),
        (vec![("DASHBOARD_LOGO_FILE", "none.png")], "DASHBOARD_LOGO_FILE: cannot read none.png: "),
        (
            vec![("DASHBOARD_LOGO_FILE", "monitors/Alpha.toml")],
            "DASHBOARD_LOGO_FILE: monitors/Alpha.toml is not a PNG, SVG or WebP image",
        ),
        (vec![("DASHBOARD_TITLE", &"x".repeat(61))], "DASHBOARD_TITLE: `xxx"),
        (
            vec![("WEB_HOSTS", "a.test, https://b.test:8443")],
            "WEB_HOSTS: `https://b.test:8443` is not a host name",
        ),
        (vec![("WEB_HOSTS", "a.test:8080")], "WEB_HOSTS: `a.test:8080` is not a host name"),
        (vec![("HTTPS_PROXY", "http://me:hush@[bad")], "HTTPS_PROXY: is not a proxy address"),
        (vec![("HTTP_PROXY", "socks9://me:hush@proxy.test")], "HTTP_PROXY: socks9 is not a proxy scheme"),
        (vec![("all_proxy", "ftp://me:hush@proxy.test")], "all_proxy: ftp is not a proxy scheme"),
        (vec![("https_proxy", "non sense")], "https_proxy: "),
        (vec![("NO_PROXY", "a.test,http://b.test")], "NO_PROXY: `http://b.test` is not a host"),
    ] {
        let said = refused(&vars).unwrap_or_default();
        assert!(said.contains(words) && !said.contains("hush"), "{vars:?}: {said:?}");
    }
}

#[test]
fn settings_of_other_programs_are_no_errors() {
    for vars in [
        vec![TENANT, ("QLIK_API_KEY", "eyJhbGci")],
        vec![("LISTEN_FDS", "1"), ("LOG_DIR", "/x"), ("LOGNAME", "me"), ("WEB_CONCURRENCY", "2")],
        vec![("DSM_OTHER", "x"), ("FTP_PROXY", "x"), ("GITHUB_TOKEN", "x"), ("STATUSCAKE_TEAM", "x")],
        vec![
            ("QLIK_DOCS_SERVICE_HOST", "10.0.0.1"),
            ("QLIK_DOCS_SERVICE_PORT", "80"),
            ("QLIK_DOCS_PORT_80_TCP", "x"),
        ],
        vec![("QLIK_APIKEY", "")],
        vec![("no_proxy", "localhost, .a.test 10.0.0.0/8,[::1],*"), ("https_proxy", "proxy.test:3128")],
        vec![("WEB_HOSTS", "a.test, *, 10.0.0.1, [::1]")],
    ] {
        assert_eq!(refused(&vars), None, "{vars:?}");
    }
}

/// Valid lines count.
#[test]
fn each_error_in_the_env_file_is_reported_by_line() {
    let folder = watching(&[]);
    fs::write(folder.path().join("monitors/a.yaml"), "name: A\n").unwrap();
    fs::write(
        folder.path().join("monitors/b.toml"),
        "name = \"B\"\nkind = \"sync\"\nconnector = \"statuscak\"\nstale_after = \"2h\"\nseverity = \"minor\"\n",
    )
    .unwrap();
    let text = "\u{feff}QLIK_TENANT_URL=https://acme.test\r\nQLIK_API_KEY=abc$def\r\nPOLL_INTERVALL=60s\r\n\
                LISTEN=off off\r\nDATABASE_URL=mysql://x\r\nEDITOR=vi\r\npoll_timeout=5s\r\nLOG_FORMAT=xml\r\nWEB_TOKEN='\"sixteen-chars\"'\r\n";
    fs::write(folder.path().join(".env"), text).unwrap();
    let (code, out, said) = output(folder.path(), &["validate"], &[]);
    assert_eq!(code, 78);
    assert!(!out.contains("preview"), "{out}");
    for words in [
        ".env:2: QLIK_API_KEY: `$` is not substituted; put a value with spaces, `$` or `#` in single quotes",
        ".env:3: POLL_INTERVALL is not a setting of this program or of a connector; did you mean POLL_INTERVAL?",
        ".env:4: LISTEN cannot be parsed",
        ".env:6: EDITOR is not a setting",
        ".env:7: poll_timeout is not a setting of this program or of a connector; did you mean POLL_TIMEOUT?",
        "DATABASE_URL",
        "LOG_FORMAT: `xml`",
        "a.yaml: is ignored",
    ] {
        assert!(said.contains(words), "{words} not in {said}");
    }
    for hidden in ["abc", "WEB_TOKEN: is wrapped"] {
        assert!(!said.contains(hidden), "{said}");
    }
    fs::remove_file(folder.path().join("monitors/a.yaml")).unwrap();
    let link = folder.path().join("monitors/link.toml");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let (_, _, said) = output(folder.path(), &["validate"], &[]);
    assert!(said.contains("link.toml: is ignored: it is not a file, or a link to a missing one"), "{said}");
    fs::remove_file(link).unwrap();
    let (_, _, said) = output(folder.path(), &["validate"], &[]);
    assert!(said.contains("unknown connector \"statuscak\""), "{said}");
}

#[test]
fn validate_prints_one_json_document() {
    let folder = watching(&[]);
    let (code, out, _) =
        output(folder.path(), &["validate", "--json"], &[("LOG_LEVEL", "loud"), ("MONITORS_DIR", "x")]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["valid"]), (78, &Value::Bool(false)));
    assert_eq!(document["mistakes"].as_array().unwrap().len(), 2, "{document:#}");
    let (code, out, _) = output(tempfile::tempdir().unwrap().path(), &["validate", "--json"], &[]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["valid"]), (0, &Value::Bool(true)));
    assert_eq!((&document["monitors_from"], &document["tenant"]), (&"built in".into(), &Value::Null));
    assert_eq!(document["dashboard"], "http://127.0.0.1:8080, open on this machine");
    let (_, out, _) = output(folder.path(), &["validate"], &[("LISTEN", "0.0.0.0:80")]);
    assert!(out.contains("dashboard: http://0.0.0.0:80, closed: set WEB_TOKEN"), "{out}");
}

/// By pages and connectors.
#[test]
fn each_proxy_variable_is_used_and_logged_once_without_its_password() {
    let proxy = StatusPage::start();
    let address = proxy.url().replace("http://", "http://me:hush-hush@");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("monitors")).unwrap();
    fs::write(folder.path().join("monitors/a.toml"), "name = \"A\"\nurl = \"http://page.test\"\n").unwrap();
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        proxy.set_indicator("minor", name);
        let (code, out, _) = output(folder.path(), &["check"], &[(name, &address)]);
        assert!(code == 1 && out.contains(name), "{name}: {out}");
    }
    let (_, out, _) =
        output(folder.path(), &["check"], &[("HTTP_PROXY", &address), ("no_proxy", "b.test page.test:80")]);
    assert!(!out.contains("all_proxy"), "{out}");
    let mut daemon = Running::start(folder.path(), &[("ALL_PROXY", &address)]);
    let said = daemon.until("Proxies: ");
    let bare = proxy.url().replace("http://", "");
    let line =
        format!("Proxies: https through http://[redacted]@{bare}, http through http://[redacted]@{bare}");
    assert!(said.contains(&line) && !said.contains("hush"), "{said}");
    daemon.until("Issues detected: A: all_proxy");
}

/// A source that echoes what it was sent, in any spelling: neither log nor console nor run history shows it.
#[test]
fn echoed_credentials_are_redacted_everywhere() {
    let source = StatusPage::start();
    let secret = "p\u{e4}ss/w\"rd";
    let sent = BASE64_STANDARD.encode(format!("me:{secret}"));
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let lower = form.to_ascii_lowercase();
    let said = format!("you sent Basic {sent} {form} {lower} {secret}");
    source.always_on("/things", Reply::json(&serde_json::json!({ "message": said })).with_status(401));
    let folder = watching(&[]);
    fs::create_dir(folder.path().join("connectors")).unwrap();
    let definition = format!(
        "format = 1\n[connector]\nname = \"echo\"\nbase_url = \"{}\"\n[config]\nkey = {{ type = \"secret\" }}\n[auth]\nkind = \"basic\"\nuser = \"me\"\npassword = \"${{config.key}}\"\n[[table]]\nname = \"things\"\npath = \"/things\"\nrecords = [\"data\"]\nkey = [\"id\"]\n",
        source.url()
    );
    fs::write(folder.path().join("connectors/echo.toml"), definition).unwrap();
    let vars = [("ECHO_KEY", secret)];
    let (_, out, err) = output(folder.path(), &["sync", "echo"], &vars);
    let (_, runs, _) = output(folder.path(), &["runs", "echo"], &vars);
    for text in [out + &err, runs] {
        assert!(text.contains("you sent Basic [redacted] [redacted] [redacted] [redacted]"), "{text}");
        for spelt in [&sent, &form, &lower, secret] {
            assert!(!text.contains(spelt), "{text}");
        }
    }
}
