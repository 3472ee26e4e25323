//! Server reflection, v1 and v1alpha, of what is served now: tonic-reflection's services, made anew when nodes bring
//! new descriptors.

mod ahead;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};
use tokio::sync::watch;
use tonic::body::Body;
use tonic_reflection::server::Builder;
use tower::Service as _;

use crate::edge::is_own;
use crate::error::Error;
use ahead::Ahead;

type Routes = tonic::service::Routes;

/// The reflection services as they are now.
#[derive(Clone)]
pub(crate) struct Reflection {
    now: Arc<watch::Sender<Described>>,
}

struct Described {
    routes: Routes,
    names: Names,
}

/// What there is a description of.
#[derive(Default)]
struct Names {
    /// Services, messages and enums. What is inside one has its name before its own.
    declared: HashSet<String>,
    /// Nobody asks for a package but by mistake.
    packages: HashSet<String>,
}

impl Reflection {
    /// Describes the gateway's own services.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { now: Arc::new(watch::Sender::new(Described::of(&[])?)) })
    }

    /// Describes the services of `set`, an encoded `FileDescriptorSet`, too. Streams that have asked something go on with
    /// what they began with.
    pub(crate) fn replace(&self, set: &[u8]) -> Result<(), Error> {
        self.now.send_replace(Described::of(set)?);
        Ok(())
    }

    /// Answers a request to one of the reflection services. Until `settled` nodes may still be on their way: who
    /// begins a stream with a symbol of theirs waits for it, as calls do.
    pub(crate) async fn call(&self, request: Request<Body>, settled: Instant) -> Response<Body> {
        let request = if Instant::now() < settled { self.known(request, settled).await } else { request };
        let mut routes = self.now.borrow().routes.clone();
        // axum's router is always ready.
        routes.call(request).await.unwrap_or_else(|never| match never {})
    }

    async fn known(&self, request: Request<Body>, settled: Instant) -> Request<Body> {
        let (head, body) = request.into_parts();
        let (mut ahead, mut now) = (Ahead::of(body), self.now.subscribe());
        let known = async {
            if let Some(symbol) = ahead.symbol().await {
                drop(now.wait_for(|now| now.knows(&symbol)).await);
            }
        };
        // Then it is answered with what there is.
        let _late = tokio::time::timeout_at(settled.into(), known).await;
        Request::from_parts(head, ahead.into_body())
    }
}

impl Described {
    fn of(set: &[u8]) -> Result<Self, Error> {
        let sets = [turno_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET, set];
        let files = files(&sets)?;
        Ok(Self { routes: routes(&sets, &services(&files))?, names: Names::of(&files) })
    }

    /// Whether waiting for nodes would bring nothing more of `symbol`.
    fn knows(&self, symbol: &str) -> bool {
        is_own(&format!("/{symbol}")) || self.names.has(symbol)
    }
}

impl Names {
    fn of(files: &[FileDescriptorProto]) -> Self {
        let mut names = Self::default();
        for file in files {
            names.add(file);
        }
        names
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let services = file.service.iter().map(ServiceDescriptorProto::name);
        let messages = file.message_type.iter().map(DescriptorProto::name);
        let declared = services.chain(messages).chain(file.enum_type.iter().map(EnumDescriptorProto::name));
        self.declared.extend(declared.map(|name| full_name(file, name)));
        self.packages.extend(and_around(file.package()).map(str::to_owned));
    }

    fn has(&self, symbol: &str) -> bool {
        self.packages.contains(symbol) || and_around(symbol).any(|name| self.declared.contains(name))
    }
}

/// Of what `file` declares by that name: "kitchen.v1.Dish", or "Dish" where it says no package.
pub(crate) fn full_name(file: &FileDescriptorProto, name: &str) -> String {
    match file.package() {
        "" => name.to_owned(),
        package => format!("{package}.{name}"),
    }
}

/// A name, and those of what it is in.
fn and_around(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.rsplit_once('.')?.0))
}

/// Of two files with one name the first counts: no node describes the gateway's own services anew. Encoded sets are
/// given out as they are, with every option that they bring.
fn routes(sets: &[&[u8]], services: &BTreeSet<String>) -> Result<Routes, Error> {
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

fn files(sets: &[&[u8]]) -> Result<Vec<FileDescriptorProto>, tonic_reflection::server::Error> {
    let mut files = Vec::new();
    for set in sets {
        files.extend(FileDescriptorSet::decode(*set)?.file);
    }
    Ok(files)
}

/// What clients may call. The link is described, because `turno.v1.Calls` speaks its messages, but is not theirs.
fn services(files: &[FileDescriptorProto]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        names.extend(file.service.iter().map(|service| full_name(file, service.name())));
    }
    names.retain(|name| !name.starts_with("turno.mesh."));
    names
}
