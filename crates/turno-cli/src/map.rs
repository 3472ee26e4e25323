//! `turno map`: one method over the lines of a file, JSON in and JSON out. `inputs` reads requests, `out` is the file that
//! answers go to, `results` writes them and knows which are there already, `origin` keeps whose these are, `again` says what
//! goes on with them, `progress` tells a person how far it is. Of a map that is a ticket, `ticket` submits it and `reading`
//! brings the answers.

mod again;
mod inputs;
mod origin;
mod out;
mod progress;
mod reading;
mod results;
mod ticket;

use std::error::Error as _;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser as _};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use turno_proto::headers;
use turno_proto::v1::map_client::MapClient;
use turno_proto::v1::{MapHeader, MapOrder, MapRequest, MapResponse, MapSummary, OnFailure};

use crate::aside::Aside;
use crate::call::{self, method::Name};
use crate::interrupts::{Interrupts, heed};
use crate::reflect;
use crate::submit::Wishes;
use crate::tickets;
use inputs::{Inputs, Source};
use origin::{Of, Requests};
use out::Out;
use progress::Progress;
use reading::Reading;
use results::{Before, Results};

/// What is said of a map whose deadline has passed.
const LATE: &str = "the map was not done";

/// Map a method over many requests
#[derive(Args, Clone, Debug)]
#[command(after_help = "A line of the input is a request, as JSON; a line of the output is an answer:
  {\"index\":0,\"response\":{…}}
  {\"index\":1,\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"…\",\"details\":[…]}}
The index counts requests from 0, and blank lines are none.
Exit code: 1 if one is an error, or if the map did not come to its end; 130 if Ctrl-C has ended it.

Examples:
  turno map turno.cpu.v1.Images/Info pictures.jsonl --out infos.jsonl
  # goes on where that ended:
  turno map turno.cpu.v1.Images/Info pictures.jsonl --out infos.jsonl --resume
  turno map turno.cpu.v1.Images/Info pictures.jsonl --out infos.jsonl \\
    --stop-above 0.05
  turno map turno.cpu.v1.Images/Info pictures.jsonl --ticket --key nightly \\
    --label shop=bakery --not-before 8h
  ls *.jpg | jq -R '{data: (\"@\" + .)}' -c \\
    | turno map turno.cpu.v1.Images/Info --ordered")]
pub(crate) struct MapArgs {
    /// The method: package.Service/Method. It takes one message and answers one
    method: String,
    /// A file of requests, one JSON object a line, or - for stdin; "@FILE" in a bytes field stands for that file's content,
    /// which --resume does not compare: it knows a request by its line
    #[arg(value_name = "INPUTS", default_value = "-")]
    inputs: String,
    #[command(flatten)]
    target: Target,
    /// Answers in the order of the requests
    #[arg(long)]
    ordered: bool,
    /// End at the first failure
    #[arg(long)]
    stop_on_error: bool,
    /// End when more than this share of the requests has failed, from 0 to 1, such as 0.05: of 100 at least, as long as
    /// there may be more. With --resume those of this run count
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "stop_on_error")]
    stop_above: Option<f64>,
    /// The most requests under way at once [default: 16384]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    in_flight: Option<u32>,
    /// Give up after this time, such as 30m, from connecting to the last answer [default: never]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Say on standard error where the time of its chunks went, also of a map that broke
    #[arg(long, conflicts_with = "ticket")]
    explain: bool,
    /// Submit it as a ticket: it goes on by itself, and its name is printed. With --out its results are written as they come;
    /// where that ends, `turno tickets results` goes on
    #[arg(long, conflicts_with_all = ["resume", "deadline"])]
    ticket: bool,
    /// Send metadata along; of a key that ends in -bin the value is base64. May be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = call::key_and_value)]
    metadata: Vec<(String, String)>,
    #[command(flatten, next_help_heading = "With --ticket")]
    wishes: Wishes,
}

/// Where answers go.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Target {
    /// Write answers to FILE, and to FILE.turno which map they are of
    #[arg(long, short, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(out::named))]
    out: Option<PathBuf>,
    /// Go on with the FILE of --out: the answers that it has stay, and those that are missing are written behind them
    #[arg(long, requires = "out")]
    resume: bool,
    /// Go on with it though FILE.turno is not there, or says that the answers are of another map or in another file. A map
    /// of fewer requests than there are answers is refused nevertheless; of requests from a pipe that is seen at its end
    #[arg(long, requires = "resume")]
    unchecked: bool,
}

