//! A service as a node holds it: a table from the names of rpcs to handlers that take and answer bytes. The types
//! of the user's messages end here.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use prost::Message;
use tonic::Streaming;

use crate::context::Context;
use crate::policy::Policy;
use crate::rpc::{AnswersOne, AnswersStream, Failure, RequestOf, ResponseOf, Rpc, TakesOne, TakesStream};
use crate::sink::{RawSink, Said, Sink, say};
use crate::source::{Source, typed};

pub use turno_proto::mesh::v1::Kind;

/// A future that a handler answers.
pub type Answer<T> = Pin<Box<dyn Future<Output = crate::Result<T>> + Send>>;

/// What `#[turno::service]` implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "not a service",
    note = "put `#[turno::service(module)]` on the impl block with its rpcs"
)]
pub trait Service: Send + Sync + Sized + 'static {
    /// The table by which a node finds its methods.
    fn table(self) -> Table;
}

/// The methods of one service.
pub struct Table {
    pub(crate) service: &'static str,
    pub(crate) descriptors: &'static [u8],
    pub(crate) methods: Vec<Entry>,
}

impl Table {
    /// Called by generated code.
    pub fn new(service: &'static str, descriptors: &'static [u8], methods: Vec<Entry>) -> Self {
        Self { service, descriptors, methods }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("service", &self.service).field("methods", &self.methods).finish()
    }
}

/// A method of a service that exists.
pub struct Entry {
    pub(crate) name: &'static str,
    pub(crate) repeatable: bool,
    pub(crate) policy: Policy,
    pub(crate) handler: Handler,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("kind", &self.handler.kind()).finish()
    }
}

pub(crate) type Awaited = dyn Fn(Context, Bytes) -> Answer<Bytes> + Send + Sync;
type Streamed = dyn Fn(Context, Bytes, RawSink) -> Answer<()> + Send + Sync;
type Duplex = dyn Fn(Context, Source, RawSink) -> Answer<()> + Send + Sync;
pub(crate) type Job = dyn Fn(Context, Bytes) -> crate::Result<Bytes> + Send + Sync;

/// How a method is run: the signature is the schedule.
#[derive(Clone)]
pub(crate) enum Handler {
    Awaited(Arc<Awaited>),
    Streamed(Arc<Streamed>),
    /// Takes a stream, and answers as one what it answers, be it once.
    Duplex(Arc<Duplex>),
    Job(Arc<Job>),
}

impl Handler {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Awaited(_) => Kind::Awaited,
            Self::Streamed(_) | Self::Duplex(_) => Kind::Stream,
            Self::Job(_) => Kind::Job,
        }
    }

    pub(crate) fn takes_stream(&self) -> bool {
        matches!(self, Self::Duplex(_))
    }
}

/// The implementation of the rpc `R` by a service `S`, made by [`awaited`], [`streamed`],
/// [`client_streamed`], [`bidi_streamed`] or [`job`].
pub struct Method<S, R> {
    bind: Box<dyn FnOnce(Arc<S>) -> Handler>,
    rpc: PhantomData<fn() -> R>,
}

impl<S, R> fmt::Debug for Method<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<R>())
    }
}

impl<S, R: Rpc> Method<S, R> {
    fn new(bind: impl FnOnce(Arc<S>) -> Handler + 'static) -> Self {
        Self { bind: Box::new(bind), rpc: PhantomData }
    }

    /// The method of this very service.
    pub fn bind(self, service: &Arc<S>) -> Entry {
        Entry {
            name: R::NAME,
            repeatable: R::REPEATABLE,
            policy: R::POLICY,
            handler: (self.bind)(service.clone()),
        }
    }
}

/// An `async fn` that answers once. Called by `#[turno::service]`.
pub fn awaited<S, R, Q, A>(
    method: impl Fn(Arc<S>, Context, Q) -> Answer<A> + Copy + Send + Sync + 'static,
) -> Method<S, R>
where
    S: Service,
    R: TakesOne + AnswersOne,
    Q: RequestOf<R, R::Request>,
    A: ResponseOf<R, R::Response>,
{
    Method::new(move |service: Arc<S>| {
        Handler::Awaited(Arc::new(move |ctx, body| {
            let service = service.clone();
            Box::pin(async move {
                let request = Q::from_wire(body)?;
                method(service, ctx, request).await.map(|response| response.to_wire())
            })
        }))
    })
}

