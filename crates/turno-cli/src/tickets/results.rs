//! `turno tickets results`: what has come of a map, as `turno map` writes it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::desk::Desk;
use crate::map;

/// Whose results.
#[derive(Args, Clone, Debug)]
pub(crate) struct ResultsArgs {
    /// The ticket of a map; the end of its id is enough
    name: String,
    /// Write answers to FILE
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on until the map has ended; else what there is
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn run(desk: &mut Desk, args: ResultsArgs) -> anyhow::Result<ExitCode> {
    let name = desk.name(&args.name).await?;
    let ticket = desk.get(&name).await?;
    let method = desk.method(&ticket.metadata.method).await?;
    let done = ticket.metadata.progress.as_ref().map_or(0, |progress| progress.done);
    let most = (!args.follow).then_some(done);
    map::results_of(desk.channel.clone(), &name, &method, args.out.as_deref(), most).await
}
