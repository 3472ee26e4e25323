//! `#[turno::service]`: reads an impl block, tells each method's place from its signature, and fills the struct of
//! rpcs that `turno-build` generated. parse → model → emit; every mistake is reported at once, at the user's own word.

mod emit;
mod model;
mod parse;

use proc_macro::TokenStream;

/// Serves an impl block as a service of a `.proto`. Documented in the SDK, where it is used as `#[turno::service]`.
#[proc_macro_attribute]
pub fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let block = proc_macro2::TokenStream::from(item);
    match parse::service(attribute.into(), block.clone()) {
        Ok(service) => emit::service(&service).into(),
        Err(error) => {
            let error = error.into_compile_error();
            // The user's own item stays, so that no second error comes from its absence.
            quote::quote! { #error #block }.into()
        }
    }
}
