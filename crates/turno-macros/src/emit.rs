//! Writes the block back unchanged, and beside it the literal of the generated struct: a misspelt rpc is an unknown
//! field at the user's word, a forgotten one a missing field, a wrong type an unsatisfied bound at that type.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;

use crate::model::{ContextAt, Method, Place, Service};

/// The code for a service.
pub(crate) fn service(service: &Service) -> TokenStream {
    let Service { module, block, methods } = service;
    let kind = &block.self_ty;
    let fields = methods.iter().map(field);
    let literal = quote_spanned! { module.span() => #module::Methods::<#kind> { #(#fields)* } };
    quote! {
        #block

        impl ::turno::Service for #kind {
            fn table(self) -> ::turno::service::Table {
                (#literal).bind(self)
            }
        }
    }
}

fn field(method: &Method) -> TokenStream {
    let Method { name, request, response, .. } = method;
    let call = call(method);
    let request = quote_spanned! { request.span() => #request };
    let response = quote_spanned! { response.span() => #response };
    match method.place {
        Place::Awaited => quote_spanned! { name.span() =>
            #name: ::turno::service::awaited::<Self, _, #request, #response>(
                |this, ctx, request| ::std::boxed::Box::pin(async move { ::std::result::Result::Ok(#call.await?) })
            ),
        },
        Place::Job => quote_spanned! { name.span() =>
            #name: ::turno::service::job::<Self, _, #request, #response>(
                |this, ctx, request| ::std::result::Result::Ok(#call?)
            ),
        },
        Place::Streamed => quote_spanned! { name.span() =>
            #name: ::turno::service::streamed::<Self, _, #request, #response>(
                |this, ctx, request, sink| ::std::boxed::Box::pin(async move { sink.forward(#call.await?).await })
            ),
        },
    }
}

fn call(method: &Method) -> TokenStream {
    let name = &method.name;
    match method.context {
        ContextAt::Nowhere => quote_spanned! { name.span() => { let _ = ctx; Self::#name(&*this, request) } },
        ContextAt::BeforeRequest => quote_spanned! { name.span() => Self::#name(&*this, ctx, request) },
        ContextAt::AfterRequest => quote_spanned! { name.span() => Self::#name(&*this, request, ctx) },
    }
}
