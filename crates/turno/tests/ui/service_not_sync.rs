//! A service that its calls cannot share: it waits.

use std::cell::Cell;

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web {
    count: Cell<u32>,
}

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        self.count.set(self.count.get() + 1);
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web { count: Cell::new(0) });
}
