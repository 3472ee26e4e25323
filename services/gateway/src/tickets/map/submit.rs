//! Takes a map in: its items go to disk as they come, and its ticket behind them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use prost::Message as _;
use tonic::{Status, Streaming};
use turno_proto::google::longrunning::Operation;
use turno_proto::v1::{MapHeader, SubmitMapHeader, SubmitMapRequest, SubmitRequest, SubmittedMap};
use turno_runtime::task;
use turno_runtime::units::Rounded;
use turno_store::{Error, Inputs, Part, Store, TicketId};

use super::inputs::Packer;
use crate::admission::Room;
use crate::map::{self, Terms};
use crate::tickets::envelope::Envelope;
use crate::tickets::submit::AtLast;
use crate::tickets::{Tickets, refusal, submission};

/// Between two messages. The store keeps inputs for longer.
const SILENCE: Duration = Duration::from_secs(600);
/// Parts of one submit that are on their way to the disk.
const ON_THE_WAY: usize = 4;
const SOON: Duration = Duration::from_millis(100);

impl Tickets {
    /// Answers when all inputs and the ticket are on disk.
    pub(crate) async fn submit_map(
        &self,
        mut requests: Streaming<SubmitMapRequest>,
        envelope: &Envelope,
    ) -> Result<Operation, Status> {
        let place = self.0.submits.clone().try_acquire_owned().map_err(|_| {
            refusal::exhausted("as many submits as may be are on their way to the disk", SOON)
        })?;
        let permit = self.0.around.admission.admit()?;
        let (header, first) = begin(&mut requests).await?;
        let map = header.map.clone().unwrap_or_default();
        let terms = Terms::read(&map)?;
        let method = self.submittable(submission::method_name(&map.method)?, &AtLast::new()).await?;
        let retries = method.as_ref().and_then(|method| method.served().policy.retries);
        let asked = as_submit(header);
        let mut ticket = submission::ticket(asked, envelope, retries, self.0.around.max_message)?;
        ticket.method = terms.path.trim_start_matches('/').to_owned();
        let mut upload = Upload::new(self, ticket.id, permit.more_room());
        let (inputs, checksum) = upload.take(first, requests).await?;
        ticket.inputs = Some(inputs);
        ticket.request = submitted(map, inputs.items, checksum);
        let id = ticket.id;
        let answer = self.store_in_a_task(method.as_deref(), ticket, (place, permit)).await?;
        self.answered(id, answer).await
    }
}

async fn begin(requests: &mut Streaming<SubmitMapRequest>) -> Result<(SubmitMapHeader, Vec<Bytes>), Status> {
    let first = tokio::time::timeout(map::PATIENCE, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the map's header did not come"))??;
    let SubmitMapRequest { header, items } = first.unwrap_or_default();
    let header = header.ok_or_else(|| Status::invalid_argument("a map begins with its header"))?;
    Ok((header, map::counted(items)?))
}

fn as_submit(header: SubmitMapHeader) -> SubmitRequest {
    SubmitRequest {
        method: header.map.unwrap_or_default().method,
        idempotency_key: header.idempotency_key,
        idempotency_key_kept_for: header.idempotency_key_kept_for,
        not_before: header.not_before,
        labels: header.labels,
        retries: header.retries,
        keep_result_for: header.keep_result_for,
        ..SubmitRequest::default()
    }
}

fn submitted(map: MapHeader, items: u64, checksum: Bytes) -> Bytes {
    SubmittedMap { map: Some(map), items, checksum }.encode_to_vec().into()
}

/// Inputs on their way to the disk. Those that get no ticket are dropped with it.
struct Upload {
    store: Arc<dyn Store>,
    ticket: TicketId,
    room: Room,
    packer: Packer,
    /// Answers how many bytes it has stored.
    putting: FuturesUnordered<BoxFuture<'static, Result<usize, Error>>>,
    /// Bytes that are on their way.
    flying: usize,
    _unclaimed: Unclaimed,
}

impl Upload {
    fn new(tickets: &Tickets, ticket: TicketId, room: Room) -> Self {
        Self {
            store: tickets.0.around.store.clone(),
            ticket,
            room,
            packer: Packer::new(),
            putting: FuturesUnordered::new(),
            flying: 0,
            _unclaimed: Unclaimed { tickets: tickets.clone(), ticket },
        }
    }

    /// Until the client has sent all of it, and all is on disk.
    async fn take(
        &mut self,
        first: Vec<Bytes>,
        mut requests: Streaming<SubmitMapRequest>,
    ) -> Result<(Inputs, Bytes), Status> {
        self.add(first).await?;
        loop {
            let request = tokio::time::timeout(SILENCE, self.next(&mut requests)).await;
            let silent =
                |_| Status::deadline_exceeded(format!("nothing came of the map for {}", Rounded(SILENCE)));
            match request.map_err(silent)?? {
                Some(SubmitMapRequest { header: None, items }) => self.add(map::counted(items)?).await?,
                Some(_) => {
                    return Err(Status::invalid_argument("a map has one header, in its first message"));
                }
                None => break,
            }
        }
        // To hyper a stream that was cancelled has ended as well, but while it waits for us it looks whether it was, and
        // drops us: half of a map is none.
        tokio::task::yield_now().await;
        if let Some((number, part)) = self.packer.close() {
            self.put(number, part);
        }
        self.wait_for(0).await?;
        Ok(self.packer.told())
    }

    /// The next message. Meanwhile parts go to the disk.
    async fn next(
        &mut self,
        requests: &mut Streaming<SubmitMapRequest>,
    ) -> Result<Option<SubmitMapRequest>, Status> {
        loop {
            tokio::select! {
                biased;
                Some(put) = self.putting.next(), if !self.putting.is_empty() => self.is_put(put)?,
                request = requests.message() => return request,
            }
        }
    }

    async fn add(&mut self, items: Vec<Bytes>) -> Result<(), Status> {
        for item in items {
            // Of its own: else it keeps the whole message that it came in.
            if let Some((number, part)) = self.packer.add(Bytes::copy_from_slice(&item)) {
                self.put(number, part);
                self.wait_for(ON_THE_WAY).await?;
            }
        }
        self.room.keep(self.packer.held() + self.flying)
    }

    fn put(&mut self, number: u32, part: Part) {
        let (store, ticket, bytes) = (self.store.clone(), self.ticket, part.body.len());
        self.flying += bytes;
        let put = async move { store.put_input(ticket, number, part).await.map(|()| bytes) };
        self.putting.push(Box::pin(put));
    }

    /// Until no more than so many parts are on their way.
    async fn wait_for(&mut self, most: usize) -> Result<(), Status> {
        while self.putting.len() > most {
            if let Some(put) = self.putting.next().await {
                self.is_put(put)?;
            }
        }
        Ok(())
    }

    fn is_put(&mut self, put: Result<usize, Error>) -> Result<(), Status> {
        self.flying -= put.map_err(refusal::status)?;
        Ok(())
    }
}

/// Inputs that may get no ticket. If they have one by then, the store knows better.
struct Unclaimed {
    tickets: Tickets,
    ticket: TicketId,
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let (tickets, ticket) = (self.tickets.clone(), self.ticket);
        task::spawn("gateway.tickets.inputs", async move {
            if let Err(error) = tickets.store().drop_inputs(ticket).await {
                tracing::debug!(%ticket, %error, "inputs that nobody needs stay for the sweep");
            }
        });
    }
}
