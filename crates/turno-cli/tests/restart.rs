//! `turno` while the gateway that it talks to is killed with -9 and started again where it was, or falls silent, all of them
//! processes; and while what `turno up` has started is killed. Beside the program itself, whose path no other package's
//! tests are told.

#![allow(clippy::unwrap_used, reason = "a test's own failures")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use turno::node::config::{NodeConfig, Role};
use turno_proto::v1::ListNodesRequest;
use turno_proto::v1::admin_client::AdminClient;
use turno_tests::kitchen::{Cook, Kitchen};
use turno_tests::{Process, eventually, free_port};

const TURNO: &str = env!("CARGO_BIN_EXE_turno");
const SIMMER: &str = "kitchen.v1.Kitchen/Simmer";

/// A gateway that has successors, and a kitchen that outlives them.
struct Mesh {
    clients: SocketAddr,
    nodes: SocketAddr,
    files: TempDir,
    gateway: Option<Process>,
    cook: Cook,
    _kitchen: turno::node::Running,
}

impl Mesh {
    async fn start() -> Self {
        let (clients, nodes, files) = (free_port(), free_port(), tempfile::tempdir().unwrap());
        let cook = Cook::default();
        let kitchen = Kitchen::of(&cook);
        let config = NodeConfig { gateway: nodes.to_string(), role: Role::Io, ..NodeConfig::default() };
        let node = turno::node("kitchen").service(move || kitchen);
        let _kitchen = node.start(&config, CancellationToken::new()).unwrap();
        let mut mesh = Self { clients, nodes, files, gateway: None, cook, _kitchen };
        mesh.start_gateway().await;
        mesh
    }

    /// Until the kitchen is linked: what `turno` knows of a method, it has from there.
    async fn start_gateway(&mut self) {
        self.start_gateway_with(1).await;
    }

    /// Of which no node knows where it is.
    async fn start_lonely_gateway(&mut self) {
        self.nodes = free_port();
        self.start_gateway_with(0).await;
    }

    async fn start_gateway_with(&mut self, linked: usize) {
        let (clients, nodes) = (self.clients.to_string(), self.nodes.to_string());
        let data = self.file("data").display().to_string();
        let words = ["gateway", "--listen", &clients, "--nodes", &nodes, "--data", &data, "--log", "error"];
        self.gateway = Some(Process::start(TURNO, &words));
        let channel = Endpoint::from_shared(format!("http://{clients}")).unwrap().connect_lazy();
        eventually("the gateway has its nodes", async || {
            let listed = AdminClient::new(channel.clone()).list_nodes(ListNodesRequest {}).await;
            listed.is_ok_and(|listed| listed.into_inner().nodes.len() == linked)
        })
        .await;
    }

