//! The HTTP server of the demo: serves the pictures, each request after a wait, as a server far away would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use turno_runtime::task;

/// A picture on sale.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Shop {
    address: SocketAddr,
    pictures: Arc<Vec<Picture>>,
    _serving: AbortOnDropHandle<()>,
}

impl Shop {
    /// Opens on a port of its own.
    pub(crate) async fn open(pictures: Vec<Picture>, latency: Duration) -> Result<Self> {
        let pictures = Arc::new(pictures);
        let app = Router::new().route("/{number}", get(serve)).with_state((pictures.clone(), latency));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let serving = task::spawn("demo.shop", async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the demo's HTTP server broke");
            }
        });
        Ok(Self { address, pictures, _serving: AbortOnDropHandle::new(serving) })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.pictures.len()
    }

    pub(crate) fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    pub(crate) fn url(&self, number: usize) -> String {
        format!("http://{}/{number}", self.address)
    }
}

type Shelf = (Arc<Vec<Picture>>, Duration);

async fn serve(
    State((pictures, latency)): State<Shelf>,
    Path(number): Path<usize>,
) -> Result<Bytes, StatusCode> {
    tokio::time::sleep(latency).await;
    pictures.get(number).map(|picture| picture.bytes.clone()).ok_or(StatusCode::NOT_FOUND)
}