impl Target {
    /// No bar stands in the way of answers that go to the same terminal.
    fn has_room(&self) -> bool {
        self.out.is_some() || !stdout().is_terminal()
    }

    fn open(&self) -> anyhow::Result<Option<Out>> {
        self.out.as_deref().map(|path| Out::open(path, self.resume)).transpose()
    }

    /// The file, if it has to be of the map that goes on with it.
    fn checked(&self) -> Option<&Path> {
        self.out.as_deref().filter(|_| self.resume && !self.unchecked)
    }

    /// What becomes of answers that the file has, if those of `of` are to go there.
    fn before<'a>(&self, of: Of<'a>) -> Before<'a> {
        if self.resume { Before::Kept { is_checked: !self.unchecked } } else { Before::Refused(of) }
    }
}

/// Maps, and fails if an item did, or the map.
pub(crate) async fn run(args: MapArgs, address: &str) -> anyhow::Result<ExitCode> {
    if !args.ticket && args.wishes != Wishes::default() {
        bail!(
            "a key, labels, retries and times are kept with a ticket: add --ticket to submit the map as one"
        );
    }
    args.wishes.check()?;
    let since = Instant::now();
    let finding = Box::pin(async {
        let channel = call::dial(address).await?;
        let method = method(&args, channel.clone(), address).await?;
        anyhow::Ok((channel, method))
    });
    let (channel, method) = match call::within(args.deadline, since, LATE, finding).await {
        Ok(found) => found,
        Err(error) => return failed(error, &DescriptorPool::new(), address, None::<&str>),
    };
    let (target, name) = (&args.target, full_name(&method));
    // Before any file is made for their answers.
    let lines = Source::open(&args.inputs)?;
    let out = target.open()?;
    let earlier = target.checked().map(|file| origin::of_map(file, &name)).transpose()?.flatten();
    let of = if args.ticket { Of::NewTicket } else { Of::Method(&name) };
    let mut results = Results::open(out, target.before(of), &method)?;
    if args.ticket {
        return as_ticket(&args, channel, &method, lines, results, address).await;
    }
    let known = results.known();
    let requests = Requests::open(results.note(), &name, earlier, known.0.last().copied())?;
    let inputs = Inputs::new(lines, method.input(), known, requests)?;
    // Nor in the way of requests that are typed there.
    let has_room = target.has_room() && !inputs.are_typed();
    let mut progress = Progress::new(inputs.total(), results.count(), has_room);
    // Not before: whoever ends it while a file is read for the first time has no answers to hear of.
    let mut interrupts = Interrupts::listen()?;
    let live = live(&args, since, (channel, &method, address), inputs, &mut results, &mut progress);
    let ended = interrupts.or(Box::pin(live)).await;
    ended.unwrap_or_else(|code| {
        progress.finish(results.failed());
        writeln!(Aside, "{}", results.interrupted())?;
        Ok(code)
    })
}

/// A map that is no ticket, to whatever end it comes.
async fn live(
    args: &MapArgs,
    since: Instant,
    (channel, method, address): (Channel, &MethodDescriptor, &str),
    inputs: Inputs,
    results: &mut Results,
    progress: &mut Progress,
) -> anyhow::Result<ExitCode> {
    let longest = inputs.longest();
    let (requests, failed_input) = inputs.send(header(args, method))?;
    let known = method.parent_pool();
    let mut begun = None;
    let mapping = async {
        let answers = begun.insert(begin(args, since, channel, requests).await?);
        follow(answers, results, progress).await
    };
    let ended = match call::within(args.deadline, since, LATE, Box::pin(mapping)).await {
        Err(error) if begun.is_none() => {
            let too_large = longest.hint(&error);
            return failed(error, known, address, too_large);
        }
        ended => ended,
    };
    // What ended the map, if it was a line that is no request, or is another's than one that was answered.
    let broken = failed_input.take();
    if broken.is_none() {
        results.flush()?;
    }
    progress.finish(results.failed());
    if args.explain {
        explain(&ended, begun.as_mut()).await?;
    }
    if let Some(error) = broken {
        return Err(error);
    }
    let too_large = ended.as_ref().err().and_then(|error| longest.hint(error));
    let hints = [results.renumbered().filter(|_| args.stop_on_error), too_large, results.hint()];
    match ended {
        Ok(Some(_)) if results.failed() == 0 => Ok(ExitCode::SUCCESS),
        Ok(Some(_)) => Ok(ExitCode::FAILURE),
        Ok(None) => {
            let broken = Status::unavailable("the map broke off before its end");
            failed(broken.into(), known, address, hints.into_iter().flatten())
        }
        Err(error) => failed(error, known, address, hints.into_iter().flatten()),
    }
}

