//! A generic service.

use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web<T>(T);

#[turno::service(http)]
impl<T: Send + Sync + 'static> Web<T> {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {}
