//! A plain `fn` that answers a future.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    fn fetch(&self, _: FetchRequest) -> impl Future<Output = turno::Result<FetchResponse>> {
        async { Ok(FetchResponse::default()) }
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
