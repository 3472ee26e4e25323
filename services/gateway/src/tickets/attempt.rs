//! One attempt of a ticket, from when it is on record to when its end is.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use turno_proto::mesh::v1::{self as mesh, Kind};
use turno_proto::status;
use turno_store::{Attempt, Claimed, Error, Outcome, Progress, State, TicketId};

use crate::calls::{self, Call, Ran, run};
use crate::carry;
use crate::course::Course;
use crate::link::heard::Hearing;
use crate::methods::Method;
use crate::tickets::Tickets;
use crate::tickets::bill::Bill;
use crate::tickets::board::Running;
use crate::tickets::envelope::Envelope;
use crate::tickets::hand::Place;
use crate::tickets::losses;
use crate::tickets::operation::{failure_of, storable, wrapped};
use crate::tickets::verdict::{self, Death, Ended, Standing, Verdict};

/// The disk hears of progress no more often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Tickets {
    /// Runs an attempt that is on record. Its place in hand is given back when its end is on disk.
    pub(crate) async fn attempt(&self, claimed: Box<Claimed>, running: Running, mut place: Place) {
        let (attempt, bill) = (claimed.attempt, Bill::open(&claimed));
        if claimed.cancel_requested {
            running.hearing.stop.cancel();
        }
        self.0.board.tell(attempt.ticket);
        let standing = Standing {
            failures: claimed.failures,
            retries: claimed.retries,
            cancel_requested: false,
            chance: rand::random(),
        };
        let ended = tokio::select! {
            biased;
            () = running.abandon.cancelled() => None,
            ended = self.begun(claimed, &running.hearing, &mut place, &bill.course) => Some(ended),
        };
        // That the store is asked then, and the node waited for, is not the attempt's time.
        let ended_at = std::time::Instant::now();
        let ended = match ended {
            Some(Ended::Died(death)) => tokio::select! {
                biased;
                () = running.abandon.cancelled() => None,
                // Few die: the others do not carry what one needs.
                weighed = Box::pin(self.weigh(attempt, standing.failures, death, &running.hearing)) => {
                    Some(weighed)
                }
            },
            ended => ended,
        };
        // What is given up meanwhile is counted by who runs it next.
        bill.settle(&self.0.counts, ended.as_ref(), ended_at);
        if let Some(ended) = ended {
            self.note_last(attempt, &running.hearing).await;
            let cancel_requested = running.hearing.stop.is_cancelled();
            let verdict = verdict::judge(ended, Standing { cancel_requested, ..standing });
            self.settle(attempt, self.among_others(verdict, standing.chance)).await;
        }
        self.0.board.end(attempt);
        self.0.board.tell(attempt.ticket);
    }

    /// Where many are given back, each comes later.
    fn among_others(&self, verdict: Verdict, chance: f64) -> Verdict {
        let Verdict::Later(pause) = verdict else { return verdict };
        let crowd = self.0.crowd.lock().give_back(self.0.since.elapsed().as_secs());
        Verdict::Later(pause.max(crowd.mul_f64(1.0 + chance)))
    }

    /// Once there is room for its request.
    async fn begun(
        &self,
        claimed: Box<Claimed>,
        hearing: &Hearing,
        place: &mut Place,
        course: &Course,
    ) -> Ended {
        // For memory, and then for a node.
        course.seek(std::time::Instant::now());
        tokio::select! {
            biased;
            () = self.0.hand.make_room(place, claimed.request.len()) => {}
            () = hearing.stop.cancelled() => return Ended::Stopped,
            () = hearing.recall.cancelled() => return Ended::NotNow(None),
        }
        let (attempt, heard) = (claimed.attempt, hearing.progress.subscribe());
        tokio::select! {
            biased;
            ended = self.run(claimed, hearing, course) => ended,
            never = self.report(attempt, heard) => match never {},
        }
    }

    async fn run(&self, claimed: Box<Claimed>, hearing: &Hearing, course: &Course) -> Ended {
        let Some(method) = self.known(&claimed.method).await.filter(|method| method.is_served()) else {
            if hearing.stop.is_cancelled() {
                return Ended::Stopped;
            }
            self.0.unserved.add(&claimed.method);
            return Ended::NotNow(None);
        };
        if method.served().kind == Kind::Stream {
            let text = format!("{} takes or answers a stream by now", method.name());
            return Ended::Error(failure_of(&Status::failed_precondition(text)), None);
        }
        if let Some(inputs) = claimed.inputs {
            // Few are maps: the others do not carry what one needs.
            return Box::pin(self.run_map(*claimed, inputs, method, hearing)).await;
        }
        let ticket = claimed.attempt.ticket;
        let Envelope { metadata, caller } = match Envelope::opened(&claimed) {
            Ok(envelope) => envelope,
            Err(unreadable) => return Ended::Error(failure_of(&unreadable), None),
        };
        let timeout = self.timeout(&method, claimed.timeout);
        let body = claimed.request;
        let call = Call {
            method,
            deadline: None,
            metadata,
            caller,
            body,
            items: 0,
            reader: None,
            begins_batch: true,
        };
        let ran = run(&self.0.around.router, &call, Some(timeout), hearing, course).await;
        self.came_to(ran, &call.method, ticket)
    }

    fn timeout(&self, method: &Method, asked: Option<Duration>) -> Duration {
        longest(asked, method.served().policy.timeout, self.0.around.longest_call)
    }

    fn came_to(&self, ran: Ran, method: &Method, ticket: TicketId) -> Ended {
        match ran {
            Ran::Answered(outcome) => {
                if status::code_of(outcome.code) == Code::Ok {
                    let answer = self.0.around.descriptors.answer_of(method.name());
                    return Ended::Done(wrapped(outcome.body, answer.as_deref()));
                }
                let error = status::from_outcome(*outcome);
                let failure = losses::of_method(failure_of(&error), ticket);
                if carry::is_too_large(&error) {
                    return Ended::TooLarge(failure);
                }
                Ended::Error(failure, come_again(&error))
            }
            Ran::Stopped => Ended::Stopped,
            Ran::NotNow(status) => Ended::NotNow(come_again(&status)),
            Ran::Lost(status) => Ended::Lost(losses::unanswered(failure_of(&status), ticket)),
            // What is known beside it, whoever weighs it looks up.
            Ran::Died(calls::Death { lost, node, key }) => {
                Ended::Died(Death { failure: failure_of(&lost), node, key, ..Death::default() })
            }
            Ran::Poisonous(status) => Ended::Poisonous(failure_of(&status)),
        }
    }

    /// Tells watchers at once how far it is, and the store from time to time.
    async fn report(
        &self,
        attempt: Attempt,
        mut heard: watch::Receiver<mesh::Progress>,
    ) -> std::convert::Infallible {
        let mut next = Instant::now();
        loop {
            if heard.changed().await.is_err() {
                return std::future::pending().await;
            }
            self.0.board.tell(attempt.ticket);
            if Instant::now() >= next {
                let progress = heard.borrow().clone();
                self.note(attempt, progress).await;
                next = Instant::now() + PROGRESS_EVERY;
            }
        }
    }

    async fn note_last(&self, attempt: Attempt, hearing: &Hearing) {
        let last = hearing.progress.borrow().clone();
        if last != mesh::Progress::default() {
            self.note(attempt, last).await;
        }
    }

    async fn note(&self, attempt: Attempt, progress: mesh::Progress) {
        let mesh::Progress { done, total, note, .. } = progress;
        let note = storable(note);
        if let Err(error) = self.store().progress(attempt, Progress { done, total, note }).await {
            tracing::debug!(ticket = %attempt.ticket, %error, "progress was not noted");
        }
    }

    /// Puts on record what has become of an attempt, however long that takes: until then the attempt is held. A gateway that
    /// ends does not wait for long for a store of its own that is full.
    async fn settle(&self, attempt: Attempt, verdict: Verdict) {
        let mut patience = self.patience();
        loop {
            match self.record(attempt, verdict.clone()).await {
                Ok(ended) => {
                    if let Some(state) = ended {
                        self.count_ended(state);
                    } else {
                        self.0.due.notify_one();
                    }
                    return;
                }
                Err(error) if patience.is_over(&error) => {
                    tracing::warn!(ticket = %attempt.ticket, %error, "what came of an attempt is lost: it begins again");
                    return;
                }
                // The store has told the log.
                Err(Error::Full | Error::Away(_) | Error::Unavailable(_)) => {}
                Err(error) if is_passing(&error) => {
                    tracing::warn!(ticket = %attempt.ticket, %error, "what came of an attempt cannot be stored yet");
                }
                Err(error @ (Error::Superseded(_) | Error::NotFound(_))) => {
                    tracing::info!(ticket = %attempt.ticket, %error, "what came of an attempt is not wanted");
                    return;
                }
                Err(error) => {
                    tracing::error!(ticket = %attempt.ticket, %error, "what came of an attempt cannot be stored");
                    return;
                }
            }
            patience.pause().await;
        }
    }

    /// Answers the state if the ticket has ended.
    async fn record(&self, attempt: Attempt, verdict: Verdict) -> Result<Option<State>, Error> {
        let store = self.store();
        let outcome = match verdict {
            Verdict::Done(response) => Outcome::Done(response),
            Verdict::Failed(failure) => Outcome::Failed(failure),
            Verdict::Dead(failure) => Outcome::Dead(failure),
            Verdict::Cancelled => Outcome::Cancelled,
            Verdict::Again(failure, pause) => {
                let state = store.retry(attempt, failure, pause).await?;
                return Ok(Some(state).filter(|state| state.is_final()));
            }
            Verdict::Later(pause) => {
                store.release(attempt, pause).await?;
                return Ok(None);
            }
        };
        let state = outcome.state();
        store.finish(attempt, outcome).await?;
        Ok(Some(state))
    }
}

