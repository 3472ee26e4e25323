//! Whose turn it is, where some queues are passed over: the others take turns, so that a long one does not make them wait.

use std::collections::HashSet;
use std::time::Duration;

use super::Book;
use crate::batch::{Batch, Broken, Due};
use crate::body::Granted;
use crate::change::{Answer, Answered, Round};
use crate::error::Error;
use crate::query::Queue;
use crate::tables::Tables;
use crate::ticket::GatewayId;

/// Queues that one claim looks at. The next one goes on where this one ended.
const MOST_QUEUES: usize = 256;

/// The queue that had its turn last.
#[derive(Default)]
pub(super) struct Turns {
    last: Option<Queue>,
}

impl Turns {
    /// What a claim gave out last had its turn.
    pub(super) fn after(&mut self, granted: Option<&Granted>) {
        if let Some(Granted { claimed, .. }) = granted {
            self.last = Some(claimed.queue());
        }
    }

    /// Those of `found` whose turn it is, at most so many: that have something due by `now` and are not passed over.
    fn next(
        &mut self,
        found: Vec<(Queue, i64)>,
        passed_over: &PassedOver<'_>,
        now: i64,
        most: usize,
    ) -> Vec<Queue> {
        let last_seen = found.last().map(|(queue, _)| queue.clone());
        let due = passed_over.others(found).filter(|(_, due_at)| *due_at <= now);
        let next: Vec<_> = due.map(|(queue, _)| queue).take(most).collect();
        // Be it that nothing comes of it, where others have locked what is due: else nobody behind it has a turn.
        self.last = next.last().cloned().or(last_seen);
        next
    }
}

/// Queues that are full, and methods that nobody serves.
pub(super) struct PassedOver<'a> {
    full: HashSet<&'a Queue>,
    unserved: HashSet<&'a str>,
}

impl<'a> PassedOver<'a> {
    pub(super) fn of(full: &'a [Queue], unserved: &'a [String]) -> Self {
        Self { full: full.iter().collect(), unserved: unserved.iter().map(String::as_str).collect() }
    }

    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.unserved.is_empty()
    }

    /// Those that are not passed over.
    fn others(&self, found: Vec<(Queue, i64)>) -> impl Iterator<Item = (Queue, i64)> {
        found.into_iter().filter(move |(queue, _)| {
            !self.full.contains(queue) && !self.unserved.contains(queue.method.as_str())
        })
    }
}

/// Where a round goes on that has `found` these now: to the last queue, and then from the first to the last.
fn further(found: &[(Queue, i64)], round: Option<&Round>) -> Option<Round> {
    let is_around = round.is_some_and(|round| round.is_around);
    match found.last() {
        Some((last, _)) if found.len() == MOST_QUEUES => Some(Round { after: last.clone(), is_around }),
        // The first part goes around by itself.
        _ if is_around || round.is_none() => None,
        _ => Some(Round { after: Queue::before_all(), is_around: true }),
    }
}

impl<T: Tables> Book<T> {
    /// Rows that are due and not passed over.
    pub(super) async fn due(
        &mut self,
        gateway: GatewayId,
        most: usize,
        passed_over: &PassedOver<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Result<Due, Broken>>, Error> {
        if passed_over.is_empty() {
            return self.tables.due(gateway, most, batch).await;
        }
        let found = self.queues(batch).await?;
        let queues = self.turns.next(found, passed_over, batch.now, most);
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let each = most.div_ceil(queues.len());
        let mut due = self.tables.due_of(&queues, gateway, each, batch).await?;
        due.truncate(most);
        Ok(due)
    }

    /// When something is due that is not passed over, as far as this part of a round can see.
    pub(super) async fn next_due(
        &mut self,
        passed_over: &PassedOver<'_>,
        round: Option<&Round>,
        batch: &mut Batch<'_>,
    ) -> Answered {
        let found = match round {
            Some(round) => self.tables.queues(Some(&round.after), MOST_QUEUES, batch).await?,
            None => {
                let next = self.tables.next_due(batch).await?;
                // What is not due yet may be passed over when it is: then one claim is made in vain.
                if passed_over.is_empty() || next != Some(Duration::ZERO) {
                    return Ok(Answer::Due(next, None));
                }
                self.queues(batch).await?
            }
        };
        let further = further(&found, round);
        let others = passed_over.others(found);
        let until = others.map(|(_, due_at)| due_at.saturating_sub(batch.now).max(0).unsigned_abs());
        let next = until.min().map(Duration::from_millis);
        if next != Some(Duration::ZERO) {
            return Ok(Answer::Due(next, further));
        }
        if let Some(round) = round {
            // The next claim begins there.
            self.turns.last = Some(round.after.clone());
        }
        Ok(Answer::Due(next, None))
    }

    /// From the one behind the last, around to it.
    async fn queues(&mut self, batch: &mut Batch<'_>) -> Result<Vec<(Queue, i64)>, Error> {
        let last = self.turns.last.clone();
        let mut found = self.tables.queues(last.as_ref(), MOST_QUEUES, batch).await?;
        if last.is_some() && found.len() < MOST_QUEUES {
            let first = self.tables.queues(None, MOST_QUEUES - found.len(), batch).await?;
            let again = |queue: &Queue| found.iter().any(|(seen, _)| seen == queue);
            let first: Vec<_> = first.into_iter().take_while(|(queue, _)| !again(queue)).collect();
            found.extend(first);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{PassedOver, Queue, Turns};

    fn queue(method: &str) -> Queue {
        Queue { tenant: "me".into(), method: method.into() }
    }

    #[test]
    fn what_is_passed_over_or_not_due_has_no_turn() {
        let mut turns = Turns::default();
        let found =
            vec![(queue("a"), 5), (queue("b"), 10), (queue("c"), 11), (queue("d"), 0), (queue("e"), 0)];
        let (full, unserved) = ([queue("d")], ["e".to_owned()]);
        let next = turns.next(found, &PassedOver::of(&full, &unserved), 10, 64);
        assert_eq!(next, [queue("a"), queue("b")]);
        assert_eq!(turns.last, Some(queue("b")));
    }

    #[test]
    fn a_claim_that_finds_none_makes_the_next_one_look_further() {
        let mut turns = Turns::default();
        let found = vec![(queue("a"), 5), (queue("b"), 99)];
        assert_eq!(turns.next(found, &PassedOver::of(&[queue("a")], &[]), 10, 64), []);
        assert_eq!(turns.last, Some(queue("b")));
    }
}
