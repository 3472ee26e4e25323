//! Those who submit, and those who wait until it is done.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use prost::Message as _;
use tonic::Status;
use tonic::transport::Channel;
use turno::Rpc as _;
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{ListOperationsRequest, Operation, WaitOperationRequest};
use turno_proto::v1::SubmitRequest;
use turno_proto::v1::submit_response::Result as Submitted;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_runtime::units::Rounded;

use crate::bench::load::Caller;
use crate::bench::parties::generated::{EchoRequest, bench};

/// What all callers share.
pub(crate) struct Party {
    channels: Vec<Channel>,
    request: SubmitRequest,
}

/// Submits one ticket after another.
#[derive(Clone)]
pub(crate) struct Submitter {
    tickets: TicketsClient<Channel>,
    request: SubmitRequest,
}

/// The same by the link of turno::Client.
#[derive(Clone)]
pub(crate) struct Linked {
    client: turno::Client,
    request: SubmitRequest,
}

/// `turno.v1.Tickets/Submit`
#[derive(Debug)]
struct Submit;

impl turno::Rpc for Submit {
    type Request = SubmitRequest;
    type Response = Operation;
    const NAME: &'static str = "turno.v1.Tickets/Submit";
    const PATH: &'static str = "/turno.v1.Tickets/Submit";
    const REPEATABLE: bool = false;
}

impl turno::rpc::TakesOne for Submit {}
impl turno::rpc::AnswersOne for Submit {}

impl Caller for Linked {
    async fn call(&mut self) -> Result<(), Status> {
        self.client.call::<Submit>(self.request.clone()).await.map(drop)
    }
}

/// Submits a ticket, waits until it is done, and submits the next.
#[derive(Clone)]
pub(crate) struct Finisher {
    submitter: Submitter,
    operations: OperationsClient<Channel>,
}

/// How long tickets that were submitted may take to be run.
const PATIENCE: Duration = Duration::from_secs(60);

impl Party {
    pub(crate) fn new(channels: Vec<Channel>, bytes: usize) -> Self {
        let request = EchoRequest { payload: vec![7; bytes].into() }.encode_to_vec().into();
        let method = bench::Echo::NAME.to_owned();
        Self { channels, request: SubmitRequest { method, request, ..SubmitRequest::default() } }
    }

    fn submitter(&self, number: usize) -> Submitter {
        let channel = self.channels[number % self.channels.len()].clone();
        Submitter { tickets: TicketsClient::new(channel), request: self.request.clone() }
    }

    /// Waits until nothing waits or runs any more.
    pub(crate) async fn settled(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for state in ["waiting", "running"] {
            while self.any(state).await? {
                if Instant::now() > until {
                    bail!("tickets were still {state} after {}", Rounded(PATIENCE));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn any(&self, state: &str) -> Result<bool> {
        let (filter, page_size) = (format!("state = {state}"), 1);
        let request = ListOperationsRequest { filter, page_size, ..ListOperationsRequest::default() };
        let listed = OperationsClient::new(self.channels[0].clone()).list_operations(request).await?;
        Ok(!listed.into_inner().operations.is_empty())
    }

    /// Acknowledged a second on one stream that is never waited for.
    pub(crate) async fn many(&self, time: Duration) -> Result<f64> {
        let began = Instant::now();
        let request = self.request.clone();
        let requests = futures_util::stream::repeat_with(move || request.clone());
        let requests = requests.take_while(move |_| std::future::ready(began.elapsed() < time));
        let mut answers = self.submitter(0).tickets.submit_many(requests).await?.into_inner();
        let mut count = 0_u64;
        while let Some(answer) = answers.message().await? {
            match answer.result {
                Some(Submitted::Operation(_)) => count += 1,
                other => bail!("a submit was not acknowledged: {other:?}"),
            }
        }
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    /// Done a second, by so many callers that submit for so long: counted when the last is done.
    pub(crate) async fn done(&self, callers: u16, time: Duration) -> Result<f64> {
        let began = Instant::now();
        let submitting = (0..callers.into()).map(|number| self.submitter(number).submit_until(began + time));
        let counts = try_join_all(submitting).await?;
        self.settled().await?;
        Ok(counts.into_iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64())
    }
}

impl Linked {
    pub(crate) fn callers(party: &Party, client: &turno::Client, callers: u16) -> Vec<Self> {
        vec![Self { client: client.clone(), request: party.request.clone() }; callers.into()]
    }
}

impl Submitter {
    pub(crate) fn callers(party: &Party, callers: u16) -> Vec<Self> {
        (0..callers.into()).map(|number| party.submitter(number)).collect()
    }

    async fn submit(&mut self) -> Result<Operation, Status> {
        self.tickets.submit(self.request.clone()).await.map(tonic::Response::into_inner)
    }

    async fn submit_until(mut self, end: Instant) -> Result<u64, Status> {
        let mut count = 0;
        while Instant::now() < end {
            self.submit().await?;
            count += 1;
        }
        Ok(count)
    }
}

impl Caller for Submitter {
    async fn call(&mut self) -> Result<(), Status> {
        self.submit().await.map(drop)
    }
}

impl Finisher {
    pub(crate) fn new(party: &Party) -> Self {
        let submitter = party.submitter(0);
        Self { submitter, operations: OperationsClient::new(party.channels[0].clone()) }
    }
}

impl Caller for Finisher {
    async fn call(&mut self) -> Result<(), Status> {
        let name = self.submitter.submit().await?.name;
        let request = WaitOperationRequest { name, timeout: None };
        match self.operations.wait_operation(request).await?.into_inner().result {
            Some(Ending::Response(_)) => Ok(()),
            other => Err(Status::data_loss(format!("a ticket came to {other:?}"))),
        }
    }
}
