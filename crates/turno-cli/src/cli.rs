//! The command line, and who carries out which command.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use turno_gateway::{GatewayConfig, GatewayFlags};
use turno_io::IoFlags;
use turno_runtime::telemetry::{self, TelemetryConfig};
use turno_worker::WorkerFlags;

use crate::stdout::{Stdout, is_unread};
use crate::{bench, call, children, demo, health, listing, map, submit, tickets, up};

/// A compute mesh in which the signature is the schedule.
#[derive(Debug, Parser)]
#[command(
    name = "turno",
    version,
    about,
    propagate_version = true,
    max_term_width = 110,
    after_help = "Exit code: 1 if it fails, 2 if the command line is wrong; 130 after Ctrl-C and 143 after SIGTERM, but 0 \
of up, gateway, io and worker, which end in order then; 141 if nobody reads its answers to the end, as behind `| head`."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a mesh on this machine: gateway, I/O node, workers
    Up(up::UpArgs),
    /// Be convinced in a minute: a mesh, real pictures, figures, a contact sheet
    Demo(demo::DemoArgs),
    /// Call a method with JSON, by reflection
    Call {
        #[command(flatten)]
        call: call::CallArgs,
        #[command(flatten)]
        gateway: GatewayAddress,
    },
    /// Map a method over many requests: a line of JSON for each, in and out
    Map {
        #[command(flatten)]
        map: map::MapArgs,
        // Else it stands under the last heading of a map's.
        #[command(flatten, next_help_heading = None::<&'static str>)]
        gateway: GatewayAddress,
    },
    /// Submit a call: it is on disk when this answers, and goes on by itself
    Submit {
        #[command(flatten)]
        submit: submit::SubmitArgs,
        #[command(flatten)]
        gateway: GatewayAddress,
    },
    /// See and steer what has been submitted
    Tickets {
        #[command(subcommand)]
        command: tickets::TicketsCommand,
        #[command(flatten)]
        gateway: GatewayAddress,
    },
    /// List the methods that can be called
    Methods(Listing),
    /// List the nodes that are linked
    Nodes(Listing),
    /// Run a gateway
    Gateway {
        #[command(flatten)]
        flags: GatewayFlags,
        #[command(flatten)]
        child: children::ChildFlags,
    },
    /// Run an I/O node with the built-in I/O services
    Io {
        #[command(flatten)]
        flags: IoFlags,
        #[command(flatten)]
        child: children::ChildFlags,
    },
    /// Run a worker with the built-in CPU services
    Worker {
        #[command(flatten)]
        flags: WorkerFlags,
        #[command(flatten)]
        child: children::ChildFlags,
    },
    /// Ask a process whether it is ready (exit code 0) or not (1)
    Health(health::HealthArgs),
    /// Measure, with the alternative in the same run
    Bench(bench::BenchArgs),
    /// Print completions for a shell, as in: source <(turno completions bash)
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct Listing {
    /// One JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayAddress,
}

/// Where a gateway is if nothing else is said.
pub(crate) const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7070";

#[derive(Debug, Args)]
struct GatewayAddress {
    /// The gateway, at the port that clients call; HOST:PORT is enough
    #[arg(
        long,
        global = true,
        env = "TURNO_ADDRESS",
        value_name = "URL",
        default_value = DEFAULT_ADDRESS
    )]
    address: String,
}

/// Carries out a command.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => in_runtime(up::run(args)),
        Command::Demo(args) => in_runtime(demo::run(args)),
        Command::Call { call, gateway } => answer(async move { call::run(call, &gateway.address).await }),
        Command::Map { map, gateway } => answer(async move { map::run(map, &gateway.address).await }),
        Command::Submit { submit, gateway } => {
            answer(async move { submit::run(submit, &gateway.address).await })
        }
        Command::Tickets { command, gateway } => {
            answer(async move { tickets::run(command, &gateway.address).await })
        }
        Command::Methods(listing) => in_runtime(list_methods(listing)),
        Command::Nodes(listing) => in_runtime(list_nodes(listing)),
        Command::Gateway { flags, child } => serve(child, || gateway(&flags)),
        Command::Io { flags, child } => {
            serve(child, || Ok(flags.prepare()?.map_or(Ok(()), |config| turno_io::run(&config))?))
        }
        Command::Worker { flags, child } => {
            serve(child, || Ok(flags.prepare()?.map_or(Ok(()), |config| turno_worker::run(&config))?))
        }
        Command::Health(args) => in_runtime(health::run(args)),
        Command::Bench(args) => bench::run(args),
        Command::Completions { shell } => {
            // It panics where it cannot write.
            let mut script = Vec::<u8>::new();
            clap_complete::generate(shell, &mut Cli::command(), "turno", &mut script);
            unless_unread(Stdout.write_all(&script).map(|()| ExitCode::SUCCESS).map_err(Into::into))
        }
    }
}

/// A command that writes answers, and ends with their reader.
fn answer(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    unless_unread(in_runtime(command))
}

/// Who no longer reads standard output, such as `head`, has no word to hear. But what was not written is not done: a shell sees
/// what it would of any program, which SIGPIPE ends.
fn unless_unread(ended: Result<ExitCode>) -> Result<ExitCode> {
    ended.or_else(|error| if is_unread(&error) { Ok(UNREAD.into()) } else { Err(error) })
}

/// As a shell tells of a process that SIGPIPE has ended.
const UNREAD: u8 = 128 + 13;

async fn list_methods(listing: Listing) -> Result<ExitCode> {
    let address = &listing.gateway.address;
    listing::methods(call::dial(address).await?, address, listing.json).await?;
    Ok(ExitCode::SUCCESS)
}

