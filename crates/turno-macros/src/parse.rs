//! Reads the attribute and the impl block, and goes on after a mistake: what can be served is emitted all the same,
//! so that rustc checks it in the same run.

use proc_macro2::{Span, TokenStream};
use syn::{Attribute, Error, ImplItem, ImplItemFn, ItemImpl, Path, Result};

use crate::mistakes::{Mistakes, mistake};
use crate::model::{Method, Service};
use crate::signature;

/// Reads `#[turno::service(module)] impl …`. `None` when there is no block to serve.
pub(crate) fn service(attribute: TokenStream, item: TokenStream, mistakes: &mut Mistakes) -> Option<Service> {
    let module = mistakes.value(module(attribute));
    let block = mistakes.value(block(item))?;
    mistakes.value(no_parameters(&block));
    let methods: Vec<Method> =
        block.items.iter().filter_map(|item| mistakes.value(rpc(item).and_then(method))).collect();
    let is_partial = methods.len() < block.items.len();
    Some(Service { module, block, methods, is_partial })
}

fn module(attribute: TokenStream) -> Result<Path> {
    if attribute.is_empty() {
        return Err(Error::new(
            Span::call_site(),
            "name the service's module: `#[turno::service(gallery)]` for `service Gallery` of the .proto",
        ));
    }
    let expected = "expected the path of the service's module, as in `#[turno::service(gallery)]`";
    syn::parse2(attribute.clone()).or_else(|_| mistake(attribute, expected))
}

fn block(item: TokenStream) -> Result<ItemImpl> {
    let block: ItemImpl = syn::parse2(item.clone()).or_else(|error| no_block(item, error))?;
    if let Some((_, path, _)) = &block.trait_ {
        return mistake(
            path,
            "#[turno::service] stands on an inherent impl block, `impl Gallery { … }`, not on a trait's",
        );
    }
    Ok(block)
}

fn no_parameters(block: &ItemImpl) -> Result<()> {
    if block.generics.params.is_empty() {
        return Ok(());
    }
    mistake(&block.generics, "a service has no generic parameters: name the types")
}

/// An item of another kind, or an impl block that is no Rust.
fn no_block(item: TokenStream, error: Error) -> Result<ItemImpl> {
    match syn::parse2::<syn::Item>(item) {
        Ok(syn::Item::Impl(_)) | Err(_) => Err(error),
        Ok(other) => {
            mistake(other, "#[turno::service] stands on the impl block with the rpcs: `impl Gallery { … }`")
        }
    }
}

fn rpc(item: &ImplItem) -> Result<&ImplItemFn> {
    match item {
        ImplItem::Fn(function) => Ok(function),
        other => mistake(
            other,
            "a service block holds its rpcs alone: move this to an impl block without #[turno::service]",
        ),
    }
}

fn method(function: &ImplItemFn) -> Result<Method> {
    let signature = signature::read(&function.sig)?;
    let conditions = function.attrs.iter().filter(|attribute| is_condition(attribute)).cloned().collect();
    Ok(Method { conditions, ..signature })
}

fn is_condition(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}
