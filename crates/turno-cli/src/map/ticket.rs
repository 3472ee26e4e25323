//! A map that is submitted as a ticket: its requests are on disk when this answers, and it goes on by itself.

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use tokio::sync::oneshot;
use tonic::Request;
use tonic::transport::Channel;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{MapHeader, SubmitMapHeader, SubmitMapRequest};

use super::inputs::{Failed, Inputs};
use crate::call;
use crate::submit::Wishes;
use crate::tickets::ticket::Ticket;

/// Submits what the lines say; answers the ticket. One line that is no request, and nothing is submitted.
pub(super) async fn submit(
    channel: Channel,
    map: MapHeader,
    inputs: Inputs,
    wishes: Wishes,
    metadata: &[(String, String)],
) -> anyhow::Result<Ticket> {
    let (requests, failed) = inputs.send(map)?;
    let key = wishes.key.clone().unwrap_or_default();
    let requests = requests.map(move |request| SubmitMapRequest {
        header: request.header.map(|map| SubmitMapHeader { map: Some(map), ..wishes.clone().into() }),
        items: request.items,
    });
    let (broken, is_broken) = oneshot::channel();
    let requests = requests.chain(unless_failed(failed.clone(), broken));
    let request = Request::from_parts(call::metadata(metadata)?, Default::default(), requests);
    let mut client = TicketsClient::new(channel).max_encoding_message_size(usize::MAX);
    tokio::select! {
        biased;
        Ok(()) = is_broken => Err(failed.take().context("the input broke off")?),
        submitted = client.submit_map(request) => Ok(Ticket::read(submitted?.into_inner())?.kept(&key)?),
    }
}

/// Ends as the requests do, but not if that was for a line that is none: the gateway would take it for all there is.
fn unless_failed(failed: Failed, broken: oneshot::Sender<()>) -> impl Stream<Item = SubmitMapRequest> + Send {
    stream::once(async move {
        if failed.is_some() {
            // Whoever hears it drops this.
            let _heard = broken.send(());
            std::future::pending::<()>().await;
        }
    })
    .filter_map(async |()| None)
}
