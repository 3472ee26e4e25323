//! A client of gRPC server reflection (`grpc.reflection.v1`): what an address serves, and the descriptors of
//! one service. Called by `turno call`, which needs no `.proto` at hand; nothing here reads a file.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, anyhow, bail};
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor, prost::Message as _};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use turno_proto::status::{code_name, code_of};

use crate::call::method::{self, Name};
use crate::call::{answer, nearest, why};

/// The full names of the services that the channel's other end offers, sorted.
pub(crate) async fn list_services(channel: Channel) -> anyhow::Result<Vec<String>> {
    let question = vec![MessageRequest::ListServices(String::new())];
    let answers = answer(Reflection::new(channel).ask(question)).await;
    let mut names = Vec::new();
    for answer in answers.map_err(refused)? {
        if let MessageResponse::ListServicesResponse(list) = answer {
            names.extend(list.service.into_iter().map(|service| service.name));
        }
    }
    names.sort();
    Ok(names)
}

/// The method of this name, with all that its service is declared with, from the channel's other end, which is at `address`.
pub(crate) async fn find(channel: Channel, address: &str, name: &Name) -> anyhow::Result<MethodDescriptor> {
    let error = match describe(channel.clone(), &name.service).await {
        Ok(service) => return name.find(&service),
        Err(error) => error,
    };
    if error.is::<Refused>() {
        return Err(error.context(address.to_owned()));
    }
    // With a point before it, a service alone reads as a method of its package.
    match describe(channel, &format!("{}.{}", name.service, name.method)).await {
        Ok(service) => Err(method::missing(&service)),
        Err(_) => Err(error),
    }
}

/// Fetches all that `service` is declared with. Its pool (`ServiceDescriptor::parent_pool`) holds every type
/// that its methods can carry.
async fn describe(channel: Channel, service: &str) -> anyhow::Result<ServiceDescriptor> {
    let mut reflection = Reflection::new(channel.clone());
    let question = vec![MessageRequest::FileContainingSymbol(service.to_owned())];
    let mut files = match answer(reflection.ask(question)).await {
        Ok(answers) => Files::default().with(answers)?,
        Err(status) if is_unknown(&status) => return Err(unknown_service(channel, service).await),
        Err(status) => return Err(refused(status)),
    };
    loop {
        let missing = files.missing();
        if missing.is_empty() {
            break;
        }
        let questions = missing.iter().cloned().map(MessageRequest::FileByFilename).collect();
        files = files.with(answer(reflection.ask(questions)).await.map_err(refused)?)?;
        if let Some(name) = missing.iter().find(|name| !files.by_name.contains_key(*name)) {
            bail!("{service} imports {name}, which reflection does not give");
        }
    }
    match files.into_pool()?.get_service_by_name(service) {
        Some(found) => Ok(found),
        None => Err(unknown_service(channel, service).await),
    }
}

/// One reflection service, asked in rounds.
struct Reflection {
    client: ServerReflectionClient<Channel>,
}

impl Reflection {
    fn new(channel: Channel) -> Self {
        Self { client: ServerReflectionClient::new(channel).max_decoding_message_size(usize::MAX) }
    }

    /// Asks `questions` in one stream; the first that is refused ends it.
    async fn ask(&mut self, questions: Vec<MessageRequest>) -> Result<Vec<MessageResponse>, Status> {
        let requests = questions
            .into_iter()
            .map(|question| ServerReflectionRequest { host: String::new(), message_request: Some(question) });
        let mut stream = self
            .client
            .server_reflection_info(tokio_stream::iter(requests.collect::<Vec<_>>()))
            .await?
            .into_inner();
        let mut answers = Vec::new();
        while let Some(response) = stream.message().await? {
            match response.message_response {
                Some(MessageResponse::ErrorResponse(error)) => {
                    let number = u32::try_from(error.error_code).unwrap_or(u32::MAX);
                    return Err(Status::new(code_of(number), error.error_message));
                }
                Some(answer) => answers.push(answer),
                None => {}
            }
        }
        Ok(answers)
    }
}

