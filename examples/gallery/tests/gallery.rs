//! The tutorial, end to end: a real picture over HTTP, fetched by an I/O node, made small by a worker.

use axum::Router;
use axum::routing::get;
use gallery::gallery::{Palette, Thumbnail, Thumbnails};
use gallery::{PaletteRequest, ThumbnailRequest, ThumbnailsRequest};
use turno_tests::{TestMesh, call, stream};

const ROCKET: &[u8] = include_bytes!("../../../services/worker/testdata/rocket.jpg");

async fn mesh() -> TestMesh {
    let mesh = TestMesh::gateway(turno_gateway::GatewayConfig::default()).await;
    let mut io = turno_io::IoConfig::default();
    io.http.allow_private = true;
    let role = turno::node::config::Role::Both;
    mesh.join(turno_io::node(&io), mesh.node_config(role, 1)).await;
    mesh.join(turno_worker::node(&turno_worker::WorkerConfig::default()), mesh.node_config(role, 2)).await;
    mesh.join(turno::node("gallery").service(|| gallery::Gallery), mesh.node_config(role, 1)).await;
    mesh
}

#[expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test's own server")]
async fn shop() -> String {
    let app = Router::new().route("/rocket.jpg", get(|| async { ROCKET }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/rocket.jpg")
}

#[tokio::test]
async fn a_picture_of_the_web_is_made_small() {
    let (mesh, url) = (mesh().await, shop().await);
    let request = ThumbnailRequest { url: url.clone(), width: 100 };
    let picture = call::<Thumbnail>(&mesh, request).await.unwrap();
    assert_eq!((picture.width, picture.height, picture.content_type.as_str()), (100, 67, "image/jpeg"));
    assert_eq!(image::load_from_memory(&picture.data).unwrap().width(), 100);

    let urls = vec![url.clone(); 5];
    let many = stream::<Thumbnails>(&mesh, ThumbnailsRequest { urls, width: 50 }).await;
    assert_eq!(many.len(), 5);
    assert!(many.into_iter().all(|picture| picture.unwrap().width == 50));
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let (mesh, url) = (mesh().await, shop().await);
    let missing = ThumbnailRequest { url: format!("{url}.bak"), width: 0 };
    let error = call::<Thumbnail>(&mesh, missing).await.unwrap_err();
    assert_eq!(error.code(), turno::Code::NotFound);
    assert!(
        error.message().ends_with("answered 404 Not Found") || error.message().ends_with("answered 404"),
        "{error}"
    );
}

#[tokio::test]
async fn a_job_of_its_own_counts_colours() {
    let mesh = mesh().await;
    let request = PaletteRequest { picture: ROCKET.into(), colours: 3 };
    assert_eq!(call::<Palette>(&mesh, request).await.unwrap().colours.len(), 3);
    let error = call::<Palette>(&mesh, PaletteRequest { picture: "no picture".into(), colours: 3 })
        .await
        .unwrap_err();
    assert_eq!(error.code(), turno::Code::InvalidArgument);
}
