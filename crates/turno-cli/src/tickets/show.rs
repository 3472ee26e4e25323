//! `turno tickets show`: one ticket, its request and its result as JSON by reflection.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::status::from_rpc;
use turno_proto::v1::{ShowResponse, TicketAttempt};

use super::card::Card;
use super::desk::Desk;
use super::ticket::{Ticket, now_ms};
use super::{object, result};
use crate::call::failure;
use crate::call::json::render;
use crate::call::show::{OUT_SAVES, Show, Style};
use crate::listing::print;

/// What of a ticket is shown, and how.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "What it took comes from its stored times: pauses between attempts are waiting, and what an attempt \
waits for a slot is the attempt's. The gateway's log (at debug, `attempt`) and metrics say where that went."
)]
pub(crate) struct ShowArgs {
    /// The ticket; the end of its id is enough
    name: String,
    /// Its request too
    #[arg(long)]
    request: bool,
    /// Save the response's bytes, the longest of them, to FILE
    #[arg(long, short, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,
    /// One JSON object with everything
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(desk: &mut Desk, args: ShowArgs) -> anyhow::Result<ExitCode> {
    let name = desk.name(&args.name).await?;
    let ShowResponse { operation, request, failed_attempts } = desk.show(&name).await?;
    let ticket = Ticket::read(operation.unwrap_or_default())?;
    // A method that no node serves now is known by its name alone.
    let types = types(desk, &ticket).await.map_err(|error| format!("{error:#}"));
    let shown = Shown { ticket, request, failed_attempts, types };
    print(if args.json { format!("{:#}", shown.object()?) } else { shown.text(args)? })?;
    Ok(ExitCode::SUCCESS)
}

/// Of what was submitted, and of what it ends with.
struct Types {
    request: MessageDescriptor,
    response: MessageDescriptor,
}

async fn types(desk: &mut Desk, ticket: &Ticket) -> anyhow::Result<Types> {
    if ticket.metadata.map_items.is_none() {
        let method = desk.method(&ticket.metadata.method).await?;
        return Ok(Types { request: method.input(), response: method.output() });
    }
    let pool = desk.method("turno.v1.Tickets/SubmitMap").await?.parent_pool().clone();
    let named =
        |name: &str| pool.get_message_by_name(name).with_context(|| format!("the gateway knows no {name}"));
    Ok(Types { request: named("turno.v1.SubmittedMap")?, response: named("turno.v1.MapSummary")? })
}

struct Shown {
    ticket: Ticket,
    request: Bytes,
    failed_attempts: Vec<TicketAttempt>,
    /// Or why they are not known.
    types: Result<Types, String>,
}

impl Shown {
    fn text(&self, args: ShowArgs) -> anyhow::Result<String> {
        let request = if args.request { Some(self.request()?) } else { None };
        let result = self.result(args.out)?;
        let (request, result) = (request.as_deref(), result.as_deref());
        let attempts = &self.failed_attempts;
        Ok(Card { ticket: &self.ticket, attempts, request, result, now_ms: now_ms() }.text())
    }

    fn request(&self) -> anyhow::Result<String> {
        match &self.types {
            Ok(types) => {
                let request = DynamicMessage::decode(types.request.clone(), self.request.clone())?;
                // What is saved is of the response alone.
                pretty(&request, None, "--json shows them")
            }
            Err(why) => Ok(untold(&self.request, why)),
        }
    }

    fn result(&self, save: Option<PathBuf>) -> anyhow::Result<Option<String>> {
        Ok(match (&self.ticket.result, &self.types) {
            (Some(Ended::Error(error)), _) => {
                let mut words = Vec::new();
                failure::report(&from_rpc(error.clone()), &self.known(), false, &mut words)?;
                Some(String::from_utf8_lossy(&words).into_owned())
            }
            (Some(Ended::Response(any)), Ok(types)) => {
                Some(pretty(&result::response(&self.ticket, any, &types.response)?, save, OUT_SAVES)?)
            }
            (Some(Ended::Response(any)), Err(why)) => Some(untold(&any.value, why)),
            (None, _) => None,
        })
    }

    fn object(&self) -> anyhow::Result<Value> {
        let known = self.known();
        let mut object = object::ticket(&self.ticket, &known);
        object["failed_attempts"] =
            self.failed_attempts.iter().map(|attempt| object::attempt(attempt, &known)).collect();
        object["request"] = match &self.types {
            Ok(types) => render(&DynamicMessage::decode(types.request.clone(), self.request.clone())?)?,
            Err(_) => Value::Null,
        };
        match (&self.ticket.result, &self.types) {
            (Some(Ended::Error(error)), _) => object["error"] = object::error(error, &known),
            (Some(Ended::Response(any)), Ok(types)) => {
                object["response"] = render(&result::response(&self.ticket, any, &types.response)?)?;
            }
            (Some(Ended::Response(_)), Err(_)) => object["response"] = json!(null),
            (None, _) => {}
        }
        Ok(object)
    }

    fn known(&self) -> DescriptorPool {
        self.types
            .as_ref()
            .map_or_else(|_| DescriptorPool::new(), |types| types.request.parent_pool().clone())
    }
}

fn untold(bytes: &[u8], why: &str) -> String {
    format!("{} bytes, which nobody can read now: {why}", bytes.len())
}

/// Long bytes are saved, or named by their length.
fn pretty(message: &DynamicMessage, save: Option<PathBuf>, hint: &'static str) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let style = Style { save, compact: false, terminal: true, numbered: false, hint };
    let mut show = Show::new(style, &mut text);
    show.answer(message)?;
    show.finish()?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
