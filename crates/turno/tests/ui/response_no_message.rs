//! The response is no message at all.

use turno::io::v1::{FetchRequest, http};

struct Page;

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<Page> {
        Ok(Page)
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
