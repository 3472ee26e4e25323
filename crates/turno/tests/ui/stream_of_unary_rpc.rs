//! An rpc that answers once, implemented as a stream.

use futures_util::{Stream, stream};
use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(http)]
impl Web {
    async fn fetch(
        &self,
        _: FetchRequest,
    ) -> turno::Result<impl Stream<Item = turno::Result<FetchResponse>>> {
        Ok(stream::iter([Ok(FetchResponse::default())]))
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
