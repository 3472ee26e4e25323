//! One ticket in words: all that is known of it, and what can be done next. Pure.

use turno_proto::v1::{TicketAttempt, TicketMetadata, TicketState};

use super::name;
use super::spent::spent;
use super::ticket::{Ticket, failure, millis, progress, span};
use super::time::shown;

/// What is known of a ticket.
pub(crate) struct Card<'a> {
    pub(crate) ticket: &'a Ticket,
    /// Those that failed.
    pub(crate) attempts: &'a [TicketAttempt],
    /// As JSON, if a person wants to see it.
    pub(crate) request: Option<&'a str>,
    /// Its response as JSON, or its error in words.
    pub(crate) result: Option<&'a str>,
    pub(crate) now_ms: i64,
}

impl Card<'_> {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.ticket.name);
        for (word, value) in self.facts() {
            text.push_str(&format!("  {word:<11} {value}\n"));
        }
        let parts = [
            ("Attempts that failed", self.failures()),
            ("Request", self.request.map(indented)),
            ("Result", self.result.map(indented)),
            ("Next", next(self.ticket)),
        ];
        for (title, part) in parts {
            if let Some(part) = part {
                text.push_str(&format!("\n{title}\n{part}\n"));
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let metadata = &self.ticket.metadata;
        let mut facts = vec![
            ("method", metadata.method.clone()),
            ("state", state(self.ticket)),
            ("attempts", attempts(metadata)),
        ];
        let mut say = |word, value: Option<String>| facts.extend(value.map(|value| (word, value)));
        say("progress", metadata.progress.as_ref().and_then(progress));
        say("submitted", metadata.submit_time.as_ref().map(|time| self.moment(time)));
        say("not before", metadata.not_before.as_ref().map(|time| self.moment(time)));
        say("began", metadata.begin_time.as_ref().map(|time| self.moment(time)));
        say("ended", metadata.end_time.as_ref().map(|time| self.moment(time)));
        say("deleted", deleted(metadata));
        say("took", spent(metadata, self.attempts));
        say("kept until", metadata.expire_time.as_ref().map(|time| self.moment(time)));
        say("labels", labels(metadata));
        say("key", said(&metadata.idempotency_key));
        say("tenant", said(&metadata.tenant));
        say("redrives", said(&metadata.redrive_of));
        say("redriven as", said(&metadata.redriven_as));
        say("request", Some(bytes(metadata.request_bytes)));
        say("response", (metadata.response_bytes > 0).then(|| bytes(metadata.response_bytes)));
        facts
    }

    /// "2026-11-25T22:41:07Z, 3m 12s ago"
    fn moment(&self, time: &prost_types::Timestamp) -> String {
        let ago = self.now_ms - millis(time);
        let distance = if ago < 0 { format!("in {}", span(-ago)) } else { format!("{} ago", span(ago)) };
        format!("{}, {distance}", shown(time))
    }

    fn failures(&self) -> Option<String> {
        let lines: Vec<String> = self.attempts.iter().map(failed_attempt).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

fn state(ticket: &Ticket) -> String {
    let why = match ticket.metadata.state() {
        TicketState::Failed => ": an error that no repetition would mend",
        TicketState::Dead => ": tried to the end, or taken for a danger to nodes",
        TicketState::Running if ticket.metadata.cancel_requested => ": its method is told to stop",
        _ => "",
    };
    format!("{}{why}", ticket.state())
}

/// "2, of which 1 failed; 3 at most", and why there are more than that.
fn attempts(metadata: &TicketMetadata) -> String {
    let TicketMetadata { attempts, failures, retries, .. } = metadata;
    let failed = if *failures > 0 { format!(", of which {failures} failed") } else { String::new() };
    let most = u64::from(*retries) + 1;
    let but = if u64::from(*failures) > most {
        // The edit of a dead one has taken some.
        " once it is redriven"
    } else if u64::from(*attempts) > most {
        ", besides those that no node had, or whose gateway was lost"
    } else {
        ""
    };
    format!("{attempts}{failed}; {most} at most{but}")
}

/// What a delete does to one that has not ended, and how that is taken back.
fn deleted(metadata: &TicketMetadata) -> Option<String> {
    let unless =
        if metadata.idempotency_key.is_empty() { "" } else { ", unless its key is submitted again before" };
    metadata.delete_requested.then(|| format!("it is forgotten once it has ended{unless}"))
}

fn labels(metadata: &TicketMetadata) -> Option<String> {
    let mut labels: Vec<String> =
        metadata.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.sort();
    (!labels.is_empty()).then(|| labels.join(", "))
}

fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// "  2  2026-11-25T22:41:07Z, after 12ms", and below it "UNAVAILABLE: the oven is cold".
fn failed_attempt(attempt: &TicketAttempt) -> String {
    let TicketAttempt { number, begin_time, end_time, failure: why } = attempt;
    let began = begin_time.as_ref().map_or_else(|| "?".to_owned(), shown);
    let took = begin_time.as_ref().zip(end_time.as_ref());
    let took = took.map_or_else(String::new, |(from, to)| span(millis(to) - millis(from)));
    let why = why.as_ref().map_or_else(|| "no reason is on record".to_owned(), failure);
    format!("  {number}  {began}, after {took}\n     {why}")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// What can be done with a ticket, as commands.
fn next(ticket: &Ticket) -> Option<String> {
    let (short, redriven) = (ticket.short(), &ticket.metadata.redriven_as);
    let mut lines = match ticket.metadata.state() {
        // Who followed it would not hear how it ends.
        TicketState::Waiting | TicketState::Running if ticket.metadata.delete_requested => {
            vec![format!("turno tickets cancel {short}     stop it")]
        }
        TicketState::Waiting | TicketState::Running => vec![
            format!("turno tickets watch {short}      follow it to its end"),
            format!("turno tickets cancel {short}     stop it"),
        ],
        TicketState::Dead if !redriven.is_empty() => {
            vec![format!("turno tickets show {}       what became of it", name::short(redriven))]
        }
        _ if ticket.can_be_redriven() => vec![
            format!("turno tickets redrive {short}          submit the same anew"),
            format!("turno tickets edit {short} '{{…}}'       mend its request before that"),
        ],
        _ => Vec::new(),
    };
    if ticket.metadata.map_items.is_some() {
        lines.push(results(short));
    }
    (!lines.is_empty()).then(|| commands(&lines))
}

/// The same of a map that has just been submitted.
pub(crate) fn next_of_map(name: &str) -> String {
    let short = name::short(name);
    commands(&[format!("turno tickets watch {short}      follow it to its end"), results(short)])
}

fn results(short: &str) -> String {
    format!("turno tickets results {short}    what has come of it")
}

fn commands(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::{at, dead, running};
    use super::{Card, Ticket, TicketAttempt, TicketMetadata, next, next_of_map};

    const NOW: i64 = 1_000_192_000;

    #[test]
    fn all_that_is_known_is_said() {
        let mut ticket = dead();
        let metadata = &mut ticket.metadata;
        metadata.labels = [("shop".into(), "bakery".into()), ("order".into(), "17".into())].into();
        (metadata.idempotency_key, metadata.tenant) = ("nightly/7".into(), "bakery".into());
        metadata.end_time = Some(at(NOW - 1000));
        metadata.expire_time = Some(at(NOW + 604_799_000));
        metadata.request_bytes = 123;
        let failure = metadata.last_failure.clone();
        let (begin_time, end_time) = (Some(at(1_000_000_000)), Some(at(1_000_000_012)));
        let attempts = [TicketAttempt { number: 1, begin_time, end_time, failure }];
        let request = Some("{\n  \"url\": \"x\"\n}");
        let result = Some("UNAVAILABLE: cold");
        let text = Card { ticket: &ticket, attempts: &attempts, request, result, now_ms: NOW }.text();
        let expected = "\
operations/0198c3ab-7d12-7c3e-9f4a-1b2c00000007

  method      gallery.v1.Gallery/Thumbnail
  state       dead: tried to the end, or taken for a danger to nodes
  attempts    3, of which 3 failed; 3 at most
  submitted   1970-01-12T13:46:40Z, 3m 12s ago
  ended       1970-01-12T13:49:51Z, 1.0s ago
  took        3m 11s in all: 3m 10s waiting, 12ms in 1 attempt
  kept until  1970-01-19T13:49:51Z, in 6d 23h
  labels      order=17, shop=bakery
  key         nightly/7
  tenant      bakery
  request     123 bytes

Attempts that failed
  1  1970-01-12T13:46:40Z, after 12ms
     UNAVAILABLE: the oven of the second kitchen is cold and stays so

Request
  {
    \"url\": \"x\"
  }

Result
  UNAVAILABLE: cold

Next
  turno tickets redrive 00000007          submit the same anew
  turno tickets edit 00000007 '{\u{2026}}'       mend its request before that";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn more_attempts_than_it_may_have_have_their_reason() {
        let said = |attempts: u32, failures, retries| {
            super::attempts(&TicketMetadata { attempts, failures, retries, ..TicketMetadata::default() })
        };
        assert_eq!(said(2, 1, 2), "2, of which 1 failed; 3 at most");
        let besides = "besides those that no node had, or whose gateway was lost";
        assert_eq!(said(4, 0, 2), format!("4; 3 at most, {besides}"));
        assert_eq!(said(5, 3, 2), format!("5, of which 3 failed; 3 at most, {besides}"));
        assert_eq!(said(4, 4, 1), "4, of which 4 failed; 2 at most once it is redriven");
    }

    #[test]
    fn of_a_map_its_results_are_next() {
        let (mut map, mut lost) = (running(), dead());
        (map.metadata.map_items, lost.metadata.map_items) = (Some(9), Some(9));
        let expected = "  \
  turno tickets watch 9f3ac2b1      follow it to its end
  turno tickets cancel 9f3ac2b1     stop it
  turno tickets results 9f3ac2b1    what has come of it";
        assert_eq!(next(&map).unwrap(), expected);
        assert_eq!(next(&lost).unwrap(), "  turno tickets results 00000007    what has come of it");
        let lines: Vec<&str> = expected.lines().collect();
        assert_eq!(next_of_map(&map.name), format!("{}\n{}", lines[0], lines[2]));
    }

    #[test]
    fn one_that_is_deleted_says_so_and_is_not_followed() {
        let mut ticket = running();
        ticket.metadata.delete_requested = true;
        let said =
            |ticket: &Ticket| Card { ticket, attempts: &[], request: None, result: None, now_ms: NOW }.text();
        let text = said(&ticket);
        assert!(text.contains("\n  deleted     it is forgotten once it has ended\n"), "{text}");
        assert!(text.ends_with("\nNext\n  turno tickets cancel 9f3ac2b1     stop it"), "{text}");
        ticket.metadata.idempotency_key = "nightly/7".into();
        let text = said(&ticket);
        assert!(text.contains(" once it has ended, unless its key is submitted again before\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text =
            Card { ticket: &running(), attempts: &[], request: None, result: None, now_ms: NOW }.text();
        let expected = "\
operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1

  method      gallery.v1.Gallery/Thumbnail
  state       running
  attempts    1; 3 at most
  progress    3 of 10: shrinking
  submitted   1970-01-12T13:46:40Z, 3m 12s ago
  request     0 bytes

Next
  turno tickets watch 9f3ac2b1      follow it to its end
  turno tickets cancel 9f3ac2b1     stop it";
        assert_eq!(text, expected, "\n{text}");
    }
}
