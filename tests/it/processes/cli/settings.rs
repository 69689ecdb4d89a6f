//! `settings`: each value and where it comes from.

use std::fs;

use serde_json::Value;

use crate::processes::binary::output;

#[test]
fn settings_name_the_origin_of_each_value_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("credentials")).unwrap();
    fs::write(at.join("credentials/WEB_TOKEN"), "hush-hush-hush-hush\n").unwrap();
    fs::write(at.join("key"), "hush-hush\n").unwrap();
    fs::write(
        at.join(".env"),
        "\nPOLL_INTERVAL=30s\nSTATUSCAKE_API_KEY='hush-hush'\nDATABASE_URL=postgres://dsm:hush@db.test/dsm\n",
    )
    .unwrap();
    let vars = [
        ("QLIK_TENANT_URL", "https://acme.test"),
        ("QLIK_API_KEY_FILE", "key"),
        ("CREDENTIALS_DIRECTORY", "credentials"),
        ("https_proxy", "http://me:hush@proxy.test:3128"),
    ];
    let (code, out, said) = output(at, &["settings", "--json", "--log-level", "debug"], &vars);
    assert_eq!((code, said.as_str()), (0, ""));
    let document: Value = serde_json::from_str(&out).unwrap();
    let found = |name: &str| {
        let rows = document["settings"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        [text("value"), text("origin"), text("place")].join(" ")
    };
    assert_eq!(found("POLL_INTERVAL"), "30s env_file .env:2");
    assert_eq!(found("POLL_TIMEOUT"), "10s default -");
    assert_eq!(found("QLIK_TENANT_URL"), "https://acme.test environment -");
    assert_eq!(found("QLIK_API_KEY"), "[redacted] file QLIK_API_KEY_FILE");
    assert_eq!(found("QLIK_CLIENT_ID"), "- default -");
    assert_eq!(found("WEB_TOKEN"), "[redacted] credential -");
    assert_eq!(found("LOG_LEVEL"), "debug flag --log-level");
    assert_eq!(found("DATABASE_URL"), "postgres://dsm:[redacted]@db.test/dsm env_file .env:4");
    assert_eq!(found("HTTPS_PROXY"), "http://[redacted]@proxy.test:3128 environment https_proxy");
    assert_eq!(found("STATUSCAKE_API_KEY"), "[redacted] env_file .env:3");
    let (code, table, _) = output(at, &["settings"], &vars);
    assert_eq!(code, 0);
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("POLL_INTERVAL"), "POLL_INTERVAL 30s .env:2");
    assert_eq!(line("QLIK_API_KEY"), "QLIK_API_KEY [redacted] the file in QLIK_API_KEY_FILE");
    assert_eq!(line("QLIK_CLIENT_ID"), "QLIK_CLIENT_ID not set");
    assert!(!out.contains("hush") && !table.contains("hush"), "{out}{table}");
}

/// Valid settings are shown too.
#[test]
fn settings_with_an_error_are_shown_and_exit_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let vars = [("POLL_INTERVAL", "soon"), ("QLIK_API_KEY", "a"), ("QLIK_API_KEY_FILE", "b")];
    let (code, out, said) = output(folder.path(), &["settings"], &vars);
    assert_eq!(code, 78);
    assert!(said.contains("POLL_INTERVAL: `soon` is not a duration"), "{said}");
    assert!(out.contains("LISTEN ") && out.contains("127.0.0.1:8080"), "{out}");
}
