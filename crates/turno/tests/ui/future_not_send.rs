//! An `Rc` held over an await.

use std::rc::Rc;

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        let shared = Rc::new(200);
        std::future::ready(()).await;
        Ok(FetchResponse { status: *shared, ..Default::default() })
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
