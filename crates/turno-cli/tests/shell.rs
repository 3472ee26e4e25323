//! `turno submit` and `turno tickets` as a shell meets them: the program itself, against a gateway that keeps tickets and
//! a node whose `Http/Fetch` does what its URL says.

#![allow(clippy::unwrap_used, reason = "a test's own failures")]

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe::OpenOptions;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::{Channel, Endpoint, Server};
use turno::io::v1::{FetchRequest, FetchResponse, http};
use turno::node::config::{NodeConfig, Role};
use turno::{Context, Status};
use turno_gateway::{Gateway, GatewayConfig};
use turno_runtime::units::Size;
use turno_tests::eventually;

const TURNO: &str = env!("CARGO_BIN_EXE_turno");
const FETCH: &str = "turno.io.v1.Http/Fetch";

/// Answers as its URLs say.
#[derive(Clone, Default)]
struct Far {
    /// Answers of a few bytes.
    tiny: Arc<AtomicUsize>,
}

#[turno::service(http)]
impl Far {
    async fn fetch(&self, ctx: Context, request: FetchRequest) -> turno::Result<FetchResponse> {
        match request.url.as_str() {
            "down" => Err(Status::unavailable("the far side is down")),
            "wrong" => Err(Status::invalid_argument("this is no URL")),
            "long" => {
                ctx.progress(3, 10, "third page");
                std::future::pending().await
            }
            "tiny" => {
                self.tiny.fetch_add(1, Ordering::SeqCst);
                Ok(FetchResponse { status: 200, ..Default::default() })
            }
            url => Ok(FetchResponse {
                status: 200,
                url: url.to_owned(),
                body: vec![7; 300].into(),
                ..Default::default()
            }),
        }
    }
}

/// A mesh, and the program that calls it.
struct Shell {
    gateway: turno_gateway::Running,
    files: TempDir,
    far: Far,
    _node: turno::node::Running,
}

/// What a command came to.
struct Seen {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shell {
    async fn open() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    async fn with(config: GatewayConfig) -> Self {
        turno_runtime::tls::install_provider();
        let files = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = GatewayConfig { listen: any, nodes: any, data: files.path().join("data"), ..config };
        let gateway = Gateway::bind(config).await.unwrap().start(CancellationToken::new());
        let node =
            NodeConfig { gateway: gateway.nodes().to_string(), role: Role::Io, ..NodeConfig::default() };
        let far = Far::default();
        let served = far.clone();
        let node = turno::node("far").service(move || served).start(&node, CancellationToken::new()).unwrap();
        let shell = Self { gateway, files, far, _node: node };
        shell.until("the node joins", &["methods", "--json"], |seen| seen.out.contains(FETCH)).await;
        shell
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(name)
    }

    async fn turno(&self, words: &[&str]) -> Seen {
        self.turno_with(words, "").await
    }

    async fn turno_with(&self, words: &[&str], stdin: &str) -> Seen {
        let mut child = self.start(TURNO, words);
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
        Self::end(child).await
    }

