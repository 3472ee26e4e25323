//! Reads one signature, which is the schedule, and refuses what cannot be served.

use syn::{FnArg, Receiver, Result, ReturnType, Signature, Type};

use crate::mistakes::{Mistakes, mistake};
use crate::model::{ContextAt, Failure, Method, Place, Request};
use crate::shapes::{self, Outcome};

/// The rpc that a signature describes.
pub(crate) fn read(signature: &Signature) -> Result<Method> {
    let Some(this) = signature.receiver() else {
        return mistake(
            &signature.ident,
            "an rpc takes `&self`: a helper function belongs in an impl block without #[turno::service]",
        );
    };
    let mut mistakes = Mistakes::default();
    mistakes.value(plain(signature));
    mistakes.value(receiver(this));
    let arguments = mistakes.value(arguments(signature));
    let answer = mistakes.value(answer(signature));
    mistakes.into_result()?;
    let ((request, context), Answer { place, response, failure }) =
        arguments.zip(answer).expect("a part that is missing has left a mistake");
    let (name, conditions) = (signature.ident.clone(), Vec::new());
    Ok(Method { name, conditions, place, request, response, failure, context })
}

/// No generics, no `unsafe`, no `const`, no ABI.
fn plain(signature: &Signature) -> Result<()> {
    if !signature.generics.params.is_empty() {
        return mistake(&signature.generics, "an rpc has no generic parameters: the .proto names its types");
    }
    let odd = "an rpc is a plain `fn` or an `async fn`";
    match (&signature.constness, &signature.unsafety, &signature.abi) {
        (Some(word), _, _) => mistake(word, odd),
        (_, Some(word), _) => mistake(word, odd),
        (_, _, Some(abi)) => mistake(abi, odd),
        (None, None, None) => Ok(()),
    }
}

fn receiver(receiver: &Receiver) -> Result<()> {
    match receiver {
        Receiver { reference: Some(_), mutability: None, colon_token: None, .. } => Ok(()),
        Receiver { reference: Some(_), mutability: Some(_), .. } => mistake(
            receiver,
            "a service is shared by all its calls at once: take `&self`, and keep what changes behind a lock or an atomic",
        ),
        _ => mistake(receiver, "a service is shared by all its calls at once: an rpc takes `&self`"),
    }
}

/// The request, and where the `Context` is.
fn arguments(signature: &Signature) -> Result<(Request, ContextAt)> {
    let types: Vec<&Type> = signature.inputs.iter().filter_map(typed).collect();
    let (contexts, requests): (Vec<&Type>, Vec<&Type>) =
        types.iter().partition(|kind| shapes::is_context(kind));
    let context = match contexts.as_slice() {
        [] => ContextAt::Nowhere,
        [_] if shapes::is_context(types[0]) => ContextAt::BeforeRequest,
        [_] => ContextAt::AfterRequest,
        [_, second, ..] => return mistake(second, "one `Context` is enough"),
    };
    Ok((request(signature, &requests)?, context))
}

fn request(signature: &Signature, requests: &[&Type]) -> Result<Request> {
    match requests {
        [] => mistake(&signature.ident, "an rpc takes its request: `(&self, request: …)`"),
        [Type::Reference(context), ..] if shapes::is_context(&context.elem) => {
            mistake(context, "take the `Context` by value: it is cheap to clone")
        }
        [Type::Reference(request)] => mistake(request, "an rpc owns its request: take it by value"),
        [request] if shapes::is_stream(request) => stream_of_requests(request, signature.asyncness.is_some()),
        [request] if shapes::is_generic(request, "Request") => {
            mistake(request, "take the message itself: its metadata is asked of a `turno::Context`")
        }
        [request] => Ok(Request { message: (*request).clone(), is_stream: false }),
        [_, second, ..] => mistake(second, "an rpc takes one request, and a `Context` if it wants one"),
    }
}

fn stream_of_requests(request: &Type, is_async: bool) -> Result<Request> {
    if !is_async {
        return mistake(
            request,
            "a job never waits, not for its requests either: a method that takes a stream is an `async fn`",
        );
    }
    match shapes::streaming(request) {
        Some(message) => Ok(Request { message: message.clone(), is_stream: true }),
        None => {
            mistake(request, "a stream of requests is taken as `turno::Streaming<…>` of the rpc's request")
        }
    }
}

fn typed(argument: &FnArg) -> Option<&Type> {
    match argument {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    }
}

/// The right-hand side of a signature.
struct Answer {
    place: Place,
    response: Type,
    failure: Failure,
}

/// Where the method runs, and what it answers.
fn answer(signature: &Signature) -> Result<Answer> {
    let ReturnType::Type(_, kind) = &signature.output else {
        return mistake(&signature.ident, "an rpc answers: add `-> turno::Result<…>` with its response");
    };
    let is_async = signature.asyncness.is_some();
    if shapes::is_future(kind) {
        return mistake(
            kind,
            if is_async {
                "an `async fn` is a future already: answer `turno::Result<…>`"
            } else {
                "a plain `fn` is a job and cannot wait: to wait, write `async fn … -> turno::Result<…>`"
            },
        );
    }
    let Some(Outcome { value, failure }) = shapes::outcome(kind) else {
        return mistake(kind, "expected `turno::Result<…>` with the rpc's response");
    };
    let (place, response) = place(value, is_async)?;
    Ok(Answer { place, response, failure })
}

fn place(value: &Type, is_async: bool) -> Result<(Place, Type)> {
    if shapes::is_future(value) {
        return mistake(value, "answer the response itself, not a future of it");
    }
    if shapes::is_generic(value, "Response") {
        return mistake(value, "answer the message itself: trailers are added to a `turno::Context`");
    }
    match (shapes::is_stream(value), is_async) {
        (false, true) => Ok((Place::Awaited, value.clone())),
        (false, false) => Ok((Place::Job, value.clone())),
        (true, false) => {
            mistake(value, "a job answers once: a method that answers a stream is an `async fn`")
        }
        (true, true) => streamed(value),
    }
}

fn streamed(stream: &Type) -> Result<(Place, Type)> {
    let Some(item) = shapes::stream_item(stream) else {
        return mistake(stream, "expected `impl Stream<Item = turno::Result<…>>` with the rpc's response");
    };
    let Some(Outcome { value, failure }) = shapes::outcome(item) else {
        return mistake(item, "each item of a stream is a result: expected `turno::Result<…>`");
    };
    Ok((Place::Streamed(Box::new(failure)), value.clone()))
}
