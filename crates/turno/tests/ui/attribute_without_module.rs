//! The attribute names no module.

use turno::io::v1::{FetchRequest, FetchResponse};

struct Web;

#[turno::service]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
