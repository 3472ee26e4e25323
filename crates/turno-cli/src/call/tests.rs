//! Whole calls, from the words of a command line to what is on the screen, against a tonic server that has the
//! stock health and reflection services and a studio that prints albums.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser as _;
use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message as _;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::codec::RawCodec;
use super::json::tests::{album, encoded_files};
use super::{CallArgs, Screen, run_on, within};
use crate::doubles;

#[derive(Clone)]
struct Studio;

impl NamedService for Studio {
    const NAME: &'static str = "album.v1.Studio";
}

impl Service<http::Request<Body>> for Studio {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(usize::MAX);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/album.v1.Studio/Upload" => grpc.client_streaming(Upload, request).await,
                "/album.v1.Studio/Pages" => grpc.server_streaming(Pages, request).await,
                _ => grpc.unary(Print, request).await,
            })
        })
    }
}

/// Answers the album that it was sent.
struct Print;

impl UnaryService<Bytes> for Print {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            if let Some(reason) = request.metadata().get("x-refuse") {
                let details = ErrorDetails::with_bad_request_violation("title", reason.to_str().unwrap());
                let mut refused =
                    Status::with_error_details(tonic::Code::InvalidArgument, "refused", details);
                if request.metadata().contains_key("turno-explain") {
                    refused.metadata_mut().insert("turno-explain", "total=7us edge=7us".parse().unwrap());
                }
                return Err(refused);
            }
            if request.metadata().contains_key("x-time-left") {
                let left = request.metadata().get("grpc-timeout").unwrap();
                return Err(Status::aborted(left.to_str().unwrap()));
            }
            if request.metadata().contains_key("x-sleep") {
                std::future::pending::<()>().await;
            }
            Ok(Response::new(request.into_inner()))
        })
    }
}

/// Answers an album's pages one by one.
struct Pages;

impl ServerStreamingService<Bytes> for Pages {
    type Response = Bytes;
    type ResponseStream = tokio_stream::Iter<std::vec::IntoIter<Result<Bytes, Status>>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let album = DynamicMessage::decode(album(), request.into_inner()).unwrap();
        let pages = album.get_field_by_name("pages").unwrap().into_owned();
        let encode = |page: &prost_reflect::Value| Ok(page.as_message().unwrap().encode_to_vec().into());
        let pages: Vec<_> = pages.as_list().unwrap().iter().map(encode).collect();
        Box::pin(async move { Ok(Response::new(tokio_stream::iter(pages))) })
    }
}

/// Answers an album of the pictures that it was sent: each as a field 3, one behind the other.
struct Upload;

impl ClientStreamingService<Bytes> for Upload {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let (mut pictures, mut album) = (request.into_inner(), Vec::new());
            while let Some(picture) = pictures.message().await? {
                album.extend([3 << 3 | 2, u8::try_from(picture.len()).unwrap()]);
                album.extend(picture);
            }
            Ok(Response::new(album.into()))
        })
    }
}

/// Serves health, reflection and the studio on a port of its own.
pub(crate) async fn serve() -> SocketAddr {
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(encoded_files())
        .build_v1()
        .unwrap();
    doubles::serve(Routes::new(health).add_service(reflection).add_service(Studio)).await
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: CallArgs,
}

struct Seen {
    ended: anyhow::Result<ExitCode>,
    out: String,
    err: String,
}

