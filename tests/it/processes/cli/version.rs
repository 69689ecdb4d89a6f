//! `--version`, and the build script behind it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::processes::binary::output;

/// The build script, compiled on its own.
struct BuildScript(TempDir);

impl BuildScript {
    fn compile() -> BuildScript {
        let folder = tempfile::tempdir().unwrap();
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
        let binary = folder.path().join("script");
        let compiled = Command::new(rustc).args(["--edition=2024", source, "-o"]).arg(binary).status();
        assert!(compiled.unwrap().success());
        BuildScript(folder)
    }

    fn run(&self, at: &Path, vars: &[(&str, &str)]) -> Vec<String> {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(self.0.path().join("script"));
        command.current_dir(at).env_clear().envs([("PATH", path.as_str()), ("CARGO_PKG_VERSION", "1.2.3")]);
        // No repository above the folder counts as its checkout.
        let output = command.env("HOME", at).envs(vars.iter().copied()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn version(&self, at: &Path, vars: &[(&str, &str)]) -> String {
        let lines = self.run(at, vars);
        let line = lines.iter().find_map(|line| line.strip_prefix("cargo::rustc-env=VERSION_LINE="));
        line.unwrap().to_owned()
    }
}

/// Runs git in a folder, with a fixed author and time.
fn git(at: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
    let time = "2026-03-01T00:30:00Z";
    let dates = [("GIT_AUTHOR_DATE", time), ("GIT_COMMITTER_DATE", time)];
    let output = Command::new("git").current_dir(at).args(who).args(args).envs(dates).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_version_names_commit_and_date() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, _) = output(folder.path(), &["--version"], &[]);
    assert_eq!((code, said.trim_end()), (0, concat!("data-sources-monitor ", env!("VERSION_LINE"))));
    assert!(said.starts_with(concat!("data-sources-monitor ", env!("CARGO_PKG_VERSION"), " (")), "{said}");
}

#[test]
fn the_build_script_reads_a_checkout_and_the_environment_wins() {
    let script = BuildScript::compile();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert_eq!(script.version(at, &[]), "1.2.3 (unknown commit)");
    let given = [("SOURCE_COMMIT", "0123456789abcdef"), ("SOURCE_DATE_EPOCH", "951782400")];
    assert_eq!(script.version(at, &given), "1.2.3 (012345678 2000-02-29)");
    assert_eq!(script.version(at, &given[..1]), "1.2.3 (012345678)");
    assert_eq!(script.version(at, &given[1..]), "1.2.3 (unknown commit, 2000-02-29)");
    git(at, &["init", "--quiet"]);
    git(at, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    let commit = &git(at, &["rev-parse", "HEAD"])[..9];
    assert_eq!(script.version(at, &[]), format!("1.2.3 ({commit} 2026-03-01)"));
    assert_eq!(
        script.version(at, &[("SOURCE_DATE_EPOCH", "1798761599")]),
        format!("1.2.3 ({commit} 2026-12-31)")
    );
    // A source archive that is unpacked within another repository.
    fs::create_dir(at.join("below")).unwrap();
    assert_eq!(script.version(&at.join("below"), &[]), "1.2.3 (unknown commit)");
}

/// Cargo runs the script again after a commit, and not for a file that does not exist, which it would take for changed.
#[test]
fn the_build_script_watches_only_what_exists() {
    let script = BuildScript::compile();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git(at, &["init", "--quiet"]);
    git(at, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    let lines = script.run(at, &[]);
    let watched: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=")).collect();
    assert!(watched.contains(&".git/logs/HEAD") && watched.contains(&"build.rs"), "{watched:?}");
    assert!(watched.iter().all(|path| *path == "build.rs" || at.join(path).exists()), "{watched:?}");
}