/// An `async fn` that answers a stream. Called by `#[turno::service]`.
pub fn streamed<S, R, Q, A>(
    method: impl Fn(Arc<S>, Context, Q, Sink<A>) -> Answer<()> + Copy + Send + Sync + 'static,
) -> Method<S, R>
where
    S: Service,
    R: TakesOne + AnswersStream,
    Q: RequestOf<R, R::Request>,
    A: Message + ResponseOf<R, R::Response>,
{
    Method::new(move |service: Arc<S>| {
        Handler::Streamed(Arc::new(move |ctx, body, sink| {
            let service = service.clone();
            Box::pin(async move {
                let request = Q::from_wire(body)?;
                method(service, ctx, request, Sink::new(sink)).await
            })
        }))
    })
}

/// An `async fn` that takes a stream and answers once. Called by `#[turno::service]`.
pub fn client_streamed<S, R, Q, A>(
    method: impl Fn(Arc<S>, Context, Streaming<Q>) -> Answer<A> + Copy + Send + Sync + 'static,
) -> Method<S, R>
where
    S: Service,
    R: TakesStream + AnswersOne,
    Q: RequestOf<R, R::Request>,
    A: ResponseOf<R, R::Response>,
{
    Method::new(move |service: Arc<S>| {
        Handler::Duplex(Arc::new(move |ctx, source, sink| {
            let answer = method(service.clone(), ctx, typed::<R, Q>(source));
            Box::pin(async move {
                let message = answer.await?.to_wire();
                say(&sink, Said::Message(message)).await
            })
        }))
    })
}

/// An `async fn` that takes a stream and answers a stream. Called by `#[turno::service]`.
pub fn bidi_streamed<S, R, Q, A>(
    method: impl Fn(Arc<S>, Context, Streaming<Q>, Sink<A>) -> Answer<()> + Copy + Send + Sync + 'static,
) -> Method<S, R>
where
    S: Service,
    R: TakesStream + AnswersStream,
    Q: RequestOf<R, R::Request>,
    A: Message + ResponseOf<R, R::Response>,
{
    Method::new(move |service: Arc<S>| {
        Handler::Duplex(Arc::new(move |ctx, source, sink| {
            method(service.clone(), ctx, typed::<R, Q>(source), Sink::announcing(sink))
        }))
    })
}

/// A plain `fn`. Called by `#[turno::service]`.
pub fn job<S, R, Q, A>(
    method: impl Fn(Arc<S>, Context, Q) -> crate::Result<A> + Copy + Send + Sync + 'static,
) -> Method<S, R>
where
    S: Service,
    R: TakesOne + AnswersOne,
    Q: RequestOf<R, R::Request>,
    A: ResponseOf<R, R::Response>,
{
    Method::new(move |service: Arc<S>| {
        Handler::Job(Arc::new(move |ctx, body| {
            method(service.clone(), ctx, Q::from_wire(body)?).map(|response| response.to_wire())
        }))
    })
}

/// What a method has answered, its error as a status. Called by `#[turno::service]`.
#[doc(hidden)]
pub fn answer<T, E: Failure>(outcome: Result<T, E>) -> crate::Result<T> {
    outcome.map_err(Into::into)
}

/// The items of a stream, their errors as statuses. Boxed, so that rustc's word on a stream that is not `Send` is
/// about that stream and not about what is built around it. Called by `#[turno::service]`.
#[doc(hidden)]
pub fn items<'a, A, E: Failure + 'a, St>(
    stream: St,
) -> Pin<Box<dyn Stream<Item = crate::Result<A>> + Send + 'a>>
where
    St: Stream<Item = Result<A, E>> + Send + 'a,
{
    Box::pin(stream.map_err(Into::into))
}

/// What is awaited may go on on another thread after each `.await`. Called by `#[turno::service]`.
#[doc(hidden)]
pub fn on_any_thread<T>(method: impl Future<Output = crate::Result<T>> + Send + 'static) -> Answer<T> {
    Box::pin(method)
}

/// In place of what `#[turno::service]` has refused: gives the compiler a type, so that one mistake makes one error.
#[doc(hidden)]
pub fn refused<T>() -> T {
    unreachable!("a service that was refused does not compile")
}
