//! The open loop: calls are sent when they are due, whether or not earlier ones have been answered, and their latency
//! counts from when they were due. A client that waits for a slow server would hide just what overload does.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use turno_runtime::task;
use turno_runtime::units::Rounded;

use crate::bench::load::Caller;
use crate::bench::load::arrivals::Arrivals;

pub(crate) use crate::bench::load::arrivals::Phase;

/// What is to be offered.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) phases: Vec<Phase>,
    /// What the calls were given, so that an early "too late" is told from a late one.
    pub(crate) deadline: Option<Duration>,
    pub(crate) seed: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Served,
    /// Turned away: nothing was done for it.
    Refused,
    /// Let in, and not served in its time.
    Late,
    Failed(Code),
    /// The generator had too many in flight already and did not send it.
    Unsent,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it was due, since the beginning.
    pub(crate) due_s: f64,
    /// How long after that it was sent.
    pub(crate) lag_ms: f32,
    /// How long after it was due it had ended.
    pub(crate) took_ms: f32,
    pub(crate) end: End,
}

/// In flight at most: a server that refuses nothing must not take the generator down with it.
const MOST_IN_FLIGHT: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Offers calls, by `callers` in turn, and answers once all of them have ended.
pub(crate) async fn offer<C: Caller + Clone>(callers: &[C], offer: Offer) -> Result<Vec<Sample>> {
    let (places, samples) = (Arc::new(Semaphore::new(MOST_IN_FLIGHT as usize)), Samples::default());
    let started = Instant::now();
    let deadline = offer.deadline;
    for (due, caller) in Arrivals::new(offer.phases, offer.seed).zip(callers.iter().cycle()) {
        // tokio's timer counts milliseconds: what is due within one is sent in one go.
        let ahead = due.saturating_sub(started.elapsed());
        if !ahead.is_zero() {
            tokio::time::sleep(ahead).await;
        }
        let clock = Clock { started, due, lag: started.elapsed().saturating_sub(due) };
        let Ok(place) = places.clone().try_acquire_owned() else {
            samples.push(clock.sample(End::Unsent));
            continue;
        };
        let (mut caller, samples) = (caller.clone(), samples.clone());
        task::spawn("bench.caller", async move {
            let answer = caller.call().await;
            let sample = clock.sample(End::Served);
            let took = Duration::from_secs_f32(sample.took_ms / 1e3);
            samples.push(Sample { end: end(answer, took, deadline), ..sample });
            drop(place);
        });
    }
    let all = tokio::time::timeout(PATIENCE, places.acquire_many(MOST_IN_FLIGHT)).await;
    all.with_context(|| format!("calls were not answered within {}", Rounded(PATIENCE)))??.forget();
    Ok(samples.take())
}

#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    due: Duration,
    lag: Duration,
}

impl Clock {
    fn sample(self, end: End) -> Sample {
        let took = self.started.elapsed().saturating_sub(self.due);
        Sample {
            due_s: self.due.as_secs_f64(),
            lag_ms: self.lag.as_secs_f32() * 1e3,
            took_ms: took.as_secs_f32() * 1e3,
            end,
        }
    }
}

#[derive(Clone, Default)]
struct Samples(Arc<Mutex<Vec<Sample>>>);

impl Samples {
    fn push(&self, sample: Sample) {
        self.0.lock().expect("pushing does not panic").push(sample);
    }

    fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.0.lock().expect("pushing does not panic"))
    }
}

/// "Too late" in less than half of a call's time was foreseen and said at once: a refusal. The client's own transport
/// says `CANCELLED` when the time is over, and `RESOURCE_EXHAUSTED` when it has lost a connection for too many of these:
/// what it says itself has a source, what the server says has none.
fn end(answer: Result<(), Status>, took: Duration, deadline: Option<Duration>) -> End {
    let of_transport = answer.as_ref().is_err_and(|status| std::error::Error::source(status).is_some());
    match answer.map_err(|status| status.code()) {
        Ok(()) => End::Served,
        Err(Code::ResourceExhausted) if !of_transport => End::Refused,
        Err(Code::DeadlineExceeded | Code::Cancelled) => match deadline {
            Some(deadline) if took < deadline / 2 => End::Refused,
            _ => End::Late,
        },
        Err(code) => End::Failed(code),
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Offer, Phase, end, offer};
    use crate::bench::load::Caller;
    use std::time::Duration;
    use tonic::Status;

    /// Serves one call at a time, and is in no hurry.
    #[derive(Clone)]
    struct Slow;

    impl Caller for Slow {
        async fn call(&mut self) -> Result<(), Status> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn calls_are_sent_when_due_and_not_when_others_have_ended() {
        let phases = vec![Phase { per_s: 1000.0, time: Duration::from_millis(200) }];
        let samples = offer(&[Slow], Offer { phases, deadline: None, seed: 1 }).await.unwrap();
        // A closed loop would have made two or three.
        assert!(samples.len() > 100, "{}", samples.len());
        assert!(samples.iter().all(|sample| sample.end == End::Served && sample.took_ms >= 100.0));
        assert!(samples.iter().all(|sample| sample.took_ms >= sample.lag_ms && sample.due_s < 0.2));
    }

    #[test]
    fn too_late_is_a_refusal_only_when_it_is_said_early() {
        let (early, late) = (Duration::from_millis(3), Duration::from_millis(101));
        let deadline = Some(Duration::from_millis(100));
        let expired = || Err(Status::deadline_exceeded("too late"));
        assert_eq!(end(expired(), early, deadline), End::Refused);
        assert_eq!(end(expired(), late, deadline), End::Late);
        assert_eq!(end(expired(), early, None), End::Late);
        assert_eq!(end(Err(Status::cancelled("timeout")), late, deadline), End::Late);
        assert_eq!(end(Err(Status::resource_exhausted("full")), late, None), End::Refused);
        assert_eq!(end(Err(Status::internal("?")), early, None), End::Failed(tonic::Code::Internal));
        assert_eq!(end(Ok(()), late, deadline), End::Served);
    }
}
