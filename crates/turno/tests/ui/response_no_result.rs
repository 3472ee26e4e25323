//! The response is not in a result.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> FetchResponse {
        FetchResponse::default()
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
