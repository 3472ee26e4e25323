//! Reads the impl block and refuses what cannot be served, all mistakes at once.

use proc_macro2::TokenStream;
use syn::spanned::Spanned as _;
use syn::{
    Error, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, ItemImpl, Path, PathArguments, Receiver,
    Result, ReturnType, Signature, Type, TypeImplTrait, TypeParamBound,
};

use crate::model::{ContextAt, Method, Place, Service};

/// Reads `#[turno::service(module)] impl …`.
pub(crate) fn service(attribute: TokenStream, item: TokenStream) -> Result<Service> {
    let module = module(attribute);
    let block = block(item);
    let (module, block) = both(module, block)?;
    let mut methods = Vec::new();
    let mut mistakes = Mistakes::default();
    for item in &block.items {
        match item {
            ImplItem::Fn(function) => mistakes.keep(method(function), &mut methods),
            other => mistakes.add(Error::new(
                other.span(),
                "a service block holds its rpcs alone: move this to an impl block without #[turno::service]",
            )),
        }
    }
    mistakes.into_result()?;
    Ok(Service { module, block, methods })
}

fn module(attribute: TokenStream) -> Result<Path> {
    if attribute.is_empty() {
        return Err(Error::new(
            proc_macro2::Span::call_site(),
            "name the service's module: #[turno::service(gallery)] for `service Gallery` of the .proto",
        ));
    }
    syn::parse2(attribute.clone()).map_err(|_| {
        Error::new(
            attribute.span(),
            "expected the path of the service's module, as in #[turno::service(gallery)]",
        )
    })
}

fn block(item: TokenStream) -> Result<ItemImpl> {
    let block: ItemImpl =
        syn::parse2(item.clone()).map_err(|error| match syn::parse2::<syn::Item>(item) {
            Ok(other) => Error::new(
                other.span(),
                "#[turno::service] stands on the impl block with the rpcs: `impl Gallery { … }`",
            ),
            Err(_) => error,
        })?;
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new(
            path.span(),
            "#[turno::service] stands on an inherent impl block, not on a trait's",
        ));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new(block.generics.span(), "a service has no generic parameters: name the types"));
    }
    Ok(block)
}

fn method(function: &ImplItemFn) -> Result<Method> {
    let signature = &function.sig;
    let mut mistakes = Mistakes::default();
    mistakes.check(plain(signature));
    mistakes.check(receiver(signature));
    let arguments = mistakes.value(arguments(signature));
    let answer = mistakes.value(answer(signature));
    mistakes.into_result()?;
    let ((request, context), (place, response)) =
        arguments.zip(answer).expect("a part that is missing has left a mistake");
    Ok(Method { name: signature.ident.clone(), place, request, response, context })
}

/// No generics, no `unsafe`, no `const`, no ABI.
fn plain(signature: &Signature) -> Result<()> {
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.span(),
            "an rpc has no generic parameters: the .proto names its types",
        ));
    }
    let odd = signature.unsafety.map(|word| word.span());
    let odd = odd.or(signature.constness.map(|word| word.span()));
    let odd = odd.or(signature.abi.as_ref().map(|abi| abi.span()));
    odd.map_or(Ok(()), |span| Err(Error::new(span, "an rpc is a plain `fn` or an `async fn`")))
}

fn receiver(signature: &Signature) -> Result<()> {
    match signature.receiver() {
        Some(Receiver { reference: Some(_), mutability: None, colon_token: None, .. }) => Ok(()),
        Some(receiver) if receiver.mutability.is_some() => Err(Error::new(
            receiver.span(),
            "a service is shared by all its calls at once: take `&self`, and keep what changes behind a lock or an atomic",
        )),
        Some(receiver) => Err(Error::new(receiver.span(), "an rpc takes `&self`")),
        None => Err(Error::new(
            signature.ident.span(),
            "an rpc takes `&self`: a helper function belongs in an impl block without #[turno::service]",
        )),
    }
}

/// The request, and where the `Context` is.
fn arguments(signature: &Signature) -> Result<(Type, ContextAt)> {
    let types: Vec<&Type> = signature.inputs.iter().filter_map(typed).collect();
    let (contexts, requests): (Vec<&Type>, Vec<&Type>) = types.iter().partition(|kind| is_context(kind));
    let context = match contexts.as_slice() {
        [] => ContextAt::Nowhere,
        [_] if is_context(types[0]) => ContextAt::BeforeRequest,
        [_] => ContextAt::AfterRequest,
        [_, second, ..] => return Err(Error::new(second.span(), "one `Context` is enough")),
    };
    match requests.as_slice() {
        [Type::Reference(request)] => {
            Err(Error::new(request.span(), "an rpc owns its request: take it by value"))
        }
        [request] if is_stream(request) => {
            Err(Error::new(request.span(), "a stream of requests is not served: take one message"))
        }
        [request] => Ok(((*request).clone(), context)),
        [] => Err(Error::new(
            signature.paren_token.span.join(),
            "an rpc takes its request: `(&self, request: …)`",
        )),
        [_, second, ..] => {
            Err(Error::new(second.span(), "an rpc takes one request, and a `Context` if it wants one"))
        }
    }
}

