//! The bench's service as a user of Turno writes it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use turno::node::config::NodeConfig;
use turno_runtime::config::Config as _;

use crate::bench::spin::spin;
use crate::children::ChildFlags;

pub(crate) mod generated {
    #![allow(missing_docs, unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated")]
    turno::include_proto!("turno.bench.v1");
}

use generated::{EchoRequest, EchoResponse, SpinAwaitedRequest, SpinRequest, WaitRequest, bench};

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

struct Bench;

#[turno::service(bench)]
impl Bench {
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

    fn spin(&self, request: SpinRequest) -> turno::Result<EchoResponse> {
        spin(request.loops);
        if request.fail { Err(turno::Status::data_loss("as asked")) } else { Ok(EchoResponse::default()) }
    }

    async fn spin_awaited(&self, request: SpinAwaitedRequest) -> turno::Result<EchoResponse> {
        tokio::time::sleep(Duration::from_millis(request.wait_ms)).await;
        spin(request.loops);
        Ok(EchoResponse::default())
    }
}

pub(crate) fn node(args: &NodeArgs) -> Result<ExitCode> {
    args.child.apply()?;
    let (gateway, role, slots) = (args.gateway.clone(), args.role, Some(args.slots));
    let mut config = NodeConfig { gateway, role, slots, ..NodeConfig::default() };
    config.telemetry.log = "warn".to_owned();
    config.validate().map_err(anyhow::Error::msg)?;
    turno::node("bench").service(|| Bench).run_with(&config)?;
    Ok(ExitCode::SUCCESS)
}
