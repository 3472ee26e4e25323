//! `turno submit`: a call that is stored before it is made. Answers the name of its ticket, or, with `--wait`, what
//! `turno call` would.

mod many;
mod wishes;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Code, Request, Status};
use turno_proto::v1::SubmitRequest;

use crate::aside::Aside;
use crate::call::show::{self, OUT_SAVES, Style};
use crate::call::{self, Screen, failure, json, method};
use crate::listing::print_to;
use crate::reflect::Unserved;
use crate::stdout::Stdout;
use crate::tickets::desk::Desk;
use crate::tickets::patience::{RESTART, is_nobody, patiently};
use crate::tickets::ticket::Ticket;
use crate::tickets::{live, object_of, result};
pub(crate) use wishes::{Wishes, retries};

/// Submit a call: it is on disk when this answers, and goes on by itself
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit code: 1 if it is refused, one line of many too, or with --wait if the ticket ends otherwise than done;
130 if Ctrl-C has ended the waiting.

Examples:
  turno submit gallery.v1.Gallery/Thumbnail --key cat \\
    '{\"url\": \"https://a.example/cat.jpg\", \"width\": 256}'
  turno submit turno.cpu.v1.Images/Thumbnail --wait --out small.jpg \\
    '{\"data\": \"@cat.jpg\", \"width\": 256}'
  turno submit gallery.v1.Gallery/Thumbnail --many requests.jsonl \\
    --key nightly --label shop=bakery
  turno submit gallery.v1.Gallery/Thumbnail '{}' \\
    --not-before 10m --retries 5 --timeout 30s"
)]
pub(crate) struct SubmitArgs {
    /// The method: package.Service/Method. It takes one message and answers one
    pub(crate) method: String,
    /// The request: JSON, @FILE, or - for stdin; "@FILE" in a bytes field stands for that file's content
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(crate) request: String,
    /// Submit a request for each line of FILE (- for stdin): JSON lines. With --key, line 7 has KEY/7
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request", "wait", "out"])]
    pub(crate) many: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// The longest that one attempt may take once a node has it, at most 30days; the timeout of the .proto holds too [default:
    /// what the .proto says, or the gateway's longest_call]
    #[arg(long, short, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Wait until it has ended, and show what `turno call` would
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: save the answer's bytes, the longest of them, to FILE
    #[arg(long, short, value_name = "FILE", requires = "wait")]
    pub(crate) out: Option<PathBuf>,
    /// One JSON object a line, errors too
    #[arg(long)]
    pub(crate) json: bool,
    /// Send metadata along, such as turno-tenant=bakery; of a key that ends in -bin the value is base64. May be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = call::key_and_value)]
    pub(crate) metadata: Vec<(String, String)>,
}

impl SubmitArgs {
    /// Of a request of `method`. `line`: which of many it is.
    fn order(&self, method: &method::Name, request: Bytes, line: Option<usize>) -> SubmitRequest {
        let timeout = self.timeout.map(wishes::span);
        let (method, idempotency_key) = (method.to_string(), self.key(line));
        SubmitRequest { method, request, timeout, idempotency_key, ..self.wishes.clone().into() }
    }

    /// As it goes on the wire, where none is empty.
    fn key(&self, line: Option<usize>) -> String {
        match (&self.wishes.key, line) {
            (Some(key), Some(line)) => format!("{key}/{line}"),
            (Some(key), None) => key.clone(),
            (None, _) => String::new(),
        }
    }
}

/// Submits, and shows what is answered. An error of the gateway, or with `--wait` of the method, is shown, and fails.
pub(crate) async fn run(args: SubmitArgs, address: &str) -> anyhow::Result<ExitCode> {
    let terminal = io::stdout().is_terminal();
    run_on(&args, address, Screen { out: &mut Stdout, err: &mut Aside, terminal }).await
}

