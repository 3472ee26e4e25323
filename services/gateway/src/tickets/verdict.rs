//! What follows from what an attempt has come to. Decides; knows neither clock nor store.
//!
//! Which code is tried again. gRPC's own list (statuscodes.md) has `UNAVAILABLE` for "retry the failing call", `ABORTED`
//! for "retry at a higher level", and `FAILED_PRECONDITION` for "not until the state has been fixed"; AIP-194 retries
//! `UNAVAILABLE` alone, for a caller that waits and may not know whether its call has run. A ticket is that higher level:
//! nobody waits, it is at-least-once by contract, its attempts are few and far between. So what may be otherwise next time is
//! tried again: `UNAVAILABLE`, `ABORTED`, `RESOURCE_EXHAUSTED` (a quota comes back), `DEADLINE_EXCEEDED` (the deadline was the
//! attempt's, not the ticket's), `CANCELLED` that nobody asked for (a node that was told to end), and `INTERNAL` and `UNKNOWN`
//! (panics and errors of who knows where). What says that this very request is wrong is final. An answer that is larger than
//! the gateway takes is `RESOURCE_EXHAUSTED` to who calls, as in gRPC; of a ticket it is the end all the same, for it will be as
//! large next time. But `dead`, not `failed`: with another request, or another limit, it can be redriven.

use std::time::Duration;

use bytes::Bytes;
use tonic::Code;
use turno_store::Failure;

use crate::quarantine::{DEATHS, Key};

/// What an attempt has come to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// The method's response.
    Done(Bytes),
    /// The method's error, and when it says to come again.
    Error(Failure, Option<Duration>),
    /// Its node was leaving and had no time left for it, or never ended it, or only its link broke.
    Lost(Failure),
    /// Its node was lost with it.
    Died(Death),
    /// Its input has killed nodes, as far as this gateway remembers: no other has had it.
    Poisonous(Failure),
    /// The method has run, and its answer is larger than the gateway takes.
    TooLarge(Failure),
    /// What was wanted of it says that it ends so.
    Refused(Failure),
    /// It has not begun.
    NotNow(Option<Duration>),
    /// It was stopped before it began, or a map before its end: nothing of it runs.
    Stopped,
}

/// A node that was lost with an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Death {
    pub(crate) failure: Failure,
    /// The node's own id.
    pub(crate) node: String,
    /// What this gateway remembers the input by.
    pub(crate) key: Key,
    /// It remembers another node that was lost with such an input.
    pub(crate) is_quarantined: bool,
    /// Nodes that were lost with other attempts of the ticket, at whichever gateway.
    pub(crate) others: u32,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Done(Bytes),
    Failed(Failure),
    Dead(Failure),
    Cancelled,
    /// A failed attempt; another one after the pause.
    Again(Failure, Duration),
    /// No attempt; the same one after the pause.
    Later(Duration),
}

/// What is known of the ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Attempts that have failed before this one.
    pub(crate) failures: u32,
    pub(crate) retries: u32,
    /// Somebody wants it cancelled.
    pub(crate) cancel_requested: bool,
    /// From 0 to 1, by chance: so that what failed together does not come again together.
    pub(crate) chance: f64,
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A method may ask for a longer one, up to this.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);
/// Until a method's nodes are back, or have room.
const NOT_NOW: Duration = Duration::from_secs(1);

/// Judges an attempt.
pub(crate) fn judge(ended: Ended, standing: Standing) -> Verdict {
    match ended {
        // It was quicker than the cancel, if there was one.
        Ended::Done(response) => Verdict::Done(response),
        Ended::Stopped => Verdict::Cancelled,
        Ended::Refused(failure) => Verdict::Failed(failure),
        Ended::Error(failure, _) if is_final(failure.code) => Verdict::Failed(failure),
        Ended::Poisonous(failure) | Ended::TooLarge(failure) => Verdict::Dead(failure),
        Ended::Died(death) if is_last(death.others, death.is_quarantined) => Verdict::Dead(poisonous(death)),
        _ if standing.cancel_requested => Verdict::Cancelled,
        Ended::Error(failure, asked) => again(failure, asked, standing),
        Ended::Lost(failure) | Ended::Died(Death { failure, .. }) => again(failure, None, standing),
        Ended::NotNow(asked) => {
            let pause = asked.unwrap_or(NOT_NOW).clamp(LEAST_PAUSE, LONGEST_PAUSE);
            Verdict::Later(scattered(pause, standing.chance))
        }
    }
}

