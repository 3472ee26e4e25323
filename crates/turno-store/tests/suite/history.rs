//! Histories of everything that can be asked of a store, against a plain model in memory: both must answer the same, also
//! when the store is left and opened again on the way.

mod model;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use turno_store::{
    Attempt, Cancelled, Error, Event, IdempotencyKey, NewTicket, Outcome, Room, State, Store, Submitted,
    TicketId,
};

use super::{Place, burnt, new};
use model::{Model, kept};

const LONG: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
enum Step {
    Submit { key: Option<u8>, request: bool, gateway: Option<usize>, brief: bool },
    Claim { gateway: usize, most: usize },
    Finish { attempt: usize, outcome: u8 },
    Retry { attempt: usize, later: bool },
    Release { attempt: usize, later: bool },
    Cancel(usize),
    Delete(usize),
    Edit(usize),
    Redrive(usize),
    Expire,
    Renew(usize),
    Resign(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (gateway, at) = (0..2_usize, any::<usize>());
    prop_oneof![
        6 => (proptest::option::of(0..3_u8), any::<bool>(), proptest::option::of(gateway.clone()), any::<bool>())
            .prop_map(|(key, request, gateway, brief)| Step::Submit { key, request, gateway, brief }),
        4 => (gateway.clone(), 1..4_usize).prop_map(|(gateway, most)| Step::Claim { gateway, most }),
        6 => (at, 0..4_u8).prop_map(|(attempt, outcome)| Step::Finish { attempt, outcome }),
        3 => (at, any::<bool>()).prop_map(|(attempt, later)| Step::Retry { attempt, later }),
        2 => (at, any::<bool>()).prop_map(|(attempt, later)| Step::Release { attempt, later }),
        2 => at.prop_map(Step::Cancel),
        1 => at.prop_map(Step::Delete),
        1 => at.prop_map(Step::Edit),
        2 => at.prop_map(Step::Redrive),
        1 => Just(Step::Expire),
        2 => gateway.clone().prop_map(Step::Renew),
        1 => gateway.prop_map(Step::Resign),
        1 => Just(Step::Reopen),
    ]
}

/// The store and the model, step by step.
struct Pair<'p> {
    place: &'p dyn Place,
    /// None only while it is opened again.
    store: Option<Arc<dyn Store>>,
    model: Model,
}