async fn run_on<'a>(args: &'a SubmitArgs, address: &str, mut screen: Screen<'a>) -> anyhow::Result<ExitCode> {
    args.wishes.check()?;
    let name = method::Name::parse(&args.method)?;
    let metadata = call::metadata(&args.metadata)?;
    let text = if args.many.is_some() { String::new() } else { json::read(&args.request)? };
    // Who waits does so over gateways that go and come, and so begins while one comes.
    let patience = if args.wait { RESTART } else { Duration::ZERO };
    let open = async || {
        let mut desk = Desk::open(address).await?;
        let method = desk.method(&name.to_string()).await.map_err(untyped)?;
        anyhow::Ok((desk, method))
    };
    let (desk, method) = patiently(patience, is_nobody, open).await?;
    check(args, &name, &method)?;
    if let Some(file) = &args.many {
        return many::run(&desk, args, file, &name, &method, metadata, screen).await;
    }
    let request = json::parse(&method.input(), &text)?.encode_to_vec().into();
    let order = args.order(&name, request, None);
    let submit = async || {
        let (bytes, metadata, order) = (order.request.len(), metadata.clone(), order.clone());
        let order = Request::from_parts(metadata, Default::default(), order);
        call::answer_behind(bytes, desk.tickets().submit(order)).await
    };
    let answer = match patiently(patience, turno::never_sent, submit).await {
        Ok(operation) => Ticket::read(operation.into_inner())?.kept(&args.key(None)),
        Err(status) => Err(status),
    };
    match answer {
        Ok(ticket) if args.wait => wait(args, &desk, &ticket, &method, &mut screen).await,
        Ok(ticket) => submitted(args, &ticket, &mut screen).map(|()| ExitCode::SUCCESS),
        Err(status) => refused(args, &desk, &status, &method, &mut screen),
    }
}

/// A gateway takes requests of methods that it does not know yet. But JSON is none before it is encoded.
fn untyped(error: anyhow::Error) -> anyhow::Error {
    if !error.is::<Unserved>() {
        return error;
    }
    error.context(
        "JSON is encoded here, by types that come with a node (turno.v1.Tickets/Submit takes an encoded request \
         without one)",
    )
}

/// What cannot be a ticket is said before anything is sent.
fn check(args: &SubmitArgs, name: &method::Name, method: &MethodDescriptor) -> anyhow::Result<()> {
    if method.is_client_streaming() || method.is_server_streaming() {
        anyhow::bail!("{name} takes or answers a stream: it can be called, not submitted");
    }
    if let Some(file) = &args.out {
        json::check_can_be_saved(&method.output())?;
        show::check_can_be_written(file)?;
    }
    Ok(())
}

/// The name for programs; for a person also how to go on. It is done, whoever reads that.
fn submitted(args: &SubmitArgs, ticket: &Ticket, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    if args.json {
        return print_to(screen.out, &object_of(ticket, &DescriptorPool::new()).to_string());
    }
    print_to(screen.out, &ticket.name)?;
    if screen.terminal {
        let short = ticket.short();
        writeln!(screen.err, "\n  turno tickets watch {short}    follow it to its end")?;
        writeln!(screen.err, "  turno tickets show {short}     what became of it")?;
    }
    Ok(())
}

async fn wait(
    args: &SubmitArgs,
    desk: &Desk,
    ticket: &Ticket,
    method: &MethodDescriptor,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    if !args.json {
        writeln!(screen.err, "{}", ticket.name)?;
    }
    let ended = match desk.wait(&ticket.name, live::listener()).await? {
        Ok(ended) => ended,
        Err(interrupted) => return Ok(interrupted),
    };
    let (save, compact, terminal) = (args.out.clone(), args.json, screen.terminal);
    let style = Style { save, compact, terminal, numbered: false, hint: OUT_SAVES };
    let shown = result::show(&ended, method, style, screen);
    if shown.is_err() && args.out.is_some() {
        let short = ended.short();
        writeln!(
            screen.err,
            "its answer is kept: `turno tickets show {short}`, with --out FILE for its bytes"
        )?;
    }
    shown
}

/// As `turno call` tells of an error, and what to do where that is known.
fn refused(
    args: &SubmitArgs,
    desk: &Desk,
    status: &Status,
    method: &MethodDescriptor,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    if status.code() == Code::Unimplemented {
        return Err(desk.refused(status));
    }
    failure::report(status, method.parent_pool(), args.json, screen.err)?;
    if !args.json && std::error::Error::source(status).is_some() {
        writeln!(screen.err, "  {}", args.wishes.again())?;
    }
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests;
