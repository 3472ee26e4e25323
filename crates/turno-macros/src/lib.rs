//! `#[turno::service]`: reads an impl block, tells each method's place from its signature, and fills the struct of
//! rpcs that `turno-build` generated. parse → model → emit; every mistake is reported at once, at the user's own word.

mod emit;
mod mistakes;
mod model;
mod parse;
mod shapes;
mod signature;

use proc_macro::TokenStream;

use crate::mistakes::Mistakes;

/// Serves an impl block as a service of a `.proto`. Documented in the SDK, where it is used as `#[turno::service]`.
#[proc_macro_attribute]
pub fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let mut mistakes = Mistakes::default();
    let code = match parse::service(attribute.into(), item.clone(), &mut mistakes) {
        Some(service) => emit::service(&service),
        // The user's own item stays, so that no second error comes from its absence.
        None => item,
    };
    let errors = mistakes.into_compile_errors();
    quote::quote! { #errors #code }.into()
}
