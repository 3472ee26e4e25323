//! `turno tickets`: what has been submitted, what became of it, and what can be done with it.

mod card;
pub(crate) mod desk;
mod filter;
mod follow;
mod list;
pub(crate) mod live;
pub(crate) mod name;
mod object;
pub(crate) mod patience;
pub(crate) mod result;
mod results;
mod show;
mod spent;
mod table;
pub(crate) mod ticket;
pub(crate) mod time;
mod verbs;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use self::desk::Desk;
use self::patience::{RESTART, is_nobody, patiently};

pub(crate) use self::card::next_of_map;
pub(crate) use self::object::ticket as object_of;
pub(crate) use self::results::{again, at};

/// See and steer what has been submitted
#[derive(Clone, Debug, Subcommand)]
#[command(
    after_help = "A ticket is named by operations/ID, by its ID, or by the end of it, as `turno tickets list` shows it.
Exit code: 1 if it fails. Of several tickets each is tried, and one that was left as it was is a failure.

Examples:
  turno tickets list --state dead --since 1h
  turno tickets show 9f3ac2b1 --request
  turno tickets results 9f3ac2b1 --follow --out infos.jsonl
  turno tickets edit 9f3ac2b1 '{\"url\": \"https://a.example/dog.jpg\"}' \\
    && turno tickets redrive 9f3ac2b1
  turno tickets list --quiet --label shop=bakery --state waiting \\
    | turno tickets cancel -"
)]
pub(crate) enum TicketsCommand {
    /// List tickets, the newest first
    List(list::ListArgs),
    /// Show all that is known of a ticket: its times, result, failed attempts, what can be done next
    Show(show::ShowArgs),
    /// Follow a ticket to its end (exit code 0 if it is done, 1 if not, 130 after Ctrl-C)
    Watch(watch::WatchArgs),
    /// Write what has come of a map that is a ticket, a line of JSON an item (exit code 1 if one failed, or the map)
    Results(results::ResultsArgs),
    /// Cancel tickets: what waits at once, a method that runs is told (exit code 1 if one had ended otherwise before)
    Cancel(verbs::CancelArgs),
    /// Submit anew what dead tickets asked for; maps are not redriven, but mapped again
    Redrive(verbs::RedriveArgs),
    /// Replace the request of a dead ticket, or its retries, before it is redriven
    Edit(verbs::EditArgs),
    /// Forget tickets: at once if they have ended, else when they do
    Delete(verbs::DeleteArgs),
}

/// Carries one out.
pub(crate) async fn run(command: TicketsCommand, address: &str) -> anyhow::Result<ExitCode> {
    // Those go on over gateways that go and come, and so they begin while one comes.
    let is_patient = matches!(command, TicketsCommand::Watch(_) | TicketsCommand::Results(_));
    let patience = if is_patient { RESTART } else { Duration::ZERO };
    let mut desk = patiently(patience, is_nobody, async || Desk::open(address).await).await?;
    match command {
        TicketsCommand::List(args) => list::run(&desk, args).await,
        TicketsCommand::Show(args) => show::run(&mut desk, args).await,
        TicketsCommand::Watch(args) => watch::run(&desk, args).await,
        TicketsCommand::Results(args) => results::run(&mut desk, args).await,
        TicketsCommand::Cancel(args) => verbs::cancel(&desk, args).await,
        TicketsCommand::Redrive(args) => verbs::redrive(&desk, args).await,
        TicketsCommand::Edit(args) => verbs::edit(&mut desk, args).await,
        TicketsCommand::Delete(args) => verbs::delete(&desk, args).await,
    }
}
