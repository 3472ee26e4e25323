//! The attribute names the service as the .proto does.

use turno::io::v1::{FetchRequest, FetchResponse};

struct Web;

#[turno::service("turno.io.v1.Http")]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
