//! Writes the block back unchanged, and beside it the literal of the generated struct: a misspelt rpc is an unknown
//! field at the user's word, a forgotten one a missing field, a wrong type an unsatisfied bound at that type.
//!
//! Every token stands where the user's own word does that it is about: rustc then points there.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::Path;

use crate::model::{ContextAt, Failure, Method, Place, Service};

/// The code for a service.
pub(crate) fn service(service: &Service) -> TokenStream {
    let Service { module, block, .. } = service;
    let kind = &block.self_ty;
    let (parameters, _, _) = block.generics.split_for_impl();
    // A generic service has been refused: this is for the sake of those who use it.
    let bounds = (!block.generics.params.is_empty()).then(|| quote! { where Self: Send + Sync + 'static });
    let table = match module {
        Some(module) => table(module, service),
        None => quote! { ::turno::service::refused() },
    };
    // What the .proto and the schedule ask for, clippy advises against: not the user's to change.
    quote! {
        #[allow(
            clippy::needless_pass_by_value,
            clippy::unused_async,
            clippy::unused_self,
            reason = "an rpc's signature is given by the .proto and by where it shall run"
        )]
        #block

        #[automatically_derived]
        impl #parameters ::turno::Service for #kind #bounds {
            fn table(self) -> ::turno::service::Table {
                #table
            }
        }
    }
}

fn table(module: &Path, service: &Service) -> TokenStream {
    let fields = service.methods.iter().map(field);
    // What was refused has its error: that it is missing too shall not be a second one.
    let rest = service.is_partial.then(|| quote! { ..::turno::service::refused() });
    let at = module.segments.last().map_or_else(proc_macro2::Span::call_site, |last| last.ident.span());
    let literal = quote_spanned! { at => #module::Methods::<Self> { #(#fields,)* #rest } };
    quote! { (#literal).bind(self) }
}

fn field(method: &Method) -> TokenStream {
    let Method { name, conditions, place, request, response, failure, .. } = method;
    let call = call(method);
    let answer = answer(name, failure);
    let request = &request.message;
    let maker = maker(method);
    let method = match place {
        Place::Awaited => quote_spanned! { name.span() =>
            ::turno::service::#maker::<Self, _, #request, #response>(|this, ctx, request| {
                ::turno::service::on_any_thread(async move {
                    let outcome = #call.await;
                    #answer
                })
            })
        },
        Place::Job => quote_spanned! { name.span() =>
            ::turno::service::#maker::<Self, _, #request, #response>(|this, ctx, request| {
                let outcome = #call;
                #answer
            })
        },
        Place::Streamed(failure) => {
            let items = error(failure);
            quote_spanned! { name.span() =>
                ::turno::service::#maker::<Self, _, #request, #response>(|this, ctx, request, sink| {
                    ::turno::service::on_any_thread(async move {
                        let outcome = #call.await;
                        let stream = #answer?;
                        sink.forward(::turno::service::items::<#response, #items, _>(stream)).await
                    })
                })
            }
        }
    };
    quote_spanned! { name.span() => #(#conditions)* #name: #method }
}

/// The function of the SDK that makes the method of the user's.
fn maker(method: &Method) -> Ident {
    let maker = match (&method.place, method.request.is_stream) {
        (Place::Job, _) => "job",
        (Place::Awaited, false) => "awaited",
        (Place::Awaited, true) => "client_streamed",
        (Place::Streamed(_), false) => "streamed",
        (Place::Streamed(_), true) => "bidi_streamed",
    };
    Ident::new(maker, method.name.span())
}

fn call(method: &Method) -> TokenStream {
    let name = &method.name;
    match method.context {
        ContextAt::Nowhere => quote_spanned! { name.span() => { let _ = ctx; Self::#name(&*this, request) } },
        ContextAt::BeforeRequest => quote_spanned! { name.span() => Self::#name(&*this, ctx, request) },
        ContextAt::AfterRequest => quote_spanned! { name.span() => Self::#name(&*this, request, ctx) },
    }
}

fn answer(name: &Ident, failure: &Failure) -> TokenStream {
    let error = error(failure);
    // The same variable, but an error that is no status shall be told at the word `Result`.
    let outcome = Ident::new("outcome", name.span().located_at(failure.result.span()));
    quote_spanned! { name.span() => ::turno::service::answer::<_, #error>(#outcome) }
}

fn error(failure: &Failure) -> TokenStream {
    let kind = &failure.kind;
    match kind {
        Some(kind) => quote! { #kind },
        None => quote_spanned! { failure.result.span() => _ },
    }
}