/// Whether no other node may have a ticket whose node was lost, if so many were lost with other attempts of it.
pub(crate) fn is_last(others: u32, is_quarantined: bool) -> bool {
    is_quarantined || others.saturating_add(1) >= DEATHS
}

fn again(failure: Failure, asked: Option<Duration>, standing: Standing) -> Verdict {
    if standing.failures >= standing.retries {
        return Verdict::Dead(failure);
    }
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(standing.failures));
    let pause = scattered(doubled.min(LONGEST_PAUSE), standing.chance);
    let asked = asked.map_or(Duration::ZERO, |asked| asked.min(LONGEST_ASKED));
    Verdict::Again(failure, pause.max(asked))
}

/// Why a ticket is dead with which nodes were lost. The details stay: the last attempt's record says by them what it came to.
fn poisonous(Death { failure, others, .. }: Death) -> Failure {
    // Else the other node had it from somebody else.
    let what = if others.saturating_add(1) >= DEATHS { "this ticket" } else { "this very request" };
    let message = format!(
        "{what} was running on two nodes when they were lost: it is not tried again until it is redriven. The last time: {}",
        failure.message
    );
    Failure { code: Code::FailedPrecondition as i32, message, ..failure }
}

/// Half of it, and by chance up to the whole ("equal jitter", Brooker, Exponential Backoff And Jitter, 2015).
fn scattered(pause: Duration, chance: f64) -> Duration {
    (pause / 2) + (pause / 2).mul_f64(chance.clamp(0.0, 1.0))
}

