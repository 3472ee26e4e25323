//! The line to a gateway, for every command that talks to one.

use std::error::Error;
use std::time::Duration;

use anyhow::{anyhow, bail};
use tonic::transport::{Channel, Endpoint};

/// Connects to the gateway at `address` ("http://127.0.0.1:7070"; the scheme may be left out).
pub(crate) async fn dial(address: &str) -> anyhow::Result<Channel> {
    let endpoint = endpoint(address)?.connect_timeout(Duration::from_secs(5)).http2_adaptive_window(true);
    endpoint.connect().await.map_err(|error| {
        anyhow!(
            "no gateway answers at {address} ({}); start one with `turno up`, or name another by --address",
            innermost(&error)
        )
    })
}

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    if !url.starts_with("http://") {
        bail!("{address}: only http:// addresses can be called");
    }
    Endpoint::from_shared(url)
        .map_err(|_| anyhow!("{address:?} is no address; write it as http://127.0.0.1:7070"))
}

/// The first cause of all.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::{dial, endpoint};

    #[test]
    fn the_scheme_may_be_left_out() {
        assert_eq!(endpoint("localhost:7070").unwrap().uri().to_string(), "http://localhost:7070/");
        assert_eq!(endpoint("http://[::1]:1").unwrap().uri().to_string(), "http://[::1]:1/");
        assert!(endpoint("https://a.example").unwrap_err().to_string().contains("only http://"));
        assert!(endpoint("no address").unwrap_err().to_string().contains("is no address"));
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_what_to_do() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = dial(&format!("http://127.0.0.1:{port}")).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no gateway answers at http://127.0.0.1:{port} (Connection refused"))
        );
        assert!(error.ends_with("start one with `turno up`, or name another by --address"), "{error}");
    }
}
