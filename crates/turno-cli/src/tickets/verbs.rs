//! What is done to tickets: cancelled, redriven, edited, forgotten. Of several, each is tried, whatever became of the
//! others; a line a ticket tells of it.

use std::io::{Read as _, Write as _, stdin};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};
use prost_reflect::prost::Message as _;
use turno_proto::v1::{EditRequest, TicketState};

use super::desk::Desk;
use super::filter::{Filter, State};
use super::live;
use super::ticket::Ticket;
use crate::aside::Aside;
use crate::call::json;
use crate::interrupts::Interrupts;
use crate::listing::print;
use crate::submit::retries;

/// Tickets to be cancelled.
#[derive(Args, Clone, Debug)]
pub(crate) struct CancelArgs {
    /// The tickets; the ends of their ids are enough. - reads names from stdin, one a line
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait until they have stopped
    #[arg(long)]
    wait: bool,
}

/// Tickets to be redriven.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("which").required(true).args(["names", "all_dead"]))]
pub(crate) struct RedriveArgs {
    /// The dead tickets; the ends of their ids are enough. - reads names from stdin, one a line
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All that are dead and were not redriven yet; maps are not redriven
    #[arg(long)]
    all_dead: bool,
    /// Of all that are dead, those of this method; package.Service/ stands for all of a service
    #[arg(long, requires = "all_dead")]
    method: Option<String>,
}

/// A ticket to be mended.
#[derive(Args, Clone, Debug)]
pub(crate) struct EditArgs {
    /// The dead ticket; the end of its id is enough
    name: String,
    /// Its new request: JSON, @FILE, or - for stdin, as in `turno call`
    #[arg(value_name = "JSON", required_unless_present = "retries")]
    request: Option<String>,
    /// Attempts after the first, once it is redriven
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = retries())]
    retries: Option<u32>,
}

/// Tickets to be forgotten.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArgs {
    /// The tickets; the ends of their ids are enough. - reads names from stdin, one a line
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Tickets that are redriven by one `--all-dead`.
const MOST_DEAD: usize = 1_000_000;

pub(crate) async fn cancel(desk: &Desk, args: CancelArgs) -> anyhow::Result<ExitCode> {
    let CancelArgs { names, wait } = args;
    let names = named(names)?;
    // Once for all of them: a listener whose wait is over takes the next Ctrl-C, and tells nobody.
    let mut interrupts = wait.then(Interrupts::listen).transpose()?;
    each(&names, async |text| {
        let mut told = None;
        let cancelling = Box::pin(cancel_one(desk, text, wait, &mut told));
        let Some(interrupts) = &mut interrupts else { return cancelling.await.map(Ok) };
        let interrupted = match interrupts.or(cancelling).await {
            Ok(ended) => return ended.map(Ok),
            Err(interrupted) => interrupted,
        };
        match told {
            Some(name) => writeln!(Aside, "{}\n  it is told to stop all the same", desk.interrupted(&name))?,
            None => writeln!(Aside, "interrupted: {text} may have been left as it was")?,
        }
        Ok(Err(interrupted))
    })
    .await
}

/// Answers what is to be said of it. `told`: its whole name, once nothing is left but to wait.
async fn cancel_one(
    desk: &Desk,
    text: &str,
    wait: bool,
    told: &mut Option<String>,
) -> anyhow::Result<String> {
    let name = desk.name(text).await?;
    let before = desk.get(&name).await?;
    match before.metadata.state() {
        _ if !before.has_ended() => desk.cancel(&name).await?,
        TicketState::Cancelled => return Ok(format!("{name}  cancelled before")),
        _ => bail!("{name} had ended before: it is {}", before.state()),
    }
    let name = told.insert(name).as_str();
    let found = match wait {
        true => desk.follow(name, &mut live::listener()).await,
        false => desk.get(name).await,
    };
    let ticket = match found {
        // It was deleted before, or is meanwhile: with its end it is gone, as was wanted.
        Err(_) if desk.is_gone(name).await => return Ok(format!("{name}  has ended, and is forgotten")),
        found => found?,
    };
    let rest = if ticket.has_ended() { "" } else { "; its method is told to stop, --wait waits for it" };
    Ok(format!("{name}  {}{rest}", ticket.state()))
}

pub(crate) async fn redrive(desk: &Desk, args: RedriveArgs) -> anyhow::Result<ExitCode> {
    let names = if args.all_dead { all_dead(desk, args.method).await? } else { named(args.names)? };
    if args.all_dead && names.is_empty() {
        print("no ticket is dead that can be redriven".to_owned())?;
    }
    each(&names, async |text| {
        let name = desk.name(text).await?;
        let new = desk.redrive(&name).await?;
        Ok(Ok(format!("{name}  redriven as {}", new.name)))
    })
    .await
}

/// The oldest first, as they were submitted.
async fn all_dead(desk: &Desk, method: Option<String>) -> anyhow::Result<Vec<String>> {
    let filter = Filter { state: Some(State::Dead), method, ..Filter::default() };
    let listed = desk.list(&filter.text(), MOST_DEAD).await?;
    let dead = listed.tickets.into_iter().filter(Ticket::can_be_redriven);
    Ok(dead.map(|ticket| ticket.name).rev().collect())
}

pub(crate) async fn edit(desk: &mut Desk, args: EditArgs) -> anyhow::Result<ExitCode> {
    let name = desk.name(&args.name).await?;
    let request = match &args.request {
        Some(text) => {
            let text = json::read(text)?;
            let method = desk.get(&name).await?.metadata.method;
            Some(json::parse(&desk.method(&method).await?.input(), &text)?.encode_to_vec().into())
        }
        None => None,
    };
    let ticket = desk.edit(EditRequest { name, request, retries: args.retries }).await?;
    print(format!("{}  edited; turno tickets redrive {}", ticket.name, ticket.short()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn delete(desk: &Desk, args: DeleteArgs) -> anyhow::Result<ExitCode> {
    each(&named(args.names)?, async |text| {
        let name = desk.name(text).await?;
        let has_ended = desk.get(&name).await?.has_ended();
        desk.delete(&name).await?;
        Ok(Ok(format!("{name}  {}", if has_ended { "forgotten" } else { "is forgotten once it has ended" })))
    })
    .await
}

/// Where `-` stands, those that stdin has: more than a command line has room for, or none, and then nothing is to be done.
fn named(given: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for name in given {
        if name != "-" {
            names.push(name);
            continue;
        }
        let mut lines = String::new();
        stdin().read_to_string(&mut lines).context("cannot read names from stdin")?;
        names.extend(lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(names)
}

/// Does it to one after the other, and fails in the end if one has failed. Who interrupts it has the rest left as it was.
async fn each(
    names: &[String],
    mut act: impl AsyncFnMut(&str) -> anyhow::Result<Result<String, ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    for name in names {
        match act(name).await {
            Ok(Ok(line)) => print(line)?,
            Ok(Err(interrupted)) => return Ok(interrupted),
            // Alone, it is the command's own error.
            Err(error) if names.len() == 1 => return Err(error),
            Err(error) => {
                failed += 1;
                let why = format!("{error:#}");
                let named = if why.contains(name) { String::new() } else { format!("{name}: ") };
                writeln!(Aside, "{named}{why}")?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} tickets were left as they were", names.len());
    }
    Ok(ExitCode::SUCCESS)
}