impl Pair<'_> {
    fn store(&self) -> &dyn Store {
        &**self.store.as_ref().unwrap()
    }

    async fn step(&mut self, step: Step) {
        let tickets = self.model.tickets.len().max(1);
        match step {
            Step::Submit { key, request, gateway, brief } => self.submit(key, request, gateway, brief).await,
            Step::Claim { gateway, most } => self.claim(gateway, most).await,
            Step::Finish { attempt, outcome } => self.finish(attempt, outcome).await,
            Step::Retry { attempt, later } => self.retry(attempt, later).await,
            Step::Release { attempt, later } => self.release(attempt, later).await,
            Step::Cancel(at) => self.cancel(at % tickets).await,
            Step::Delete(at) => self.delete(at % tickets).await,
            Step::Edit(at) => self.edit(at % tickets).await,
            Step::Redrive(at) => self.redrive(at % tickets).await,
            Step::Expire => {
                self.store().expire(100).await.unwrap();
            }
            Step::Renew(at) => {
                self.store().renew(self.model.gateways[at], LONG).await.unwrap();
                self.model.alive[at] = true;
            }
            Step::Resign(at) => {
                self.store().resign(self.model.gateways[at]).await.unwrap();
                self.model.alive[at] = false;
            }
            Step::Reopen => self.reopen().await,
        }
    }

    async fn submit(&mut self, key: Option<u8>, request: bool, gateway: Option<usize>, brief: bool) {
        let request = if request { "dough" } else { "batter" };
        let begin_at = gateway.map(|at| self.model.gateways[at]);
        let ticket = NewTicket {
            request: request.into(),
            key: key.map(|key| IdempotencyKey { key: key.to_string(), remembered_for: None }),
            begin_at,
            keep_result_for: if brief { Duration::ZERO } else { LONG },
            ..new()
        };
        let submitted = self.store().submit(ticket.clone()).await;
        if let Some((at, first)) = key.and_then(|key| self.model.keys.get(&key).copied()) {
            let known = &self.model.tickets[at];
            match submitted {
                Ok(Submitted::Known(ticket)) => {
                    assert_eq!((ticket.id, ticket.forgotten), (known.id, known.gone));
                    assert_eq!(first, request);
                    self.model.tickets[at].delete = false;
                }
                Err(Error::KeyTaken { ticket, .. }) => assert!(ticket == known.id && first != request),
                other => panic!("{other:?}"),
            }
            return;
        }
        let Ok(Submitted::Stored { attempt, .. }) = submitted else { panic!("{submitted:?}") };
        let at = self.model.tickets.len();
        self.model.tickets.push(kept(ticket.id, request, brief));
        self.model.keys.extend(key.map(|key| (key, (at, request))));
        assert_eq!(attempt.is_some(), gateway.is_some_and(|gateway| self.model.alive[gateway]));
        if let Some(attempt) = attempt {
            self.model.begin(at, attempt);
        }
    }

    async fn claim(&mut self, gateway: usize, most: usize) {
        let due = if self.model.alive[gateway] { self.model.claimable().min(most) } else { 0 };
        let claimed = self.store().claim(self.model.gateways[gateway], Room::of(most)).await.unwrap();
        assert_eq!(claimed.len(), due);
        for one in claimed {
            let id = one.attempt.ticket;
            let at = self.model.tickets.iter().position(|ticket| ticket.id == id).unwrap();
            let ticket = &self.model.tickets[at];
            assert!(ticket.held.is_none_or(|held| !self.model.lives(held)), "somebody has it");
            assert_eq!(one.request, ticket.request);
            assert_eq!((one.failures, one.cancel_requested), (ticket.failures, ticket.cancel));
            self.model.begin(at, one.attempt);
        }
    }

    /// An attempt that was given at some time.
    fn attempt(&self, at: usize) -> Option<(Attempt, Option<usize>)> {
        let attempt = *self.model.given.get(at % self.model.given.len().max(1))?;
        Some((attempt, self.model.current(attempt)))
    }

    async fn finish(&mut self, at: usize, outcome: u8) {
        let Some((attempt, current)) = self.attempt(at) else { return };
        let (outcome, event) = match outcome {
            0 => (Outcome::Failed(burnt()), Event::Fail),
            1 => (Outcome::Dead(burnt()), Event::GiveUp),
            2 => (Outcome::Cancelled, Event::Cancel),
            _ => (Outcome::Done("bread".into()), Event::Succeed),
        };
        let finished = self.store().finish(attempt, outcome).await;
        let Some(at) = current else {
            assert!(matches!(finished, Err(Error::Superseded(_))), "{finished:?}");
            return;
        };
        finished.unwrap();
        self.model.tickets[at].response = event == Event::Succeed;
        self.model.tickets[at].failures += u32::from(matches!(event, Event::Fail | Event::GiveUp));
        self.model.end(at, event);
    }

    async fn retry(&mut self, at: usize, later: bool) {
        let Some((attempt, current)) = self.attempt(at) else { return };
        let retried = self.store().retry(attempt, burnt(), pause(later)).await;
        let Some(at) = current else {
            assert!(matches!(retried, Err(Error::Superseded(_))), "{retried:?}");
            return;
        };
        self.model.tickets[at].failures += 1;
        self.let_go(at, later);
        let state = if self.model.tickets[at].cancel { State::Cancelled } else { State::Running };
        assert_eq!(retried.unwrap(), state);
    }

    async fn release(&mut self, at: usize, later: bool) {
        let Some((attempt, current)) = self.attempt(at) else { return };
        let released = self.store().release(attempt, pause(later)).await;
        match current {
            Some(at) => {
                released.unwrap();
                self.let_go(at, later);
            }
            None => assert!(matches!(released, Err(Error::Superseded(_))), "{released:?}"),
        }
    }

    fn let_go(&mut self, at: usize, later: bool) {
        if self.model.tickets[at].cancel {
            return self.model.end(at, Event::Cancel);
        }
        let ticket = &mut self.model.tickets[at];
        (ticket.held, ticket.due) = (None, !later);
    }

    async fn cancel(&mut self, at: usize) {
        let Some(ticket) = self.model.tickets.get(at).cloned() else { return };
        let cancelled = self.store().cancel(ticket.id).await;
        if ticket.gone {
            assert!(matches!(cancelled, Err(Error::NotFound(_))), "{cancelled:?}");
        } else if ticket.state.is_final() {
            assert_eq!(cancelled.unwrap(), Cancelled::Ended(ticket.state));
        } else if let Some(held) = ticket.held.filter(|held| self.model.lives(*held)) {
            assert_eq!(cancelled.unwrap(), Cancelled::Asked(held.gateway));
            self.model.tickets[at].cancel = true;
        } else {
            assert_eq!(cancelled.unwrap(), Cancelled::Now);
            self.model.tickets[at].cancel = true;
            self.model.end(at, Event::Cancel);
        }
    }

    async fn delete(&mut self, at: usize) {
        let Some(ticket) = self.model.tickets.get(at).cloned() else { return };
        let deleted = self.store().delete(ticket.id).await;
        assert_eq!(deleted.is_err(), ticket.gone, "{deleted:?}");
        self.model.tickets[at].delete = true;
        self.model.tickets[at].gone |= ticket.state.is_final();
    }

    async fn edit(&mut self, at: usize) {
        let Some(ticket) = self.model.tickets.get(at).cloned() else { return };
        let edited = self.store().edit(ticket.id, Some("rye".into()), None).await;
        if ticket.gone {
            assert!(matches!(edited, Err(Error::NotFound(_))), "{edited:?}");
        } else if ticket.state == State::Dead && ticket.redriven.is_none() {
            edited.unwrap();
            self.model.tickets[at].request = "rye";
        } else {
            assert!(matches!(edited, Err(Error::WrongState { .. })), "{edited:?}");
        }
    }

    async fn redrive(&mut self, at: usize) {
        let Some(ticket) = self.model.tickets.get(at).cloned() else { return };
        let id = TicketId::new();
        let redriven = self.store().redrive(ticket.id, id).await;
        if ticket.gone {
            assert!(matches!(redriven, Err(Error::NotFound(_))), "{redriven:?}");
        } else if ticket.state != State::Dead {
            assert!(matches!(redriven, Err(Error::WrongState { .. })), "{redriven:?}");
        } else if let Some(known) = ticket.redriven {
            let new = self.model.tickets.iter_mut().find(|ticket| ticket.id == known).unwrap();
            if new.gone {
                assert!(matches!(redriven, Err(Error::WrongState { .. })), "{redriven:?}");
            } else {
                assert_eq!(redriven.unwrap().id, known);
                new.delete = false;
            }
        } else {
            assert_eq!(redriven.unwrap().id, id);
            self.model.tickets[at].redriven = Some(id);
            self.model.tickets.push(kept(id, ticket.request, ticket.brief));
        }
    }

    async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(super::open(self.place).await);
        if self.place.keeps_leases() {
            return;
        }
        self.model.alive = [false; 2];
        for ticket in &mut self.model.tickets {
            ticket.due |= ticket.held.take().is_some();
        }
    }

    /// Everything is as it must be.
    async fn check(&self) {
        for ticket in &self.model.tickets {
            let found = self.store().get(ticket.id).await;
            if ticket.gone {
                assert!(matches!(found, Err(Error::NotFound(_))), "{found:?}");
                continue;
            }
            let found = found.unwrap();
            assert_eq!((found.state, found.cancel_requested), (ticket.state, ticket.cancel));
            assert_eq!(found.delete_requested, ticket.delete);
            assert_eq!((found.attempts, found.failures), (ticket.attempts, ticket.failures));
            assert_eq!(found.redriven_as, ticket.redriven);
            assert_eq!(self.store().request(ticket.id).await.unwrap(), ticket.request);
            let response = self.store().whole(ticket.id).await.unwrap().1;
            assert_eq!(response, ticket.response.then(|| "bread".into()));
        }
        self.store().expire(1000).await.unwrap();
        let counts = self.store().counts().await.unwrap();
        let count = |state| {
            self.model.tickets.iter().filter(|ticket| !ticket.gone && ticket.state == state).count() as u64
        };
        assert_eq!(
            [counts.waiting, counts.running, counts.done, counts.failed, counts.cancelled, counts.dead],
            State::ALL.map(count)
        );
    }
}

fn pause(later: bool) -> Duration {
    if later { LONG } else { Duration::ZERO }
}

/// Runs histories in one place after the other.
pub(crate) fn agree_with_a_model(cases: u32, place: impl Fn() -> Option<Box<dyn Place>>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let history = proptest::collection::vec(step(), 1..60);
    let run = |steps: Vec<Step>| {
        let Some(place) = place() else { return Ok(()) };
        runtime.block_on(async {
            let store = super::open(&*place).await;
            let mut pair = Pair { place: &*place, store: Some(store), model: Model::new() };
            for step in [Step::Renew(0)].into_iter().chain(steps) {
                pair.step(step).await;
            }
            pair.check().await;
        });
        Ok(())
    };
    TestRunner::new(config).run(&history, run).unwrap_or_else(|failure| panic!("{failure}"));
}
