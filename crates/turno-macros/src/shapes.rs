//! What a type looks like as it is written: a macro sees words, not types, so what matters here goes by its usual
//! name (`Result`, `Context`, `impl Stream`). Whatever slips through is rustc's to refuse, at the same word.

use syn::punctuated::Punctuated;
use syn::{GenericArgument, PathArguments, PathSegment, Token, Type, TypeParamBound};

use crate::model::Failure;

/// A `Result<…>`.
pub(crate) struct Outcome<'a> {
    pub(crate) value: &'a Type,
    pub(crate) failure: Failure,
}

/// Reads `Result<T>`, `turno::Result<T>`, `Result<T, E>`.
pub(crate) fn outcome(kind: &Type) -> Option<Outcome<'_>> {
    let last = last_segment(kind).filter(|last| last.ident == "Result")?;
    let mut arguments = type_arguments(last);
    let value = arguments.next()?;
    Some(Outcome { value, failure: Failure { result: last.ident.clone(), kind: arguments.next().cloned() } })
}

pub(crate) fn is_context(kind: &Type) -> bool {
    last_segment(kind).is_some_and(|last| last.ident == "Context")
}

/// `impl Future`, `BoxFuture<…>`, `Pin<Box<dyn Future>>`.
pub(crate) fn is_future(kind: &Type) -> bool {
    bound(kind, "Future").is_some() || is_generic(kind, "Future") || boxed(kind).is_some_and(is_future)
}

/// `impl Stream`, `Streaming<…>`, `BoxStream<…>`, `Pin<Box<dyn Stream>>`.
pub(crate) fn is_stream(kind: &Type) -> bool {
    bound(kind, "Stream").is_some()
        || is_generic(kind, "Stream")
        || streaming(kind).is_some()
        || boxed(kind).is_some_and(is_stream)
}

/// The message of a `Streaming<…>`.
pub(crate) fn streaming(kind: &Type) -> Option<&Type> {
    let last = last_segment(kind).filter(|last| last.ident.to_string().ends_with("Streaming"))?;
    type_arguments(last).next()
}

/// The item of an `impl Stream<Item = …>`.
pub(crate) fn stream_item(kind: &Type) -> Option<&Type> {
    let Type::ImplTrait(_) = kind else { return None };
    let PathArguments::AngleBracketed(arguments) = &bound(kind, "Stream")?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
        _ => None,
    })
}

/// A generic type with such an end to its name: `ReceiverStream<T>`. A message has no parameters.
pub(crate) fn is_generic(kind: &Type, end: &str) -> bool {
    last_segment(kind)
        .is_some_and(|last| last.ident.to_string().ends_with(end) && type_arguments(last).next().is_some())
}

/// The `T` of a `Box<T>` or a `Pin<T>`.
fn boxed(kind: &Type) -> Option<&Type> {
    let last = last_segment(kind).filter(|last| last.ident == "Box" || last.ident == "Pin")?;
    type_arguments(last).next()
}

/// The bound on a trait of that name in an `impl …` or `dyn …`.
fn bound<'a>(kind: &'a Type, name: &str) -> Option<&'a PathSegment> {
    bounds(kind)?.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().filter(|last| last.ident == name),
        _ => None,
    })
}

fn bounds(kind: &Type) -> Option<&Punctuated<TypeParamBound, Token![+]>> {
    match kind {
        Type::ImplTrait(kind) => Some(&kind.bounds),
        Type::TraitObject(kind) => Some(&kind.bounds),
        _ => None,
    }
}

fn last_segment(kind: &Type) -> Option<&PathSegment> {
    match kind {
        Type::Path(kind) => kind.path.segments.last(),
        _ => None,
    }
}

fn type_arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        GenericArgument::Type(kind) => Some(kind),
        _ => None,
    })
}
