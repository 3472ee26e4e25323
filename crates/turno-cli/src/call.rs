//! `turno call`: one call of any method that an address serves, JSON in and JSON out. The types come by server
//! reflection, so that no `.proto` is needed. Called by `main`.

mod codec;
mod dial;
pub(crate) mod failure;
pub(crate) mod json;
pub(crate) mod method;
pub(crate) mod nearest;
pub(crate) mod show;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::uri::PathAndQuery;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::codec::CompressionEncoding;
use tonic::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use turno_proto::headers;
use turno_runtime::units::Rounded;

pub(crate) use self::dial::{Away, Prompt, SILENCE, answer, answer_behind, dial, dial_any, why};
use self::show::{OUT_SAVES, Show, Style};
use crate::aside::Aside;
use crate::reflect;
use crate::stdout::Stdout;

/// After its deadline a call is given up here even if no status comes. The other end's own word is on its way then, and may
/// bring an account.
const GRACE: Duration = Duration::from_millis(100);
/// What the wire can say: eight digits, of hours.
const LONGEST: Duration = Duration::from_secs(99_999_999 * 3600);
/// What is said then.
const LATE: &str = "no answer";

/// Call a method: JSON in, JSON out, whatever its .proto
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit code: 1 if the call fails, or cannot be made.

Examples:
  turno call gallery.v1.Gallery/Thumbnail --out cat.jpg \\
    '{\"url\": \"https://a.example/cat.jpg\", \"width\": 256}'
  turno call turno.cpu.v1.Images/Info '{\"data\": \"@cat.jpg\"}'
  turno call grpc.health.v1.Health/Watch --timeout 10s --json
  # a stream of requests:
  printf '{\"number\": 1} {\"number\": 2}' | turno call clock.v1.Diary/Sum -")]
pub(crate) struct CallArgs {
    /// The method: package.Service/Method
    pub(crate) method: String,
    /// The request: JSON, @FILE, or - for stdin; "@FILE" in a bytes field stands for that file's content; of a stream
    /// of requests, one object after another
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(crate) request: String,
    /// Save the answer's bytes, the longest of them, to FILE (of a stream cat.jpg becomes cat-1.jpg, cat-2.jpg, …)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// One JSON object a line, errors too
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up after this time, such as 30s, from connecting to the last answer [default: no limit but the server's]
    #[arg(long, short, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Send metadata along; of a key that ends in -bin the value is base64. May be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Say on standard error where the time of the call went, also of one that failed
    #[arg(long)]
    pub(crate) explain: bool,
}

/// Calls and shows what is answered. A gRPC error is shown too, and fails.
pub(crate) async fn run(args: CallArgs, address: &str) -> anyhow::Result<ExitCode> {
    let terminal = io::stdout().is_terminal();
    run_on(&args, address, Screen { out: &mut Stdout, err: &mut Aside, terminal }).await
}

/// Where a call is shown.
pub(crate) struct Screen<'a> {
    pub(crate) out: &'a mut (dyn Write + Send),
    pub(crate) err: &'a mut (dyn Write + Send),
    /// `out` is a person's.
    pub(crate) terminal: bool,
}