/// Encoded `FileDescriptorProto`s by file name. They stay encoded beside their decoded imports, because decoding
/// drops the extensions (`turno.v1.method`) that options may carry.
#[derive(Default)]
struct Files {
    by_name: BTreeMap<String, (Vec<u8>, Vec<String>)>,
}

impl Files {
    fn with(mut self, answers: Vec<MessageResponse>) -> anyhow::Result<Self> {
        for answer in answers {
            if let MessageResponse::FileDescriptorResponse(files) = answer {
                files.file_descriptor_proto.into_iter().try_for_each(|file| self.insert(file))?;
            }
        }
        Ok(self)
    }

    fn insert(&mut self, encoded: Vec<u8>) -> anyhow::Result<()> {
        let file = FileDescriptorProto::decode(encoded.as_slice())
            .context("reflection answered something that is no file descriptor")?;
        self.by_name.insert(file.name().to_owned(), (encoded, file.dependency));
        Ok(())
    }

    /// The imports to ask for next. Google's own types are at hand, and some servers do not give them.
    fn missing(&mut self) -> Vec<String> {
        loop {
            let missing: Vec<String> =
                self.imports().filter(|name| !self.by_name.contains_key(name)).collect();
            let known: Vec<_> =
                missing.iter().filter_map(|name| DescriptorPool::global().get_file_by_name(name)).collect();
            if known.is_empty() {
                return missing;
            }
            for file in known {
                let imports = file.file_descriptor_proto().dependency.clone();
                self.by_name.insert(file.name().to_owned(), (file.encode_to_vec(), imports));
            }
        }
    }

    fn imports(&self) -> impl Iterator<Item = String> {
        let mut names: Vec<&String> = self.by_name.values().flat_map(|(_, imports)| imports).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().cloned().collect::<Vec<_>>().into_iter()
    }

    fn into_pool(self) -> anyhow::Result<DescriptorPool> {
        let encoded: Vec<Vec<u8>> = self.by_name.into_values().map(|(encoded, _)| encoded).collect();
        let mut set = Vec::new();
        // A `FileDescriptorSet` is its files in field 1.
        prost_reflect::prost::encoding::bytes::encode_repeated(1, &encoded, &mut set);
        let mut pool = DescriptorPool::new();
        pool.decode_file_descriptor_set(set.as_slice())
            .context("the descriptors that reflection gives clash")?;
        Ok(pool)
    }
}

/// Servers say so for a symbol that they do not have; some with the one, some with the other.
fn is_unknown(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

/// What a gateway serves, and no other server.
const GATEWAYS_OWN: &str = "turno.v1.Admin";
const NODES: &str = "\nthe others come with their nodes: start one that serves it, or wait until it is linked; \
                     `turno nodes` shows those that are";

async fn unknown_service(channel: Channel, wanted: &str) -> anyhow::Error {
    match list_services(channel).await {
        Ok(served) if served.is_empty() => anyhow!("no service {wanted}: nothing is served there"),
        Ok(served) => {
            let hint = nearest::hint(wanted, served.iter().map(String::as_str));
            let is_gateway = served.iter().any(|name| name == GATEWAYS_OWN);
            let nodes = if is_gateway { NODES } else { "" };
            Unserved(format!("no service {wanted}{hint}\nserved: {}{nodes}", served.join(", "))).into()
        }
        Err(error) => error,
    }
}

/// What there is has been heard, and the service is not among it.
#[derive(Debug)]
pub(crate) struct Unserved(String);

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unserved {}

/// Nothing was heard of what is served, such as that something is not.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Status);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.code() {
            Code::Unimplemented => f.write_str(
                "what answers there does not offer server reflection (grpc.reflection.v1), which is needed here",
            ),
            code => write!(f, "server reflection failed: {}: {}", code_name(code), why(&self.0)),
        }
    }
}

impl std::error::Error for Refused {}

pub(crate) fn refused(status: Status) -> anyhow::Error {
    Refused(status).into()
}

#[cfg(test)]
mod tests;