/// Whether another attempt would be answered the same.
pub(crate) fn is_final(code: i32) -> bool {
    match Code::from_i32(code) {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => true,
        // An OK that is an error is the node's mistake.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use std::time::Duration;
    use turno_store::{Event, Failure, State};

    use super::{Death, Ended, LONGEST_ASKED, LONGEST_PAUSE, Standing, Verdict, is_final, judge};

    fn failure(code: i32) -> Failure {
        Failure { code, ..Failure::default() }
    }

    fn standing(failures: u32, retries: u32, cancel_requested: bool) -> Standing {
        Standing { failures, retries, cancel_requested, chance: 1.0 }
    }

    #[test]
    fn what_may_be_otherwise_next_time_is_tried_again_as_often_as_it_may_be() {
        let unavailable = Ended::Error(failure(14), None);
        let pauses: Vec<_> = (0..3)
            .map(|failures| judge(unavailable.clone(), standing(failures, 2, false)))
            .map(|verdict| match verdict {
                Verdict::Again(_, pause) => Some(pause.as_millis()),
                other => {
                    assert_eq!(other, Verdict::Dead(failure(14)));
                    None
                }
            })
            .collect();
        assert_eq!(pauses, [Some(500), Some(1000), None]);
    }

    #[test]
    fn what_says_that_the_request_is_wrong_is_final() {
        let finals: Vec<_> = (0..17).filter(|code| is_final(*code)).collect();
        assert_eq!(finals, [3, 5, 6, 7, 9, 11, 12, 15, 16]);
        assert_eq!(judge(Ended::Error(failure(3), None), standing(0, 9, true)), Verdict::Failed(failure(3)));
    }

    #[test]
    fn a_cancel_ends_what_has_stopped_but_not_what_was_quicker() {
        let done = Ended::Done("dish".into());
        assert_eq!(judge(done, standing(0, 2, true)), Verdict::Done("dish".into()));
        for ended in
            [Ended::Error(failure(1), None), Ended::Lost(failure(14)), Ended::NotNow(None), Ended::Stopped]
        {
            assert_eq!(judge(ended, standing(0, 2, true)), Verdict::Cancelled);
        }
        assert_eq!(judge(died(0), standing(0, 2, true)), Verdict::Cancelled);
    }

    #[test]
    fn an_answer_that_is_too_large_is_not_made_again() {
        let too_large = Ended::TooLarge(failure(8));
        assert_eq!(judge(too_large, standing(0, 9, false)), Verdict::Dead(failure(8)));
        assert!(matches!(judge(Ended::Error(failure(8), None), standing(0, 9, false)), Verdict::Again(..)));
    }

    fn death(others: u32) -> Death {
        Death { failure: Failure { message: "node n".into(), ..failure(14) }, others, ..Death::default() }
    }

    fn died(others: u32) -> Ended {
        Ended::Died(death(others))
    }

    #[test]
    fn the_second_node_that_is_lost_with_a_ticket_is_the_last_one() {
        for (failures, cancel_requested) in [(1, false), (7, false), (7, true)] {
            let verdict = judge(died(1), standing(failures, 9, cancel_requested));
            let Verdict::Dead(why) = verdict else { panic!("{verdict:?}") };
            assert_eq!(why.code, 9);
            assert!(
                why.message.contains("running on two nodes") && why.message.ends_with("node n"),
                "{why:?}"
            );
        }
        assert!(matches!(judge(died(u32::MAX), standing(1, 9, false)), Verdict::Dead(_)));
    }

    #[test]
    fn where_another_had_the_same_request_the_first_node_that_is_lost_is_the_last_one_and_the_record_the_same()
     {
        let failure = Failure { details: "marked".into(), ..death(0).failure };
        let death = Death { failure, is_quarantined: true, ..death(0) };
        let verdict = judge(Ended::Died(death), standing(0, 9, false));
        let Verdict::Dead(why) = verdict else { panic!("{verdict:?}") };
        assert_eq!((why.code, &why.details[..]), (9, &b"marked"[..]));
        for says in ["this very request was running on two nodes", "until it is redriven", "node n"] {
            assert!(why.message.contains(says), "{why:?}");
        }
    }

    #[test]
    fn one_node_is_no_evidence_however_often_the_ticket_has_failed_otherwise() {
        assert!(matches!(judge(died(0), standing(7, 9, false)), Verdict::Again(..)));
        assert!(matches!(judge(Ended::Lost(failure(14)), standing(7, 9, false)), Verdict::Again(..)));
    }

    #[test]
    fn a_method_may_ask_for_a_longer_pause() {
        let asked = Duration::from_secs(60);
        let verdict = judge(Ended::Error(failure(8), Some(asked)), standing(0, 2, false));
        assert_eq!(verdict, Verdict::Again(failure(8), asked));
    }

    fn ended() -> impl Strategy<Value = Ended> {
        let pause = proptest::option::of((0..u64::MAX).prop_map(Duration::from_millis));
        prop_oneof![
            any::<Vec<u8>>().prop_map(|body| Ended::Done(body.into())),
            (0..20, pause.clone()).prop_map(|(code, pause)| Ended::Error(failure(code), pause)),
            (0..20).prop_map(|code| Ended::Lost(failure(code))),
            (any::<u32>(), any::<bool>()).prop_map(|(others, is_quarantined)| {
                Ended::Died(Death { is_quarantined, ..death(others) })
            }),
            (0..20).prop_map(|code| Ended::Poisonous(failure(code))),
            (0..20).prop_map(|code| Ended::TooLarge(failure(code))),
            pause.prop_map(Ended::NotNow),
            proptest::strategy::Just(Ended::Stopped),
        ]
    }

    proptest! {
        /// Whatever an attempt comes to, the table of states has a place for it, and no pause is endless.
        #[test]
        fn every_verdict_is_a_step_of_a_running_ticket(
            ended in ended(),
            failures in any::<u32>(),
            retries in any::<u32>(),
            cancel_requested in any::<bool>(),
            chance in 0.0..1.0_f64,
        ) {
            let standing = Standing { failures, retries, cancel_requested, chance };
            match judge(ended, standing) {
                Verdict::Done(_) => prop_assert_eq!(State::Running.after(Event::Succeed), Some(State::Done)),
                Verdict::Failed(failure) => prop_assert!(is_final(failure.code)),
                Verdict::Dead(_) => prop_assert_eq!(State::Running.after(Event::GiveUp), Some(State::Dead)),
                Verdict::Cancelled => prop_assert!(State::Running.after(Event::Cancel).is_some()),
                Verdict::Again(_, pause) => {
                    prop_assert!(failures < retries && !cancel_requested);
                    prop_assert!(pause > Duration::ZERO && pause <= LONGEST_ASKED);
                }
                Verdict::Later(pause) => prop_assert!(!cancel_requested && pause <= LONGEST_PAUSE),
            }
        }
    }
}
