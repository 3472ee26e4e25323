//! A ticket as JSON, for programs: the words of `turno.v1.TicketMetadata`, and `null` for what is not known.

use std::time::SystemTime;

use prost_reflect::DescriptorPool;
use prost_types::Timestamp;
use serde_json::{Value, json};
use turno_proto::google::rpc;
use turno_proto::status::from_rpc;
use turno_proto::v1::TicketAttempt;

use super::ticket::Ticket;
use crate::call::failure;

/// `known` has the types that a failure's details may be of.
pub(crate) fn ticket(ticket: &Ticket, known: &DescriptorPool) -> Value {
    let metadata = &ticket.metadata;
    let labels: std::collections::BTreeMap<_, _> = metadata.labels.iter().collect();
    json!({
        "name": ticket.name,
        "method": metadata.method,
        "state": ticket.state(),
        "attempts": metadata.attempts,
        "failures": metadata.failures,
        "retries": metadata.retries,
        "progress": metadata.progress.as_ref().map(|it| json!({ "done": it.done, "total": it.total, "note": it.note })),
        "last_failure": metadata.last_failure.as_ref().map(|it| error(it, known)),
        "cancel_requested": metadata.cancel_requested,
        "delete_requested": metadata.delete_requested,
        "labels": labels,
        "idempotency_key": said(&metadata.idempotency_key),
        "tenant": said(&metadata.tenant),
        "submit_time": time(metadata.submit_time.as_ref()),
        "not_before": time(metadata.not_before.as_ref()),
        "begin_time": time(metadata.begin_time.as_ref()),
        "end_time": time(metadata.end_time.as_ref()),
        "expire_time": time(metadata.expire_time.as_ref()),
        "request_bytes": metadata.request_bytes,
        "response_bytes": metadata.response_bytes,
        "redrive_of": said(&metadata.redrive_of),
        "redriven_as": said(&metadata.redriven_as),
    })
}

/// An attempt that has failed.
pub(crate) fn attempt(attempt: &TicketAttempt, known: &DescriptorPool) -> Value {
    json!({
        "number": attempt.number,
        "begin_time": time(attempt.begin_time.as_ref()),
        "end_time": time(attempt.end_time.as_ref()),
        "failure": attempt.failure.as_ref().map(|it| error(it, known)),
    })
}

/// As `turno call --json` has it.
pub(crate) fn error(error: &rpc::Status, known: &DescriptorPool) -> Value {
    failure::object(&from_rpc(error.clone()), known)
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn time(time: Option<&Timestamp>) -> Option<String> {
    let time = SystemTime::try_from(*time?).ok().filter(|time| *time >= SystemTime::UNIX_EPOCH)?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}
