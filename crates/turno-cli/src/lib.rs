//! `turno`: start a mesh, call it, see it. One binary with every role, so that one small image serves them all.

mod aside;
mod bench;
mod call;
mod children;
mod cli;
mod demo;
#[cfg(test)]
mod doubles;
mod health;
mod interrupts;
mod listing;
mod map;
mod reflect;
mod stdout;
mod submit;
mod tickets;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            let _said = writeln!(aside::Aside, "error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Each cause once: some say in their own words what their cause says again.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{colon}{cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[test]
    fn a_cause_that_was_said_already_is_not_said_again() {
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(
            chain(&inner.context("cannot read: no such file").context("demo")),
            "demo: cannot read: no such file"
        );
    }
}
