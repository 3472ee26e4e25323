//! Many requests from one file, a line each, over one stream: a name is printed as soon as its ticket is on disk, in the
//! order of the lines. A line that is refused is told with its number, and does not stop the others; nor does it stop them
//! that nobody reads the names.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use turno_proto::google::rpc;
use turno_proto::status::{code_name, from_rpc};
use turno_proto::v1::submit_response::Result as Submitted;
use turno_proto::v1::{SubmitRequest, SubmitResponse};
use turno_runtime::task;

use super::SubmitArgs;
use crate::call::{Screen, failure, json as requests, method, why};
use crate::listing::print_to;
use crate::tickets::desk::Desk;
use crate::tickets::object_of;
use crate::tickets::ticket::Ticket;

/// Lines that are read ahead of the gateway.
const AHEAD: usize = 256;

/// The numbers of the lines that were sent and are not answered yet, and what could not be sent.
#[derive(Default)]
struct Lines {
    sent: VecDeque<usize>,
    unreadable: Vec<(usize, anyhow::Error)>,
}

pub(super) async fn run<'a>(
    desk: &Desk,
    args: &'a SubmitArgs,
    file: &Path,
    name: &method::Name,
    method: &MethodDescriptor,
    metadata: MetadataMap,
    screen: Screen<'a>,
) -> anyhow::Result<ExitCode> {
    let lines = Arc::new(Mutex::new(Lines::default()));
    let source = open(file)?;
    let (orders, sent) = mpsc::channel(AHEAD);
    let reading = {
        let (lines, args, method) = (lines.clone(), args.clone(), method.clone());
        let name = method::Name { service: name.service.clone(), method: name.method.clone() };
        let order = move |number: usize, text: &str| {
            let request = requests::parse(&method.input(), text)?.encode_to_vec().into();
            Ok(args.order(&name, request, Some(number)))
        };
        task::run_blocking("submit.lines", move || read(source, &lines, &orders, order))
    };
    let requests = Request::from_parts(metadata, Default::default(), ReceiverStream::new(sent));
    let mut report =
        Report { args, lines, screen, submitted: 0, refused: 0, known: method.parent_pool().clone() };
    let (read, answered) = tokio::join!(reading, report.answers(desk, requests));
    report.unreadable()?;
    answered?;
    read?;
    report.finish()
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let opened = File::open(file).with_context(|| format!("cannot read requests from {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Sends what it reads, as fast as the gateway takes it.
fn read(
    source: Box<dyn BufRead + Send>,
    lines: &Mutex<Lines>,
    orders: &mpsc::Sender<SubmitRequest>,
    order: impl Fn(usize, &str) -> anyhow::Result<SubmitRequest>,
) -> anyhow::Result<()> {
    for (number, line) in (1..).zip(source.lines()) {
        let line = line.with_context(|| format!("line {number} cannot be read"))?;
        if line.trim().is_empty() {
            continue;
        }
        match order(number, &line) {
            Ok(order) => {
                lines.lock().sent.push_back(number);
                // Nobody takes any more: the stream has ended, and its reader says why.
                if orders.blocking_send(order).is_err() {
                    return Ok(());
                }
            }
            Err(error) => lines.lock().unreadable.push((number, error)),
        }
    }
    Ok(())
}

/// What became of the lines.
struct Report<'a> {
    args: &'a SubmitArgs,
    lines: Arc<Mutex<Lines>>,
    screen: Screen<'a>,
    submitted: usize,
    refused: usize,
    known: DescriptorPool,
}

impl Report<'_> {
    async fn answers(
        &mut self,
        desk: &Desk,
        requests: Request<ReceiverStream<SubmitRequest>>,
    ) -> anyhow::Result<()> {
        let mut answers = match desk.tickets().submit_many(requests).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Err(desk.refused(&status)),
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) => self.answer(answer)?,
                Ok(None) => return Ok(()),
                Err(status) => return Err(self.broken(&status)),
            }
            self.unreadable()?;
        }
    }

    fn answer(&mut self, answer: SubmitResponse) -> anyhow::Result<()> {
        let number = self.lines.lock().sent.pop_front().unwrap_or_default();
        match answer.result {
            Some(Submitted::Operation(operation)) => {
                match Ticket::read(operation)?.kept(&self.args.key(Some(number))) {
                    Ok(ticket) => self.name(number, &ticket),
                    Err(status) => self.refuse(number, &status),
                }
            }
            Some(Submitted::Error(error)) => self.refuse(number, &from_rpc(error)),
            None => self.refuse(number, &from_rpc(rpc::Status::default())),
        }
    }

    fn name(&mut self, number: usize, ticket: &Ticket) -> anyhow::Result<()> {
        self.submitted += 1;
        if !self.args.json {
            return print_to(self.screen.out, &ticket.name);
        }
        let mut object = object_of(ticket, &self.known);
        object["line"] = number.into();
        print_to(self.screen.out, &object.to_string())
    }

    /// A program finds it among the names, a person apart from them.
    fn refuse(&mut self, number: usize, status: &Status) -> anyhow::Result<()> {
        self.refused += 1;
        if self.args.json {
            let error = failure::object(status, &self.known);
            return print_to(self.screen.out, &json!({ "line": number, "error": error }).to_string());
        }
        write!(self.screen.err, "line {number}: ")?;
        Ok(failure::report(status, &self.known, false, self.screen.err)?)
    }

    fn unreadable(&mut self) -> anyhow::Result<()> {
        let unreadable = std::mem::take(&mut self.lines.lock().unreadable);
        for (number, error) in unreadable {
            self.refuse(number, &Status::invalid_argument(format!("{error:#}")))?;
        }
        Ok(())
    }

    /// What was answered is on disk; of the rest nobody here knows. A gateway that says why it reads no further is not gone.
    fn broken(&self, status: &Status) -> anyhow::Error {
        let what = match status.source() {
            Some(_) => "the gateway is gone",
            None => code_name(status.code()),
        };
        let lines = self.lines.lock();
        let unknown = match (lines.sent.front(), lines.sent.back()) {
            (Some(first), Some(last)) => format!("; lines {first} to {last} may be submitted or not"),
            _ => String::new(),
        };
        let key = match &self.args.wishes.key {
            Some(_) => "the same command again makes no ticket twice",
            None => "with --key the same command can be repeated, and makes no ticket twice",
        };
        anyhow::anyhow!("{what}: {}{unknown}: {key}", why(status))
    }

    fn finish(self) -> anyhow::Result<ExitCode> {
        if self.screen.terminal && !self.args.json {
            let refused =
                if self.refused > 0 { format!(", {} refused", self.refused) } else { String::new() };
            writeln!(
                self.screen.err,
                "\n{} submitted{refused}; turno tickets list shows them",
                self.submitted
            )?;
        }
        Ok(if self.refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::{Arc, DescriptorPool, Lines, Mutex, Report, Screen, Status};

    #[test]
    fn a_stream_that_breaks_says_why_and_what_is_not_known() {
        let args = parsed(&["--many=-", "--key=nightly"]).unwrap();
        let lines = Lines { sent: [3, 4, 9].into(), unreadable: Vec::new() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let report = Report {
            args: &args,
            lines: Arc::new(Mutex::new(lines)),
            screen: Screen { out: &mut out, err: &mut err, terminal: false },
            submitted: 2,
            refused: 0,
            known: DescriptorPool::new(),
        };
        let cause = std::io::Error::other("keep-alive timed out");
        let silent = Status::from_error(anyhow::Error::new(cause).context("http2 error").into());
        let rest = "lines 3 to 9 may be submitted or not: the same command again makes no ticket twice";
        for (status, what) in [
            (silent, "the gateway is gone: keep-alive timed out"),
            (Status::out_of_range("this line is too long"), "OUT_OF_RANGE: this line is too long"),
        ] {
            assert_eq!(report.broken(&status).to_string(), format!("{what}; {rest}"));
        }
    }
}
