//! A plain `fn` that awaits.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        std::future::ready(Ok(FetchResponse::default())).await
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