    fn kill_gateway(&mut self) {
        self.gateway.take().unwrap().kill();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn turno(&self, words: &[&str]) -> Child {
        let mut command = Command::new(TURNO);
        command.args(words).env("TURNO_ADDRESS", self.clients.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// One that has dialled what ends there.
    async fn turno_into(&self, ending: &TcpListener, words: &[&str]) -> Child {
        let begun = self.turno(words);
        let dialled = tokio::time::timeout(Duration::from_secs(60), ending.accept()).await;
        drop(dialled.expect("it dials").unwrap());
        begun
    }

    /// A map whose gateway falls silent once it has answers.
    async fn map_into_silence(&self, more: &[&str]) -> Child {
        let (inputs, file) = (self.file("waits.jsonl"), self.file("dishes.jsonl"));
        std::fs::write(&inputs, waits(ITEMS, MS)).unwrap();
        self.cook.slow_down(LONGER);
        let out = format!("--out={}", file.display());
        let map = ["map", "--in-flight=4", SIMMER, inputs.to_str().unwrap(), &out];
        let mapping = self.turno(&[&map[..], more].concat());
        eventually("answers come", async || lines(&file) > 0).await;
        self.gateway.as_ref().unwrap().signal(Signal::STOP);
        mapping
    }
}

/// What a command came to.
struct Seen {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Seen {
    async fn of(command: Child) -> Self {
        let ended = tokio::time::timeout(Duration::from_secs(60), command.wait_with_output()).await;
        let Output { status, stdout, stderr } = ended.expect("the command ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    fn fine(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.err
    }
}

fn encoded(content: &str) -> String {
    STANDARD.encode(content)
}

/// A request of Simmer, whose dish has the same content.
fn wait(ms: u64, content: &str) -> String {
    json!({ "ms": ms, "content": encoded(content) }).to_string()
}

/// So many of them, each with its number.
fn waits(count: u64, ms: u64) -> String {
    (0..count).map(|number| wait(ms, &number.to_string()) + "\n").collect()
}

/// Whole ones, of a file that may not be there yet.
fn lines(file: &Path) -> usize {
    std::fs::read(file).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
}

/// Each request has its one answer, and nothing else is there.
fn must_be_whole(file: &Path, count: u64) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    answers.sort_by_key(|answer| answer["index"].as_u64());
    let answer =
        |index: u64| json!({ "index": index, "response": { "content": encoded(&index.to_string()) } });
    let expected: Vec<Value> = (0..count).map(answer).collect();
    let wrong = answers.iter().zip(&expected).find(|(answer, expected)| answer != expected);
    assert!(wrong.is_none() && text.ends_with('\n'), "{wrong:?}");
    assert_eq!(answers.len(), expected.len());
}

const ITEMS: u64 = 2_000;
/// What an item takes.
const MS: u64 = 20;
/// And how much longer while the test does what must not come too late, however slow the machine is.
const LONGER: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn a_map_whose_gateway_is_killed_says_how_it_goes_on() {
    let mut mesh = Mesh::start().await;
    let (inputs, file) = (mesh.file("waits.jsonl"), mesh.file("dishes.jsonl"));
    std::fs::write(&inputs, waits(ITEMS, MS)).unwrap();
    mesh.cook.slow_down(LONGER);
    let out = format!("--out={}", file.display());
    let map = ["map", "--in-flight=80", SIMMER, inputs.to_str().unwrap(), &out];
    let mapping = mesh.turno(&map);
    eventually("answers come", async || lines(&file) > 100).await;
    mesh.kill_gateway();
    let Seen { code, err, .. } = Seen::of(mapping).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("UNAVAILABLE: ") && err.contains("\n  --resume goes on with what is missing\n"),
        "{err}"
    );
    assert!((lines(&file) as u64) < ITEMS, "it was done too soon");
    mesh.cook.slow_down(0);
    mesh.start_gateway().await;
    let resumed = Seen::of(mesh.turno(&[&map[..], &["--resume"]].concat())).await;
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    must_be_whole(&file, ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_whose_gateway_falls_silent_keeps_its_deadline() {
    let mesh = Mesh::start().await;
    let mapping = mesh.map_into_silence(&["--deadline=5s"]).await;
    let said = Seen::of(mapping).await.failed();
    let late =
        "DEADLINE_EXCEEDED: the map was not done within 5 s\n  --resume goes on with what is missing\n";
    assert!(said.contains(" answered, 0 of them failed, in ") && said.ends_with(late), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_gateway_that_falls_silent_hears_of_it() {
    let mesh = Mesh::start().await;
    let mapping = mesh.map_into_silence(&[]).await;
    // Connections to it are still made.
    let listing = mesh.turno(&["tickets", "list"]);
    let said = Seen::of(mapping).await.failed();
    assert!(said.contains("\nUNAVAILABLE: the connection to "), "{said}");
    assert!(said.ends_with("\n  --resume goes on with what is missing\n"), "{said}");
    let said = Seen::of(listing).await.failed();
    assert!(said.contains(" (it takes connections, and says nothing); start one with `turno up`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_ticket_outlives_a_gateway_that_is_killed() {
    let mut mesh = Mesh::start().await;
    let (inputs, file) = (mesh.file("waits.jsonl"), mesh.file("dishes.jsonl"));
    std::fs::write(&inputs, waits(ITEMS, MS)).unwrap();
    mesh.cook.slow_down(LONGER);
    let map = ["map", "--ticket", "--in-flight=40", SIMMER, inputs.to_str().unwrap()];
    let name = Seen::of(mesh.turno(&map)).await.fine().trim().to_owned();
    let out = format!("--out={}", file.display());
    let results = ["tickets", "results", "--follow", &name, &out];
    let mut reading = mesh.turno(&results);
    let watching = mesh.turno(&["tickets", "watch", &name]);
    let waiting = mesh.turno(&["submit", "--wait", "--json", SIMMER, &wait(2_000, "pie")]);
    eventually("the pie simmers", async || mesh.cook.waited_for().contains_key(&b"pie"[..])).await;
    let mut before = 0;
    for _ in 0..2 {
        eventually("results come", async || lines(&file) > before).await;
        mesh.kill_gateway();
        mesh.start_gateway().await;
        before = lines(&file);
    }
    // And then who reads is killed, in the middle of the rest.
    eventually("results come", async || lines(&file) > before).await;
    assert!(reading.try_wait().unwrap().is_none(), "it reads on");
    reading.kill().await.unwrap();
    mesh.cook.slow_down(0);
    let resumed = mesh.turno(&[&results[..], &["--resume"]].concat());
    let Seen { code, err, .. } = Seen::of(resumed).await;
    assert!(code == Some(0) && err.starts_with(&format!("{ITEMS} answered, ")), "{code:?} {err}");
    must_be_whole(&file, ITEMS);
    let watched = Seen::of(watching).await.fine();
    assert!(watched.contains(&format!("\n{name}  done after ")), "{watched}");
    assert!(!watched.contains("done after 1 attempt,"), "{watched}");
    let pie: Value = serde_json::from_str(&Seen::of(waiting).await.fine()).unwrap();
    assert_eq!(pie, json!({ "content": encoded("pie") }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_ticket_may_begin_while_a_gateway_is_restarted() {
    let mut mesh = Mesh::start().await;
    let inputs = mesh.file("waits.jsonl");
    std::fs::write(&inputs, waits(3, 1)).unwrap();
    let map = ["map", "--ticket", SIMMER, inputs.to_str().unwrap()];
    let name = Seen::of(mesh.turno(&map)).await.fine().trim().to_owned();
    mesh.kill_gateway();
    // First the connection is closed, as by a gateway that ends, and then nobody listens.
    let ending = TcpListener::bind(mesh.clients).await.unwrap();
    let reading = mesh.turno_into(&ending, &["tickets", "results", "--follow", &name]).await;
    let watching = mesh.turno_into(&ending, &["tickets", "watch", &name]).await;
    let pie = wait(1, "pie");
    let waiting = mesh.turno_into(&ending, &["submit", "--wait", "--json", SIMMER, &pie]).await;
    drop(ending);
    mesh.start_gateway().await;
    let Seen { code, err, .. } = Seen::of(reading).await;
    assert!(code == Some(0) && err.starts_with("3 answered, 0 of them failed, in "), "{code:?} {err}");
    let watched = Seen::of(watching).await.fine();
    assert!(watched.contains(&format!("\n{name}  done after ")), "{watched}");
    let pie: Value = serde_json::from_str(&Seen::of(waiting).await.fine()).unwrap();
    assert_eq!(pie, json!({ "content": encoded("pie") }));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_whose_types_no_node_has_brought_are_still_there() {
    let mut mesh = Mesh::start().await;
    let inputs = mesh.file("waits.jsonl");
    std::fs::write(&inputs, waits(3, 1)).unwrap();
    let map = ["map", "--ticket", SIMMER, inputs.to_str().unwrap()];
    let name = Seen::of(mesh.turno(&map)).await.fine().trim().to_owned();
    Seen::of(mesh.turno(&["tickets", "watch", &name])).await.fine();
    mesh.kill_gateway();
    mesh.start_lonely_gateway().await;
    let said = Seen::of(mesh.turno(&["tickets", "results", &name])).await.failed();
    let read = format!("turno call turno.v1.Tickets/ReadMap '{{\"name\": \"{name}\"}}' --json");
    let call = format!("`{read} --address {}`", mesh.clients);
    for part in [&call, "no service kitchen.v1.Kitchen", "start one that serves it"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Nor can JSON be submitted meanwhile.
    let said = Seen::of(mesh.turno(&["submit", SIMMER])).await.failed();
    for part in ["Submit takes an encoded request without one): no service", "or wait until it is linked"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let request = json!({ "name": name }).to_string();
    let read = Seen::of(mesh.turno(&["call", "turno.v1.Tickets/ReadMap", &request, "--json"])).await.fine();
    let messages = read.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let results = messages.map(|message| message["results"].as_array().map_or(0, Vec::len));
    assert_eq!(results.sum::<usize>(), 3, "{read}");
}

/// The process that `parent` has started in this role, if it runs.
fn child_of(parent: u32, role: &str) -> Option<Pid> {
    let is_it = |process: &Path| -> Option<bool> {
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        // Of one that has died it is empty.
        let words = std::fs::read_to_string(process.join("cmdline")).ok()?;
        let is_child = status.lines().any(|line| line == format!("PPid:\t{parent}"));
        Some(is_child && words.split('\0').nth(1) == Some(role))
    };
    let mut processes = std::fs::read_dir("/proc").unwrap().flatten();
    let child = processes.find(|process| is_it(&process.path()) == Some(true))?;
    Pid::from_raw(child.file_name().to_str()?.parse().ok()?)
}

fn start(words: &[&str], data: &Path) -> Child {
    let mut command = Command::new(TURNO);
    command.args(words).arg("--data").arg(data).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_the_flag_for_another() {
    let files = tempfile::tempdir().unwrap();
    let [listen, nodes] = [free_port(), free_port()].map(|address| address.to_string());
    let up = ["up", "--listen", &listen, "--nodes", &nodes, "--metrics", &listen];
    let said = Seen::of(start(&up, files.path())).await.failed();
    let taken = |purpose: &str, flag: &str| {
        let why = "Address already in use (os error 98)";
        format!("error: cannot listen on {listen}{purpose}: {why}; give another address ({flag})\n")
    };
    assert_eq!(said, taken("", "--metrics"));
    let _taken = TcpListener::bind(&listen).await.unwrap();
    let gateway = ["gateway", "--listen", &listen, "--nodes", &nodes, "--log", "error"];
    let Seen { code, err, .. } = Seen::of(start(&gateway, files.path())).await;
    assert_eq!((code, err), (Some(1), taken(" for clients", "--listen")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_is_started_again_though_its_file_was_replaced_and_nobody_reads_of_it() {
    let (clients, files) = (free_port(), tempfile::tempdir().unwrap());
    let [listen, nodes, metrics] =
        [clients, free_port(), free_port()].map(|address: SocketAddr| address.to_string());
    let data = files.path().display().to_string();
    let words = ["up", "--workers=1", "--listen", &listen, "--nodes", &nodes, "--metrics", &metrics];
    let folder = tempfile::tempdir_in(Path::new(TURNO).parent().unwrap()).unwrap();
    let turno = folder.path().join("turno");
    std::fs::hard_link(TURNO, &turno).unwrap();
    let mut command = Command::new(&turno);
    command.args(words).args(["--data", &data]).stdin(Stdio::null()).kill_on_drop(true);
    // As behind a `| head` that has ended.
    command.stderr(Stdio::from(std::io::pipe().unwrap().1));
    let mut up = command.spawn().unwrap();
    let parent = up.id().unwrap();
    let channel = Endpoint::from_shared(format!("http://{clients}")).unwrap().connect_lazy();
    eventually("the mesh is up", || {
        assert_eq!(up.try_wait().unwrap(), None, "it has ended");
        let mut gateway = AdminClient::new(channel.clone());
        async move {
            let listed = gateway.list_nodes(ListNodesRequest {}).await;
            listed.is_ok_and(|listed| listed.into_inner().nodes.len() == 2)
        }
    })
    .await;
    let worker = child_of(parent, "worker").unwrap();
    // As by whoever installs another.
    std::fs::remove_file(&turno).unwrap();
    std::fs::hard_link(TURNO, &turno).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    let has_successor = || child_of(parent, "worker").is_some_and(|process| process != worker);
    eventually("the worker has a successor", async || has_successor()).await;
    let pid = i32::try_from(parent).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), up.wait()).await;
    assert!(ended.expect("it ends").unwrap().success());
}
