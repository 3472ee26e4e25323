//! A page of a listing. google.longrunning promises that an operation that is done has its response or an error, and its
//! clients raise where it has neither: so every response is there, and a page whose responses are large ends early.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::{Code, Status};
use turno_proto::google::longrunning::Operation;
use turno_store::{Error, Page, Query, State, Ticket, TicketId};

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
    use super::{MOST, fitting};

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
