//! The response as tonic wraps it.

use tonic::Response;
use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<Response<FetchResponse>> {
        Ok(Response::new(FetchResponse::default()))
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
