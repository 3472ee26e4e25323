//! A plain `fn` that answers a boxed future.

use futures_util::future::BoxFuture;
use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, turno::Result<FetchResponse>> {
        Box::pin(async { Ok(FetchResponse::default()) })
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
