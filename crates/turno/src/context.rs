//! What a method may know of the call it serves. The node makes one for each call.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::{IntoRequest, IntoStreamingRequest, Response, Status, Streaming};
use turno_proto::entries;
use turno_proto::mesh::v1::{Caller, Entry};

use crate::calls::Mesh;
use crate::lanes::Urgency;
use crate::map::Map;
use crate::node::progress::Teller;
use crate::rpc::{BidiStreaming, ClientStreaming, ServerStreaming, Unary};

/// The call that a method serves: its deadline, whether its caller is still there, who called with what metadata,
/// and the way to other methods of the mesh. Cheap to clone; a clone may outlive the method.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    method: &'static str,
    deadline: Option<Instant>,
    cancel: CancellationToken,
    entries: Vec<Entry>,
    metadata: OnceLock<MetadataMap>,
    caller: Caller,
    trailers: Mutex<MetadataMap>,
    mesh: Mesh,
    progress: Option<Teller>,
}

/// What the link brought with an invocation, beside its body.
#[derive(Debug)]
pub(crate) struct Particulars {
    pub(crate) method: &'static str,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: CancellationToken,
    pub(crate) entries: Vec<Entry>,
    pub(crate) caller: Caller,
    pub(crate) mesh: Mesh,
    /// Present if somebody wants to hear how far it is.
    pub(crate) progress: Option<Teller>,
}