/// Where the method runs, and what it answers.
fn answer(signature: &Signature) -> Result<(Place, Type)> {
    let ReturnType::Type(_, kind) = &signature.output else {
        return Err(Error::new(signature.ident.span(), "an rpc answers a `turno::Result<…>`"));
    };
    let is_async = signature.asyncness.is_some();
    if !is_async && is_future(kind) {
        return Err(Error::new(
            kind.span(),
            "a plain `fn` is a job and cannot wait: to wait, write `async fn`",
        ));
    }
    let Some(inner) = result_of(kind) else {
        return Err(Error::new(kind.span(), "an rpc answers a `turno::Result<…>`"));
    };
    match (stream_item(inner), is_async) {
        (None, _) if is_future(inner) => {
            Err(Error::new(inner.span(), "answer the value itself, not a future of it"))
        }
        (None, true) => Ok((Place::Awaited, inner.clone())),
        (None, false) => Ok((Place::Job, inner.clone())),
        (Some(_), false) => Err(Error::new(
            inner.span(),
            "a job answers once: a method that answers a stream is an `async fn`",
        )),
        (Some(item), true) => streamed(inner, item),
    }
}

fn streamed(inner: &Type, item: Option<&Type>) -> Result<(Place, Type)> {
    match item.and_then(result_of) {
        Some(message) => Ok((Place::Streamed, message.clone())),
        None => Err(Error::new(
            inner.span(),
            "each item of the stream is a result: `impl Stream<Item = turno::Result<…>>`",
        )),
    }
}

fn typed(argument: &FnArg) -> Option<&Type> {
    match argument {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    }
}

fn is_context(kind: &Type) -> bool {
    last_name(kind).is_some_and(|name| name == "Context")
}

fn is_stream(kind: &Type) -> bool {
    stream_item(kind).is_some() || last_name(kind).is_some_and(|name| name == "Streaming")
}

/// `impl Future`, `BoxFuture<…>`, `Pin<Box<dyn Future>>`.
fn is_future(kind: &Type) -> bool {
    match kind {
        Type::ImplTrait(kind) => kind.bounds.iter().any(is_future_bound),
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| match last.ident.to_string().as_str() {
                "BoxFuture" | "LocalBoxFuture" => true,
                "Pin" | "Box" => first_argument(&last.arguments).is_some_and(is_future),
                _ => false,
            })
        }
        Type::TraitObject(kind) => kind.bounds.iter().any(is_future_bound),
        _ => false,
    }
}

fn is_future_bound(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == "Future"))
}

fn last_name(kind: &Type) -> Option<&Ident> {
    match kind {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// `T` of `Result<T>`, `turno::Result<T>`, `Result<T, E>`.
fn result_of(kind: &Type) -> Option<&Type> {
    let Type::Path(path) = kind else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Result")?;
    first_argument(&last.arguments)
}

fn first_argument(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(kind) => Some(kind),
        _ => None,
    })
}

/// The item of an `impl Stream<Item = …>`, itself absent when the bound does not name it.
fn stream_item(kind: &Type) -> Option<Option<&Type>> {
    let Type::ImplTrait(TypeImplTrait { bounds, .. }) = kind else { return None };
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last().filter(|segment| segment.ident == "Stream")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Some(None) };
        Some(arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
            _ => None,
        }))
    })
}

/// Gathers mistakes, so that the user sees all of them in one run.
#[derive(Default)]
struct Mistakes(Option<Error>);

impl Mistakes {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    fn value<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    fn check(&mut self, result: Result<()>) {
        self.value(result);
    }

    fn keep<T>(&mut self, result: Result<T>, kept: &mut Vec<T>) {
        kept.extend(self.value(result));
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Both values, or the mistakes of both.
fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    let mut mistakes = Mistakes::default();
    let (a, b) = (mistakes.value(a), mistakes.value(b));
    mistakes.into_result()?;
    Ok(a.zip(b).expect("a value that is missing has left a mistake"))
}
