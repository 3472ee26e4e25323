//! The error does not become a status.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Late;

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> Result<FetchResponse, Late> {
        Err(Late)
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
