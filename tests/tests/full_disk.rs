//! A gateway whose store's disk fills: submits are refused, and nothing else; it goes on when there is space, which with SQLite
//! what is deleted makes.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test fails by it, or says why it is skipped")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tempfile::TempDir;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, Operation,
};
use turno_proto::v1::{MapHeader, SubmitMapHeader, SubmitMapRequest, SubmitRequest};
use turno_runtime::units::Span;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::Dish;
use turno_tests::{Postgres, TestMesh, TestNode, eventually};

/// A small disk of its own, until it is dropped. Only root may mount one.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=64m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(at.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        println!("skipped: nothing may be mounted here");
        None
    }

    /// For what is to fill it.
    fn directory(&self) -> PathBuf {
        let directory = self.0.path().join("data");
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    /// What takes most of it.
    fn ballast(&self) -> PathBuf {
        let ballast = self.0.path().join("ballast");
        std::fs::write(&ballast, vec![1; 40_000_000]).unwrap();
        ballast
    }

    /// Takes what is left, but for so much. The file that takes it.
    fn fill(&self, mib_left: u64) -> PathBuf {
        let filling = self.0.path().join("filling");
        let mut file = std::fs::File::create(&filling).unwrap();
        for bytes in [vec![1_u8; 1 << 20], vec![1; 1 << 12]] {
            while file.write_all(&bytes).is_ok() {}
        }
        let taken = file.metadata().unwrap().len();
        file.set_len(taken - (mib_left << 20)).unwrap();
        filling
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It is temporary, and may be busy.
        drop(Command::new("umount").arg("-l").arg(self.0.path()).output());
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

/// A mesh whose store is full, and a ticket that was running when it filled.
struct Full {
    _kitchen: TestNode,
    mesh: TestMesh,
    acknowledged: Vec<String>,
    ended: String,
}

impl Full {
    async fn of(config: GatewayConfig) -> Self {
        let mesh = TestMesh::gateway(config).await;
        let cook = Cook::default();
        let kitchen = mesh.kitchen_of(&cook, Role::Both, 1).await;
        let resting = mesh.tickets().submit(submit("Rest", Vec::new())).await.unwrap().into_inner().name;
        eventually("it has begun", async || cook.resting() == 1).await;
        let (acknowledged, refused) = fill(&mesh).await;
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert_eq!(refused.message(), "the store is full: nothing was stored");
        assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
        assert!(acknowledged.len() > 50);
        // Calls go on, and reads; what ends meanwhile is held until it can be stored, if it cannot.
        let bread = mesh.client().echo(Dish { content: "bread".into() }).await.unwrap().into_inner();
        assert_eq!(bread.content, "bread");
        let full = Self { _kitchen: kitchen, mesh, acknowledged, ended: resting };
        full.nothing_is_lost().await;
        cook.let_go(1);
        eventually("it has ended", async || cook.resting() == 0).await;
        full
    }

    async fn nothing_is_lost(&self) {
        for name in &self.acknowledged {
            assert!(!get(&self.mesh, name).await.done);
        }
    }

    /// One after another is deleted: that makes room enough.
    async fn goes_on_without_its_tickets(&mut self) {
        self.stores_what_ended().await;
        for name in std::mem::take(&mut self.acknowledged) {
            let delete = DeleteOperationRequest { name: name.clone() };
            self.mesh.operations().delete_operation(delete).await.unwrap();
            self.mesh.operations().cancel_operation(CancelOperationRequest { name }).await.unwrap();
        }
        self.runs_others().await;
        let (acknowledged, _) = fill(&self.mesh).await;
        assert!(acknowledged.len() > 50);
    }

    async fn goes_on_without(&self, ballast: &Path) {
        std::fs::remove_file(ballast).unwrap();
        self.stores_what_ended().await;
        self.runs_others().await;
        self.nothing_is_lost().await;
    }

    async fn stores_what_ended(&self) {
        eventually("what ended is stored", async || get(&self.mesh, &self.ended).await.done).await;
    }

    async fn runs_others(&self) {
        let bread = submit("Echo", Dish { content: "bread".into() }.encode_to_vec());
        let last = self.mesh.tickets().submit(bread).await.unwrap().into_inner().name;
        eventually("new ones run", async || get(&self.mesh, &last).await.done).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_submits_and_nothing_else() {
    let Some(disk) = Disk::mount() else { return };
    let mut full = Full::of(GatewayConfig { data: disk.directory(), ..GatewayConfig::default() }).await;
    full.goes_on_without_its_tickets().await;
}

#[tokio::test]
async fn a_gateway_that_ends_does_not_wait_for_a_store_that_is_full() {
    let Some(disk) = Disk::mount() else { return };
    let hour = Span::seconds(3600);
    let config = GatewayConfig { data: disk.directory(), drain: hour, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let cook = Cook::default();
    let _kitchen = mesh.kitchen_of(&cook, Role::Both, 1).await;
    mesh.tickets().submit(submit("Rest", Vec::new())).await.unwrap();
    eventually("it has begun", async || cook.resting() == 1).await;
    disk.fill(0);
    cook.let_go(1);
    eventually("it has ended", async || cook.resting() == 0).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), mesh.end()).await;
    assert!(ended.is_ok(), "it waits for space");
}

#[tokio::test]
async fn a_gateway_that_ends_stores_what_ended_in_the_space_that_is_kept() {
    let Some(disk) = Disk::mount() else { return };
    let data = disk.directory();
    let mesh = TestMesh::gateway(GatewayConfig { data: data.clone(), ..GatewayConfig::default() }).await;
    let cook = Cook::default();
    let kitchen = mesh.kitchen_of(&cook, Role::Both, 1).await;
    let name = mesh.tickets().submit(submit("Rest", Vec::new())).await.unwrap().into_inner().name;
    eventually("it has begun", async || cook.resting() == 1).await;
    let filling = disk.fill(8);
    cook.let_go(1);
    eventually("it has ended", async || cook.resting() == 0).await;
    mesh.end().await;
    drop(kitchen);
    std::fs::remove_file(filling).unwrap();
    let mesh = TestMesh::gateway(GatewayConfig { data, ..GatewayConfig::default() }).await;
    assert!(get(&mesh, &name).await.done, "nobody would run it again");
}

/// A map of one item, whose result comes when the store is full.
async fn a_map_whose_result_finds_no_space(config: GatewayConfig) -> (TestMesh, TestNode, String) {
    let mesh = TestMesh::gateway(config).await;
    let cook = Cook::default();
    let kitchen = mesh.kitchen_of(&cook, Role::Both, 1).await;
    let map = MapHeader { method: "kitchen.v1.Kitchen/Rest".into(), ..MapHeader::default() };
    let header = Some(SubmitMapHeader { map: Some(map), ..SubmitMapHeader::default() });
    // Larger than what is refused when it is full.
    let dish = Dish { content: "x".repeat(500_000).into() };
    let request = SubmitMapRequest { header, items: vec![dish.encode_to_vec().into()] };
    let request = tokio_stream::iter([request]);
    let name = mesh.tickets().submit_map(request).await.unwrap().into_inner().name;
    eventually("it has begun", async || cook.resting() == 1).await;
    let (_, refused) = fill(&mesh).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    cook.let_go(1);
    eventually("it has its result", async || cook.resting() == 0).await;
    (mesh, kitchen, name)
}

#[tokio::test]
async fn a_map_whose_results_find_no_space_is_cancelled() {
    let Some(disk) = Disk::mount() else { return };
    let config = GatewayConfig { data: disk.directory(), ..GatewayConfig::default() };
    let (mesh, _kitchen, name) = a_map_whose_result_finds_no_space(config).await;
    let cancel = CancelOperationRequest { name: name.clone() };
    mesh.operations().cancel_operation(cancel).await.unwrap();
    eventually("it is cancelled", async || get(&mesh, &name).await.done).await;
}

#[tokio::test]
async fn a_gateway_that_ends_does_not_wait_for_a_map_whose_results_find_no_space() {
    let Some(disk) = Disk::mount() else { return };
    let drain = Span::seconds(3600);
    let config = GatewayConfig { data: disk.directory(), drain, ..GatewayConfig::default() };
    let (mesh, _kitchen, _) = a_map_whose_result_finds_no_space(config).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), mesh.end()).await;
    assert!(ended.is_ok(), "it waits for space");
}

#[tokio::test]
async fn a_postgres_whose_disk_is_full_refuses_submits_and_nothing_else() {
    let Some(disk) = Disk::mount() else { return };
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let store = Some(postgres.database_in(&disk.directory()).try_into().unwrap());
    let ballast = disk.ballast();
    // What has ended may find room where something else had been: that it is held is not looked at.
    let full = Full::of(GatewayConfig { store, ..GatewayConfig::default() }).await;
    full.goes_on_without(&ballast).await;
}
