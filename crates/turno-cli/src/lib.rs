//! `turno`: start a mesh, call it, see it. One binary with every role, so that one small image serves them all.

mod bench;
mod call;
mod children;
mod cli;
mod demo;
mod health;
mod listing;
mod reflect;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a program that failed")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
