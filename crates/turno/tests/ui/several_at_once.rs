//! Several mistakes: all are told in one run.

use turno::cpu::v1::{ConvertRequest, Image, InfoRequest, InfoResponse, ThumbnailRequest, images};

struct Pictures;

#[turno::service(images)]
impl Pictures {
    fn info(&mut self, request: InfoRequest) -> turno::Result<InfoResponse> {
        Ok(InfoResponse { width: request.data.len() as u32, ..Default::default() })
    }

    fn tumbnail(&self, request: ThumbnailRequest) -> turno::Result<Image> {
        Ok(Image { data: request.data, ..Default::default() })
    }

    fn resize(&self, request: ConvertRequest) -> turno::Result<Image> {
        Ok(Image { data: request.data, ..Default::default() })
    }

    fn convert(&self, request: ConvertRequest) -> turno::Result<Image> {
        Ok(Image { data: request.data, ..Default::default() })
    }
}

fn main() {
    turno::node("pictures").service(|| Pictures);
}
