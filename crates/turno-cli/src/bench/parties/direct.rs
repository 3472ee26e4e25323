//! The alternative: the same service by stock tonic. What waits is awaited there too; what works is sent to a rayon pool
//! by hand and awaited by a oneshot.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::stubs::bench_server::{Bench, BenchServer};
use super::stubs::{EchoRequest, EchoResponse, SpinAwaitedRequest, SpinRequest, WaitRequest};
use crate::bench::spin::spin;
use crate::children::ChildFlags;

#[derive(Debug, Args)]
pub(crate) struct DirectArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, default_value_t = 1)]
    threads: u32,
    #[command(flatten)]
    child: ChildFlags,
}

struct Direct {
    pool: ThreadPool,
}

#[tonic::async_trait]
impl Bench for Direct {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        Ok(Response::new(EchoResponse { payload: request.into_inner().payload }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<EchoResponse>, Status> {
        tokio::time::sleep(Duration::from_millis(request.into_inner().ms)).await;
        Ok(Response::new(EchoResponse::default()))
    }

    async fn hold(&self, _: Request<WaitRequest>) -> Result<Response<EchoResponse>, Status> {
        Err(Status::unimplemented("a tonic server has no slots to hold"))
    }

    async fn spin(&self, request: Request<SpinRequest>) -> Result<Response<EchoResponse>, Status> {
        let (done, ended) = oneshot::channel();
        let loops = request.into_inner().loops;
        self.pool.spawn(move || {
            spin(loops);
            // Nobody listens when the caller has gone.
            let _gone = done.send(());
        });
        ended.await.map_err(|_| Status::internal("the job panicked"))?;
        Ok(Response::new(EchoResponse::default()))
    }

    async fn spin_awaited(
        &self,
        request: Request<SpinAwaitedRequest>,
    ) -> Result<Response<EchoResponse>, Status> {
        let request = request.into_inner();
        tokio::time::sleep(Duration::from_millis(request.wait_ms)).await;
        spin(request.loops);
        Ok(Response::new(EchoResponse::default()))
    }
}

/// As the gateway has it: 10,000 calls may wait together on one connection.
const MOST_STREAMS: u32 = 10_000;

pub(crate) async fn direct(args: DirectArgs) -> Result<ExitCode> {
    args.child.apply()?;
    let shutdown = turno_runtime::shutdown::on_signal()?;
    let pool = ThreadPoolBuilder::new().num_threads(args.threads as usize).build()?;
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(MOST_STREAMS)
        .add_service(BenchServer::new(Direct { pool }));
    server.serve_with_shutdown(args.listen, shutdown.cancelled_owned()).await?;
    Ok(ExitCode::SUCCESS)
}