async fn run_on(args: &CallArgs, address: &str, screen: Screen<'_>) -> anyhow::Result<ExitCode> {
    let name = method::Name::parse(&args.method)?;
    let mut metadata = metadata(&args.metadata)?;
    if args.explain {
        metadata.insert(headers::EXPLAIN, AsciiMetadataValue::from_static("1"));
    }
    let text = json::read(&args.request)?;
    let since = Instant::now();
    let finding = Box::pin(async {
        let channel = dial_any(address).await?;
        let method = reflect::find(channel.clone(), address, &name).await?;
        anyhow::Ok((channel, method))
    });
    let (channel, method) = match within(args.timeout, since, LATE, finding).await {
        Ok(found) => found,
        Err(error) => return failed(error, &DescriptorPool::new(), args, screen.err),
    };
    let style = style(args, &method, screen.terminal)?;
    let mut request = Request::from_parts(metadata, Default::default(), encoded(&method, &text)?);
    if let Some(timeout) = args.timeout {
        request.set_timeout(left(timeout, since));
    }
    let path = PathAndQuery::try_from(format!("/{name}")).context("the method's name is no path")?;
    let exchange = exchange(channel, path, request, method.output(), Show::new(style, screen.out));
    match within(args.timeout, since, LATE, exchange).await {
        Ok(trailers) => {
            explain(&trailers, screen.err)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => failed(failure::of_connection(error, address), method.parent_pool(), args, screen.err),
    }
}

/// One request, or those of a stream.
fn encoded(method: &MethodDescriptor, text: &str) -> anyhow::Result<Vec<Bytes>> {
    let messages = if method.is_client_streaming() {
        json::parse_all(&method.input(), text)?
    } else {
        vec![json::parse(&method.input(), text)?]
    };
    Ok(messages.iter().map(|message| message.encode_to_vec().into()).collect())
}

fn style(args: &CallArgs, method: &MethodDescriptor, terminal: bool) -> anyhow::Result<Style> {
    let numbered = method.is_server_streaming();
    if let Some(file) = &args.out {
        json::check_can_be_saved(&method.output())?;
        if !numbered {
            show::check_can_be_written(file)?;
        }
    }
    Ok(Style { save: args.out.clone(), compact: args.json, terminal, numbered, hint: OUT_SAVES })
}

/// Sends the request and shows what comes; answers the trailers. The error of the call itself is a [`Status`].
async fn exchange(
    channel: Channel,
    path: PathAndQuery,
    request: Request<Vec<Bytes>>,
    answer: MessageDescriptor,
    mut show: Show<'_>,
) -> anyhow::Result<MetadataMap> {
    let mut answers = send(channel, path, request).await?;
    while let Some(encoded) = answers.message().await? {
        let message = DynamicMessage::decode(answer.clone(), encoded)
            .with_context(|| format!("the answer is no {}", answer.full_name()))?;
        show.answer(&message)?;
    }
    show.finish()?;
    Ok(answers.trailers().await?.unwrap_or_default())
}

/// On the wire a unary call is a stream of one request and a stream of one answer.
async fn send(
    channel: Channel,
    path: PathAndQuery,
    request: Request<Vec<Bytes>>,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(client.streaming(request.map(tokio_stream::iter), path, codec::RawCodec).await?.into_inner())
}

/// Holds a part of a command to the whole's timeout, which runs since then. The other end should say that it passed; tonic says
/// `CANCELLED` of its own. `late`: what is then said of it, "no answer".
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    since: Instant,
    late: &str,
    call: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let Some(timeout) = timeout else { return call.await };
    let late = || dial::given_up(format!("{late} within {}", Rounded(timeout)));
    match tokio::time::timeout(left(timeout.saturating_add(GRACE), since), call).await {
        Ok(Err(error)) if error.downcast_ref().is_some_and(is_tonics_timeout) => Err(late().into()),
        Ok(result) => result,
        Err(_) => Err(late().into()),
    }
}

/// What is left of a time that runs since then. Longer than the wire can say is as long as it can say.
pub(crate) fn left(time: Duration, since: Instant) -> Duration {
    time.saturating_sub(since.elapsed()).min(LONGEST)
}

fn is_tonics_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == tonic::TimeoutExpired(()).to_string()
}

/// Reports a gRPC error and ends with 1; others go up.
fn failed(
    error: anyhow::Error,
    known: &DescriptorPool,
    args: &CallArgs,
    screen: &mut (dyn Write + Send),
) -> anyhow::Result<ExitCode> {
    let Some(status) = error.downcast_ref::<Status>() else { return Err(error) };
    failure::report(status, known, args.json, screen)?;
    if args.explain {
        explain_failure(status, screen)?;
    }
    Ok(ExitCode::FAILURE)
}

/// Where the time went of a call that failed, or why nobody says so.
pub(crate) fn explain_failure(status: &Status, screen: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    if status.metadata().contains_key(headers::EXPLAIN) {
        return explain(status.metadata(), screen);
    }
    let why = match std::error::Error::source(status) {
        Some(_) => "the server did not answer in time",
        None => "the server has sent none",
    };
    Ok(writeln!(screen, "no account: {why}")?)
}

/// Where the time went, if the gateway says so.
pub(crate) fn explain(trailers: &MetadataMap, screen: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    if let Some(account) = trailers.get(headers::EXPLAIN) {
        writeln!(screen, "{}", account.to_str()?)?;
    }
    Ok(())
}

pub(crate) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_lowercase(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

pub(crate) fn metadata(pairs: &[(String, String)]) -> anyhow::Result<MetadataMap> {
    let mut map = MetadataMap::new();
    for (key, value) in pairs {
        append(&mut map, key, value).with_context(|| format!("--metadata {key}={value}"))?;
    }
    Ok(map)
}

fn append(map: &mut MetadataMap, key: &str, value: &str) -> anyhow::Result<()> {
    if key.ends_with("-bin") {
        map.append_bin(BinaryMetadataKey::from_bytes(key.as_bytes())?, {
            BinaryMetadataValue::from_bytes(&json::decode(value)?)
        });
    } else {
        map.append(AsciiMetadataKey::from_bytes(key.as_bytes())?, value.parse()?);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
