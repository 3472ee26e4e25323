//! The HTTP port of a process, for whoever operates it: `/healthz` (it lives), `/readyz` (it can do its work),
//! `/metrics` (Prometheus' text format).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Error, task};

/// Whether a process can do its work: a gateway that takes calls, a node that is linked.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicUsize>);

impl Readiness {
    /// One more reason to be ready: a port that takes calls, a link that stands.
    pub fn gain(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn lose(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is any.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Serves to the end of the process: who drains is still watched, but from `shutdown` on it is not ready. Answers the address
/// that it listens on.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: Option<PrometheusHandle>,
    shutdown: CancellationToken,
) -> Result<SocketAddr, Error> {
    let (purpose, flag) = ("health and metrics", "--metrics");
    let listen = |source| Error::Listen { address, purpose, flag, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let app = router(readiness, metrics, shutdown);
    task::spawn("runtime.ops", async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the port for health and metrics broke");
        }
    });
    Ok(bound)
}

fn router(readiness: Readiness, metrics: Option<PrometheusHandle>, shutdown: CancellationToken) -> Router {
    let ready = move || {
        let ready = readiness.get() && !shutdown.is_cancelled();
        async move {
            if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
        }
    };
    let render = move || {
        let text = metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
        async move { text }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
}

#[cfg(test)]
mod tests {
    use super::{Readiness, serve};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn who_drains_lives_and_is_not_ready() {
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let any = "127.0.0.1:0".parse().unwrap();
        let address = serve(any, readiness.clone(), None, shutdown.clone()).await.unwrap();
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: turno\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer["HTTP/1.1 ".len()..][..3].parse::<u16>().unwrap()
        };
        assert_eq!((ask("/healthz").await, ask("/readyz").await), (200, 503), "it has not begun");
        readiness.gain();
        assert_eq!(ask("/readyz").await, 200);
        shutdown.cancel();
        assert_eq!((ask("/healthz").await, ask("/readyz").await, ask("/metrics").await), (200, 503, 200));
    }
}
