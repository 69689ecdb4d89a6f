//! The texts of `--help` and `help`.

use clap::{Command, CommandFactory};
use data_sources_monitor::testing::cli::Cli;

use crate::processes::binary::output;

/// Longer lines would be wrapped in a usual terminal, and an example that is wrapped cannot be copied.
const WIDTH: usize = 80;

fn wide_lines(command: &Command, found: &mut Vec<String>) {
    let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let wide = text.lines().filter(|line| line.chars().count() > WIDTH);
    found.extend(wide.map(|line| format!("{}: {line}", command.get_name())));
    command.get_subcommands().for_each(|command| wide_lines(command, found));
}

#[test]
fn examples_fit_a_terminal() {
    let mut found = Vec::new();
    wide_lines(&Cli::command(), &mut found);
    assert!(found.is_empty(), "wider than {WIDTH}:\n{}", found.join("\n"));
}

#[test]
fn help_explains_every_command_and_itself() {
    let folder = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["help"][..], "Usage: data-sources-monitor [OPTIONS] [COMMAND]"),
        (&["help", "sync"], "Usage: data-sources-monitor sync"),
        (&["help", "connector", "new"], "Usage: data-sources-monitor connector new"),
        (&["help", "--help"], "Usage: data-sources-monitor help"),
    ] {
        let (code, out, said) = output(folder.path(), args, &[]);
        assert!(code == 0 && out.contains(words), "{args:?}: {out}{said}");
    }
    let (code, _, said) = output(folder.path(), &["help", "sinc"], &[]);
    assert!(code == 2 && said.contains("unknown command `sinc`"), "{said}");
}
