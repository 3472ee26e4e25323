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

/// Serves until `shutdown`. Answers the address that it listens on.
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
    let app = router(readiness, metrics);
    task::spawn("runtime.ops", async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the port for health and metrics broke");
        }
    });
    Ok(bound)
}

fn router(readiness: Readiness, metrics: Option<PrometheusHandle>) -> Router {
    let ready = move || {
        let ready = readiness.get();
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
