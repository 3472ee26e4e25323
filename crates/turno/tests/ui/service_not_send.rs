//! A service that cannot go to another thread: it works.

use std::rc::Rc;

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web {
    status: Rc<u32>,
}

#[turno::service(http)]
impl Web {
    fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse { status: *self.status, ..Default::default() })
    }
}

fn main() {
    turno::node("web").service(|| Web { status: Rc::new(200) });
}
