//! A gateway's desk as a double: keeps tickets in memory, ends them when a test says so, and can be killed and started
//! again on the same port.

mod maps;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::longrunning::operations_server::{Operations, OperationsServer};
use turno_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    ListOperationsResponse, Operation, WaitOperationRequest,
};
use turno_proto::google::rpc;
use turno_proto::v1::calls_server::{Calls, CallsServer};
use turno_proto::v1::tickets_server::{Tickets, TicketsServer};
use turno_proto::v1::{
    CallsFrame, EditRequest, MapResponse, OutcomesFrame, ReadMapRequest, RedriveRequest, ShowRequest,
    ShowResponse, SubmitMapRequest, SubmitRequest, SubmitResponse, TicketMetadata, TicketState, WatchRequest,
};
use turno_runtime::task;

use self::maps::Maps;
use crate::cpu::v1::InfoResponse;

/// What is kept, whoever is killed.
#[derive(Clone, Default)]
pub(super) struct Double(Arc<Kept>);

#[derive(Default)]
struct Kept {
    tickets: Mutex<BTreeMap<String, watch::Sender<Operation>>>,
    /// Every submit that came, also those that were one ticket already.
    orders: Mutex<Vec<SubmitRequest>>,
    /// What came with each question, by its rpc.
    metadata: Mutex<Vec<(&'static str, MetadataMap)>>,
    /// So many submits are stored, and their answers are lost.
    lost_answers: Mutex<u32>,
    /// So many questions of an rpc are refused, for want of room.
    full: Mutex<BTreeMap<&'static str, u32>>,
    /// So many are never answered.
    silent: Mutex<BTreeMap<&'static str, u32>>,
    maps: Maps,
}

/// A gateway that is up until this is dropped: then it is killed, with its connections.
pub(super) struct Up {
    pub(super) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Drop for Up {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Double {
    /// At a port of its own.
    pub(super) async fn start(&self) -> Up {
        self.start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Where one was killed, perhaps a moment ago.
    pub(super) async fn start_at(&self, address: SocketAddr) -> Up {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = loop {
            match std::net::TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{address}: {error}"),
            }
        };
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Server::builder()
            .add_service(CallsServer::new(self.clone()))
            .add_service(TicketsServer::new(self.clone()))
            .add_service(OperationsServer::new(self.clone()));
        let serving = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            routes.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        };
        drop(task::spawn_on("double", runtime.handle(), serving));
        Up { address, runtime: Some(runtime) }
    }

    /// The answers of the next submits do not arrive, though the tickets are stored.
    pub(super) fn lose_answers(&self, count: u32) {
        *self.0.lost_answers.lock() = count;
    }

    /// The next questions of this rpc are refused, for want of room.
    pub(super) fn is_full(&self, rpc: &'static str, for_questions: u32) {
        self.0.full.lock().insert(rpc, for_questions);
    }

    /// The next questions of this rpc are not answered, ever.
    pub(super) fn is_silent(&self, rpc: &'static str, for_questions: u32) {
        self.0.silent.lock().insert(rpc, for_questions);
    }

    /// Every submit that came.
    pub(super) fn orders(&self) -> Vec<SubmitRequest> {
        self.0.orders.lock().clone()
    }

    /// The names of the tickets that there are.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.tickets.lock().keys().cloned().collect()
    }

    /// What came with the questions by one rpc.
    pub(super) fn metadata(&self, rpc: &str) -> Vec<MetadataMap> {
        let all = self.0.metadata.lock();
        all.iter().filter(|(name, _)| *name == rpc).map(|(_, metadata)| metadata.clone()).collect()
    }

    /// Readers that follow a ticket now, or wait for it.
    pub(super) fn readers(&self, name: &str) -> usize {
        self.0.tickets.lock()[name].receiver_count()
    }

    /// Changes what is said of a ticket.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut TicketMetadata)) {
        self.0.tickets.lock()[name].send_modify(|operation| {
            let metadata = operation.metadata.as_mut().unwrap();
            let mut read = TicketMetadata::decode(metadata.value.as_slice()).unwrap();
            change(&mut read);
            metadata.value = read.encode_to_vec();
        });
    }

    /// Ends a ticket.
    pub(super) fn end(&self, name: &str, state: TicketState, result: Ended) {
        self.change(name, |metadata| metadata.set_state(state));
        self.0.tickets.lock()[name].send_modify(|operation| {
            (operation.done, operation.result) = (true, Some(result));
        });
    }

    /// Ends one of `Images/Info` with a picture so wide.
    pub(super) fn finish(&self, name: &str, width: u32) {
        let response = InfoResponse { width, ..InfoResponse::default() };
        self.end(name, TicketState::Done, Ended::Response(any("turno.cpu.v1.InfoResponse", &response)));
    }

    /// Notes what came, and refuses it where there is no room.
    fn hear<T>(&self, rpc: &'static str, request: Request<T>) -> Result<T, Status> {
        let (metadata, _, message) = request.into_parts();
        self.0.metadata.lock().push((rpc, metadata));
        let is_full = self.0.full.lock().get_mut(rpc).is_some_and(count_down);
        if is_full { Err(Status::resource_exhausted("64 calls are in flight")) } else { Ok(message) }
    }

