//! Examples of `--help` are pasted into a shell. clap breaks what is too long for the screen, and each part would be a
//! command of its own.

use super::Cli;
use clap::{Command, CommandFactory as _};

/// No screen is narrower, and none of these lines longer.
const SCREEN: usize = 80;
const LONGEST: usize = 78;

/// The command and all that are under it.
pub(super) fn all(command: &Command) -> Vec<Command> {
    let mut commands = vec![command.clone()];
    commands.extend(command.get_subcommands().flat_map(all));
    commands
}

/// By the names of the commands that have some, on a screen so wide; of 0, on one without an end.
fn examples(width: usize) -> Vec<(String, Vec<String>)> {
    let mut cli = Cli::command().term_width(width);
    cli.build();
    let with_examples = all(&cli).into_iter().filter_map(|mut command| {
        let help = command.render_long_help().to_string();
        let (_, examples) = help.split_once("\nExamples:\n")?;
        let lines: Vec<String> = examples.lines().map(str::to_owned).collect();
        Some((command.get_name().to_owned(), lines))
    });
    with_examples.collect()
}

#[test]
fn no_screen_breaks_an_example() {
    let whole = examples(0);
    let commands: Vec<&str> = whole.iter().map(|(command, _)| command.as_str()).collect();
    assert_eq!(commands, ["call", "map", "submit", "tickets", "results"]);
    for (command, lines) in &whole {
        for line in lines {
            assert!(line.chars().count() <= LONGEST, "turno {command}: {line}");
        }
    }
    assert_eq!(examples(SCREEN), whole);
}

#[test]
fn what_goes_on_on_the_next_line_says_so() {
    for (command, lines) in examples(0) {
        let next = lines.iter().skip(1).map(String::as_str).chain([""]);
        for (line, next) in lines.iter().zip(next) {
            let goes_on = line.ends_with(" \\");
            assert_eq!(goes_on, next.starts_with("    "), "turno {command}: {line}\n{next}");
            assert!(line.starts_with("  #") || !line.contains(" # "), "turno {command}: {line}");
        }
    }
}
