//! A ticket as a gateway tells of it, and its words for people.

use anyhow::{Context as _, bail};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Code, Status};
use turno_proto::google::longrunning::Operation;
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::rpc;
use turno_proto::status::{code_name, from_rpc};
use turno_proto::v1::{TicketMetadata, TicketProgress, TicketState};

use super::name;

/// One of `google.longrunning`'s operations, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticket {
    /// "operations/0198…"
    pub(crate) name: String,
    pub(crate) metadata: TicketMetadata,
    pub(crate) result: Option<Ended>,
}

impl Ticket {
    pub(crate) fn read(operation: Operation) -> anyhow::Result<Self> {
        let Operation { name, metadata, result, .. } = operation;
        let Some(any) = metadata else { bail!("{name} is no ticket: it has no metadata") };
        let metadata = TicketMetadata::decode(any.value.as_slice())
            .with_context(|| format!("{name} is no ticket that this `turno` knows"))?;
        Ok(Self { name, metadata, result })
    }

    /// As a submit answers it: itself, unless the `key` of that submit is all that is left of it.
    pub(crate) fn kept(self, key: &str) -> Result<Self, Status> {
        // What a method has ended with is its ticket's last failure too, `NOT_FOUND` or not.
        if let Some(Ended::Error(error)) = &self.result
            && error.code == i32::from(Code::NotFound)
            && self.metadata.last_failure.is_none()
        {
            let why = &error.message;
            return Err(Status::not_found(format!("{why}: {key:?}; another key makes a new ticket")));
        }
        Ok(self)
    }

    /// What stands for it where there is little room.
    pub(crate) fn short(&self) -> &str {
        name::short(&self.name)
    }

    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.metadata.state(), TicketState::Waiting | TicketState::Running)
    }

    /// It is dead, nothing was made of it, and it is no map: these are mapped again.
    pub(crate) fn can_be_redriven(&self) -> bool {
        let metadata = &self.metadata;
        let is_dead = metadata.state() == TicketState::Dead;
        is_dead && metadata.redriven_as.is_empty() && metadata.map_items.is_none()
    }

    /// "running"
    pub(crate) fn state(&self) -> &'static str {
        match self.metadata.state() {
            TicketState::Unspecified => "unknown",
            TicketState::Waiting => "waiting",
            TicketState::Running if self.metadata.cancel_requested => "cancelling",
            TicketState::Running => "running",
            TicketState::Done => "done",
            TicketState::Failed => "failed",
            TicketState::Cancelled => "cancelled",
            TicketState::Dead => "dead",
        }
    }

    /// "2/3": attempts that have begun, of how many it may have. What ended with its gateway is not held against it.
    pub(crate) fn attempts(&self) -> String {
        let TicketMetadata { attempts, retries, .. } = self.metadata;
        format!("{attempts}/{}", retries.saturating_add(1).max(attempts))
    }

    /// The one thing to know of it now.
    pub(crate) fn note(&self, now_ms: i64) -> String {
        let metadata = &self.metadata;
        match metadata.state() {
            TicketState::Done if metadata.map_items.is_some() => self.failed_items(),
            TicketState::Done | TicketState::Cancelled => String::new(),
            TicketState::Dead if !metadata.redriven_as.is_empty() => {
                format!("redriven as {}", name::short(&metadata.redriven_as))
            }
            TicketState::Failed | TicketState::Dead => {
                metadata.last_failure.as_ref().map_or_else(String::new, failure)
            }
            _ => self.outlook(now_ms),
        }
    }

    /// Of a map that is done: "9 of 9: 3 failed", and nothing if none has.
    fn failed_items(&self) -> String {
        let said = self.metadata.progress.as_ref().filter(|said| !said.note.is_empty());
        said.and_then(progress).unwrap_or_default()
    }

    /// Of one that has not ended.
    fn outlook(&self, now_ms: i64) -> String {
        let metadata = &self.metadata;
        let pause = metadata.not_before.as_ref().map_or(0, |time| millis(time) - now_ms);
        let progress = metadata.progress.as_ref().and_then(progress);
        // A map's items are counted before anything has run.
        let has_begun = metadata.state() != TicketState::Waiting;
        match progress {
            Some(progress) if has_begun || pause <= 0 => return progress,
            _ if pause > 0 => return format!("begins in {}", span(pause)),
            _ => {}
        }
        metadata
            .last_failure
            .as_ref()
            .map_or_else(String::new, |last| format!("again after {}", failure(last)))
    }
}

/// "UNAVAILABLE: the oven is cold", on one line.
pub(crate) fn failure(error: &rpc::Status) -> String {
    let code = code_name(from_rpc(error.clone()).code());
    format!("{code}: {}", error.message.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// "3 of 10: shrinking"; nothing when nothing was said.
pub(crate) fn progress(said: &TicketProgress) -> Option<String> {
    let TicketProgress { done, total, note } = said;
    let count = match (done, total) {
        (0, 0) => String::new(),
        (done, 0) => format!("{done} done"),
        (done, total) => format!("{done} of {total}"),
    };
    match (count.is_empty(), note.is_empty()) {
        (true, true) => None,
        (true, false) => Some(note.clone()),
        (false, true) => Some(count),
        (false, false) => Some(format!("{count}: {note}")),
    }
}

/// Since the beginning of 1970.
pub(crate) fn millis(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

/// This machine's clock, as [`millis`].
pub(crate) fn now_ms() -> i64 {
    millis(&std::time::SystemTime::now().into())
}

/// "3m 12s", "840ms"
pub(crate) fn span(ms: i64) -> String {
    match u64::try_from(ms).unwrap_or(0) {
        ms @ ..1000 => format!("{ms}ms"),
        ms @ ..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        ms => crate::listing::age(ms),
    }
}

#[cfg(test)]
pub(crate) mod tests;
