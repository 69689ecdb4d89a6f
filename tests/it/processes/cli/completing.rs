//! Completion in a real shell, and the manual.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::processes::binary::{output, watching};
use stand_ins::status_page::StatusPage;

/// The words that bash offers for a line, from the function that it would call.
fn bash_offers(at: &Path, typed: &[&str]) -> Vec<String> {
    let (code, script, _) = output(at, &["completions", "bash"], &[]);
    assert_eq!(code, 0);
    fs::write(at.join("completion.bash"), script).unwrap();
    let typed: Vec<String> = typed.iter().map(|word| format!("'{word}'")).collect();
    let asks = format!(
        "source ./completion.bash\n\
         registered=$(complete -p data-sources-monitor) || exit 9\n\
         function=${{registered##*-F }}; function=${{function%% *}}\n\
         COMP_WORDS=({words}); COMP_CWORD={last}; COMP_TYPE=9\n\
         $function data-sources-monitor \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words = typed.join(" "),
        last = typed.len() - 1,
    );
    let program = Path::new(env!("CARGO_BIN_EXE_data-sources-monitor")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let bash = ["--norc", "--noprofile", "-c"];
    let shell = Command::new("bash").args(bash).arg(asks).current_dir(at).env("PATH", path).output().unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    String::from_utf8(shell.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_names() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let offers = |typed: &[&str]| bash_offers(folder.path(), &[&["data-sources-monitor"], typed].concat());
    assert_eq!(offers(&["conn"]), ["connector"]);
    assert_eq!(offers(&["connector", "exp"]), ["explain"]);
    assert_eq!(offers(&["sync", "--full"]), ["--full-refresh"]);
    assert_eq!(offers(&["sync", "st"]), ["statuscake"]);
    assert_eq!(offers(&["--log-level", "warn", "runs", "s"]), ["sensource", "statuscake"]);
    assert_eq!(offers(&["connector", "show", "p"]), ["people_ai"]);
}

#[test]
fn other_shells_get_a_script_for_the_hyphenated_name() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in [
        ("zsh", "#compdef data-sources-monitor"),
        ("fish", "complete --keep-order --exclusive --command data-sources-monitor"),
    ] {
        let (code, script, _) = output(folder.path(), &["completions", shell], &[]);
        assert!(code == 0 && script.contains(words), "{shell}: {script}");
    }
    // zsh loads the script from a folder at the first completion, which it must answer too.
    let (_, script, _) = output(folder.path(), &["completions", "zsh"], &[]);
    assert!(
        script.trim_end().ends_with("_clap_dynamic_completer_data_sources_monitor \"$@\"\nfi"),
        "{script}"
    );
    // What a shell asks for, without the shell.
    let vars = [("DATA_SOURCES_MONITOR_COMPLETE", "fish")];
    let (code, offers, _) = output(folder.path(), &["--", "data-sources-monitor", "sync", "sta"], &vars);
    assert_eq!((code, offers.as_str()), (0, "statuscake\n"));
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let (code, page, _) = output(folder.path(), &["man"], &[]);
    assert!(code == 0 && page.contains(".TH data-sources-monitor 1"), "{page}");
    for words in ["connector", "\\-\\-data\\-dir", "Exit codes"] {
        assert!(page.contains(words), "{words}");
    }
    let (code, _, _) = output(folder.path(), &["man", "--dir", "pages"], &[]);
    assert_eq!(code, 0);
    for name in ["data-sources-monitor", "data-sources-monitor-sync", "data-sources-monitor-connector-new"] {
        assert!(folder.path().join(format!("pages/{name}.1")).exists(), "{name}");
    }
}
