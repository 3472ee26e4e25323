//! Where the time of a ticket went, as far as the times say that are stored with it. What an attempt has spent it on, its slot's
//! queue too, is not among them: the log and the metrics of its gateway have it. Pure.

use prost_types::Timestamp;
use turno_proto::v1::{TicketAttempt, TicketMetadata, TicketState};

use super::ticket::{millis, span};

/// "3.2s in all: 2.8s waiting, 340ms in 2 attempts", of one that has ended. Pauses between attempts are waiting too. What
/// cannot be told apart is not guessed.
pub(super) fn spent(metadata: &TicketMetadata, failed: &[TicketAttempt]) -> Option<String> {
    let (submitted, ended) = (metadata.submit_time.as_ref()?, metadata.end_time.as_ref()?);
    let whole = between(submitted, ended);
    let text = format!("{} in all", span(whole));
    let Some(attempts) = attempts(metadata, ended, failed) else { return Some(text) };
    // A clock that was set back makes no part longer than what it is a part of.
    let held_back = metadata.not_before.as_ref().map_or(0, |due| between(submitted, due)).min(whole);
    let in_attempts = attempts.iter().copied().fold(0, i64::saturating_add).min(whole - held_back);
    let waiting = format!("{} waiting", span(whole - held_back - in_attempts));
    let parts = [
        (held_back > 0).then(|| format!("{} held back", span(held_back))),
        Some(waiting),
        match attempts.len() {
            0 => None,
            1 => Some(format!("{} in 1 attempt", span(in_attempts))),
            many => Some(format!("{} in {many} attempts", span(in_attempts))),
        },
    ];
    Some(format!("{text}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}

/// How long each took, in milliseconds. Nobody knows if the last one neither answered nor failed: it may have run to the
/// ticket's end, or have been given back before a node had it. Nor if one was lost with its gateway, which does not count as
/// failed: the end of that is when the next one began, be it a night later.
fn attempts(metadata: &TicketMetadata, ended: &Timestamp, failed: &[TicketAttempt]) -> Option<Vec<i64>> {
    if failed.len() > metadata.failures as usize {
        return None;
    }
    let took = |one: &TicketAttempt| Some(between(one.begin_time.as_ref()?, one.end_time.as_ref()?));
    let mut all = failed.iter().map(took).collect::<Option<Vec<i64>>>()?;
    let Some(last) = &metadata.begin_time else { return Some(all) };
    let has_failed = failed.iter().any(|one| one.begin_time.as_ref() == Some(last));
    match metadata.state() {
        TicketState::Done => all.push(between(last, ended)),
        _ if has_failed => {}
        _ => return None,
    }
    Some(all)
}

/// In milliseconds, and never less than none.
fn between(from: &Timestamp, to: &Timestamp) -> i64 {
    millis(to).saturating_sub(millis(from)).max(0)
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::at;
    use super::{TicketAttempt, TicketMetadata, TicketState, spent};

    const SUBMITTED: i64 = 1_000_000_000;

    /// Of a ticket whose times are milliseconds after its submit, and its attempts that failed.
    fn said(state: TicketState, began: Option<i64>, ended: i64, failed: &[(i64, i64)]) -> String {
        let failures = u32::try_from(failed.len()).unwrap();
        of(TicketMetadata { failures, ..metadata(state, began, ended) }, failed)
    }

    fn metadata(state: TicketState, began: Option<i64>, ended: i64) -> TicketMetadata {
        let time = |ms: i64| at(SUBMITTED + ms);
        TicketMetadata {
            state: state.into(),
            submit_time: Some(time(0)),
            begin_time: began.map(time),
            end_time: Some(time(ended)),
            ..TicketMetadata::default()
        }
    }

    fn of(metadata: TicketMetadata, failed: &[(i64, i64)]) -> String {
        let attempt = |&(began, ended): &(i64, i64)| TicketAttempt {
            begin_time: Some(at(SUBMITTED + began)),
            end_time: Some(at(SUBMITTED + ended)),
            ..TicketAttempt::default()
        };
        let failed: Vec<TicketAttempt> = failed.iter().map(attempt).collect();
        spent(&metadata, &failed).unwrap()
    }

    #[test]
    fn what_has_ended_says_what_it_waited_and_what_its_attempts_took() {
        let done = said(TicketState::Done, Some(12), 352, &[]);
        assert_eq!(done, "352ms in all: 12ms waiting, 340ms in 1 attempt");
        let again = said(TicketState::Done, Some(3000), 3200, &[(0, 140)]);
        assert_eq!(again, "3.2s in all: 2.8s waiting, 340ms in 2 attempts");
        let dead = said(TicketState::Dead, Some(700), 900, &[(0, 140), (700, 900)]);
        assert_eq!(dead, "900ms in all: 560ms waiting, 340ms in 2 attempts");
    }

    #[test]
    fn what_was_not_due_before_did_not_wait_until_then() {
        let mut late = metadata(TicketState::Done, Some(28_800_012), 28_800_352);
        late.not_before = Some(at(SUBMITTED + 28_800_000));
        assert_eq!(of(late, &[]), "8h 0m in all: 8h 0m held back, 12ms waiting, 340ms in 1 attempt");
        let mut cancelled = metadata(TicketState::Cancelled, None, 900);
        cancelled.not_before = Some(at(SUBMITTED + 28_800_000));
        assert_eq!(of(cancelled, &[]), "900ms in all: 900ms held back, 0ms waiting");
    }

    #[test]
    fn what_nobody_knows_is_not_said() {
        assert_eq!(said(TicketState::Cancelled, Some(12), 352, &[]), "352ms in all");
        let between_two = said(TicketState::Cancelled, Some(12), 352, &[(12, 52)]);
        assert_eq!(between_two, "352ms in all: 312ms waiting, 40ms in 1 attempt");
        assert_eq!(said(TicketState::Cancelled, None, 352, &[]), "352ms in all: 352ms waiting");
        let open = TicketMetadata { end_time: None, ..metadata(TicketState::Running, Some(12), 0) };
        assert_eq!(spent(&open, &[]), None);
    }

    #[test]
    fn one_that_was_lost_with_its_gateway_did_not_run_until_there_was_another() {
        let again = metadata(TicketState::Done, Some(28_800_000), 28_800_340);
        assert_eq!(of(again.clone(), &[(0, 28_800_000)]), "8h 0m in all");
        let beside_a_failure = TicketMetadata { failures: 1, ..again };
        assert_eq!(of(beside_a_failure, &[(0, 140), (900, 28_800_000)]), "8h 0m in all");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_part_longer_than_the_whole() {
        let done = said(TicketState::Done, Some(-500), 100, &[]);
        assert_eq!(done, "100ms in all: 0ms waiting, 100ms in 1 attempt");
        assert_eq!(said(TicketState::Done, Some(0), -7, &[]), "0ms in all: 0ms waiting, 0ms in 1 attempt");
    }
}
