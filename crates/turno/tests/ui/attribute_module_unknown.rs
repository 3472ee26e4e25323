//! The attribute names a module that does not exist.

use turno::io::v1::{FetchRequest, FetchResponse};

struct Web;

#[turno::service(htpt)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
