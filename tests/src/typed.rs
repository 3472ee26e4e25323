//! Calls by the markers that `turno-build` generates, over a stock tonic channel.

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use turno::rpc::{ServerStreaming, Unary};

use crate::TestMesh;

/// Calls a method that answers once.
pub async fn call<R: Unary>(mesh: &TestMesh, request: R::Request) -> Result<R::Response, Status> {
    let path = PathAndQuery::from_static(R::PATH);
    let answer = client(mesh).await.unary(Request::new(request), path, ProstCodec::default()).await;
    answer.map(tonic::Response::into_inner)
}

/// Everything that a method streams, until it ends or fails.
pub async fn stream<R: ServerStreaming>(
    mesh: &TestMesh,
    request: R::Request,
) -> Vec<Result<R::Response, Status>> {
    let path = PathAndQuery::from_static(R::PATH);
    match client(mesh).await.server_streaming(Request::new(request), path, ProstCodec::default()).await {
        Ok(answer) => tokio_stream::StreamExt::collect(answer.into_inner()).await,
        Err(error) => vec![Err(error)],
    }
}

async fn client(mesh: &TestMesh) -> Grpc<Channel> {
    let mut client =
        Grpc::new(mesh.channel()).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    client.ready().await.expect("the gateway is there");
    client
}
