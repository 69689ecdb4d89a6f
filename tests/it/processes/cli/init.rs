//! `init`: what a new installation starts from.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::processes::binary::output;

#[test]
fn init_writes_a_valid_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, _) = output(folder.path(), &["init", "new/monitor"], &[]);
    assert_eq!(code, 0, "{said}");
    let at = folder.path().join("new/monitor");
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example")).unwrap();
    assert_eq!(fs::read_to_string(at.join(".env")).unwrap(), shipped);
    assert_eq!(fs::metadata(at.join(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said.contains("Wrote new/monitor/.env") && said.contains("1. cd new/monitor"), "{said}");
    let (code, out, said) = output(&at, &["validate"], &[]);
    assert!(
        code == 0 && out.contains("monitors (monitors): Epic Games, GitHub, MongoDB, Snowflake"),
        "{out}{said}"
    );
    let (_, out, _) = output(&at, &["connector", "list"], &[]);
    assert!(out.contains("off     set EXAMPLE_API_KEY"), "{out}");
    // The name that README and docs/connectors.md give to a reader's own connector is free.
    let new = ["connector", "new", "acme", "--base-url", "https://api.acme.test"];
    let (code, _, said) = output(&at, &new, &[]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn init_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join(".env"), "LISTEN=off\n").unwrap();
    fs::create_dir(at.join("monitors")).unwrap();
    fs::write(at.join("monitors/mine.toml"), "name = \"Mine\"\nurl = \"https://mine.test\"\n").unwrap();
    let (code, said, _) = output(at, &["init"], &[]);
    assert_eq!(code, 0);
    assert!(said.contains("Skipped ./.env: it already exists"), "{said}");
    assert!(said.contains("Skipped ./monitors: it is not empty"), "{said}");
    assert!(said.contains("Wrote ./connectors/example.toml"), "{said}");
    assert_eq!(fs::read_to_string(at.join(".env")).unwrap(), "LISTEN=off\n");
    assert_eq!(fs::read_dir(at.join("monitors")).unwrap().count(), 1);
    let (code, again, _) = output(at, &["init"], &[]);
    assert!(code == 0 && !again.contains("Wrote"), "{again}");
}
