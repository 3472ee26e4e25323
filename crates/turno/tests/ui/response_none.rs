//! No return type.

use turno::io::v1::{FetchRequest, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) {
        println!("fetched");
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
