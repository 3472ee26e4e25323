//! Server reflection, v1 and v1alpha, of what is served now: tonic-reflection's services, made anew when nodes bring
//! new descriptors.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic_reflection::server::Builder;
use tower::Service as _;

use crate::error::Error;

type Routes = tonic::service::Routes;

/// The reflection services as they are now.
#[derive(Clone)]
pub(crate) struct Reflection {
    now: Arc<ArcSwap<Routes>>,
}

impl Reflection {
    /// Describes the gateway's own services.
    pub(crate) fn new() -> Result<Self, Error> {
        let routes = routes(&[])?;
        Ok(Self { now: Arc::new(ArcSwap::from_pointee(routes)) })
    }

    /// Describes the services of `set`, an encoded `FileDescriptorSet`, too. Streams that are open go on with what
    /// they began with.
    pub(crate) fn replace(&self, set: &[u8]) -> Result<(), Error> {
        self.now.store(Arc::new(routes(set)?));
        Ok(())
    }

    /// Answers a request to one of the reflection services.
    pub(crate) async fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut routes = Routes::clone(&self.now.load());
        // axum's router is always ready.
        routes.call(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Of two files with one name the first counts: no node describes the gateway's own services anew. Encoded sets are
/// given out as they are, with every option that they bring.
fn routes(set: &[u8]) -> Result<Routes, Error> {
    let sets = [turno_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET, set];
    let services = services(&sets)?;
    let builder = |itself: &str| {
        let files = sets
            .iter()
            .fold(Builder::configure(), |builder, set| builder.register_encoded_file_descriptor_set(set));
        services.iter().fold(files, Builder::with_service_name).with_service_name(itself)
    };
    let mut routes =
        Routes::default().add_service(builder("grpc.reflection.v1.ServerReflection").build_v1()?);
    routes = routes.add_service(builder("grpc.reflection.v1alpha.ServerReflection").build_v1alpha()?);
    Ok(routes.prepare())
}

/// What clients may call. The link is described, because `turno.v1.Calls` speaks its messages, but is not theirs.
fn services(sets: &[&[u8]]) -> Result<BTreeSet<String>, tonic_reflection::server::Error> {
    let mut names = BTreeSet::new();
    for set in sets {
        for file in FileDescriptorSet::decode(*set)?.file {
            let services = file.service.iter();
            names.extend(services.map(|service| format!("{}.{}", file.package(), service.name())));
        }
    }
    names.retain(|name| !name.starts_with("turno.mesh."));
    Ok(names)
}
