//! The error that an alias hides does not become a status.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Late;

mod late {
    pub(crate) type Result<T> = std::result::Result<T, super::Late>;
}

struct Web;

#[turno::service(http)]
impl Web {
    fn fetch(&self, _: FetchRequest) -> late::Result<FetchResponse> {
        Err(Late)
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
