//! What a ticket has ended with, shown as `turno call` shows an answer.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::status::from_rpc;

use super::ticket::Ticket;
use crate::call::Screen;
use crate::call::failure;
use crate::call::show::{Show, Style};

/// What a gateway calls a response whose type no node has told it.
const UNKNOWN: &str = "turno.v1.UnknownResponse";

/// Shows the response, or the error, which fails.
pub(crate) fn show(
    ticket: &Ticket,
    method: &MethodDescriptor,
    style: Style,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    match &ticket.result {
        Some(Ended::Response(any)) => {
            let message = response(ticket, any, &method.output())?;
            let mut show = Show::new(style, screen.out);
            show.answer(&message)?;
            show.finish()?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Ended::Error(error)) => {
            failure::report(&from_rpc(error.clone()), method.parent_pool(), style.compact, screen.err)?;
            Ok(ExitCode::FAILURE)
        }
        None => bail!("{} has not ended", ticket.name),
    }
}

/// A response, if it is one of the method as it is now.
pub(crate) fn response(
    ticket: &Ticket,
    any: &prost_types::Any,
    wanted: &MessageDescriptor,
) -> anyhow::Result<DynamicMessage> {
    let (name, answered) = (&ticket.name, any.type_url.rsplit('/').next().unwrap_or_default());
    if answered != wanted.full_name() && answered != UNKNOWN {
        bail!("the response of {name} is a {answered}; its method answers a {} now", wanted.full_name());
    }
    DynamicMessage::decode(wanted.clone(), any.value.as_slice())
        .with_context(|| format!("the response of {name} is no {}", wanted.full_name()))
}
