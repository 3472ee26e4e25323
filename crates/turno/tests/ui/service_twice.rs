//! Two services on one type.

use turno::cpu::v1::{
    ConvertRequest, Image, InfoRequest, InfoResponse, ResizeRequest, ThumbnailRequest, images,
};
use turno::io::v1::{FetchRequest, FetchResponse, http};

struct Web;

#[turno::service(images)]
impl Web {
    fn info(&self, request: InfoRequest) -> turno::Result<InfoResponse> {
        Ok(InfoResponse { width: request.data.len() as u32, ..Default::default() })
    }

    fn thumbnail(&self, request: ThumbnailRequest) -> turno::Result<Image> {
        Ok(Image { data: request.data, ..Default::default() })
    }

    fn resize(&self, request: ResizeRequest) -> turno::Result<Image> {
        Ok(Image { data: request.data, ..Default::default() })
    }

    fn convert(&self, request: ConvertRequest) -> turno::Result<Image> {
        Ok(Image { data: request.data, ..Default::default() })
    }
}

#[turno::service(http)]
impl Web {
    async fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Ok(FetchResponse::default())
    }
}

fn main() {
    turno::node("web").service(|| Web);
}
