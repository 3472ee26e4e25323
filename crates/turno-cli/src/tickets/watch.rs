//! `turno tickets watch`: a line that moves for a person, a line a change for everybody else; of how far it is, which a map
//! says many times a second, a line a second.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use parking_lot::Mutex;
use prost_reflect::DescriptorPool;
use turno_proto::v1::TicketState;

use super::desk::Desk;
use super::live::{self, line};
use super::object;
use super::patience::{RESTART, is_nobody, patiently};
use super::ticket::{Ticket, millis, span};
use crate::listing::print;
use crate::stdout::Stdout;

/// Which ticket is followed.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The ticket; the end of its id is enough
    name: String,
    /// One JSON object a change; of its progress one a second at most
    #[arg(long)]
    json: bool,
}

/// Between two lines of which nothing else is new than how far it is.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(desk: &Desk, args: WatchArgs) -> anyhow::Result<ExitCode> {
    let name = patiently(RESTART, is_nobody, async || desk.name(&args.name).await).await?;
    let ended = if args.json {
        told(desk, &name, |ticket| object::ticket(ticket, &DescriptorPool::new()).to_string()).await?
    } else if stdout().is_terminal() {
        desk.wait(&name, live::listener()).await?
    } else {
        told(desk, &name, change).await?
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(interrupted) => return Ok(interrupted),
    };
    if !args.json {
        let hint = if stdout().is_terminal() { hint(&ended) } else { String::new() };
        print(format!("{}{hint}", end(&ended)))?;
    }
    let is_done = ended.metadata.state() == TicketState::Done;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for it, and says in lines what there is to be said meanwhile.
async fn told(
    desk: &Desk,
    name: &str,
    line: impl Fn(&Ticket) -> String + Send + Sync,
) -> anyhow::Result<Result<Ticket, ExitCode>> {
    let news = Mutex::new(News::default());
    let waiting = desk.wait(name, |ticket| {
        let is_told = news.lock().hear(ticket);
        if is_told { tell(&line(ticket)) } else { Ok(()) }
    });
    let telling = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            let held = news.lock().held.take();
            if let Some(Err(error)) = held.map(|ticket| tell(&line(&ticket))) {
                break error;
            }
        }
    };
    tokio::select! {
        ended = waiting => ended,
        unread = telling => Err(unread),
    }
}

/// What is heard of a ticket, and what of it is held until others have had their time. Pure.
#[derive(Default)]
struct News {
    /// How it stands: its state, its attempts, those that failed, and whether it is to be forgotten.
    standing: Option<(&'static str, u32, u32, bool)>,
    held: Option<Ticket>,
}

impl News {
    /// Whether it is told at once.
    fn hear(&mut self, ticket: &Ticket) -> bool {
        let metadata = &ticket.metadata;
        let standing = (ticket.state(), metadata.attempts, metadata.failures, metadata.delete_requested);
        let is_new = self.standing.replace(standing) != Some(standing);
        self.held = (!is_new).then(|| ticket.clone());
        is_new
    }
}

/// Who no longer reads has seen enough: unlike what is printed of something done, this ends with its reader.
fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(Stdout, "{line}")?)
}

/// "2026-11-25T22:41:07Z  running, attempt 1 of 3: 3 of 10"
fn change(ticket: &Ticket) -> String {
    format!("{}  {}", humantime::format_rfc3339_seconds(SystemTime::now()), line(ticket, None))
}

/// "operations/0198…  done after 1 attempt, in 3.2s", and what went wrong.
fn end(ticket: &Ticket) -> String {
    let metadata = &ticket.metadata;
    let attempts = match metadata.attempts {
        0 => String::new(),
        1 => " after 1 attempt".to_owned(),
        many => format!(" after {many} attempts"),
    };
    let times = metadata.submit_time.as_ref().zip(metadata.end_time.as_ref());
    let took =
        times.map_or_else(String::new, |(from, to)| format!(", {} in all", span(millis(to) - millis(from))));
    let note = ticket.note(0);
    let note = if note.is_empty() { note } else { format!("\n{note}") };
    format!("{}  {}{attempts}{took}{note}", ticket.name, ticket.state())
}

/// For a person.
fn hint(ticket: &Ticket) -> String {
    format!("\n\n  turno tickets show {}     what became of it", ticket.short())
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::{at, dead, running};
    use super::{News, change, end};
    use turno_proto::v1::{TicketProgress, TicketState};

    #[test]
    fn the_end_is_told_with_what_it_took() {
        let mut ticket = running();
        ticket.metadata.set_state(TicketState::Done);
        ticket.metadata.end_time = Some(at(1_000_003_200));
        assert_eq!(end(&ticket), format!("{}  done after 1 attempt, 3.2s in all", ticket.name));
        assert!(end(&dead()).contains("dead after 3 attempts\nUNAVAILABLE: the oven"));
    }

    #[test]
    fn how_far_it_is_can_wait_and_how_it_stands_cannot() {
        let (mut news, mut ticket) = (News::default(), running());
        assert!(news.hear(&ticket) && news.held.is_none());
        for done in [4, 5] {
            ticket.metadata.progress = Some(TicketProgress { done, total: 10, note: String::new() });
            assert!(!news.hear(&ticket));
        }
        // The last of them is what is told.
        assert_eq!(news.held.take().as_ref(), Some(&ticket));
        assert!(!news.hear(&ticket));
        ticket.metadata.set_state(TicketState::Done);
        assert!(news.hear(&ticket) && news.held.is_none());
    }

    #[test]
    fn a_change_has_its_moment() {
        assert!(change(&running()).ends_with("Z  running, attempt 1 of 3: 3 of 10: shrinking"));
    }
}
