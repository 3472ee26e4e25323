//! What can be done with a ticket once there is one.

use bytes::Bytes;
use tonic::Status;
use turno_proto::google::longrunning::Operation;
use turno_proto::v1::{ShowResponse, TicketAttempt};
use turno_store::{AttemptRecord, Cancelled, Error, State, Ticket, TicketId};

use crate::config::TAKE_LARGER;
use crate::tickets::operation::{self, rpc_status, timestamp};
use crate::tickets::{Tickets, refusal, submission};

impl Tickets {
    /// A ticket as it is now, with its response if it has one.
    pub(crate) async fn current(&self, id: TicketId) -> Result<Operation, Status> {
        let (ticket, response) = self.store().whole(id).await.map_err(refusal::status)?;
        self.told(ticket, response)
    }

    /// What is known of it here too.
    pub(super) fn told(&self, ticket: Ticket, response: Option<Bytes>) -> Result<Operation, Status> {
        let running = self.0.board.progress(ticket.id).filter(|_| !ticket.state.is_final());
        operation::operation(ticket, response, running)
    }

    pub(crate) async fn show(&self, id: TicketId) -> Result<ShowResponse, Status> {
        let operation = self.current(id).await?;
        let request = self.store().request(id).await.map_err(refusal::status)?;
        let attempts = self.store().attempts(id).await.map_err(refusal::status)?;
        let failed_attempts = attempts.into_iter().map(failed).collect();
        Ok(ShowResponse { operation: Some(operation), request, failed_attempts })
    }

    /// Answers once the wish is on disk. What runs here is told; another gateway hears of it from the store.
    pub(crate) async fn cancel(&self, id: TicketId) -> Result<(), Status> {
        match self.store().cancel(id).await.map_err(refusal::status)? {
            Cancelled::Ended(_) => {}
            Cancelled::Now => self.count_ended(State::Cancelled),
            Cancelled::Asked(_) => drop(self.0.board.stop(id)),
        }
        self.0.board.tell(id);
        Ok(())
    }

    pub(crate) async fn delete(&self, id: TicketId) -> Result<(), Status> {
        self.store().delete(id).await.map_err(refusal::status)?;
        self.0.board.tell(id);
        Ok(())
    }

    pub(crate) async fn redrive(&self, dead: TicketId) -> Result<Operation, Status> {
        self.pardon(dead).await?;
        let new = self.store().redrive(dead, TicketId::new()).await.map_err(refusal::status)?;
        self.0.due.notify_one();
        self.0.board.tell(dead);
        // It may have ended, if it was redriven before.
        self.current(new.id).await
    }

    /// Whoever redrives a ticket holds it to be mended: what this gateway remembers of its request does not count any more.
    /// Before the new one is due, and once, as it is redriven once.
    async fn pardon(&self, dead: TicketId) -> Result<(), Status> {
        let trouble = &self.0.around.router.trouble;
        if trouble.is_calm() {
            return Ok(());
        }
        let ticket = self.store().get(dead).await.map_err(refusal::status)?;
        let is_news = ticket.state == State::Dead && ticket.redriven_as.is_none();
        if is_news && trouble.knows_of(&ticket.method, ticket.request_bytes) {
            let request = self.store().request(dead).await.map_err(refusal::status)?;
            trouble.forget(&ticket.method, &request);
        }
        Ok(())
    }

    pub(crate) async fn edit(
        &self,
        id: TicketId,
        request: Option<Bytes>,
        retries: Option<u32>,
    ) -> Result<Operation, Status> {
        let max = self.0.around.max_message;
        if let Some(bytes) = request.as_ref().map(Bytes::len).filter(|bytes| *bytes > max) {
            return Err(Status::resource_exhausted(format!(
                "request: {bytes} bytes are more than the {max} that a message may have (max_message){TAKE_LARGER}"
            )));
        }
        let retries = retries.map(|retries| submission::retries(Some(retries))).transpose()?;
        let edited = self.store().edit(id, request, retries).await;
        self.told(edited.map_err(|error: Error| refusal::status(error))?, None)
    }
}

fn failed(record: AttemptRecord) -> TicketAttempt {
    TicketAttempt {
        number: record.number,
        begin_time: Some(timestamp(record.began_at)),
        end_time: Some(timestamp(record.ended_at)),
        failure: Some(rpc_status(record.failure)),
    }
}
