//! What is seen of a ticket, and a page of a listing. google.longrunning promises that an operation that is done has its
//! response or an error, and its clients raise where it has neither: so every response is there, unless they ask for none, and
//! a page whose responses are large ends early.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::{Code, Status};
use turno_proto::google::longrunning::Operation;
use turno_store::{Error, Page, Query, State, Ticket, TicketId};
use twox_hash::XxHash3_128;

use crate::quote::beginning;
use crate::tickets::{Tickets, operation, refusal};

/// Responses on one page, in bytes: a client of gRPC takes 4 MiB unless told otherwise, and the metadata of 1000 tickets
/// lie beside them. A larger response has a page of its own.
const MOST: u64 = 1024 * 1024;

/// Responses of one page that are read at once. Together they are no more than the page; more at once would only wait, for a
/// store has few readers, and others ask as well.
const AT_ONCE: usize = 8;

/// What is told of a ticket that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All but its response.
    Basic,
    /// Its response too.
    Full,
}

impl Tickets {
    /// A ticket as it is now. Its response is not read where nobody wants it.
    pub(crate) async fn seen(&self, id: TicketId, view: View) -> Result<Operation, Status> {
        match view {
            View::Basic => self.told(self.store().get(id).await.map_err(refusal::status)?, None),
            View::Full => self.current(id).await,
        }
    }

    /// A page, and the last ticket that was looked at if more follow.
    pub(crate) async fn list(
        &self,
        query: &Query,
        view: View,
    ) -> Result<(Vec<Operation>, Option<TicketId>), Status> {
        let Page { mut tickets, mut has_more } =
            self.store().list(query).await.map_err(refusal::of_listing)?;
        if view == View::Full {
            let fitting = fitting(tickets.iter().map(|ticket| ticket.response_bytes));
            has_more |= fitting < tickets.len();
            tickets.truncate(fitting);
        }
        let last = tickets.last().filter(|_| has_more).map(|ticket| ticket.id);
        let reads = tickets.into_iter().map(|ticket| self.listed(ticket, view));
        let listed: Vec<Option<Operation>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        Ok((listed.into_iter().flatten().collect(), last))
    }

    /// `None` of a ticket that was forgotten meanwhile.
    async fn listed(&self, ticket: Ticket, view: View) -> Result<Option<Operation>, Status> {
        if ticket.state != State::Done || view == View::Basic {
            return self.told(ticket, None).map(Some);
        }
        let whole = match self.store().whole(ticket.id).await {
            Err(Error::NotFound(_)) => return Ok(None),
            whole => whole.map_err(refusal::status),
        };
        match whole.and_then(|(whole, response)| self.told(whole, response)) {
            Err(damaged) if damaged.code() == Code::DataLoss => {
                Ok(Some(operation::unreadable(ticket, &damaged)))
            }
            told => told.map(Some),
        }
    }
}

/// Where the next page begins: behind `last`, of this filter alone. Whichever gateway is asked for it knows so.
pub(crate) fn token(last: TicketId, filter: &str) -> String {
    format!("{last}.{:032x}", XxHash3_128::oneshot(filter.as_bytes()))
}

/// The ticket that the page before has ended with; `None` for the first one.
pub(crate) fn after(page_token: &str, filter: &str) -> Result<Option<TicketId>, Status> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let last: Option<TicketId> = page_token.split_once('.').and_then(|(last, _)| last.parse().ok());
    let last = last.ok_or_else(|| {
        let page_token = beginning(page_token);
        Status::invalid_argument(format!("page_token: {page_token:?} is none of ours"))
    })?;
    if token(last, filter) != page_token {
        // AIP-158: a page of another listing would be neither's.
        return Err(Status::invalid_argument(
            "page_token: it is of a listing with another filter: say that one again, or begin without a page_token",
        ));
    }
    Ok(Some(last))
}

/// How many tickets with responses of these sizes go on one page: the first one in any case.
fn fitting(sizes: impl Iterator<Item = u64>) -> usize {
    let mut bytes = 0_u64;
    let fit = sizes.take_while(|size| {
        bytes = bytes.saturating_add(*size);
        bytes <= MOST
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use turno_store::TicketId;

    use super::{MOST, after, fitting, token};

    #[test]
    fn a_page_follows_one_of_the_same_filter_alone() {
        let (last, filter) = (TicketId::new(), "state = dead");
        let page_token = token(last, filter);
        assert_eq!(after(&page_token, filter).unwrap(), Some(last));
        assert_eq!(after("", filter).unwrap(), None);
        let of_another = after(&page_token, "state = done").unwrap_err();
        assert_eq!(of_another.code(), Code::InvalidArgument);
        assert!(of_another.message().contains("another filter"), "{of_another}");
        let no_token = after(&last.to_string(), filter).unwrap_err();
        assert!(no_token.message().contains("none of ours"), "{no_token}");
    }

    #[test]
    fn a_page_ends_before_the_response_that_is_too_much() {
        for (sizes, expected) in [
            (&[0, 0, 0][..], 3),
            (&[MOST, 0, 1], 2),
            (&[1, MOST, 0], 1),
            (&[0, MOST + 1], 1),
            (&[MOST + 1, 0], 1),
            (&[u64::MAX, u64::MAX], 1),
        ] {
            assert_eq!(fitting(sizes.iter().copied()), expected, "{sizes:?}");
        }
    }
}
