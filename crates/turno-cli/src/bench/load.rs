//! Load for a bench: connections, callers, and the closed loop, in which each caller has one call in flight.

mod arrivals;
mod open;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::future::try_join_all;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use turno_runtime::task;

use crate::bench::parties::stubs::bench_client::BenchClient;
use crate::bench::parties::stubs::{EchoRequest, SpinAwaitedRequest, SpinRequest, WaitRequest};
use crate::bench::stats::percentile;

pub(crate) use open::{End, Offer, Phase, Sample, offer};

/// Who calls.
pub(crate) trait Caller: Send + 'static {
    /// Makes one call, to its end.
    fn call(&mut self) -> impl Future<Output = Result<(), Status>> + Send;
}

/// What is called.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Echo(Bytes),
    Wait { ms: u64 },
    Spin { loops: u64 },
    SpinAwaited { wait_ms: u64, loops: u64 },
}

/// A stock tonic client.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    client: BenchClient<Channel>,
    ask: Ask,
    deadline: Option<Duration>,
}

impl Stub {
    /// So many callers that share `channels`.
    pub(crate) fn callers(channels: &[Channel], count: usize, ask: &Ask) -> Vec<Self> {
        let client = |channel: &Channel| BenchClient::new(channel.clone());
        let stub = |channel| Self { client: client(channel), ask: ask.clone(), deadline: None };
        channels.iter().cycle().take(count).map(stub).collect()
    }

    /// Gives each call so long.
    pub(crate) fn with_deadline(self, deadline: Option<Duration>) -> Self {
        Self { deadline, ..self }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        request
    }
}

impl Caller for Stub {
    async fn call(&mut self) -> Result<(), Status> {
        match self.ask.clone() {
            Ask::Echo(payload) => {
                let request = self.request(EchoRequest { payload: payload.clone() });
                let echo = self.client.echo(request).await?.into_inner();
                if echo.payload != payload {
                    return Err(Status::data_loss("the echo came back changed"));
                }
            }
            Ask::Wait { ms } => {
                let request = self.request(WaitRequest { ms });
                self.client.wait(request).await?;
            }
            Ask::Spin { loops } => {
                let request = self.request(SpinRequest { loops, fail: false });
                self.client.spin(request).await?;
            }
            Ask::SpinAwaited { wait_ms, loops } => {
                let request = self.request(SpinAwaitedRequest { wait_ms, loops });
                self.client.spin_awaited(request).await?;
            }
        }
        Ok(())
    }
}

/// What callers did together.
#[derive(Debug)]
pub(crate) struct Calls {
    seconds: f64,
    /// Each call's latency, the shortest first.
    took_ms: Vec<f32>,
}

impl Calls {
    pub(crate) fn count(&self) -> f64 {
        self.took_ms.len() as f64
    }

    pub(crate) fn per_s(&self) -> f64 {
        self.count() / self.seconds
    }

    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        percentile(&self.took_ms, share)
    }
}

/// Waits until the party is there.
pub(crate) async fn connect(address: &str, connections: usize) -> Result<Vec<Channel>> {
    let connect = || async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) if Instant::now() > deadline => return Err(anyhow::Error::new(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    try_join_all((0..connections).map(|_| connect())).await
}

/// Lets each caller call for `time`, one call after the other, with a `pause` between two. Any error ends it.
pub(crate) async fn closed<C: Caller>(callers: Vec<C>, time: Duration, pause: Duration) -> Result<Calls> {
    let started = Instant::now();
    let until = started + time;
    let start = |caller| task::spawn("bench.caller", one_after_another(caller, until, pause));
    let callers: Vec<_> = callers.into_iter().map(start).collect();
    let mut took_ms = Vec::new();
    for caller in callers {
        took_ms.extend(caller.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    took_ms.sort_by(f32::total_cmp);
    Ok(Calls { seconds, took_ms })
}

async fn one_after_another<C: Caller>(mut caller: C, until: Instant, pause: Duration) -> Result<Vec<f32>> {
    let mut took_ms = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= until {
            return Ok(took_ms);
        }
        caller.call().await?;
        took_ms.push(sent.elapsed().as_secs_f32() * 1e3);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Caller, closed};
    use std::time::Duration;
    use tonic::Status;

    struct Counts(u32);

    impl Caller for Counts {
        async fn call(&mut self) -> Result<(), Status> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| Status::unavailable("worn out"))?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_caller_has_one_call_in_flight() {
        let callers = vec![Counts(u32::MAX), Counts(u32::MAX)];
        let calls = closed(callers, Duration::from_millis(50), Duration::ZERO).await.unwrap();
        // A call takes a millisecond at least, and the last ones may begin just before the end.
        assert!((2.0..=102.0).contains(&calls.count()), "{calls:?}");
        assert!(calls.percentile_ms(0.01) >= 1.0 && calls.per_s() <= 2000.0, "{calls:?}");
    }

    #[tokio::test]
    async fn an_error_is_not_a_figure() {
        let error = closed(vec![Counts(3)], Duration::from_secs(60), Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("worn out"), "{error}");
    }
}
