//! The journey through `docker-compose.yml`; `tests/docker/run` builds the image, starts the mesh and runs this.

#![allow(clippy::unwrap_used, reason = "a test's own failures")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use turno::Rpc as _;
use turno::cpu::v1::{Image, ThumbnailRequest, images};
use turno::io::v1::{FetchRequest, FetchResponse, http};
use turno_proto::v1::admin_client::AdminClient;
use turno_proto::v1::{ListNodesRequest, Node};
use turno_tests::eventually;

const ROCKET: &[u8] = include_bytes!("../../services/worker/testdata/rocket.jpg");

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker can be run");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "docker {args:?}: {error}");
    out.trim().to_owned()
}

fn compose(args: &[&str]) {
    let plugin = Command::new("docker").args(["compose", "version"]).output().expect("docker can be run");
    let mut command =
        if plugin.status.success() { Command::new("docker") } else { Command::new("docker-compose") };
    if plugin.status.success() {
        command.arg("compose");
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = command.args(args).current_dir(root).output().expect("compose can be run");
    assert!(output.status.success(), "compose {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn workers() -> Vec<String> {
    let project =
        std::env::var_os("COMPOSE_PROJECT_NAME").expect("tests/docker/run sets it").into_string().unwrap();
    let filter = format!("label=com.docker.compose.project={project}");
    let listed =
        docker(&["ps", "-q", "--filter", &filter, "--filter", "label=com.docker.compose.service=worker"]);
    listed.lines().map(str::to_owned).collect()
}

fn channel() -> Channel {
    let port = std::env::var_os("TURNO_PORT").expect("tests/docker/run sets it").into_string().unwrap();
    Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy()
}

async fn nodes(channel: &Channel) -> Vec<Node> {
    let listed = AdminClient::new(channel.clone()).list_nodes(ListNodesRequest {}).await;
    listed.map(|listed| listed.into_inner().nodes).unwrap_or_default()
}

async fn so_many_workers(channel: &Channel, count: usize) {
    let what = format!("{count} workers are linked");
    eventually(&what, async || {
        nodes(channel).await.iter().filter(|node| node.role == "worker" && !node.leaving).count() == count
    })
    .await;
}

async fn thumbnail(channel: Channel) -> Result<Image, tonic::Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let request =
        tonic::Request::new(ThumbnailRequest { data: ROCKET.into(), width: 64, ..Default::default() });
    let codec = tonic_prost::ProstCodec::<ThumbnailRequest, Image>::default();
    let path = PathAndQuery::from_static(images::Thumbnail::PATH);
    Ok(client.unary(request, path, codec).await?.into_inner())
}

/// Callers that go on until they are told to stop, and count.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "a test's own tasks")]
    fn start(channel: &Channel, callers: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = |_| {
            let (channel, stop, done) = (channel.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let image =
                        thumbnail(channel.clone()).await.expect("no call fails, whatever happens to workers");
                    assert_eq!(image.width, 64);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let callers = (0..callers).map(caller).collect();
        Self { stop, done, callers }
    }

    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("calls go on", async || self.done.load(Ordering::Relaxed) > before + 50).await;
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("a caller saw a failure");
        }
        self.done.load(Ordering::Relaxed)
    }
}

#[tokio::test]
#[ignore = "needs the mesh of docker-compose.yml: run tests/docker/run"]
async fn the_mesh_in_containers_scales_and_survives() {
    let channel = channel();
    so_many_workers(&channel, 2).await;
    eventually("the I/O node is linked", async || nodes(&channel).await.iter().any(|node| node.role == "io"))
        .await;
    refuses_the_hosts_own_network(&channel).await;

    let load = Load::start(&channel, 8);
    load.goes_on().await;
    compose(&["up", "--detach", "--no-build", "--no-recreate", "--scale", "worker=4"]);
    so_many_workers(&channel, 4).await;
    load.goes_on().await;

    // kill -9 of a worker: the others take over, and Docker's restart policy is not needed for that.
    docker(&["kill", "--signal", "KILL", &workers()[0]]);
    load.goes_on().await;

    compose(&["up", "--detach", "--no-build", "--no-recreate", "--scale", "worker=1"]);
    so_many_workers(&channel, 1).await;
    load.goes_on().await;

    // A worker that falls silent while another is there.
    compose(&["up", "--detach", "--no-build", "--no-recreate", "--scale", "worker=2"]);
    so_many_workers(&channel, 2).await;
    let silent = workers()[0].clone();
    docker(&["pause", &silent]);
    so_many_workers(&channel, 1).await;
    load.goes_on().await;
    docker(&["unpause", &silent]);
    so_many_workers(&channel, 2).await;

    let done = load.end().await;
    println!("{done} thumbnails, none lost");
    becomes_healthy().await;
}

async fn refuses_the_hosts_own_network(channel: &Channel) {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = FetchRequest { url: "http://gateway:7072/metrics".to_owned(), ..FetchRequest::default() };
    let codec = tonic_prost::ProstCodec::<FetchRequest, FetchResponse>::default();
    let path = PathAndQuery::from_static(http::Fetch::PATH);
    let error = client.unary(tonic::Request::new(request), path, codec).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
}

async fn becomes_healthy() {
    let worker = workers()[0].clone();
    eventually("Docker calls a worker healthy", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        docker(&["inspect", "--format", "{{.State.Health.Status}}", &worker]) == "healthy"
    })
    .await;
}
