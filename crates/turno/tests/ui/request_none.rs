//! No request.

use turno::io::v1::{FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