    fn start(&self, program: &str, words: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(words).env("TURNO_ADDRESS", self.gateway.clients().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Whose standard output nobody reads from the beginning on, and with `deaf` nor its standard error.
    async fn unread(&self, words: &[&str], stdin: &str, deaf: bool) -> Seen {
        let closed = || Stdio::from(std::io::pipe().unwrap().1);
        let mut command = Command::new(TURNO);
        command.args(words).env("TURNO_ADDRESS", self.gateway.clients().to_string()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(closed());
        command.stderr(if deaf { closed() } else { Stdio::piped() });
        let mut child = command.spawn().unwrap();
        let mut requests = child.stdin.take().unwrap();
        // It may have ended already.
        let _sent = requests.write_all(stdin.as_bytes()).await;
        // What ends with its reader does not wait for more requests.
        let _open = (!words.contains(&"--many=-")).then_some(requests);
        Self::end(child).await
    }

    async fn end(child: Child) -> Seen {
        let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        let Output { status, stdout, stderr } = ended.expect("the command ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Seen { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    async fn until(&self, what: &str, words: &[&str], holds: impl Fn(&Seen) -> bool) -> Seen {
        let waiting = async {
            loop {
                let seen = self.turno(words).await;
                if holds(&seen) {
                    return seen;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .unwrap_or_else(|_| panic!("gave up waiting until {what}"))
    }

    /// The name of a new ticket.
    async fn submit(&self, url: &str, more: &[&str]) -> String {
        let request = format!(r#"{{"url":"{url}"}}"#);
        self.turno(&[&["submit", FETCH, &request], more].concat()).await.fine().trim().to_owned()
    }
}

impl Seen {
    fn fine(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// Results of a map, and beside them how many there are.
    fn answers(self, said: &str) -> String {
        assert!(self.code == Some(0) && self.err.starts_with(said), "{:?} {}", self.code, self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        self.out
    }

    /// With something said beside what was asked for.
    fn ended_well(self) {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
    }

    fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.err
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

fn end_of(name: &str) -> &str {
    &name[name.len() - 8..]
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_ticket_from_submit_to_end() {
    let shell = Shell::open().await;
    let name = shell.submit("far", &["--key=far", "--label=shop=bakery"]).await;
    assert!(name.starts_with("operations/"), "{name}");
    assert_eq!(shell.submit("far", &["--key=far", "--label=shop=bakery"]).await, name);
    let watched = shell.turno(&["tickets", "watch", end_of(&name)]).await.fine();
    assert!(watched.contains(&format!("\n{name}  done after 1 attempt, ")), "{watched}");
    let shown = shell.turno(&["tickets", "show", end_of(&name), "--request"]).await.fine();
    for part in [
        &name,
        FETCH,
        "labels      shop=bakery",
        "key         far",
        "\n  took        ",
        " waiting, ",
        " in 1 attempt\n",
        "\"url\": \"far\"",
        "<300 bytes; --out FILE",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let page = shell.file("page");
    shell.turno(&["tickets", "show", &name, "--out", page.to_str().unwrap()]).await.fine();
    assert_eq!(read(&page), [7; 300]);
    // Of a request the bytes are not those that --out saves.
    let request = format!(r#"{{"url":"far","body":"{}"}}"#, "A".repeat(800));
    let posted = shell.turno(&["submit", FETCH, &request]).await.fine();
    let shown = shell.turno(&["tickets", "show", posted.trim(), "--request"]).await.fine();
    assert!(shown.contains("<600 bytes; --json shows them>"), "{shown}");
    let object = shell.turno(&["tickets", "show", &name, "--json"]).await.json();
    assert_eq!((&object["state"], &object["request"]["url"]), (&"done".into(), &"far".into()));
    assert_eq!((&object["response"]["status"], &object["labels"]["shop"]), (&200.into(), &"bakery".into()));
    assert_eq!(
        shell.turno(&["tickets", "delete", end_of(&name)]).await.fine(),
        format!("{name}  forgotten\n")
    );
    let gone = shell.turno(&["tickets", "show", &name]).await.failed();
    assert!(gone.contains("turno tickets list"), "{gone}");
}

#[tokio::test]
async fn who_waits_sees_what_call_would_show() {
    let shell = Shell::open().await;
    let page = shell.file("page");
    let words = ["submit", FETCH, r#"{"url":"far"}"#, "--wait", "--out", page.to_str().unwrap(), "--json"];
    let seen = shell.turno(&words).await;
    assert_eq!((seen.code, &seen.json()["status"]), (Some(0), &200.into()));
    assert_eq!(read(&page), [7; 300]);
    let seen = shell.turno(&["submit", FETCH, r#"{"url":"wrong"}"#, "--wait"]).await;
    let err = seen.failed();
    assert!(err.starts_with("operations/") && err.ends_with("\nINVALID_ARGUMENT: this is no URL\n"), "{err}");
}

#[tokio::test]
async fn the_dead_are_mended_and_redriven() {
    let shell = Shell::open().await;
    let name = shell.submit("down", &["--retries=0"]).await;
    let other = shell.submit("down", &["--retries=0"]).await;
    for name in [&name, &other] {
        let watched = shell.turno(&["tickets", "watch", name]).await;
        assert_eq!(watched.code, Some(1));
        assert!(watched.out.contains("dead after 1 attempt"), "{}", watched.out);
    }
    let shown = shell.turno(&["tickets", "show", &name]).await.fine();
    for part in ["Attempts that failed\n  1  ", "UNAVAILABLE: the far side is down", "turno tickets redrive"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let edited =
        shell.turno(&["tickets", "edit", end_of(&name), r#"{"url":"near"}"#, "--retries=1"]).await.fine();
    assert_eq!(edited, format!("{name}  edited; turno tickets redrive {}\n", end_of(&name)));
    let redriven = shell.turno(&["tickets", "redrive", end_of(&name)]).await.fine();
    let new = redriven.trim().rsplit(' ').next().unwrap();
    assert_eq!(redriven, format!("{name}  redriven as {new}\n"));
    assert!(shell.turno(&["tickets", "watch", new]).await.fine().contains("done after 1 attempt"));
    let rest = shell.turno(&["tickets", "redrive", "--all-dead"]).await.fine();
    assert!(rest.starts_with(&format!("{other}  redriven as ")) && rest.lines().count() == 1, "{rest}");
    let refused = shell.turno(&["tickets", "redrive", new]).await.failed();
    assert!(refused.contains("FAILED_PRECONDITION"), "{refused}");
}

#[tokio::test]
async fn what_runs_is_cancelled_and_what_is_listed_can_be_named() {
    let shell = Shell::open().await;
    let running = shell.submit("long", &["--label=lane=one"]).await;
    let waiting = shell.submit("far", &["--not-before=1h", "--label=lane=one"]).await;
    let listing = ["tickets", "list", "--label=lane=one"];
    let seen = shell
        .until("it tells of its progress", &listing, |seen| seen.out.contains("3 of 10: third page"))
        .await;
    let lines: Vec<&str> = seen.out.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[0].ends_with("NOTE"), "{}", seen.out);
    assert!(lines[1].starts_with(&waiting) && lines[1].contains("begins in 59m"), "{}", seen.out);
    assert!(lines[2].starts_with(&running), "{}", seen.out);
    let names = shell.turno(&[&listing[..], &["--quiet", "--state=waiting"]].concat()).await.fine();
    assert_eq!(names, format!("{waiting}\n"));
    let objects = shell.turno(&[&listing[..], &["--json", "--limit=1", "--since=1h"]].concat()).await.json();
    assert_eq!((objects.as_array().unwrap().len(), &objects[0]["name"]), (1, &Value::from(waiting.as_str())));
    let cancelled = shell.turno(&["tickets", "cancel", &waiting, end_of(&running), "--wait"]).await.fine();
    assert_eq!(cancelled, format!("{waiting}  cancelled\n{running}  cancelled\n"));
    let again = shell.turno(&["tickets", "cancel", &waiting]).await.fine();
    assert_eq!(again, format!("{waiting}  cancelled before\n"));
    let done = shell.submit("near", &[]).await;
    shell.turno(&["tickets", "watch", &done]).await.ended_well();
    let late = shell.turno(&["tickets", "cancel", &done]).await;
    assert_eq!(late.out, "");
    let late = late.failed();
    assert!(late.contains(&format!("{done} had ended before: it is done")), "{late}");
    let some = shell.turno(&["tickets", "cancel", "ffffffff", &done, &running]).await;
    assert!(some.out.starts_with(&running), "{}", some.out);
    // Each is named once.
    let err = some.failed();
    let expected =
        format!("\n{done} had ended before: it is done\nerror: 2 of 3 tickets were left as they were\n");
    assert!(err.starts_with("no ticket ends in ffffffff") && err.ends_with(&expected), "{err}");
}

#[tokio::test]
async fn names_come_by_a_pipe_too() {
    let shell = Shell::open().await;
    let dead = shell.submit("down", &["--retries=0"]).await;
    let many = ["submit", FETCH, "--many=-", "--not-before=1h", "--label=lane=two"];
    shell.turno_with(&many, &pages(&["a", "b", "c"])).await.fine();
    let waiting = ["tickets", "list", "--quiet", "--state=waiting", "--label=lane=two"];
    let names = shell.turno(&waiting).await.fine();
    let all = |what: &str| names.lines().map(|name| format!("{name}  {what}\n")).collect::<String>();
    let cancelled = shell.turno_with(&["tickets", "cancel", "-"], &names).await.fine();
    assert_eq!(cancelled, all("cancelled"));
    // Of none that is left there is nothing to do.
    let none = shell.turno(&waiting).await.fine();
    for verb in ["cancel", "redrive", "delete"] {
        assert_eq!(shell.turno_with(&["tickets", verb, "-"], &none).await.fine(), "", "{verb}");
    }
    let forgotten = shell.turno_with(&["tickets", "delete", "-"], &format!("\n{names}")).await.fine();
    assert_eq!(forgotten, all("forgotten"));
    assert_eq!(shell.turno(&["tickets", "watch", &dead]).await.code, Some(1));
    let redriven = shell.turno_with(&["tickets", "redrive", "-"], &format!("{dead}\n")).await.fine();
    assert!(redriven.starts_with(&format!("{dead}  redriven as ")), "{redriven}");
}

#[tokio::test]
async fn many_are_submitted_line_by_line() {
    let shell = Shell::open().await;
    let lines = "{\"url\":\"a\"}\n\n{\"ulr\":\"b\"}\n{\"url\":\"c\"}\n{";
    let seen = shell.turno_with(&["submit", FETCH, "--many=-", "--key=nightly"], lines).await;
    let names: Vec<String> = seen.out.lines().map(str::to_owned).collect();
    assert_eq!((seen.code, names.len()), (Some(1), 2));
    let err = seen.failed();
    assert!(err.contains("line 3: INVALID_ARGUMENT: ulr: no such field; did you mean url?"), "{err}");
    assert!(err.contains("line 5: INVALID_ARGUMENT: the request is not JSON"), "{err}");
    let file = shell.file("requests.jsonl");
    std::fs::write(&file, "{\"url\":\"a\"}\n\n\n{\"url\":\"c\"}\n").unwrap();
    let many = format!("--many={}", file.display());
    let again = shell.turno(&["submit", FETCH, &many, "--key=nightly", "--json"]).await.fine();
    let again: Vec<Value> = again.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(again.len(), 2);
    assert_eq!((&again[1]["line"], &again[1]["name"]), (&4.into(), &Value::from(names[1].as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_ticket_is_gone_submits_nothing() {
    const GONE: &str = "only its idempotency key is remembered: ";
    let shell = Shell::open().await;
    let forget = async |name: &str| {
        shell.turno(&["tickets", "watch", name]).await.ended_well();
        shell.turno(&["tickets", "delete", name]).await.fine();
    };
    let one = ["submit", FETCH, r#"{"url":"far"}"#, "--key=one"];
    forget(shell.turno(&one).await.fine().trim()).await;
    for more in [None, Some("--wait"), Some("--json")] {
        let words: Vec<&str> = one.into_iter().chain(more).collect();
        let seen = shell.turno(&words).await;
        assert_eq!(seen.out, "", "{more:?}");
        let said = seen.failed();
        assert!(said.contains("NOT_FOUND") && said.contains(GONE) && said.contains("one"), "{said}");
    }
    let many = ["submit", FETCH, "--many=-", "--key=many"];
    let names = shell.turno_with(&many, &pages(&["a", "b"])).await.fine();
    let (first, second) = names.split_once('\n').unwrap();
    forget(first).await;
    let seen = shell.turno_with(&many, &pages(&["a", "b"])).await;
    assert_eq!(seen.out, second);
    let said = seen.failed();
    assert!(said.starts_with("line 1: NOT_FOUND: ") && said.contains(GONE), "{said}");
    assert!(said.contains("\"many/1\""), "{said}");
    let map = ["map", "--ticket", "--key=map", FETCH];
    forget(shell.turno_with(&map, &pages(&["a"])).await.fine().trim()).await;
    let seen = shell.turno_with(&map, &pages(&["a"])).await;
    assert_eq!(seen.out, "");
    let said = seen.failed();
    assert!(said.starts_with("NOT_FOUND: ") && said.contains(GONE) && said.contains("\"map\""), "{said}");
}

#[tokio::test]
async fn a_list_says_that_there_is_more_and_one_of_names_has_all() {
    let shell = Shell::open().await;
    let many = ["submit", FETCH, "--many=-", "--not-before=1h"];
    shell.turno_with(&many, &"{\"url\":\"a\"}\n".repeat(51)).await.fine();
    let seen = shell.turno(&["tickets", "list"]).await;
    assert_eq!((seen.code, seen.out.lines().count()), (Some(0), 1 + 50), "{}", seen.err);
    assert!(seen.err.starts_with("the newest 50: --limit N shows more"), "{}", seen.err);
    let names = shell.turno(&["tickets", "list", "--quiet", "--state=waiting"]).await.fine();
    assert_eq!(names.lines().count(), 51);
    let all = shell.turno(&["tickets", "list", "--limit=51"]).await.fine();
    assert_eq!(all.lines().count(), 1 + 51);
}

#[tokio::test]
async fn what_cannot_be_submitted_is_said_with_what_to_do() {
    let shell = Shell::open().await;
    for (words, expected) in [
        (vec!["submit", "turno.io.v1.Http/Fech"], "has no method Fech; did you mean Fetch?"),
        (vec!["submit", FETCH, "{"], "the request is not JSON"),
        (
            vec!["submit", "grpc.health.v1.Health.Watch"],
            "error: grpc.health.v1.Health/Watch takes or answers a stream: it can be called, not submitted",
        ),
        (
            vec!["map", "/grpc.health.v1.Health/Watch"],
            "error: grpc.health.v1.Health/Watch takes or answers a stream: a map is for",
        ),
        (vec!["submit", "grpc.health.v1.Health/Check"], "is the gateway's own method"),
        (vec!["submit", FETCH, "--wait", "--out=/no/file"], "cannot write /no/file"),
        (vec!["submit", FETCH, "--many=/no/file"], "cannot read requests from /no/file"),
        (vec!["submit", FETCH, "--label=Shop=x"], "INVALID_ARGUMENT: "),
        (vec!["map", FETCH, "--ticket", "--label=Shop=x"], "INVALID_ARGUMENT: "),
        (vec!["tickets", "show", "abc"], "write at least the last 4 characters"),
        (vec!["tickets", "watch", "operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1"], "turno tickets list"),
    ] {
        let err = shell.turno(&words).await.failed();
        assert!(err.contains(expected), "{words:?}: {err}");
    }
    let nobody = shell.turno(&["tickets", "list", "--address=127.0.0.1:1"]).await.failed();
    assert!(nobody.contains("no gateway answers at 127.0.0.1:1"), "{nobody}");
    assert!(shell.turno(&["tickets", "list"]).await.fine().contains("no tickets are kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_goes_on_by_itself() {
    let shell = Shell::open().await;
    let lines: String = (0..50).map(|page| format!("{{\"url\": \"page {page}\"}}\n")).collect();
    let words = ["map", "--ticket", "--key=pages", "--label=shop=bakery", "--keep-result-for=1h", FETCH];
    let name = shell.turno_with(&words, &lines).await.fine();
    let again = shell.turno_with(&words, &lines).await.fine();
    assert_eq!(name, again, "the same key is the same map");
    let others = shell.turno_with(&words, "{\"url\": \"another\"}\n").await.failed();
    assert!(others.starts_with("ALREADY_EXISTS: "), "{others}");
    let name = name.trim();
    let results = shell.turno(&["tickets", "results", "--follow", name]).await;
    let results = results.answers("50 answered, 0 of them failed, in ");
    assert_eq!(indexes(&results), (0..50).collect::<Vec<_>>());
    // A file that ends in the middle of a line is gone on with, if it is known to be this ticket's.
    let file = shell.file("pages.jsonl");
    let out = format!("--out={}", file.display());
    let half = &results[..results.len() / 2];
    let resumed =
        format!("50 answered, {} of them before, 0 of them failed, in ", half.matches('\n').count());
    std::fs::write(&file, half).unwrap();
    let refused = shell.turno(&["tickets", "results", name, &out]).await.failed();
    assert!(refused.contains("nothing says of what map: write to another file"), "{refused}");
    let resume = ["tickets", "results", name, &out, "--resume"];
    let refused = shell.turno(&resume).await.failed();
    assert!(refused.contains("pages.jsonl.turno is not there"), "{refused}");
    assert_eq!(read(&file), half.as_bytes());
    shell.turno(&[&resume[..], &["--unchecked"]].concat()).await.answers(&resumed);
    assert_eq!(read(&file), results.as_bytes());
    std::fs::write(&file, half).unwrap();
    let refused = shell.turno(&["tickets", "results", name, &out]).await.failed();
    assert!(refused.contains("--resume goes on with it"), "{refused}");
    let refused = shell.turno(&["map", "--ticket", &out, FETCH]).await.failed();
    let again = format!("`turno tickets results {name} --follow {} --resume`", out.replace('=', " "));
    assert!(refused.contains(&format!("write to another file; {again} goes on with those")), "{refused}");
    shell.turno(&resume).await.answers(&resumed);
    assert_eq!(read(&file), results.as_bytes());
    let shown = shell.turno(&["tickets", "show", "--json", name]).await.json();
    assert_eq!(shown["response"]["succeeded"], "50", "{shown}");
    assert_eq!(shown["request"]["items"], "50", "{shown}");
    assert_eq!(shown["labels"]["shop"], "bakery", "{shown}");
    let other = shell.turno_with(&["map", "--ticket", "--not-before=1h", FETCH], &lines).await.fine();
    let later = shell.turno(&["tickets", "show", "--json", other.trim()]).await.json();
    assert_eq!(later["state"], "waiting", "{later}");
    let wishes = shell.turno_with(&["map", "--label=shop=bakery", FETCH], &lines).await.failed();
    assert!(wishes.contains("add --ticket"), "{wishes}");
    // A line that is no request: nothing is submitted.
    let broken = shell.turno_with(&["map", "--ticket", FETCH], &format!("{lines}{{\"lru\": 1}}\n")).await;
    assert!(broken.failed().contains("line 51"), "it says which line");
    let listed = shell.turno(&["tickets", "list", "--quiet"]).await.fine();
    assert_eq!(listed.lines().count(), 2);
    // Nor is the file gone on with by another ticket, or by a map that is none.
    let refused = shell.turno(&["tickets", "results", other.trim(), &out, "--resume"]).await.failed();
    assert!(refused.contains(&format!("has answers of the ticket {name}, not of the ticket ")), "{refused}");
    let refused = shell.turno_with(&["map", &out, "--resume", FETCH], &lines).await.failed();
    assert!(
        refused.contains("not of a map of turno.io.v1.Http/Fetch") && refused.contains(&again),
        "{refused}"
    );
    assert_eq!(read(&file), results.as_bytes());
}

/// Requests with these URLs.
fn pages(urls: &[&str]) -> String {
    urls.iter().map(|url| format!("{{\"url\": \"{url}\"}}\n")).collect()
}

/// What lines of answers are of, in the order of the requests.
fn indexes(answers: &str) -> Vec<u64> {
    let index = |line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
    let mut indexes: Vec<u64> = answers.lines().map(index).collect();
    indexes.sort_unstable();
    indexes
}

/// The URLs that were answered, by their indexes; a line has nothing else but its response.
fn answered(file: &Path) -> Vec<String> {
    let text = String::from_utf8(read(file)).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["index"].as_u64());
    assert!(lines.iter().enumerate().all(|(index, line)| line["index"] == index), "{text}");
    assert!(lines.iter().all(|line| line.as_object().unwrap().len() == 2), "{text}");
    lines.iter().map(|line| line["response"]["url"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_bears_failures_up_to_a_share() {
    let shell = Shell::open().await;
    let urls = pages(&["a", "wrong", "b", "c"]);
    for ticket in [None, Some("--ticket")] {
        for (share, stops) in [("0.5", false), ("0.1", true)] {
            let file = shell.file(&format!("{share}{}.jsonl", ticket.unwrap_or_default()));
            let out = format!("--out={}", file.display());
            let words = ["map", FETCH, &out, "--stop-above", share].into_iter().chain(ticket);
            let words: Vec<&str> = words.collect();
            let said = shell.turno_with(&words, &urls).await.failed();
            assert_eq!(said.contains("ABORTED: the map was stopped"), stops, "{words:?}: {said}");
            let fails = said.contains("4 answered, 1 of them failed");
            assert!(stops || fails, "the exit code has its reason: {words:?}: {said}");
            assert_eq!(read(&file).iter().filter(|byte| **byte == b'\n').count(), 4, "{words:?}: {said}");
        }
    }
    // Of the one that is done a list says so too.
    let listed = shell.turno(&["tickets", "list", "--state=done"]).await.fine();
    assert!(listed.ends_with("  4 of 4: 1 failed\n"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_stops_names_the_item_as_its_file_does() {
    let shell = Shell::open().await;
    let out = format!("--out={}", shell.file("answers.jsonl").display());
    let map = ["map", FETCH, &out, "--stop-on-error"];
    shell.turno_with(&map, &pages(&["a", "b"])).await.ended_well();
    let resume = [&map[..], &["--resume"]].concat();
    let said = shell.turno_with(&resume, &pages(&["a", "b", "c", "wrong"])).await.failed();
    assert!(said.contains("\n  what failed is item 3 of the input: "), "{said}");
    // Where nothing was left out it is named once.
    let said = shell.turno_with(&["map", FETCH, "--stop-on-error"], &pages(&["a", "wrong"])).await.failed();
    assert!(said.contains("the failure of item 1: ") && !said.contains("of the input"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_for_a_map_is_found() {
    let max_message = Size::kib(64);
    let shell = Shell::with(GatewayConfig { max_message, ..GatewayConfig::default() }).await;
    let large = format!("{{\"url\":\"a\",\"body\":\"{}\"}}\n", "A".repeat(200_000));
    let lines = format!("{}\n{large}{}", pages(&["a"]), pages(&["b"]));
    for ticket in [None, Some("--ticket")] {
        let words: Vec<&str> = ["map", FETCH].into_iter().chain(ticket).collect();
        let said = shell.turno_with(&words, &lines).await.failed();
        let line = "\n  the longest request so far is line 3 of the input, of 1500";
        assert!(said.contains("RESOURCE_EXHAUSTED: ") && said.contains(line), "{words:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_while_small_answers_come_one_by_one_has_them_all() {
    // Some 1,600 of them fill a pipe. What comes then waits on the connection.
    const ITEMS: usize = 4000;
    let shell = Shell::open().await;
    let inputs = shell.file("pages.jsonl");
    std::fs::write(&inputs, pages(&["tiny"; ITEMS])).unwrap();
    // One at a time is a message each.
    let map = shell.start(TURNO, &["map", "--in-flight=1", FETCH, inputs.to_str().unwrap()]);
    eventually("all have run", async || shell.far.tiny.load(Ordering::SeqCst) == ITEMS).await;
    let answers = Shell::end(map).await.answers("4000 answered, 0 of them failed, in ");
    assert_eq!(indexes(&answers), (0..ITEMS as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_to_type_requests_is_told_so() {
    let shell = Shell::open().await;
    let mut map = shell.start("script", &["-qec", &format!("{TURNO} map {FETCH}"), "/dev/null"]);
    let (mut terminal, mut line) = (BufReader::new(map.stdout.take().unwrap()), String::new());
    let read = tokio::time::timeout(Duration::from_secs(60), terminal.read_line(&mut line)).await;
    read.expect("it says what it waits for").unwrap();
    assert!(line.starts_with("requests are read from the terminal"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_map_on_a_terminal_sees_how_far_it_is() {
    let shell = Shell::open().await;
    let name = shell.turno_with(&["map", "--ticket", FETCH], &pages(&["a", "long"])).await.fine();
    let out = shell.file("answers.jsonl").display().to_string();
    let follow = format!("{TURNO} tickets results {} --follow --out {out}", name.trim());
    let mut follow = shell.start("script", &["-qec", &follow, "/dev/null"]);
    let (mut terminal, mut seen) = (follow.stdout.take().unwrap(), Vec::new());
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(" 1/2 ") {
            assert!(terminal.read_buf(&mut seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("a bar is drawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_says_where_its_time_went() {
    let shell = Shell::open().await;
    let seen = shell.turno_with(&["map", FETCH, "--explain"], &pages(&["a", "b"])).await;
    assert!(seen.err.contains("total=") && seen.err.contains(" chunks="), "{}", seen.err);
    seen.ended_well();
    let stopped = ["map", FETCH, "--explain", "--stop-on-error"];
    let said = shell.turno_with(&stopped, &pages(&["wrong"])).await.failed();
    assert!(said.contains("ABORTED") && said.contains(" chunks="), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_has_no_time_is_late_whoever_says_so() {
    let shell = Shell::open().await;
    for deadline in ["--deadline=0s", "--deadline=1ms"] {
        let said = shell.turno_with(&["map", FETCH, deadline], &pages(&["long"])).await.failed();
        assert!(said.contains("DEADLINE_EXCEEDED: ") && !said.contains("broke"), "{deadline}: {said}");
    }
    // Connections to it are made, and nothing comes on them: not even what the types are.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Nor is one made where nobody accepts the first and there is no room for another.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    let _first = TcpStream::connect(full.local_addr().unwrap()).await.unwrap();
    for nobody in [silent, full] {
        let address = format!("--address={}", nobody.local_addr().unwrap());
        let said = shell.turno(&["map", FETCH, "--deadline=1ms", &address]).await.failed();
        assert_eq!(said, "DEADLINE_EXCEEDED: the map was not done within 1 ms\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_goes_on_with_answers_of_its_own_alone() {
    let shell = Shell::open().await;
    let (inputs, file) = (shell.file("pages.jsonl"), shell.file("answers.jsonl"));
    let out = format!("--out={}", file.display());
    let map = ["map", FETCH, inputs.to_str().unwrap(), &out];
    let resume = ["map", FETCH, inputs.to_str().unwrap(), &out, "--resume"];
    let piped = ["map", FETCH, &out, "--resume"];
    std::fs::write(&inputs, pages(&["a", "b", "c"])).unwrap();
    shell.turno(&map).await.ended_well();
    assert_eq!(answered(&file), ["a", "b", "c"]);
    let refused = shell.turno(&map).await.failed();
    assert!(refused.contains("--resume goes on with it"), "{refused}");
    // As if it had been killed in the middle of the second line: by a file, by a pipe, and once more with nothing missing.
    let whole = String::from_utf8(read(&file)).unwrap();
    let cut = &whole[..whole.len() / 2];
    std::fs::write(&file, cut).unwrap();
    shell.turno(&resume).await.ended_well();
    assert_eq!(answered(&file), ["a", "b", "c"]);
    std::fs::write(&file, cut).unwrap();
    shell.turno_with(&piped, &pages(&["a", "b", "c"])).await.ended_well();
    assert_eq!(answered(&file), ["a", "b", "c"]);
    shell.turno(&resume).await.ended_well();
    assert_eq!(answered(&file), ["a", "b", "c"]);
    // Others, in one way or another: none is sent.
    std::fs::write(&file, cut).unwrap();
    for (urls, why) in [
        (vec!["a", "b", "d"], "has answers to other requests: the first 3 of them differ from these ("),
        (vec!["b", "a", "c"], "the first 3 of them differ"),
        (vec!["a", "b"], "there were 3 at least, and these are 2"),
    ] {
        let refused = shell.turno_with(&piped, &pages(&urls)).await.failed();
        assert!(refused.contains(why), "{urls:?}: {refused}");
        std::fs::write(&inputs, pages(&urls)).unwrap();
        let refused = shell.turno(&resume).await.failed();
        assert!(refused.contains(why) && refused.contains("answers.jsonl.turno says"), "{urls:?}: {refused}");
    }
    assert_eq!(read(&file), cut.as_bytes());
    let check = ["map", "grpc.health.v1.Health/Check", &out, "--resume"];
    let refused = shell.turno(&check).await.failed();
    let what = "has answers of a map of turno.io.v1.Http/Fetch, not of a map of grpc.health.v1.Health/Check";
    assert!(refused.contains(what), "{refused}");
    // There may be more than there were.
    std::fs::write(&inputs, pages(&["a", "b", "c", "d", "e"])).unwrap();
    shell.turno(&resume).await.ended_well();
    assert_eq!(answered(&file), ["a", "b", "c", "d", "e"]);
    // A file that was moved alone is known by nothing.
    let moved = shell.file("moved.jsonl");
    std::fs::rename(&file, &moved).unwrap();
    std::fs::write(&inputs, pages(&["a", "b", "c", "d", "e", "f"])).unwrap();
    let out = format!("--out={}", moved.display());
    let resume = ["map", FETCH, inputs.to_str().unwrap(), &out, "--resume"];
    let refused = shell.turno(&resume).await.failed();
    assert!(refused.contains("moved.jsonl.turno is not there"), "{refused}");
    shell.turno(&[&resume[..], &["--unchecked"]].concat()).await.ended_well();
    assert_eq!(answered(&moved), ["a", "b", "c", "d", "e", "f"]);
    shell.turno(&resume).await.ended_well();
    // Under a name that is free again, another map begins anew.
    shell
        .turno_with(&["map", FETCH, &format!("--out={}", file.display())], &pages(&["z"]))
        .await
        .ended_well();
    assert_eq!(answered(&file), ["z"]);
    let printed = shell.turno_with(&["map", FETCH], &pages(&["z"])).await;
    assert_eq!((printed.code, printed.out.as_bytes()), (Some(0), &read(&file)[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_failed_is_run_again_once_its_line_is_gone() {
    let shell = Shell::open().await;
    let (urls, file) = (pages(&["a", "wrong", "b"]), shell.file("answers.jsonl"));
    let out = format!("--out={}", file.display());
    shell.turno_with(&["map", FETCH, &out, "--ordered"], &urls).await.failed();
    let resume = ["map", FETCH, &out, "--resume"];
    let said = shell.turno_with(&resume, &urls).await.failed();
    assert!(said.starts_with("3 answered, 3 of them before, 1 of them failed, in "), "{said}");
    // As the README has it.
    let failures = "/^{\"index\":[0-9]*,\"error\":/d";
    let edited = Command::new("sed").args(["-i", failures]).arg(&file).status().await.unwrap();
    assert!(edited.success());
    let said = shell.turno_with(&resume, &urls).await.failed();
    assert!(said.starts_with("3 answered, 2 of them before, 1 of them failed, in "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_inputs_that_are_not_there_makes_no_file() {
    let shell = Shell::open().await;
    let (inputs, file) = (shell.file("pages.jsonl"), shell.file("answers.jsonl"));
    let out = format!("--out={}", file.display());
    let map = ["map", FETCH, inputs.to_str().unwrap(), &out];
    for ticket in [None, Some("--ticket")] {
        let words: Vec<&str> = map.into_iter().chain(ticket).collect();
        let said = shell.turno(&words).await.failed();
        assert!(said.contains(&format!("cannot read {}", inputs.display())), "{said}");
        assert!(!file.exists() && !shell.file("answers.jsonl.turno").exists(), "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_writes_a_file_at_a_time() {
    let shell = Shell::open().await;
    let file = shell.file("answers.jsonl");
    let out = format!("--out={}", file.display());
    let mut first = shell.start(TURNO, &["map", FETCH, &out]);
    let mut requests = first.stdin.take().unwrap();
    requests.write_all(pages(&["a"]).as_bytes()).await.unwrap();
    eventually("it has an answer", async || file.metadata().is_ok_and(|file| file.len() > 0)).await;
    for words in [&["map", FETCH, &out][..], &["map", FETCH, &out, "--resume"]] {
        let refused = shell.turno_with(words, &pages(&["a", "b"])).await.failed();
        assert!(refused.contains(&format!("another turno is writing {}", file.display())), "{refused}");
    }
    drop(requests);
    Shell::end(first).await.ended_well();
    shell.turno_with(&["map", FETCH, &out, "--resume"], &pages(&["a", "b"])).await.ended_well();
    assert_eq!(answered(&file), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_believed_of_its_own_file_alone() {
    let shell = Shell::open().await;
    let (file, other) = (shell.file("answers.jsonl"), shell.file("other.jsonl"));
    let note = shell.file("answers.jsonl.turno");
    let (out, urls) = (format!("--out={}", file.display()), pages(&["a", "b"]));
    shell.turno_with(&["map", FETCH, &out], &urls).await.ended_well();
    let to_other = format!("--out={}", other.display());
    shell.turno_with(&["map", FETCH, &to_other], &pages(&["x", "y"])).await.ended_well();
    let resume = ["map", FETCH, &out, "--resume"];
    shell.turno_with(&resume, &urls).await.ended_well();
    let said = read(&note);
    std::fs::rename(&other, &file).unwrap();
    let refused = shell.turno_with(&resume, &urls).await.failed();
    assert!(refused.contains("answers.jsonl.turno is of another file"), "{refused}");
    // Who vouches for it says so only once there is something to be said.
    let unchecked = [&resume[..], &["--unchecked"]].concat();
    let broken = format!("{}{{\"lru\": 1}}\n", pages(&["x", "y"]));
    let failed = shell.turno_with(&unchecked, &broken).await.failed();
    assert!(failed.contains("line 3"), "{failed}");
    assert_eq!(read(&note), said);
    shell.turno_with(&unchecked, &pages(&["x", "y"])).await.ended_well();
    shell.turno_with(&resume, &pages(&["x", "y", "z"])).await.ended_well();
    assert_eq!(answered(&file), ["x", "y", "z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_note_can_be_answers_are_written_all_the_same() {
    let shell = Shell::open().await;
    let urls = pages(&["a", "b"]);
    // With what is added to them, these are too long for names.
    let (file, tickets) = (shell.file(&"a".repeat(250)), shell.file(&"b".repeat(250)));
    let out = format!("--out={}", file.display());
    let seen = shell.turno_with(&["map", FETCH, &out], &urls).await;
    assert!(seen.err.contains("--resume will need --unchecked"), "{}", seen.err);
    seen.ended_well();
    assert_eq!(answered(&file), ["a", "b"]);
    let resume = ["map", FETCH, &out, "--resume"];
    let refused = shell.turno_with(&resume, &urls).await.failed();
    assert!(refused.contains("add --unchecked"), "{refused}");
    let urls = pages(&["a", "b", "c"]);
    shell.turno_with(&[&resume[..], &["--unchecked"]].concat(), &urls).await.ended_well();
    assert_eq!(answered(&file), ["a", "b", "c"]);
    let out = format!("--out={}", tickets.display());
    let seen = shell.turno_with(&["map", "--ticket", FETCH, &out], &urls).await;
    assert!(seen.err.contains("--resume will need --unchecked"), "{}", seen.err);
    seen.ended_well();
    assert_eq!(answered(&tickets), ["a", "b", "c"]);
    // What is there, and cannot be replaced, would be believed: no ticket is made for that.
    std::fs::create_dir(shell.file("c.jsonl.turno")).unwrap();
    let out = format!("--out={}", shell.file("c.jsonl").display());
    let seen = shell.turno_with(&["map", "--ticket", FETCH, &out], &urls).await;
    assert_eq!(seen.out, "");
    assert!(seen.failed().contains("what it says would be wrong; remove it"), "it says what to do");
    // What is no file has nothing beside it, and is not gone on with.
    let printed = shell.turno_with(&["map", FETCH, "--out=/dev/stdout"], &urls).await;
    assert_eq!((printed.code, printed.out.lines().count()), (Some(0), 3), "{}", printed.err);
    assert!(!printed.err.contains("--unchecked") && !Path::new("/dev/stdout.turno").exists());
    let pipe = shell.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    for other in [pipe.as_path(), Path::new("/dev/null")] {
        let out = format!("--out={}", other.display());
        let refused = shell.turno_with(&["map", FETCH, &out, "--resume"], &urls).await.failed();
        assert!(refused.contains("--resume needs a file"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_says_how_it_goes_on() {
    let shell = Shell::open().await;
    let urls: Vec<String> = (0..40).map(|page| format!("page {page}")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let (inputs, file) = (shell.file("pages.jsonl"), shell.file("answers.jsonl"));
    std::fs::write(&inputs, pages(&urls)).unwrap();
    let out = format!("--out={}", file.display());
    let map = ["map", FETCH, inputs.to_str().unwrap(), &out];
    // A file may have a few kilobytes, which are not enough for so many answers.
    let limited = ["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"", TURNO];
    let failed = Shell::end(shell.start("sh", &[&limited[..], &map].concat())).await.failed();
    let what = format!("cannot write {} (--resume goes on with what is missing): ", file.display());
    assert!(failed.contains(&what), "{failed}");
    shell.turno(&[&map[..], &["--resume"]].concat()).await.ended_well();
    assert_eq!(answered(&file), urls);
    // Where not even FILE.turno has room nothing is sent.
    let out = format!("--out={}", shell.file("others.jsonl").display());
    let map = ["map", FETCH, inputs.to_str().unwrap(), &out];
    let limited = ["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", TURNO];
    let failed = Shell::end(shell.start("sh", &[&limited[..], &map].concat())).await.failed();
    for part in ["others.jsonl.turno, and so no more answers", "(--resume goes on with what is missing): "] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    shell.turno(&[&map[..], &["--resume"]].concat()).await.ended_well();
    assert_eq!(answered(&shell.file("others.jsonl")), urls);
    // Whoever vouches for answers has to do so until it is written whose they are.
    std::fs::remove_file(shell.file("others.jsonl.turno")).unwrap();
    let unchecked = [&map[..], &["--resume", "--unchecked"]].concat();
    let failed = Shell::end(shell.start("sh", &[&limited[..], &unchecked[..]].concat())).await.failed();
    assert!(failed.contains("(--resume --unchecked goes on with what is missing): "), "{failed}");
    let refused = shell.turno(&[&map[..], &["--resume"]].concat()).await.failed();
    assert!(refused.contains("others.jsonl.turno is not there, or empty"), "{refused}");
    shell.turno(&unchecked).await.ended_well();
    shell.turno(&[&map[..], &["--resume"]].concat()).await.ended_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_vouches_for_a_file_is_refused_what_cannot_be() {
    let shell = Shell::open().await;
    let (inputs, file) = (shell.file("pages.jsonl"), shell.file("answers.jsonl"));
    let note = shell.file("answers.jsonl.turno");
    let out = format!("--out={}", file.display());
    shell.turno_with(&["map", FETCH, &out], &pages(&["a", "b", "c"])).await.ended_well();
    // It was killed in the middle of a line: what is refused changes not even that.
    let torn = [&read(&file)[..], b"{\"index\":3,\"resp"].concat();
    std::fs::write(&file, torn).unwrap();
    let before = (read(&file), read(&note));
    // Fewer requests than there are answers, of a pipe and of a file.
    let (few, why) = (pages(&["a", "b"]), "there are answers to 3 requests at least, and these are 2");
    let unchecked = ["map", FETCH, &out, "--resume", "--unchecked"];
    let refused = shell.turno_with(&unchecked, &few).await.failed();
    assert!(refused.contains(why), "{refused}");
    std::fs::write(&inputs, few).unwrap();
    let refused = shell.turno(&[&unchecked[..], &[inputs.to_str().unwrap()]].concat()).await.failed();
    assert!(refused.contains(why), "{refused}");
    // A ticket of no map, or of a smaller one.
    let call = shell.submit("far", &[]).await;
    let map = ["map", "--ticket", "--not-before=1h", FETCH];
    let small = shell.turno_with(&map, &pages(&["a"])).await.fine();
    for (name, why) in [
        (call.as_str(), "is no map: it has one response, which `turno tickets show "),
        (small.trim(), "has an answer to item 2, and the map of "),
    ] {
        let words = ["tickets", "results", name, &out, "--resume", "--unchecked"];
        let refused = shell.turno(&words).await.failed();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!((read(&file), read(&note)), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_has_ended_undone_fails_whoever_reads_it() {
    let shell = Shell::open().await;
    let map = ["map", "--ticket", "--not-before=1h", FETCH];
    let name = shell.turno_with(&map, &pages(&["a", "b"])).await.fine();
    let name = name.trim();
    // So far there is nothing, and nothing is wrong.
    let seen = shell.turno(&["tickets", "results", name]).await;
    assert_eq!((seen.code, seen.out.as_str()), (Some(0), ""), "{}", seen.err);
    assert!(seen.err.ends_with("\nstill waiting, 0 of 2; --follow waits for the rest\n"), "{}", seen.err);
    shell.turno(&["tickets", "cancel", name, "--wait"]).await.fine();
    for follow in [None, Some("--follow")] {
        let words: Vec<&str> = ["tickets", "results", name].into_iter().chain(follow).collect();
        let said = shell.turno(&words).await.failed();
        let next = format!("the map has ended so; turno tickets show {} tells more", end_of(name));
        assert!(said.contains("\nCANCELLED: ") && said.contains(&next), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_no_longer_reads_another_pipe_has_lost_answers() {
    let shell = Shell::open().await;
    let pipe = shell.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let reader = OpenOptions::new().open_receiver(&pipe).unwrap();
    let mut map = shell.start(TURNO, &["map", FETCH, &format!("--out={}", pipe.display())]);
    let mut requests = map.stdin.take().unwrap();
    requests.write_all(pages(&["a"]).as_bytes()).await.unwrap();
    eventually("an answer comes", async || reader.try_read(&mut [0; 1024]).is_ok_and(|read| read > 0)).await;
    drop(reader);
    requests.write_all(pages(&["b"]).as_bytes()).await.unwrap();
    drop(requests);
    let said = Shell::end(map).await.failed();
    assert!(said.contains("cannot write answers: "), "{said}");
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id().unwrap()).ok().and_then(Pid::from_raw).unwrap()
}

/// Whether it is in a mask of a process's signals.
fn is_in(mask: &str, process: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix(mask)?.strip_prefix(":\t")).unwrap();
    u64::from_str_radix(mask, 16).unwrap() & (1 << (signal.as_raw() - 1)) > 0
}

fn listens(child: &Child, signal: Signal) -> bool {
    is_in("SigCgt", &child.id().unwrap().to_string(), signal)
}

/// Ctrl-C, and what it ends with; SIGTERM where these tests are themselves in the background of a script.
fn ctrl_c() -> (Signal, i32) {
    if is_in("SigIgn", "self", Signal::INT) { (Signal::TERM, 143) } else { (Signal::INT, 130) }
}

/// Once the program has a word to say to it.
async fn interrupt(child: &Child, signal: Signal) {
    eventually("it listens", async || listens(child, signal)).await;
    kill_process(pid(child), signal).unwrap();
}

/// Once a pipe is full, and whoever writes waits for who reads.
async fn stands(pipe: impl AsFd) {
    let mut before = 0;
    eventually("it waits for who reads", || {
        let unread = ioctl_fionread(&pipe).unwrap();
        let stands = unread > 20_000 && unread == before;
        before = unread;
        async move { stands }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_interrupted_says_how_it_goes_on() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    let file = shell.file("answers.jsonl");
    let out = format!("--out={}", file.display());
    let mut map = shell.start(TURNO, &["map", FETCH, &out]);
    let mut requests = map.stdin.take().unwrap();
    requests.write_all(pages(&["a"]).as_bytes()).await.unwrap();
    eventually("it has an answer", async || file.metadata().is_ok_and(|file| file.len() > 0)).await;
    interrupt(&map, signal).await;
    let Seen { code, err, .. } = Shell::end(map).await;
    let next = "the same command with --resume goes on with what is missing";
    let next = format!("interrupted: what was answered is in {}; {next}\n", file.display());
    assert!(code == Some(end) && err.starts_with("1 answered, 0 of them failed, in "), "{code:?} {err}");
    assert!(err.ends_with(&next), "{err}");
    shell.turno_with(&["map", FETCH, &out, "--resume"], &pages(&["a", "b"])).await.ended_well();
    assert_eq!(answered(&file), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_in_the_background_of_a_script_is_not_meant_by_ctrl_c() {
    let shell = Shell::open().await;
    let file = shell.file("answers.jsonl");
    let out = format!("--out={}", file.display());
    // As a shell without job control starts it.
    let ignores = ["-c", "trap '' INT; exec \"$0\" \"$@\"", TURNO, "map", FETCH, &out];
    let mut map = shell.start("sh", &ignores);
    let mut requests = map.stdin.take().unwrap();
    requests.write_all(pages(&["a"]).as_bytes()).await.unwrap();
    eventually("it has an answer", async || file.metadata().is_ok_and(|file| file.len() > 0)).await;
    assert!(listens(&map, Signal::TERM) && !listens(&map, Signal::INT));
    kill_process(pid(&map), Signal::INT).unwrap();
    requests.write_all(pages(&["b"]).as_bytes()).await.unwrap();
    drop(requests);
    Shell::end(map).await.ended_well();
    assert_eq!(answered(&file), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_a_ticket_outlives_who_is_interrupted_and_says_so() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    let file = shell.file("answers.jsonl");
    let out = format!("--out={}", file.display());
    let words = ["map", "--ticket", FETCH, &out];
    // While requests come of which it does not know the last one.
    let mut map = shell.start(TURNO, &words);
    let requests = map.stdin.take().unwrap();
    interrupt(&map, signal).await;
    let Seen { code, err, .. } = Shell::end(map).await;
    let next = "interrupted; it may be submitted already: see `turno tickets list`";
    assert!(code == Some(end) && err.starts_with(next), "{code:?} {err}");
    drop(requests);
    // And while it waits for answers.
    let mut map = shell.start(TURNO, &words);
    let mut requests = map.stdin.take().unwrap();
    requests.write_all(pages(&["long"]).as_bytes()).await.unwrap();
    drop(requests);
    let (mut printed, mut name) = (BufReader::new(map.stdout.take().unwrap()), String::new());
    let read = tokio::time::timeout(Duration::from_secs(60), printed.read_line(&mut name)).await;
    read.expect("it is submitted").unwrap();
    interrupt(&map, Signal::TERM).await;
    let Seen { code, err, .. } = Shell::end(map).await;
    let next = format!("turno tickets results {} --follow --out {} --resume", name.trim(), file.display());
    let next = format!("interrupted after 0 answers: the ticket is untouched, and `{next} --address ");
    assert!(code == Some(143) && err.starts_with(&next), "{code:?} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_between_results_hears_of_that_alone() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    // They come in several messages, and the map goes on.
    let urls = [&["a"; 3000][..], &["long"]].concat();
    let name = shell.turno_with(&["map", "--ticket", FETCH], &pages(&urls)).await.fine();
    let words = ["tickets", "results", name.trim()];
    shell.until("most are there", &words, |seen| seen.out.lines().count() > 2000).await;
    let reading = shell.start(TURNO, &words);
    stands(reading.stdout.as_ref().unwrap()).await;
    interrupt(&reading, signal).await;
    // It hears it meanwhile.
    shell.turno(&["tickets", "list"]).await.fine();
    let Seen { code, err, .. } = Shell::end(reading).await;
    let next =
        format!(" answers: the ticket is untouched, and `turno tickets results {} --follow", name.trim());
    assert!(
        code == Some(end) && err.starts_with("interrupted after ") && err.contains(&next),
        "{code:?} {err}"
    );
    assert!(err.ends_with("` begins again with its first answer\n") && err.lines().count() == 1, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_while_a_ticket_runs_hears_how_to_come_back() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    let name = shell.submit("long", &["--key=long"]).await;
    let again = format!("turno tickets watch {name} --address {}", shell.gateway.clients());
    let next = format!("interrupted: the ticket goes on, and `{again}` with it\n");
    // With that key it is the same ticket.
    let submit = ["submit", FETCH, r#"{"url":"long"}"#, "--key=long", "--wait"];
    let named = format!("{name}\n");
    for (words, before) in [(&["tickets", "watch", name.as_str()][..], ""), (&submit[..], named.as_str())] {
        let waiting = shell.start(TURNO, words);
        interrupt(&waiting, signal).await;
        let Seen { code, err, .. } = Shell::end(waiting).await;
        assert_eq!((code, err), (Some(end), format!("{before}{next}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_ticket_that_is_deleted_hears_that_it_is_forgotten() {
    let shell = Shell::open().await;
    let name = shell.submit("long", &["--key=long"]).await;
    let show = ["tickets", "show", name.as_str()];
    shell.until("it runs", &show, |seen| seen.out.contains("3 of 10: third page")).await;
    let deleted = shell.turno(&["tickets", "delete", &name]).await.fine();
    assert_eq!(deleted, format!("{name}  is forgotten once it has ended\n"));
    let shown = shell.turno(&show).await.fine();
    assert!(shown.contains("unless its key is submitted again before\n"), "{shown}");
    assert!(!shown.contains("turno tickets watch"), "{shown}");
    let object = shell.turno(&[&show[..], &["--json"]].concat()).await.json();
    assert_eq!(object["delete_requested"], true);
    let mut watching = shell.start(TURNO, &["tickets", "watch", &name]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.contains("  running, attempt 1 of 3, to be forgotten: "), "{first}");
    // It may be gone before this has looked again.
    shell.turno(&["tickets", "cancel", &name]).await.fine();
    let err = Shell::end(watching).await.failed();
    assert!(err.contains(&format!("{name} has ended and is forgotten: it was deleted")), "{err}");
}

#[tokio::test]
async fn who_cancels_a_ticket_that_is_deleted_has_done_so() {
    let shell = Shell::open().await;
    for wait in [None, Some("--wait")] {
        let name = shell.submit("far", &["--not-before=1h"]).await;
        shell.turno(&["tickets", "delete", &name]).await.fine();
        let words: Vec<&str> = ["tickets", "cancel", &name].into_iter().chain(wait).collect();
        let said = shell.turno(&words).await.fine();
        assert_eq!(said, format!("{name}  has ended, and is forgotten\n"));
        let again = shell.turno(&words).await.failed();
        assert!(again.contains("turno tickets list"), "{again}");
    }
}

/// Before a gateway: passes on what comes, but of one method's calls only the first few. Others are never answered.
#[derive(Clone)]
struct Door {
    gateway: Channel,
    held: &'static str,
    passes: usize,
    came: Arc<AtomicUsize>,
}

impl Door {
    /// Its address, and how many such calls have come.
    async fn before(shell: &Shell, held: &'static str, passes: usize) -> (String, Arc<AtomicUsize>) {
        let gateway = Endpoint::from_shared(format!("http://{}", shell.gateway.clients())).unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let door = Self { gateway: gateway.connect_lazy(), held, passes, came: came.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = Server::builder().serve_with_incoming(door, TcpListenerStream::new(listener));
        drop(turno_runtime::task::spawn("door", serving));
        (address, came)
    }
}

impl Service<::http::Request<Body>> for Door {
    type Response = ::http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        let is_such = request.uri().path().ends_with(self.held);
        let is_held = is_such && self.came.fetch_add(1, Ordering::SeqCst) >= self.passes;
        let mut gateway = self.gateway.clone();
        Box::pin(async move {
            if is_held {
                std::future::pending::<()>().await;
            }
            std::future::poll_fn(|cx| gateway.poll_ready(cx)).await?;
            gateway.call(request).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_while_a_ticket_stops_hears_that_it_does() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    let name = shell.submit("far", &["--not-before=1h"]).await;
    let (door, came) = Door::before(&shell, "/Watch", 0).await;
    let cancelling = shell.start(TURNO, &["tickets", "cancel", &name, "--wait", "--address", &door]);
    eventually("it waits", async || came.load(Ordering::SeqCst) > 0).await;
    interrupt(&cancelling, signal).await;
    let Seen { code, out, err } = Shell::end(cancelling).await;
    let again = format!("turno tickets watch {name} --address {door}");
    let next = format!("interrupted: the ticket goes on, and `{again}` with it\n");
    assert_eq!((code, out.as_str()), (Some(end), ""), "{err}");
    assert_eq!(err, next + "  it is told to stop all the same\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_between_tickets_that_stop_has_the_others_left_as_they_were() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    let first = shell.submit("far", &["--not-before=1h"]).await;
    let second = shell.submit("far", &["--not-before=1h"]).await;
    let (door, came) = Door::before(&shell, "/GetOperation", 1).await;
    let words = ["tickets", "cancel", &first, &second, "--wait", "--address", &door];
    let cancelling = shell.start(TURNO, &words);
    eventually("it asks for the second", async || came.load(Ordering::SeqCst) > 1).await;
    interrupt(&cancelling, signal).await;
    let Seen { code, out, err } = Shell::end(cancelling).await;
    assert_eq!((code, out), (Some(end), format!("{first}  cancelled\n")), "{err}");
    assert_eq!(err, format!("interrupted: {second} may have been left as it was\n"));
    let left = shell.turno(&["tickets", "list", "--quiet", "--state=waiting"]).await.fine();
    assert_eq!(left, format!("{second}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_twice_waits_for_no_reader() {
    let (shell, (signal, end)) = (Shell::open().await, ctrl_c());
    let pipe = shell.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    let reader = OpenOptions::new().open_receiver(&pipe).unwrap();
    let mut map = shell.start(TURNO, &["map", FETCH, &format!("--out={}", pipe.display())]);
    let mut requests = map.stdin.take().unwrap();
    // Their answers are more than a pipe holds.
    requests.write_all(pages(&["a"; 1000]).as_bytes()).await.unwrap();
    stands(&reader).await;
    interrupt(&map, signal).await;
    eventually("it ends", || {
        let _asked = kill_process(pid(&map), signal);
        let ended = map.try_wait().unwrap().is_some();
        async move { ended }
    })
    .await;
    assert_eq!(map.wait().await.unwrap().code(), Some(end));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_ends_without_a_word() {
    let shell = Shell::open().await;
    let (long, page) = (shell.submit("long", &[]).await, pages(&["a"]));
    let map = shell.turno_with(&["map", "--ticket", FETCH], &page).await.fine();
    shell.turno(&["tickets", "watch", map.trim()]).await.fine();
    let done = [&["tickets", "list"][..], &["methods"], &["nodes", "--json"], &["gateway", "--print-config"]];
    // As by SIGPIPE, which tells it from what is done.
    let not_done = [
        &["map", FETCH][..],
        &["call", FETCH, r#"{"url":"far"}"#],
        &["tickets", "results", map.trim()],
        // It would follow this one for ever.
        &["tickets", "watch", &long],
        &["tickets", "watch", "--json", &long],
        &["tickets", "list", "--quiet"],
        &["completions", "bash"],
    ];
    let all = done.into_iter().map(|words| (words, 0)).chain(not_done.into_iter().map(|words| (words, 141)));
    for (words, code) in all {
        let seen = shell.unread(words, &page, false).await;
        assert_eq!((seen.code, seen.err.as_str()), (Some(code), ""), "{words:?}");
    }
    // What is done is done, and goes on.
    shell.unread(&["submit", FETCH, r#"{"url":"far"}"#], "", false).await.fine();
    shell.unread(&["submit", FETCH, "--many=-", "--label=lane=two"], &page.repeat(3), false).await.fine();
    let listed = shell.turno(&["tickets", "list", "--quiet", "--label=lane=two"]).await.fine();
    assert_eq!(listed.lines().count(), 3);
    // And what fails has failed, though nobody hears of it.
    let out = format!("--out={}", shell.file("answers.jsonl").display());
    for words in [
        &["tickets", "show", "abc"][..],
        &["tickets", "cancel", "abc", "abc"],
        &["call", FETCH, r#"{"url":"wrong"}"#],
        &["map", FETCH, &out],
    ] {
        let seen = shell.unread(words, "{\"lru\":1}\n", true).await;
        assert_eq!(seen.code, Some(1), "{words:?}");
    }
}
