//! A node as a program: flags, configuration, signals, exit code.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use turno_runtime::config;
use turno_runtime::process::{self, Process};

use crate::error::Error;
use crate::node::Node;
use crate::node::config::{NodeConfig, NodeFlags, Role};

/// A node's command line.
#[derive(Debug, Parser)]
#[command(version, about = "A node of a Turno mesh")]
struct Flags {
    #[command(flatten)]
    node: NodeFlags,
}

impl Node {
    /// Runs the node as a program, until SIGTERM or Ctrl-C: reads `TURNO_*` and flags (`--help` lists them), links
    /// to the gateway, serves, and leaves in order.
    ///
    /// ```no_run
    /// # use turno::io::v1::{http, FetchRequest, FetchResponse};
    /// # struct Offline;
    /// # #[turno::service(http)]
    /// # impl Offline {
    /// #     async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> { Ok(FetchResponse::default()) }
    /// # }
    /// fn main() -> turno::ExitCode {
    ///     turno::node("offline").service(|| Offline).run()
    /// }
    /// ```
    pub fn run(self) -> ExitCode {
        let command = Flags::command().bin_name(self.name.clone()).display_name(self.name.clone());
        let flags = Flags::from_arg_matches(&command.get_matches());
        let flags = flags.unwrap_or_else(|error| error.exit()).node;
        exit(run(self, &flags))
    }

    /// [`Node::run`] with a configuration that is there already.
    ///
    /// # Errors
    /// As [`Node::start`], and a port for metrics that is taken.
    pub fn run_with(self, config: &NodeConfig) -> Result<(), Error> {
        let threads = match config.role {
            // Jobs have threads of their own, and these only move frames. A second one would be woken for each of them,
            // to find that the first has taken it.
            Role::Worker => (process::threads() / 4).max(1),
            // Users' code may have as many as there are cores: the watchdog leaves the last to the links.
            Role::Io | Role::Both => process::threads() + 1,
        };
        process::run(threads, &config.telemetry, config.metrics, |process| serve(self, config, process))
    }
}

fn run(node: Node, flags: &NodeFlags) -> Result<(), Error> {
    match config::prepare(flags.config.as_deref(), flags.print_config, flags)? {
        Some(config) => node.run_with(&config),
        None => Ok(()),
    }
}

async fn serve(node: Node, config: &NodeConfig, mut process: Process) -> Result<(), Error> {
    let running = node.start(config, process.shutdown.clone())?;
    process.serve_ops(running.readiness().clone()).await?;
    running.left().await;
    Ok(())
}

fn exit(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Telemetry may be what failed, so this goes straight to standard error.
            #[expect(clippy::print_stderr, reason = "the last word of a program that cannot start")]
            {
                eprintln!("error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