/// The smaller one of what the submit and the method say, as it is: nobody is held up by a ticket, as by a call. What
/// neither limits may take as long as a call.
fn longest(asked: Option<Duration>, policy: Option<Duration>, call: Duration) -> Duration {
    asked.into_iter().chain(policy).min().unwrap_or(call)
}

/// `google.rpc.RetryInfo`
pub(super) fn come_again(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// What has come of an attempt is held until the store takes it, be it that a person has to look: else it would run again.
pub(super) fn is_passing(error: &Error) -> bool {
    use Error::{Away, Contended, Failed, Full, Late, Unavailable, Unusable};
    matches!(error, Full | Contended | Late(_) | Failed(_) | Away(_) | Unavailable(_) | Unusable(_))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use turno_store::Error;

    use super::{is_passing, longest};

    #[test]
    fn what_came_of_an_attempt_is_held_for_a_store_that_may_come_again() {
        let why = || "it is gone".to_owned();
        for error in [Error::Away(why()), Error::Unavailable(why()), Error::Failed(why()), Error::Full] {
            assert!(is_passing(&error), "{error}");
        }
    }

    #[test]
    fn the_longest_call_is_only_that_of_a_ticket_of_which_nobody_says_more() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let call = hours(1);
        assert_eq!(longest(None, None, call), call);
        assert_eq!(longest(Some(hours(2)), None, call), hours(2));
        assert_eq!(longest(None, Some(hours(3)), call), hours(3));
        assert_eq!(longest(Some(hours(2)), Some(hours(3)), call), hours(2));
        assert_eq!(longest(Some(hours(720)), Some(hours(2)), call), hours(2));
        assert_eq!(longest(Some(Duration::from_secs(1)), None, call), Duration::from_secs(1));
    }
}