    async fn may_be_silent(&self, rpc: &'static str) {
        let is_silent = self.0.silent.lock().get_mut(rpc).is_some_and(count_down);
        if is_silent {
            std::future::pending::<()>().await;
        }
    }

    fn lose_an_answer(&self) -> Result<(), Status> {
        let is_lost = count_down(&mut self.0.lost_answers.lock());
        if is_lost { Err(Status::unavailable("the gateway is ending")) } else { Ok(()) }
    }

    fn follow(&self, name: &str) -> Result<watch::Receiver<Operation>, Status> {
        let tickets = self.0.tickets.lock();
        let ticket = tickets.get(name).ok_or_else(|| Status::not_found(format!("there is no {name}")))?;
        let mut follower = ticket.subscribe();
        follower.mark_changed();
        Ok(follower)
    }

    fn store(&self, order: SubmitRequest, map_items: Option<u64>) -> Operation {
        let mut orders = self.0.orders.lock();
        let same = |known: &SubmitRequest| known.idempotency_key == order.idempotency_key;
        let known = orders.iter().position(|known| !order.idempotency_key.is_empty() && same(known));
        let name = format!("operations/{}", known.unwrap_or(orders.len()));
        let mut metadata = TicketMetadata {
            method: order.method.clone(),
            labels: order.labels.clone(),
            map_items,
            ..TicketMetadata::default()
        };
        metadata.set_state(TicketState::Waiting);
        orders.push(order);
        let metadata = Some(any("turno.v1.TicketMetadata", &metadata));
        let operation = Operation { name: name.clone(), metadata, ..Operation::default() };
        let mut tickets = self.0.tickets.lock();
        let ticket = tickets.entry(name).or_insert_with(|| watch::Sender::new(operation));
        ticket.borrow().clone()
    }
}

/// Whether one was left.
fn count_down(left: &mut u32) -> bool {
    let was_left = *left > 0;
    *left = left.saturating_sub(1);
    was_left
}

/// A message as google.protobuf.Any has it.
pub(super) fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Calls for Double {
    type LinkStream = Answers<OutcomesFrame>;

    async fn link(
        &self,
        request: Request<Streaming<CallsFrame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        // It welcomes, and holds the client's side until the client ends it.
        let welcome =
            stream::once(async { Ok(OutcomesFrame { max_body: 1 << 16, ..OutcomesFrame::default() }) });
        let rest = request.into_inner().filter_map(async |_| None);
        Ok(Response::new(Box::pin(welcome.chain(rest))))
    }
}

#[tonic::async_trait]
impl Tickets for Double {
    type SubmitManyStream = Answers<SubmitResponse>;
    type WatchStream = Answers<Operation>;
    type ReadMapStream = Answers<MapResponse>;

    async fn submit_map(
        &self,
        request: Request<Streaming<SubmitMapRequest>>,
    ) -> Result<Response<Operation>, Status> {
        let operation = self.take_map(self.hear("SubmitMap", request)?).await?;
        self.lose_an_answer()?;
        Ok(Response::new(operation))
    }

    async fn read_map(
        &self,
        request: Request<ReadMapRequest>,
    ) -> Result<Response<Self::ReadMapStream>, Status> {
        let request = self.hear("ReadMap", request)?;
        let follower = self.follow(&request.name)?;
        Ok(Response::new(Box::pin(self.clone().read(request, follower))))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Operation>, Status> {
        let operation = self.store(self.hear("Submit", request)?, None);
        self.lose_an_answer()?;
        Ok(Response::new(operation))
    }

    async fn submit_many(
        &self,
        _: Request<Streaming<SubmitRequest>>,
    ) -> Result<Response<Self::SubmitManyStream>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = self.hear("Watch", request)?;
        self.may_be_silent("Watch").await;
        let follower = self.follow(&request.name)?;
        let changes = stream::unfold(Some(follower), async |follower| {
            let mut follower = follower?;
            follower.changed().await.ok()?;
            let operation = follower.borrow_and_update().clone();
            let done = operation.done;
            Some((Ok(operation), (!done).then_some(follower)))
        });
        Ok(Response::new(Box::pin(changes)))
    }

    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn redrive(&self, _: Request<RedriveRequest>) -> Result<Response<Operation>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn edit(&self, _: Request<EditRequest>) -> Result<Response<Operation>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

#[tonic::async_trait]
impl Operations for Double {
    async fn list_operations(
        &self,
        _: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let name = self.hear("GetOperation", request)?.name;
        self.may_be_silent("GetOperation").await;
        let follower = self.follow(&name)?;
        let operation = follower.borrow().clone();
        Ok(Response::new(operation))
    }

    async fn delete_operation(&self, _: Request<DeleteOperationRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<()>, Status> {
        let name = self.hear("CancelOperation", request)?.name;
        self.may_be_silent("CancelOperation").await;
        self.follow(&name)?;
        let error = rpc::Status { code: 1, message: "cancelled".into(), details: Vec::new() };
        self.end(&name, TicketState::Cancelled, Ended::Error(error));
        Ok(Response::new(()))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let request = self.hear("WaitOperation", request)?;
        let mut follower = self.follow(&request.name)?;
        let ended = follower.wait_for(|operation| operation.done).await;
        Ok(Response::new(ended.map_err(|_| Status::unavailable("the gateway is ending"))?.clone()))
    }
}