impl Seen {
    fn fine(self) -> String {
        assert_eq!(format!("{:?}", self.ended.unwrap()), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(self.err, "");
        self.out
    }

    fn failed(self) -> String {
        assert_eq!(format!("{:?}", self.ended.unwrap()), format!("{:?}", ExitCode::FAILURE));
        self.err
    }
}

async fn call_as(terminal: bool, words: &[&str]) -> Seen {
    call_at(serve().await, terminal, words).await
}

async fn call_at(address: SocketAddr, terminal: bool, words: &[&str]) -> Seen {
    let args = Line::try_parse_from(["call"].iter().chain(words)).unwrap().args;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = run_on(&args, &address.to_string(), Screen { out: &mut out, err: &mut err, terminal }).await;
    Seen { ended, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

async fn call(words: &[&str]) -> Seen {
    call_as(false, words).await
}

#[tokio::test]
async fn a_unary_method_is_called_by_every_spelling_of_its_name() {
    for name in ["grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check", "grpc.health.v1.Health.Check"]
    {
        assert_eq!(call(&[name]).await.fine(), "{\n  \"status\": \"SERVING\"\n}\n");
    }
    assert_eq!(
        call(&["grpc.health.v1.Health/Check", "{}", "--json"]).await.fine(),
        "{\"status\":\"SERVING\"}\n"
    );
}

#[tokio::test]
async fn a_stream_is_shown_as_it_comes_until_the_timeout() {
    let seen = call(&["grpc.health.v1.Health/Watch", "--json", "--timeout", "1s"]).await;
    assert_eq!(seen.out, "{\"status\":\"SERVING\"}\n");
    let err = seen.failed();
    assert_eq!(err, "{\"code\":\"DEADLINE_EXCEEDED\",\"message\":\"no answer within 1 s\",\"details\":[]}\n");
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_at_its_timeout() {
    let seen = call(&["album.v1.Studio/Print", "--timeout", "100ms", "-m", "x-sleep=1"]).await;
    assert_eq!(seen.failed(), "DEADLINE_EXCEEDED: no answer within 100 ms\n");
}

#[tokio::test]
async fn whose_word_does_not_come_is_not_waited_for_much_longer() {
    let never = std::future::pending::<anyhow::Result<()>>();
    tokio::select! {
        biased;
        late = within(Some(Duration::from_millis(1)), Instant::now(), "no answer", never) => {
            assert_eq!(late.unwrap_err().downcast::<Status>().unwrap().message(), "no answer within 1 ms");
        }
        () = tokio::time::sleep(Duration::from_millis(300)) => panic!("it is still waited for"),
    }
}

#[tokio::test]
async fn who_asks_for_an_account_hears_why_there_is_none() {
    let seen = call(&["album.v1.Studio/Print", "--timeout", "100ms", "-m", "x-sleep=1", "--explain"]).await;
    let late = "DEADLINE_EXCEEDED: no answer within 100 ms\nno account: the server did not answer in time\n";
    assert_eq!(seen.failed(), late);
    let seen = call(&["grpc.health.v1.Health/Check", r#"{"service":"nobody"}"#, "--explain"]).await;
    let none = "NOT_FOUND: service not registered\nno account: the server has sent none\n";
    assert_eq!(seen.failed(), none);
}

#[tokio::test]
async fn what_it_takes_to_find_the_method_is_the_calls_time_too() {
    let words = ["album.v1.Studio/Print", "--timeout", "60s", "-m", "x-time-left=1"];
    let said = call(&words).await.failed();
    let left = said.strip_prefix("ABORTED: ").and_then(|left| left.strip_suffix("u\n")).unwrap();
    assert!(left.parse::<u32>().unwrap() < 60_000_000, "{said}");
}

#[tokio::test]
async fn a_timeout_is_as_long_as_the_wire_can_say() {
    let words = ["album.v1.Studio/Print", "--timeout", "20000years", "-m", "x-time-left=1"];
    assert_eq!(call(&words).await.failed(), "ABORTED: 99999999H\n");
}

#[tokio::test]
async fn who_is_not_reached_has_no_more_time() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    // Nobody accepts it, and there is no room for another.
    let _first = tokio::net::TcpStream::connect(full.local_addr().unwrap()).await.unwrap();
    let words = ["album.v1.Studio/Print", "--timeout", "100ms"];
    let seen = call_at(full.local_addr().unwrap(), false, &words).await;
    assert_eq!(seen.failed(), "DEADLINE_EXCEEDED: no answer within 100 ms\n");
}

#[tokio::test]
async fn who_does_not_even_say_what_there_is_has_no_more_time() {
    // Connections to it are made, and nothing comes on them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let words = ["album.v1.Studio/Print", "--timeout", "100ms"];
    let seen = call_at(silent.local_addr().unwrap(), false, &words).await;
    assert_eq!(seen.failed(), "DEADLINE_EXCEEDED: no answer within 100 ms\n");
}

#[tokio::test]
async fn an_error_is_shown_with_its_details() {
    let seen = call(&["grpc.health.v1.Health/Check", r#"{"service":"nobody"}"#]).await;
    assert_eq!(seen.failed(), "NOT_FOUND: service not registered\n");
    let seen = call(&["album.v1.Studio/Print", "--metadata", "X-Refuse=too dull"]).await;
    assert_eq!(seen.failed(), "INVALID_ARGUMENT: refused\n  title: too dull\n");
    let seen = call(&["album.v1.Studio/Print", "--metadata", "X-Refuse=too dull", "--explain"]).await;
    assert_eq!(seen.failed(), "INVALID_ARGUMENT: refused\n  title: too dull\ntotal=7us edge=7us\n");
}

#[tokio::test]
async fn pictures_go_from_file_to_file() {
    let dir = tempfile::tempdir().unwrap();
    let (cat, copy) = (dir.path().join("cat.jpg"), dir.path().join("copy.jpg"));
    let content: Vec<u8> = (0..6_000_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&cat, &content).unwrap();
    let request = format!(r#"{{"title":"cats","cover":{{"body":"@{}"}}}}"#, cat.display());
    let file = dir.path().join("request.json");
    std::fs::write(&file, &request).unwrap();
    let at = format!("@{}", file.display());
    for request in [request.as_str(), &at] {
        let out =
            call_as(true, &["album.v1.Studio/Print", request, "--out", copy.to_str().unwrap()]).await.fine();
        let body = format!("<6000000 bytes, in {}>", copy.display());
        let expected = serde_json::json!({ "title": "cats", "cover": { "body": body } });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), expected);
        assert!(std::fs::read(&copy).unwrap() == content);
        std::fs::remove_file(&copy).unwrap();
    }
}

#[tokio::test]
async fn the_pages_of_a_stream_are_saved_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("page.bin");
    let request = r#"{"pages":[{"body":"AA=="},{"body":"AQ==","width":3}]}"#;
    let seen = call(&["album.v1.Studio/Pages", request, "--out", to.to_str().unwrap(), "--json"]).await;
    let lines: Vec<String> = seen.fine().lines().map(str::to_owned).collect();
    assert_eq!(
        lines[0],
        format!("{{\"body\":\"<1 bytes, in {}>\"}}", dir.path().join("page-1.bin").display())
    );
    assert!(lines[1].ends_with("page-2.bin>\",\"width\":3}"), "{lines:?}");
    assert_eq!(std::fs::read(dir.path().join("page-2.bin")).unwrap(), [1]);
}

#[tokio::test]
async fn a_stream_of_requests_is_sent_object_by_object() {
    let requests = "{\"width\":1}\n{}\n{\"width\": 3} ";
    let out = call(&["album.v1.Studio/Upload", requests, "--json"]).await.fine();
    assert_eq!(out, "{\"pages\":[{\"width\":1},{},{\"width\":3}]}\n");
    assert_eq!(call(&["album.v1.Studio/Upload", "", "--json"]).await.fine(), "{}\n");
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_in_words() {
    for (words, expected) in [
        (vec!["album.v1.Studio/Upload", r#"{"width":1} {"#], "request 2 of the stream is not JSON"),
        (
            vec!["album.v1.Studio/Upload", r#"{"width":1} {"with":1}"#],
            "request 2 of the stream: with: no such",
        ),
        (
            vec!["album.v1.Studio/Prnt"],
            "album.v1.Studio has no method Prnt; did you mean Print?\nit has: Print,",
        ),
        (
            vec!["album.v1.Studo/Print"],
            "no service album.v1.Studo; did you mean album.v1.Studio?\nserved: album",
        ),
        (vec!["album.v1.Album/Print"], "no service album.v1.Album\nserved:"),
        (vec!["album.v1.Album"], "no service album.v1\nserved:"),
        (
            vec!["album.v1.Studio"],
            "album.v1.Studio is a service, and the method is missing: write album.v1.Studio/Method\nit has: Print,",
        ),
        (vec!["album.v1.Studio/Drop", "--out", "x"], "google.protobuf.Empty has no bytes field"),
        (vec!["album.v1.Studio/Print", r#"{"tilte":1}"#], "tilte: no such field; did you mean title?"),
        (vec!["album.v1.Studio/Print", "@/no/file"], "cannot read the request from /no/file"),
        (vec!["album.v1.Studio/Print", "-m", "a b=c"], "--metadata a b=c"),
    ] {
        let seen = call(&words).await;
        let error = format!("{:#}", seen.ended.unwrap_err());
        assert!(error.contains(expected), "{words:?}: {error}");
        assert_eq!(seen.out, "");
    }
}

#[tokio::test]
async fn binary_metadata_is_base64() {
    let map = super::metadata(&[("a-bin".into(), "AAEC".into()), ("b".into(), "c=d".into())]).unwrap();
    assert_eq!(map.get_bin("a-bin").unwrap().to_bytes().unwrap(), &[0, 1, 2][..]);
    assert_eq!(map.get("b").unwrap(), "c=d");
    assert!(super::metadata(&[("a-bin".into(), "!".into())]).is_err());
}
