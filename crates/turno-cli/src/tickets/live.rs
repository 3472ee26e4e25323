//! A line that moves while somebody waits for a ticket, on standard error; nothing where that is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use turno_proto::v1::TicketState;

use super::ticket::{Ticket, now_ms};

/// Its line is gone when this is dropped.
struct Live {
    bar: ProgressBar,
}

const PLAIN: &str = "{spinner} {elapsed} {wide_msg}";
const COUNTED: &str = "{spinner} {elapsed} {bar:20} {pos}/{len} {wide_msg}";

/// Moves the line with each change of a ticket; it is gone when this is dropped.
pub(crate) fn listener() -> impl FnMut(&Ticket) -> anyhow::Result<()> + Send {
    let live = Live::new();
    move |ticket: &Ticket| {
        live.tell(ticket);
        Ok(())
    }
}

impl Live {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(style(PLAIN));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    fn tell(&self, ticket: &Ticket) {
        let total = ticket.metadata.progress.as_ref().filter(|said| said.total > 0);
        match total {
            Some(said) => {
                self.bar.set_style(style(COUNTED));
                self.bar.set_length(said.total);
                self.bar.set_position(said.done.min(said.total));
                self.bar.set_message(line(ticket, Some(said.note.clone())));
            }
            None => {
                self.bar.set_style(style(PLAIN));
                self.bar.set_message(line(ticket, None));
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is one that indicatif knows")
}

/// "running, attempt 2 of 3: shrinking"
pub(crate) fn line(ticket: &Ticket, note: Option<String>) -> String {
    let attempt = match ticket.metadata.state() {
        TicketState::Running if ticket.metadata.attempts > 0 => {
            format!(", attempt {}", ticket.attempts().replace('/', " of "))
        }
        _ => String::new(),
    };
    let note = note.unwrap_or_else(|| ticket.note(now_ms()));
    let note = if note.is_empty() { note } else { format!(": {note}") };
    let fate = if ticket.metadata.delete_requested { ", to be forgotten" } else { "" };
    format!("{}{attempt}{fate}{note}", ticket.state())
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::{dead, running};
    use super::line;

    #[test]
    fn the_line_says_where_it_stands() {
        assert_eq!(line(&running(), None), "running, attempt 1 of 3: 3 of 10: shrinking");
        assert_eq!(line(&running(), Some(String::new())), "running, attempt 1 of 3");
        assert!(line(&dead(), None).starts_with("dead: UNAVAILABLE: the oven"));
        let mut deleted = running();
        deleted.metadata.delete_requested = true;
        let expected = "running, attempt 1 of 3, to be forgotten: 3 of 10: shrinking";
        assert_eq!(line(&deleted, None), expected);
    }
}
