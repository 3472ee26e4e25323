//! `turno tickets results`: what has come of a map, as `turno map` writes it.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::desk::Desk;
use super::name;
use crate::map::{self, Target};

/// Whose results.
#[derive(Args, Clone, Debug)]
pub(crate) struct ResultsArgs {
    /// The ticket of a map; the end of its id is enough
    name: String,
    #[command(flatten)]
    target: Target,
    /// Go on until the map has ended, and tell how; without it, what there is now
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn run(desk: &mut Desk, args: ResultsArgs) -> anyhow::Result<ExitCode> {
    let name = desk.name(&args.name).await?;
    let ticket = desk.get(&name).await?;
    let method = desk.method(&ticket.metadata.method).await?;
    let done = ticket.metadata.progress.as_ref().map_or(0, |progress| progress.done);
    let most = (!args.follow).then_some(done);
    map::results_of(desk.channel.clone(), &name, &method, &args.target, most).await
}

/// The command that goes on where results of a ticket have broken off.
pub(crate) fn again(name: &str, out: Option<&Path>) -> String {
    let out = out.map_or_else(String::new, |file| format!(" --out {} --resume", quoted(file)));
    format!("turno tickets results {} --follow{out}", name::short(name))
}

/// As a shell takes it for one word.
fn quoted(file: &Path) -> String {
    let text = file.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,:+@%=".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::again;
    use std::path::Path;

    #[test]
    fn what_goes_on_names_the_file_that_is_there() {
        let name = "operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1";
        assert_eq!(again(name, None), "turno tickets results 9f3ac2b1 --follow");
        let file = again(name, Some(Path::new("infos.jsonl")));
        assert_eq!(file, "turno tickets results 9f3ac2b1 --follow --out infos.jsonl --resume");
        let file = again(name, Some(Path::new("Rosa's infos.jsonl")));
        assert_eq!(file, r"turno tickets results 9f3ac2b1 --follow --out 'Rosa'\''s infos.jsonl' --resume");
    }
}
