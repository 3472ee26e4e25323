//! Who answers a bench: the echo as a service of Turno, and the same as a plain tonic server.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tonic::{Request, Response, Status};
use turno::node::config::NodeConfig;
use turno_runtime::config::Config as _;

use crate::children::ChildFlags;

pub(crate) mod generated {
    #![allow(missing_docs, unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated")]
    turno::include_proto!("turno.bench.v1");
}

/// Stock tonic code for the same service.
pub(crate) mod stubs {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::large_futures,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/stubs/turno.bench.v1.rs"));
}

use generated::{EchoRequest, EchoResponse, WaitRequest, bench};
use stubs::bench_server::{Bench, BenchServer};

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    gateway: String,
    #[arg(long, default_value = "io")]
    role: turno::node::config::Role,
    #[arg(long, default_value_t = 1)]
    slots: u32,
    #[command(flatten)]
    child: ChildFlags,
}

#[derive(Debug, Args)]
pub(crate) struct DirectArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[command(flatten)]
    child: ChildFlags,
}

struct Echo;

#[turno::service(bench)]
impl Echo {
    async fn echo(&self, request: EchoRequest) -> turno::Result<EchoResponse> {
        Ok(EchoResponse { payload: request.payload })
    }

    async fn wait(&self, request: WaitRequest) -> turno::Result<EchoResponse> {
        tokio::time::sleep(Duration::from_millis(request.ms)).await;
        Ok(EchoResponse::default())
    }

    #[expect(clippy::disallowed_methods, reason = "a job that holds its slot without needing a core")]
    fn hold(&self, request: WaitRequest) -> turno::Result<EchoResponse> {
        std::thread::sleep(Duration::from_millis(request.ms));
        Ok(EchoResponse::default())
    }
}

pub(crate) fn node(args: &NodeArgs) -> Result<ExitCode> {
    args.child.apply()?;
    let (gateway, role, slots) = (args.gateway.clone(), args.role, Some(args.slots));
    let mut config = NodeConfig { gateway, role, slots, ..NodeConfig::default() };
    config.telemetry.log = "warn".to_owned();
    config.validate().map_err(anyhow::Error::msg)?;
    turno::node("bench").service(|| Echo).run_with(&config)?;
    Ok(ExitCode::SUCCESS)
}

struct Direct;

#[tonic::async_trait]
impl Bench for Direct {
    async fn echo(
        &self,
        request: Request<stubs::EchoRequest>,
    ) -> Result<Response<stubs::EchoResponse>, Status> {
        Ok(Response::new(stubs::EchoResponse { payload: request.into_inner().payload }))
    }

    async fn wait(
        &self,
        request: Request<stubs::WaitRequest>,
    ) -> Result<Response<stubs::EchoResponse>, Status> {
        tokio::time::sleep(Duration::from_millis(request.into_inner().ms)).await;
        Ok(Response::new(stubs::EchoResponse::default()))
    }

    async fn hold(&self, _: Request<stubs::WaitRequest>) -> Result<Response<stubs::EchoResponse>, Status> {
        Err(Status::unimplemented("a tonic server has no slots to hold"))
    }
}

pub(crate) async fn direct(args: DirectArgs) -> Result<ExitCode> {
    args.child.apply()?;
    let shutdown = turno_runtime::shutdown::on_signal()?;
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(BenchServer::new(Direct));
    server.serve_with_shutdown(args.listen, shutdown.cancelled_owned()).await?;
    Ok(ExitCode::SUCCESS)
}