async fn list_nodes(listing: Listing) -> Result<ExitCode> {
    let address = &listing.gateway.address;
    listing::nodes(call::dial(address).await?, address, listing.json).await?;
    Ok(ExitCode::SUCCESS)
}

fn gateway(flags: &GatewayFlags) -> Result<()> {
    let prepared =
        turno_runtime::config::prepare::<GatewayConfig>(flags.config.as_deref(), flags.print_config, flags)?;
    Ok(prepared.map_or(Ok(()), turno_gateway::run)?)
}

fn serve(child: children::ChildFlags, role: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    child.apply()?;
    role()?;
    Ok(ExitCode::SUCCESS)
}

/// A runtime for a command; the roles bring their own.
pub(crate) fn in_runtime(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    turno_runtime::tls::install_provider();
    telemetry::init(&logs())?;
    to_its_end(command)
}

/// What is under way then is dropped, and with it the processes that were started. But whatever blocks a thread, such as a
/// name that is looked up, is not waited for: nobody listens for signals any more.
fn to_its_end(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the async runtime")?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(AFTERWARDS);
    ended
}

/// For what is dropped: far more than it takes.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// A command says itself what went wrong; of the libraries, only what is broken is heard.
fn logs() -> TelemetryConfig {
    TelemetryConfig { log: "error".to_owned(), ..TelemetryConfig::default() }
}

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests {
    use super::examples::all;
    use super::{Cli, to_its_end};
    use clap::{CommandFactory as _, Parser as _};
    use std::process::ExitCode;
    use std::sync::mpsc::{self, TryRecvError};
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn whoever_writes_a_script_is_told_of_exit_codes() {
        for command in [&["call"][..], &[], &["map"], &["submit"], &["tickets"], &["tickets", "results"]] {
            let help =
                Cli::try_parse_from([&["turno"][..], command, &["--help"]].concat()).unwrap_err().to_string();
            assert!(help.contains("Exit code: 1 if"), "{command:?}: {help}");
        }
    }

    #[test]
    fn a_length_of_time_is_told_from_a_moment() {
        for command in all(&Cli::command()) {
            for arg in command.get_arguments() {
                let is_time =
                    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "TIME"));
                let is_moment = ["not_before", "since"].contains(&arg.get_id().as_str());
                assert_eq!(is_time, is_moment, "turno {}: {arg}", command.get_name());
            }
        }
    }

    #[test]
    fn what_a_map_takes_with_a_ticket_alone_stands_apart() {
        let cli = Cli::command();
        let map = cli.find_subcommand("map").unwrap();
        let apart = map.get_arguments().filter(|arg| arg.get_help_heading() == Some("With --ticket"));
        let apart: Vec<&str> = apart.map(|arg| arg.get_id().as_str()).collect();
        assert_eq!(apart, ["key", "key_kept_for", "not_before", "labels", "retries", "keep_result_for"]);
    }

    #[test]
    fn a_bench_has_a_round_at_least() {
        for bench in ["decisions", "schedule", "echo"] {
            let error = Cli::try_parse_from(["turno", "bench", bench, "--rounds=0"]).unwrap_err().to_string();
            assert!(error.contains("invalid value '0' for '--rounds <N>'"), "{error}");
        }
    }

    #[test]
    fn whatever_blocks_a_thread_is_not_waited_for() {
        let ((_never, blocks), (ends, has_ended)) = (mpsc::channel::<()>(), mpsc::channel());
        let (begins, has_begun) = oneshot::channel();
        to_its_end(async {
            tokio::task::spawn_blocking(move || {
                begins.send(()).unwrap();
                let _waited = blocks.recv_timeout(Duration::from_secs(60));
                ends.send(())
            });
            has_begun.await.unwrap();
            Ok(ExitCode::SUCCESS)
        })
        .unwrap();
        assert_eq!(has_ended.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn every_role_can_be_started() {
        for role in ["gateway", "io", "worker", "up", "demo", "nodes", "methods"] {
            Cli::try_parse_from(["turno", role]).unwrap();
        }
        Cli::try_parse_from(["turno", "worker", "--slots", "2", "--gateway", "gateway:7071"]).unwrap();
        assert!(Cli::try_parse_from(["turno", "worker", "--slots", "many"]).is_err());
    }

    #[test]
    fn who_names_no_ticket_to_redrive_hears_of_all_that_are_dead() {
        let redrive =
            |words: &[&str]| Cli::try_parse_from([&["turno", "tickets", "redrive"], words].concat());
        let error = redrive(&[]).unwrap_err().to_string();
        assert!(error.contains("NAME") && error.contains("--all-dead"), "{error}");
        for words in
            [&["9f3ac2b1", "00000007"][..], &["-"], &["--all-dead"], &["--all-dead", "--method=a.B/"]]
        {
            redrive(words).unwrap();
        }
        for wrong in [&["--all-dead", "9f3ac2b1"][..], &["--method=a.B/"]] {
            redrive(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_map_bears_a_share_of_failures_or_none() {
        let map = |words: &[&str]| Cli::try_parse_from([&["turno", "map", "a.B/C"], words].concat());
        for share in ["0", "0.05", "1"] {
            map(&["--stop-above", share]).unwrap();
        }
        for share in ["--stop-above=-0.1", "--stop-above=1.5", "--stop-above=NaN", "--stop-above=5%"] {
            let error = map(&[share]).unwrap_err().to_string();
            assert!(error.contains("write a share from 0 to 1, such as 0.05"), "{share}: {error}");
        }
        let error = map(&["--stop-above=0.1", "--stop-on-error"]).unwrap_err().to_string();
        assert!(error.contains("cannot be used with"), "{error}");
    }
}
