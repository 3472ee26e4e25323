//! What clients saw of tickets while things were killed, and a model of what they may have seen: a ticket that was
//! acknowledged is never lost, goes forward only, ends once, and is cancelled only if somebody wanted that.

use std::collections::HashMap;
use std::time::Instant;

use turno_proto::v1::TicketState;

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct History {
    tickets: HashMap<String, Record>,
    names: Vec<String>,
}

#[derive(Debug)]
struct Record {
    /// What its method must answer.
    value: u64,
    acknowledged: Instant,
    /// When somebody first began to ask for its end.
    cancel: Option<Instant>,
    reads: Vec<Read>,
}

/// An answer to `GetOperation`.
#[derive(Clone, Debug)]
pub struct Read {
    /// When it was asked for.
    pub began: Instant,
    /// When it was answered.
    pub ended: Instant,
    /// The state.
    pub state: TicketState,
    /// Attempts that had begun.
    pub attempts: u32,
    /// What the method has answered, if it is done.
    pub value: Option<u64>,
}

impl History {
    /// A submit was acknowledged as `ticket`, whose method must answer `value`.
    pub fn submitted(&mut self, ticket: &str, value: u64) {
        let record = Record { value, acknowledged: Instant::now(), cancel: None, reads: Vec::new() };
        // The same key may be acknowledged twice: as the same ticket.
        if !self.tickets.contains_key(ticket) {
            self.names.push(ticket.to_owned());
        }
        let known = self.tickets.entry(ticket.to_owned()).or_insert(record);
        assert_eq!(known.value, value, "{ticket} stands for two submits");
    }

    /// Somebody is about to cancel it.
    pub fn cancelling(&mut self, ticket: &str) {
        if let Some(record) = self.tickets.get_mut(ticket) {
            record.cancel.get_or_insert_with(Instant::now);
        }
    }

    /// Somebody has read it.
    pub fn read(&mut self, ticket: &str, read: Read) {
        if let Some(record) = self.tickets.get_mut(ticket) {
            record.reads.push(read);
        }
    }

    /// All tickets that were acknowledged.
    pub fn acknowledged(&self) -> &[String] {
        &self.names
    }

    /// Everything that cannot have been, if the promises were kept. `may_die`: a ticket may end dead.
    pub fn mistakes(&self, may_die: bool) -> Vec<String> {
        self.tickets.iter().flat_map(|(ticket, record)| record.mistakes(ticket, may_die)).collect()
    }

    /// How many ended so.
    pub fn ended(&self, state: TicketState) -> usize {
        let last = |record: &Record| record.reads.iter().max_by_key(|read| read.ended).map(|read| read.state);
        self.tickets.values().filter(|record| last(record) == Some(state)).count()
    }
}

impl Record {
    fn mistakes(&self, ticket: &str, may_die: bool) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut reads: Vec<&Read> = self.reads.iter().collect();
        reads.sort_by_key(|read| read.ended);
        if !reads.last().is_some_and(|last| is_final(last.state)) {
            mistakes.push(format!("{ticket} has not ended: {:?}", reads.last()));
        }
        for read in &reads {
            mistakes
                .extend(self.mistake(read, may_die).map(|mistake| format!("{ticket} {mistake}: {read:?}")));
        }
        // Of two reads at the same time either may have come first; so only those that were one after the other count.
        let mut furthest: Option<&Read> = None;
        for read in reads {
            if let Some(before) = furthest.filter(|before| before.ended <= read.began)
                && goes_back(before, read)
            {
                mistakes.push(format!("{ticket} went back, from {before:?} to {read:?}"));
            }
            if furthest.is_none_or(|before| rank(read.state) >= rank(before.state)) {
                furthest = Some(read);
            }
        }
        mistakes
    }

    fn mistake(&self, read: &Read, may_die: bool) -> Option<&'static str> {
        let wanted = self.cancel.is_some_and(|began| began <= read.ended);
        match read.state {
            TicketState::Done if read.value != Some(self.value) => Some("has the wrong result"),
            TicketState::Cancelled if !wanted => Some("was cancelled by nobody"),
            TicketState::Dead if may_die => None,
            TicketState::Failed | TicketState::Dead | TicketState::Unspecified => {
                Some("did not do what it should")
            }
            _ if read.ended < self.acknowledged => Some("was read before it was there"),
            _ => None,
        }
    }
}

fn goes_back(before: &Read, after: &Read) -> bool {
    let changed_its_end = is_final(before.state) && after.state != before.state;
    changed_its_end || rank(after.state) < rank(before.state) || after.attempts < before.attempts
}

fn is_final(state: TicketState) -> bool {
    rank(state) == 2
}

fn rank(state: TicketState) -> u8 {
    match state {
        TicketState::Unspecified | TicketState::Waiting => 0,
        TicketState::Running => 1,
        TicketState::Done | TicketState::Failed | TicketState::Cancelled | TicketState::Dead => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use turno_proto::v1::TicketState::{self, Cancelled, Dead, Done, Running, Waiting};

    use super::{History, Read};

    fn history(reads: &[(TicketState, u32, Option<u64>)], is_cancelled: bool) -> Vec<String> {
        let mut history = History::default();
        history.submitted("t", 49);
        if is_cancelled {
            history.cancelling("t");
        }
        let start = Instant::now();
        for (at, &(state, attempts, value)) in (1..).zip(reads) {
            let (began, ended) =
                (start + Duration::from_secs(2 * at), start + Duration::from_secs(2 * at + 1));
            history.read("t", Read { began, ended, state, attempts, value });
        }
        history.mistakes(false)
    }

    #[test]
    fn what_keeps_the_promises_is_let_through() {
        let reads = [
            (Waiting, 0, None),
            (Running, 1, None),
            (Running, 2, None),
            (Done, 2, Some(49)),
            (Done, 2, Some(49)),
        ];
        assert_eq!(history(&reads, false), Vec::<String>::new());
        assert_eq!(history(&[(Cancelled, 0, None)], true), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_found() {
        for (reads, is_cancelled, found) in [
            (&[][..], false, "has not ended"),
            (&[(Running, 1, None)][..], false, "has not ended"),
            (&[(Done, 1, Some(48))][..], false, "wrong result"),
            (&[(Done, 1, None)][..], false, "wrong result"),
            (&[(Cancelled, 1, None)][..], false, "by nobody"),
            (&[(Dead, 1, None)][..], false, "did not do"),
            (&[(Done, 1, Some(49)), (Running, 2, None), (Done, 2, Some(49))][..], false, "went back"),
            (&[(Running, 1, None), (Waiting, 0, None), (Done, 1, Some(49))][..], false, "went back"),
            (&[(Running, 2, None), (Running, 1, None), (Done, 2, Some(49))][..], false, "went back"),
            (&[(Done, 1, Some(49)), (Cancelled, 1, None)][..], true, "went back"),
        ] {
            let mistakes = history(reads, is_cancelled);
            assert!(mistakes.iter().any(|mistake| mistake.contains(found)), "{reads:?}: {mistakes:?}");
        }
    }

    #[test]
    fn reads_at_the_same_time_may_have_come_in_either_order() {
        let mut history = History::default();
        history.submitted("t", 49);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let read = |began, ended, state, value| Read { began, ended, state, attempts: 1, value };
        history.read("t", read(at(1), at(5), Done, Some(49)));
        history.read("t", read(at(2), at(6), Running, None));
        history.read("t", read(at(7), at(8), Done, Some(49)));
        assert_eq!(history.mistakes(false), Vec::<String>::new());
        assert_eq!(history.ended(Done), 1);
    }
}
