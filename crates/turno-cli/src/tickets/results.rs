//! `turno tickets results`: what has come of a map, as `turno map` writes it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use prost_reflect::MethodDescriptor;

use super::desk::Desk;
use super::patience::{RESTART, is_nobody, patiently};
use super::ticket::Ticket;
use crate::aside::Aside;
use crate::cli::DEFAULT_ADDRESS;
use crate::map::{self, Target};
use crate::reflect::Refused;

/// Whose results.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A line is an answer, as of `turno map`.
Exit code: 1 if one is an error, or if the map has ended and is not done; 130 if Ctrl-C has ended it.

Examples:
  # what there is now:
  turno tickets results 9f3ac2b1
  turno tickets results 9f3ac2b1 --follow --out infos.jsonl
  # goes on where that ended:
  turno tickets results 9f3ac2b1 --follow --out infos.jsonl --resume
  # if no node knows the answers' types:
  turno call turno.v1.Tickets/ReadMap '{\"name\": \"operations/ID\"}' --json")]
pub(crate) struct ResultsArgs {
    /// The ticket of a map; the end of its id is enough
    name: String,
    #[command(flatten)]
    target: Target,
    /// Go on until the map has ended; without it, what there is now
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn run(desk: &mut Desk, args: ResultsArgs) -> anyhow::Result<ExitCode> {
    let (ticket, items, method) =
        patiently(RESTART, is_nobody, async || find(desk, &args.name).await).await?;
    let done = ticket.metadata.progress.as_ref().map_or(0, |progress| progress.done);
    // What one that has ended has ended with is a part of it.
    let most = (!args.follow && !ticket.has_ended()).then_some(done);
    let named = (ticket.name.as_str(), items);
    let read =
        map::results_of(desk.channel.clone(), named, &method, &args.target, most, &desk.address).await?;
    if most.is_some() && read.is_ok() {
        // What there is now may be nothing, and is not all.
        writeln!(Aside, "still {}, {done} of {items}; --follow waits for the rest", ticket.state())?;
    }
    Ok(read.unwrap_or_else(|interrupted| interrupted))
}

/// The ticket of a map, how many items it has, and the method that they are of.
async fn find(desk: &mut Desk, name: &str) -> anyhow::Result<(Ticket, u64, MethodDescriptor)> {
    let name = desk.name(name).await?;
    let ticket = desk.get(&name).await?;
    let Some(items) = ticket.metadata.map_items else {
        bail!("{name} is no map: it has one response, which `turno tickets show {}` shows", ticket.short());
    };
    let found = desk.method(&ticket.metadata.method).await;
    let method = found.map_err(|error| untyped(error, &name, &desk.address))?;
    Ok((ticket, items, method))
}

/// What can be done meanwhile, if the gateway has said that it does not know the types.
fn untyped(error: anyhow::Error, name: &str, address: &str) -> anyhow::Error {
    if error.is::<Refused>() {
        return error;
    }
    let raw = format!(r#"turno call turno.v1.Tickets/ReadMap '{{"name": "{name}"}}' --json{}"#, at(address));
    error.context(format!(
        "the results of {name} are kept, but cannot be shown without their types (`{raw}` shows them encoded)"
    ))
}

/// The command that goes on where results of a ticket have broken off. By its whole name: the end of it is looked for among
/// the newest alone.
pub(crate) fn again(name: &str, out: Option<&Path>) -> String {
    let out =
        out.map_or_else(String::new, |file| format!(" --out {} --resume", quoted(&file.to_string_lossy())));
    format!("turno tickets results {name} --follow{out}")
}

/// What a command has to say of its gateway.
pub(crate) fn at(address: &str) -> String {
    if address == DEFAULT_ADDRESS { String::new() } else { format!(" --address {}", quoted(address)) }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,:+@%=".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_ADDRESS, again, at, untyped};
    use crate::reflect::refused;
    use std::path::Path;
    use tonic::Status;

    #[test]
    fn types_that_are_not_known_are_told_from_a_gateway_that_is_gone() {
        let told = |error| untyped(error, "operations/7", "[::1]:7070").to_string();
        let raw = r#"`turno call turno.v1.Tickets/ReadMap '{"name": "operations/7"}' --json --address '[::1]:7070'`"#;
        let unknown = told(anyhow::anyhow!("no service kitchen.v1.Kitchen"));
        assert!(unknown.contains(raw), "{unknown}");
        let gone = told(refused(Status::unavailable("the gateway is ending")));
        assert_eq!(gone, "server reflection failed: UNAVAILABLE: the gateway is ending");
    }

    #[test]
    fn what_goes_on_names_the_file_that_is_there() {
        let name = "operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1";
        let goes_on = format!("turno tickets results {name} --follow");
        assert_eq!(again(name, None), goes_on);
        let file = again(name, Some(Path::new("infos.jsonl")));
        assert_eq!(file, format!("{goes_on} --out infos.jsonl --resume"));
        let file = again(name, Some(Path::new("Rosa's infos.jsonl")));
        assert_eq!(file, format!(r"{goes_on} --out 'Rosa'\''s infos.jsonl' --resume"));
    }

    #[test]
    fn what_goes_on_asks_the_same_gateway() {
        assert_eq!(at(DEFAULT_ADDRESS), "");
        assert_eq!(at("bakery:7070"), " --address bakery:7070");
    }
}
