//! Server reflection, v1 and v1alpha, of what is served now: tonic-reflection's services, made anew when nodes bring
//! new descriptors.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};
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
        let routes = routes(FileDescriptorSet::default())?;
        Ok(Self { now: Arc::new(ArcSwap::from_pointee(routes)) })
    }

    /// Describes the services of `set` too. Streams that are open go on with what they began with.
    pub(crate) fn replace(&self, set: FileDescriptorSet) -> Result<(), Error> {
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

fn routes(set: FileDescriptorSet) -> Result<Routes, Error> {
    let builder = || {
        Builder::configure()
            .register_file_descriptor_set(set.clone())
            .register_encoded_file_descriptor_set(turno_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::default().add_service(builder().build_v1()?);
    routes = routes.add_service(builder().build_v1alpha()?);
    Ok(routes.prepare())
}
