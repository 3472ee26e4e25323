//! `google.longrunning.Operations`, so that clients for long-running operations work with tickets unmodified.

use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use turno_proto::google::longrunning::operations_server::Operations;
use turno_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    ListOperationsResponse, Operation, WaitOperationRequest,
};
use turno_proto::headers;
use turno_store::Query;

use crate::edge;
use crate::quote::beginning;
use crate::tickets::listing::{View, after, token};
use crate::tickets::operation::ticket_of;
use crate::tickets::{Tickets, filter, submission};

/// Answers clients of either port.
pub(crate) struct OperationsService {
    pub(crate) tickets: Tickets,
}

const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;
/// Of an answer, to its caller.
const LEAST_WAY: Duration = Duration::from_millis(100);
const LONGEST_WAY: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Operations for OperationsService {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (view, ticket) = (view(request.metadata())?, ticket_of(&request.get_ref().name)?);
        Ok(Response::new(self.tickets.seen(ticket, view).await?))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let (view, query) = (view(request.metadata())?, query(request.get_ref())?);
        let (operations, last) = self.tickets.list(&query, view).await?;
        let next_page_token = last.map(|last| token(last, &request.get_ref().filter)).unwrap_or_default();
        Ok(Response::new(ListOperationsResponse { operations, next_page_token }))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (view, deadline) = (view(request.metadata())?, edge::asked(request.metadata().as_ref())?);
        let WaitOperationRequest { name, timeout } = request.into_inner();
        let timeout =
            timeout.map(|time| submission::duration("timeout", time, Duration::ZERO, Duration::MAX));
        let longest = longest_wait(timeout.transpose()?, deadline, self.tickets.longest_wait());
        Ok(Response::new(self.tickets.wait(ticket_of(&name)?, longest, view).await?))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<()>, Status> {
        Ok(Response::new(self.tickets.cancel(ticket_of(&request.get_ref().name)?).await?))
    }

    async fn delete_operation(
        &self,
        request: Request<DeleteOperationRequest>,
    ) -> Result<Response<()>, Status> {
        Ok(Response::new(self.tickets.delete(ticket_of(&request.get_ref().name)?).await?))
    }
}

/// As google.longrunning has it: the call's own deadline bounds a wait too, and what is told then is how the ticket stands.
/// That has to be with the caller by then, so some of the time is left for its way.
fn longest_wait(timeout: Option<Duration>, deadline: Option<Duration>, most: Duration) -> Duration {
    let in_time = |deadline: Duration| {
        deadline.saturating_sub((deadline / 10).clamp(LEAST_WAY, LONGEST_WAY).min(deadline / 2))
    };
    timeout.into_iter().chain(deadline.map(in_time)).fold(most, Duration::min)
}

/// `turno-view: basic`
fn view(metadata: &MetadataMap) -> Result<View, Status> {
    let Some(view) = metadata.get(headers::VIEW) else { return Ok(View::Full) };
    match view.to_str() {
        Ok(headers::BASIC) => Ok(View::Basic),
        Ok(headers::FULL) => Ok(View::Full),
        _ => {
            let view = String::from_utf8_lossy(view.as_bytes());
            Err(Status::invalid_argument(format!(
                "{}: {:?} is no view: there are {} and {}",
                headers::VIEW,
                beginning(&view),
                headers::BASIC,
                headers::FULL
            )))
        }
    }
}

fn query(request: &ListOperationsRequest) -> Result<Query, Status> {
    let ListOperationsRequest { name, filter, page_size, page_token } = request;
    if !matches!(name.trim_end_matches('/'), "" | "operations" | "tickets") {
        let name = beginning(name);
        return Err(Status::invalid_argument(format!("name: {name:?} has no operations; leave it out")));
    }
    let size = u32::try_from(*page_size).map_err(|_| Status::invalid_argument("page_size: below zero"))?;
    let after = after(page_token, filter)?;
    let most = if size == 0 { PAGE } else { size.min(LARGEST_PAGE) };
    Ok(Query { after, most, ..filter::query(filter)? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::metadata::MetadataMap;
    use turno_proto::google::longrunning::ListOperationsRequest;
    use turno_store::TicketId;

    use super::{View, longest_wait, query, token, view};

    #[test]
    fn a_wait_ends_before_the_deadline_of_its_call() {
        let ms = Duration::from_millis;
        let wait = |timeout: Option<u64>, deadline: Option<u64>| {
            longest_wait(timeout.map(ms), deadline.map(ms), ms(3_600_000))
        };
        assert_eq!(wait(None, None), ms(3_600_000));
        assert_eq!(wait(Some(50), None), ms(50));
        assert_eq!(wait(None, Some(60_000)), ms(59_000));
        assert_eq!(wait(None, Some(5000)), ms(4500));
        assert_eq!(wait(Some(30_000), Some(300)), ms(200));
        assert_eq!(wait(Some(50), Some(300)), ms(50));
        assert_eq!(wait(None, Some(10)), ms(5));
        assert_eq!(wait(None, Some(0)), Duration::ZERO);
        assert_eq!(wait(None, Some(u64::MAX)), ms(3_600_000));
    }

    #[test]
    fn a_view_is_one_of_two_and_no_other() {
        let said = |said: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("turno-view", said.parse().unwrap());
            view(&metadata)
        };
        assert_eq!(view(&MetadataMap::new()).unwrap(), View::Full);
        assert_eq!((said("basic").unwrap(), said("full").unwrap()), (View::Basic, View::Full));
        for wrong in ["nonsense", ""] {
            let error = said(wrong).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            let expected = format!("turno-view: {wrong:?} is no view: there are basic and full");
            assert_eq!(error.message(), expected);
        }
    }

    #[test]
    fn a_page_is_neither_endless_nor_empty() {
        let most = |page_size| {
            query(&ListOperationsRequest { page_size, ..Default::default() }).map(|query| query.most)
        };
        assert_eq!(most(0).unwrap(), 100);
        assert_eq!(most(7).unwrap(), 7);
        assert_eq!(most(i32::MAX).unwrap(), 1000);
        assert_eq!(most(-1).unwrap_err().message(), "page_size: below zero");
    }

    #[test]
    fn only_our_own_tokens_and_names_are_taken() {
        let after = TicketId::new();
        let page_token = token(after, "");
        let request = ListOperationsRequest { page_token, name: "operations".into(), ..Default::default() };
        assert_eq!(query(&request).unwrap().after, Some(after));
        for digits in [1, 20_000].map(|many| "7".repeat(many)) {
            let name = ListOperationsRequest { name: format!("projects/{digits}"), ..Default::default() };
            let token = ListOperationsRequest { page_token: digits, ..Default::default() };
            for wrong in [token, name] {
                assert!(query(&wrong).unwrap_err().message().len() < 1000);
            }
        }
    }
}
