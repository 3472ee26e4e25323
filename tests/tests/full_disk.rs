//! A gateway whose disk fills: submits are refused, and nothing else; it goes on when there is space.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test fails by it, or says why it is skipped")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::{GetOperationRequest, Operation};
use turno_proto::v1::SubmitRequest;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::Dish;
use turno_tests::{TestMesh, eventually};

/// A small disk of its own, until it is dropped. Only root may mount one.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It is temporary, and may be busy.
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

fn submit(method: &str, request: Vec<u8>) -> SubmitRequest {
    let method = format!("kitchen.v1.Kitchen/{method}");
    SubmitRequest { method, request: request.into(), ..SubmitRequest::default() }
}

async fn get(mesh: &TestMesh, name: &str) -> Operation {
    let request = GetOperationRequest { name: name.to_owned() };
    mesh.operations().get_operation(request).await.unwrap().into_inner()
}

/// Submits for tomorrow until it is refused: what was acknowledged, and the refusal.
async fn fill(mesh: &TestMesh) -> (Vec<String>, Status) {
    let mut acknowledged = Vec::new();
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    loop {
        let dish = Dish { content: "x".repeat(100_000).into() }.encode_to_vec();
        let request = SubmitRequest { not_before: Some(tomorrow.into()), ..submit("Echo", dish) };
        match mesh.tickets().submit(request).await.map(Response::into_inner) {
            Ok(operation) => acknowledged.push(operation.name),
            Err(refused) => return (acknowledged, refused),
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_submits_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(directory.path().join("disk")) else {
        return println!("skipped: nothing may be mounted here");
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 40_000_000]).unwrap();
    let config = GatewayConfig { data: disk.0.join("data"), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let cook = Cook::default();
    let _kitchen = mesh.kitchen_of(&cook, Role::Both, 1).await;
    let resting = mesh.tickets().submit(submit("Rest", Vec::new())).await.unwrap().into_inner().name;
    eventually("it has begun", async || cook.resting() == 1).await;
    let (acknowledged, refused) = fill(&mesh).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    assert!(acknowledged.len() > 50);
    // Calls go on, and reads; what ends meanwhile is held until it can be stored.
    assert_eq!(
        mesh.client().echo(Dish { content: "bread".into() }).await.unwrap().into_inner().content,
        "bread"
    );
    cook.let_go(1);
    eventually("it has ended", async || cook.resting() == 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!get(&mesh, &resting).await.done);
    std::fs::remove_file(ballast).unwrap();
    eventually("what ended is stored", async || get(&mesh, &resting).await.done).await;
    let bread = submit("Echo", Dish { content: "bread".into() }.encode_to_vec());
    let last = mesh.tickets().submit(bread).await.unwrap().into_inner().name;
    eventually("new ones run", async || get(&mesh, &last).await.done).await;
    for name in &acknowledged {
        assert!(!get(&mesh, name).await.done);
    }
}
