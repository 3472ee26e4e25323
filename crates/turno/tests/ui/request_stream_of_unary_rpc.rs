//! An rpc that takes one message, implemented as one that takes a stream.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: turno::Streaming<FetchRequest>) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
