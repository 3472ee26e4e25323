//! The attribute names the package's module, not the service's.

use turno::io::v1::{FetchRequest, FetchResponse};

struct Web;

#[turno::service(turno::io::v1)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
