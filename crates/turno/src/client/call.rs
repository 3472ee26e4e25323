//! One call as it travels, and its way through the attempts: what did not leave goes elsewhere unseen; whether what may
//! have run is repeated, `repeats` says.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use turno_proto::mesh::v1::{Entry, Invocation, Outcome};
use turno_proto::{entries, headers, status, timeout};
use turno_runtime::units::micros;

use crate::client::link::Link;
use crate::client::pending::Lost;
use crate::client::repeats::{Repeats, Runs};
use crate::client::search::Search;
use crate::rpc::Rpc;

/// A call, encoded.
pub(crate) struct Call {
    pub(crate) path: &'static str,
    name: &'static str,
    repeatable: bool,
    deadline: Option<Instant>,
    metadata: Vec<Entry>,
    body: Bytes,
}

impl Call {
    pub(crate) fn new<R: Rpc>(request: Request<R::Request>, deadline: Option<Instant>) -> Self {
        let (metadata, _, message) = request.into_parts();
        let metadata =
            if metadata.is_empty() { Vec::new() } else { entries::from_request(&metadata.into_headers()) };
        let body = message.encode_to_vec().into();
        let (path, name, repeatable) = (R::PATH, R::NAME, R::REPEATABLE);
        Self { path, name, repeatable, deadline, metadata, body }
    }

    /// Answers an outcome that is `OK`. Dropping the future cancels the call.
    pub(crate) async fn carry(
        &self,
        repeats: &Repeats,
        mut search: Search<'_>,
        first: Arc<Link>,
    ) -> crate::Result<Outcome> {
        repeats.called();
        let (mut link, mut runs) = (first, Runs::of(repeats, self.name, self.repeatable));
        loop {
            let lost = match link.call(self).await {
                Ok(outcome) if status::code_of(outcome.code) == Code::Ok => return Ok(outcome),
                // Its gateway has ended before a node had it: as if it had not left.
                Ok(outcome) if status::goes_elsewhere(&outcome) => Lost { may_have_run: false },
                Ok(outcome) => {
                    link.refusals.note(status::code_of(outcome.code));
                    return Err(status::from_outcome(outcome));
                }
                Err(lost) => lost,
            };
            runs.lost(lost, link.gateway())?;
            let next = search.link().await.map_err(|nobody| runs.told(nobody))?;
            runs.go_on(link.gateway())?;
            link = next;
        }
    }

    /// For the link, which adds its own numbers.
    pub(crate) fn invocation(&self) -> Invocation {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // At least one: zero stands for no deadline.
        let timeout_us = left.map_or(0, |left| micros(left).max(1));
        let (metadata, body) = (self.metadata.clone(), self.body.clone());
        Invocation { timeout_us, metadata, body, ..Invocation::default() }
    }
}

/// When the caller stops waiting, if `Request::set_timeout` says so.
pub(crate) fn asked(metadata: &MetadataMap) -> crate::Result<Option<Instant>> {
    let Some(value) = metadata.get(headers::GRPC_TIMEOUT) else { return Ok(None) };
    let asked: Duration = timeout::parse(value.as_bytes()).map_err(|_| {
        Status::invalid_argument(format!("grpc-timeout: {value:?} does not follow the protocol"))
    })?;
    Ok(Instant::now().checked_add(asked))
}

/// The gateway ends a call at its deadline; a gateway that has fallen silent does not.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    future: impl Future<Output = crate::Result<T>>,
) -> crate::Result<T> {
    let Some(deadline) = deadline else { return future.await };
    let late = || Status::deadline_exceeded("the deadline passed before the answer was here");
    tokio::time::timeout_at(deadline.into(), future).await.unwrap_or_else(|_| Err(late()))
}
