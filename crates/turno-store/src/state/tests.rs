//! Every sequence of events, and what they may lead to.

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

use super::{Event, State};

const EVENTS: [Event; 6] =
    [Event::Begin, Event::Retry, Event::Succeed, Event::Fail, Event::GiveUp, Event::Cancel];

/// How far a state is on its way.
fn stage(state: State) -> u8 {
    match state {
        State::Waiting => 0,
        State::Running => 1,
        State::Done | State::Failed | State::Cancelled | State::Dead => 2,
    }
}

proptest! {
    #[test]
    fn a_ticket_never_goes_back(events in proptest::collection::vec(select(&EVENTS[..]), 0..40)) {
        let mut state = State::Waiting;
        for event in events {
            let Some(next) = state.after(event) else { continue };
            prop_assert!(!state.is_final(), "{state:?} was final, and {event:?} happened");
            prop_assert!(stage(next) >= stage(state), "{state:?} went back to {next:?}");
            state = next;
        }
    }

    #[test]
    fn exactly_one_final_state_is_reached(events in proptest::collection::vec(select(&EVENTS[..]), 0..40)) {
        let mut finals = Vec::new();
        let mut state = State::Waiting;
        for event in events {
            state = state.after(event).unwrap_or(state);
            if state.is_final() {
                finals.push(state);
            }
        }
        finals.dedup();
        prop_assert!(finals.len() <= 1);
        prop_assert_eq!(finals.first().copied().unwrap_or(state), state);
    }
}

/// All 6⁵ sequences, not only those that chance finds.
#[test]
fn every_short_sequence_is_lawful() {
    let mut states = vec![State::Waiting];
    for _ in 0..5 {
        let next = |state: &State| {
            let state = *state;
            EVENTS.into_iter().filter_map(move |event| state.after(event).map(|next| (state, next)))
        };
        let steps: Vec<_> = states.iter().flat_map(next).collect();
        for (from, to) in &steps {
            assert!(!from.is_final() && stage(*to) >= stage(*from));
        }
        states = steps.into_iter().map(|(_, to)| to).collect();
    }
    assert!(State::ALL.into_iter().filter(|state| state.is_final()).count() == 4);
}

#[test]
fn what_has_not_begun_can_only_begin_or_be_cancelled() {
    let possible: Vec<_> =
        EVENTS.into_iter().filter(|event| State::Waiting.after(*event).is_some()).collect();
    assert_eq!(possible, [Event::Begin, Event::Cancel]);
    for state in State::ALL.into_iter().filter(|state| state.is_final()) {
        assert!(EVENTS.into_iter().all(|event| state.after(event).is_none()), "{state:?}");
    }
}

#[test]
fn a_state_is_known_by_its_name() {
    for state in State::ALL {
        assert_eq!(State::named(state.name()), Some(state));
    }
    assert_eq!(State::named("Done"), None);
}
