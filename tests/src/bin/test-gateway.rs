//! A gateway as a process, for tests that kill it: the clients' address, the nodes', and where tickets are kept, a
//! directory or a PostgreSQL.

use std::net::SocketAddr;
use std::process::ExitCode;

use turno_gateway::GatewayConfig;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("an address, an address, a place");
    let mut address = || -> SocketAddr { next().parse().expect("an address") };
    let mut config = GatewayConfig { listen: address(), nodes: address(), ..GatewayConfig::default() };
    let place = next();
    if place.starts_with("postgres") {
        config.store = Some(place.try_into().expect("a store's URL"));
    } else {
        config.data = place.into();
    }
    config.telemetry.log = "error".to_owned();
    match turno_gateway::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the gateway could not start");
            ExitCode::FAILURE
        }
    }
}