impl Context {
    pub(crate) fn new(particulars: Particulars) -> Self {
        let Particulars { method, deadline, cancel, entries, caller, mesh, progress } = particulars;
        let (metadata, trailers) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner {
            method,
            deadline,
            cancel,
            entries,
            metadata,
            caller,
            trailers,
            mesh,
            progress,
        }))
    }

    /// The method that is served: "gallery.v1.Gallery/Thumbnail".
    pub fn method(&self) -> &'static str {
        self.0.method
    }

    /// When the caller stops waiting, if it said so.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// How long the caller still waits; zero when its deadline has passed, `None` when it set none.
    pub fn time_left(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the caller has gone away.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Completes when the caller goes away. An `async fn` is dropped then anyway; this is for what it has started.
    pub async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }

    /// For a job to ask from time to time: fails once nobody waits for its answer.
    ///
    /// # Errors
    /// `CANCELLED` when the caller has gone away, `DEADLINE_EXCEEDED` when its deadline has passed.
    pub fn checkpoint(&self) -> crate::Result<()> {
        if self.is_cancelled() {
            return Err(Status::cancelled("the caller has gone away"));
        }
        match self.0.deadline {
            Some(deadline) if deadline <= Instant::now() => {
                Err(Status::deadline_exceeded(format!("the deadline passed while {} ran", self.method())))
            }
            _ => Ok(()),
        }
    }

    /// The metadata that the caller sent.
    pub fn metadata(&self) -> &MetadataMap {
        self.0.metadata.get_or_init(|| entries::to_metadata(self.0.entries.clone()))
    }

    /// The address of the client that the chain of calls began with.
    pub fn peer(&self) -> &str {
        &self.0.caller.peer
    }

    /// The method that made this call, when it was one of the mesh: "gallery.v1.Gallery/Thumbnail".
    pub fn calling_method(&self) -> Option<&str> {
        Some(self.0.caller.method.as_str()).filter(|method| !method.is_empty())
    }

    /// Adds a line to the trailers of the answer, whether it is a success or an error.
    pub fn add_trailer(&self, key: AsciiMetadataKey, value: AsciiMetadataValue) {
        self.0.trailers.lock().append(key, value);
    }

    /// Says how far the method is: `done` of `total`, which is zero when nobody knows, and a note for people (at most 1 KiB
    /// of it). Who watches the call's ticket hears it at once. As cheap as it can be: of many words the last is sent, ten
    /// times a second at most, and none where nobody listens, as in a plain call.
    ///
    /// ```no_run
    /// # fn example(ctx: turno::Context, pages: Vec<String>) {
    /// for (done, page) in (1..).zip(&pages) {
    ///     // …
    ///     ctx.progress(done, pages.len() as u64, page.as_str());
    /// }
    /// # }
    /// ```
    pub fn progress(&self, done: u64, total: u64, note: impl Into<String>) {
        if let Some(teller) = &self.0.progress {
            teller.say(done, total, note.into());
        }
    }

    /// Calls a method of the mesh, wherever it runs, and waits for its answer. Deadline and cancellation go with
    /// it, and so do `turno-tenant` and the W3C trace headers.
    ///
    /// ```no_run
    /// # use turno::cpu::v1::{images, InfoRequest};
    /// # async fn example(ctx: turno::Context, data: bytes::Bytes) -> turno::Result<()> {
    /// let info = ctx.call::<images::Info>(InfoRequest { data }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The method's own, or the mesh's: `UNIMPLEMENTED`, `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`.
    pub async fn call<R: Unary>(&self, request: impl IntoRequest<R::Request>) -> crate::Result<R::Response> {
        self.call_with_metadata::<R>(request).await.map(Response::into_inner)
    }

    /// The same, with the metadata of the answer: what the method has said by [`Context::add_trailer`], the account that
    /// `turno-explain: 1` asks for, and lines of the protocol's own.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub async fn call_with_metadata<R: Unary>(
        &self,
        request: impl IntoRequest<R::Request>,
    ) -> crate::Result<Response<R::Response>> {
        self.0.mesh.unary_with_metadata::<R>(self.prepared(request.into_request())?).await
    }

    /// Calls a method that answers a stream.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub async fn stream<R: ServerStreaming>(
        &self,
        request: impl IntoRequest<R::Request>,
    ) -> crate::Result<Streaming<R::Response>> {
        self.0.mesh.server_streaming::<R>(self.prepared(request.into_request())?).await
    }

    /// Calls a method that takes a stream, and waits for its answer. It is read as fast as the method reads.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub async fn client_stream<R: ClientStreaming>(
        &self,
        requests: impl IntoStreamingRequest<Message = R::Request>,
    ) -> crate::Result<R::Response> {
        self.client_stream_with_metadata::<R>(requests).await.map(Response::into_inner)
    }

    /// The same, with the metadata of the answer, as [`Context::call_with_metadata`] has it.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub async fn client_stream_with_metadata<R: ClientStreaming>(
        &self,
        requests: impl IntoStreamingRequest<Message = R::Request>,
    ) -> crate::Result<Response<R::Response>> {
        self.0.mesh.client_streaming::<R>(self.prepared(requests.into_streaming_request())?).await
    }

    /// Maps a method over many requests: each is answered as by [`Context::call`], tiny ones many at a time. Await what
    /// this answers, after telling it its options.
    pub fn map<R: Unary>(&self, requests: impl IntoStreamingRequest<Message = R::Request>) -> Map<R> {
        let (mesh, mut requests) = (self.0.mesh.clone(), requests.into_streaming_request());
        mesh.label(&mut requests, self);
        let wanted = self.checkpoint();
        Map::new(async move { wanted.map(|()| mesh) }, requests)
    }

    /// Calls a method that takes a stream and answers a stream.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub async fn bidi_stream<R: BidiStreaming>(
        &self,
        requests: impl IntoStreamingRequest<Message = R::Request>,
    ) -> crate::Result<Streaming<R::Response>> {
        self.0.mesh.bidi_streaming::<R>(self.prepared(requests.into_streaming_request())?).await
    }

    fn prepared<Q>(&self, mut request: tonic::Request<Q>) -> crate::Result<tonic::Request<Q>> {
        self.checkpoint()?;
        self.0.mesh.label(&mut request, self);
        Ok(request)
    }

    /// The way to other methods, and to tickets.
    pub(crate) fn mesh(&self) -> &Mesh {
        &self.0.mesh
    }

    /// What the call asks of those that have the slots.
    pub(crate) fn urgency(&self) -> Urgency {
        if entries::is_batch(&self.0.entries) { Urgency::Batch } else { Urgency::Call }
    }

    /// The lines that a nested call inherits.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    pub(crate) fn take_trailers(&self) -> MetadataMap {
        std::mem::take(&mut *self.0.trailers.lock())
    }
}