/// What a gateway says, or the way to it, is told as `turno call` does, and what to do; other errors go up.
fn failed(
    error: anyhow::Error,
    known: &DescriptorPool,
    address: &str,
    hints: impl IntoIterator<Item = impl Display>,
) -> anyhow::Result<ExitCode> {
    let error = call::failure::of_connection(error, address);
    let Some(status) = error.downcast_ref::<Status>() else { return Err(error) };
    call::failure::report(status, known, false, &mut Aside)?;
    for hint in hints {
        writeln!(Aside, "  {hint}")?;
    }
    Ok(ExitCode::FAILURE)
}

async fn as_ticket(
    args: &MapArgs,
    channel: Channel,
    method: &MethodDescriptor,
    lines: Source,
    results: Results,
    address: &str,
) -> anyhow::Result<ExitCode> {
    let requests = Requests::open(None, &full_name(method), None, None)?;
    let inputs = Inputs::new(lines, method.input(), results.known(), requests)?;
    let (header, wishes) = (header(args, method), args.wishes.clone());
    let (longest, mut interrupts) = (inputs.longest(), Interrupts::listen()?);
    let submitting = ticket::submit(channel.clone(), header, inputs, wishes, &args.metadata);
    let ticket = match interrupts.or(Box::pin(submitting)).await {
        Ok(Ok(ticket)) => ticket,
        Ok(Err(error)) => {
            let broke = error.downcast_ref::<Status>().is_some_and(|status| status.source().is_some());
            let hints = [broke.then(|| args.wishes.again().to_owned()), longest.hint(&error)];
            return failed(error, method.parent_pool(), address, hints.into_iter().flatten());
        }
        Err(code) => {
            writeln!(Aside, "interrupted; {}", args.wishes.again())?;
            return Ok(code);
        }
    };
    let name = ticket.name.as_str();
    crate::listing::print(name.to_owned())?;
    if args.target.out.is_some() {
        let progress = Progress::new(ticket.metadata.map_items, results.count(), args.target.has_room());
        let reading = Reading::new(channel, name, results.of_ticket(name, address), None, progress);
        return Ok(read(reading, method, interrupts).await?.unwrap_or_else(|interrupted| interrupted));
    }
    if stdout().is_terminal() {
        writeln!(Aside, "\n{}", tickets::next_of_map(name))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What has come of a map that is a ticket of so many items: all of it, or so many results, with those that a file has from
/// before. One that was interrupted has had its last word.
pub(crate) async fn results_of(
    channel: Channel,
    (name, items): (&str, u64),
    method: &MethodDescriptor,
    target: &Target,
    most: Option<u64>,
    address: &str,
) -> anyhow::Result<Result<ExitCode, ExitCode>> {
    let out = target.open()?;
    if let Some(file) = target.checked() {
        origin::of_ticket(file, name)?;
    }
    let results = Results::open(out, target.before(Of::Ticket(name)), method)?;
    results.must_be_within(name, items)?;
    let progress = Progress::new(most.or(Some(items)), results.count(), target.has_room());
    let reading = Reading::new(channel, name, results.of_ticket(name, address), most, progress);
    read(reading, method, Interrupts::listen()?).await
}

async fn read(
    mut reading: Reading,
    method: &MethodDescriptor,
    mut interrupts: Interrupts,
) -> anyhow::Result<Result<ExitCode, ExitCode>> {
    let ended = interrupts.or(Box::pin(reading.run(method.parent_pool()))).await;
    match ended {
        Ok(ended) => ended.map(Ok),
        Err(interrupted) => {
            writeln!(Aside, "{}", reading.interrupted())?;
            Ok(Err(interrupted))
        }
    }
}

async fn method(args: &MapArgs, channel: Channel, address: &str) -> anyhow::Result<MethodDescriptor> {
    let name = Name::parse(&args.method)?;
    let method = reflect::find(channel, address, &name).await?;
    if method.is_client_streaming() || method.is_server_streaming() {
        bail!("{name} takes or answers a stream: a map is for methods that take one message and answer one");
    }
    Ok(method)
}

/// A share of all, as the gateway wants it.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0 to 1, such as 0.05".to_owned()),
    }
}

