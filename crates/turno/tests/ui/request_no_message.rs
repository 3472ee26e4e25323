//! The request is no message at all.

use turno::io::v1::{FetchResponse, http};

struct Url;

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: Url) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