fn full_name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

fn header(args: &MapArgs, method: &MethodDescriptor) -> MapHeader {
    let order = if args.ordered { MapOrder::AsSent } else { MapOrder::AsTheyCome };
    let on_failure = match args.stop_above {
        Some(_) => OnFailure::StopAbove,
        None if args.stop_on_error => OnFailure::Stop,
        None => OnFailure::Collect,
    };
    MapHeader {
        method: full_name(method),
        order: order.into(),
        on_failure: on_failure.into(),
        failures: args.stop_above.unwrap_or(0.0),
        in_flight: args.in_flight.unwrap_or(0),
    }
}

async fn begin(
    args: &MapArgs,
    since: Instant,
    channel: Channel,
    requests: ReceiverStream<MapRequest>,
) -> anyhow::Result<Streaming<MapResponse>> {
    let mut metadata = call::metadata(&args.metadata)?;
    if args.explain {
        metadata.insert(headers::EXPLAIN, AsciiMetadataValue::from_static("1"));
    }
    let mut request = Request::from_parts(metadata, Default::default(), requests);
    if let Some(deadline) = args.deadline {
        request.set_timeout(call::left(deadline, since));
    }
    let mut client =
        MapClient::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    Ok(client.map(request).await?.into_inner())
}

/// Until the map's end; answers its summary, if it came.
async fn follow(
    answers: &mut Streaming<MapResponse>,
    results: &mut Results,
    progress: &mut Progress,
) -> anyhow::Result<Option<MapSummary>> {
    let mut summary = None;
    while let Some(message) = answers.message().await? {
        summary = message.summary.or(summary);
        let count = message.results.len();
        for result in message.results {
            results.write(result)?;
        }
        if count > 0 {
            // Whoever reads along sees each as it comes.
            results.flush()?;
        }
        progress.done(count, results.failed());
        heed().await;
    }
    Ok(summary)
}

/// Where the time of its chunks went, if the gateway says so.
async fn explain(
    ended: &anyhow::Result<Option<MapSummary>>,
    answers: Option<&mut Streaming<MapResponse>>,
) -> anyhow::Result<()> {
    match (ended, answers) {
        (Err(error), _) => match error.downcast_ref::<Status>() {
            Some(status) => call::explain_failure(status, &mut Aside),
            None => Ok(()),
        },
        (Ok(_), Some(answers)) => {
            let said = answers.trailers().await?;
            said.map_or(Ok(()), |said| call::explain(&said, &mut Aside))
        }
        (Ok(_), None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Before, MapRequest, MapResponse, Progress, Results, follow};
    use crate::call::json::tests::album;
    use futures_util::FutureExt as _;
    use http::StatusCode;
    use tonic::Streaming;
    use tonic::codec::Codec as _;
    use tonic_prost::ProstCodec;

    #[test]
    fn whoever_interrupts_is_heard_though_answers_are_always_there() {
        let method = album().parent_pool().get_service_by_name("album.v1.Studio").unwrap().methods().next();
        let before = Before::Kept { is_checked: true };
        let mut results = Results::open(None, before, &method.unwrap()).unwrap();
        // Messages without a word: neither compressed, nor any byte long.
        let messages = "\0".repeat(3 * 5);
        let decoder = ProstCodec::<MapRequest, MapResponse>::default().decoder();
        let mut answers = Streaming::new_response(decoder, messages, StatusCode::OK, None, None);
        let mut progress = Progress::new(None, 0, false);
        assert!(follow(&mut answers, &mut results, &mut progress).now_or_never().is_none());
    }
}
