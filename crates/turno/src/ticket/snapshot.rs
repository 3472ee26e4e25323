//! What is known of a ticket at one moment, in the SDK's own words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use prost::Message as _;
use tonic::Status;
use turno_proto::google::longrunning::Operation;
use turno_proto::status;
use turno_proto::v1::{TicketMetadata, TicketProgress, TicketState};

/// Where a ticket stands. It goes on from one to the next and never back.
///
/// ```
/// use turno::ticket::State;
///
/// assert!(!State::Running.is_final());
/// assert_eq!(State::Dead.to_string(), "dead");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No attempt has begun.
    Waiting,
    /// An attempt has begun. Between two attempts it stays so, also where no node has had one yet: see
    /// [`Snapshot::attempts`].
    Running,
    /// The method has answered.
    Done,
    /// The method has answered an error that no repetition would mend.
    Failed,
    /// Somebody has cancelled it.
    Cancelled,
    /// Every attempt has failed, or its request kills nodes, or its answer is larger than the gateway takes. `turno tickets`
    /// edits and redrives it.
    Dead,
}

impl State {
    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        })
    }
}

/// How far a method says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// So much is done,
    pub done: u64,
    /// of so much; `None` when nobody knows.
    pub total: Option<u64>,
    /// For people; may be empty.
    pub note: String,
}

/// A ticket at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// "operations/0198…"
    pub name: String,
    /// "gallery.v1.Gallery/Thumbnail"
    pub method: String,
    /// Where it stands.
    pub state: State,
    /// Attempts that have begun, those too that were given back before a node had them.
    pub attempts: u32,
    /// Attempts that count against `retries`. One that ended with its gateway does not.
    pub failures: u32,
    /// Attempts after the first that it may have.
    pub retries: u32,
    /// The method's last word, if it has said any.
    pub progress: Option<Progress>,
    /// Why the last attempt failed; of one that is failed or dead, its final error.
    pub last_failure: Option<Status>,
    /// Somebody wants it cancelled; it has ended once nothing of it runs.
    pub cancel_requested: bool,
    /// Somebody has deleted it: it is gone once it has ended, unless a submit with its key takes that back before.
    pub delete_requested: bool,
    /// As submitted.
    pub labels: BTreeMap<String, String>,
    /// When it was submitted.
    pub submitted_at: Option<SystemTime>,
    /// No attempt begins before.
    pub not_before: Option<SystemTime>,
    /// When the current or last attempt began.
    pub began_at: Option<SystemTime>,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// When it will be forgotten; known once it has ended.
    pub expires_at: Option<SystemTime>,
    /// The ticket that has taken up this dead one.
    pub redriven_as: Option<String>,
    /// Of a map: how many requests it has. `progress` says how many of them have their results on disk, and its note how
    /// many of these have failed, if any.
    pub map_items: Option<u64>,
}

impl Snapshot {
    pub(super) fn of(name: String, metadata: TicketMetadata) -> crate::Result<Self> {
        Ok(Self {
            state: state(&name, metadata.state())?,
            name,
            method: metadata.method,
            attempts: metadata.attempts,
            failures: metadata.failures,
            retries: metadata.retries,
            progress: metadata.progress.and_then(progress),
            last_failure: metadata.last_failure.map(status::from_rpc),
            cancel_requested: metadata.cancel_requested,
            delete_requested: metadata.delete_requested,
            labels: metadata.labels.into_iter().collect(),
            submitted_at: metadata.submit_time.and_then(time),
            not_before: metadata.not_before.and_then(time),
            began_at: metadata.begin_time.and_then(time),
            ended_at: metadata.end_time.and_then(time),
            expires_at: metadata.expire_time.and_then(time),
            redriven_as: Some(metadata.redriven_as).filter(|name| !name.is_empty()),
            map_items: metadata.map_items,
        })
    }
}

/// What a gateway says of a ticket beside its result.
pub(super) fn metadata(operation: &Operation) -> crate::Result<TicketMetadata> {
    let unreadable = |why: String| Status::internal(format!("{} cannot be read: {why}", operation.name));
    let any = operation.metadata.as_ref().ok_or_else(|| unreadable("it has no metadata".to_owned()))?;
    if !is_a(any, "turno.v1.TicketMetadata") {
        return Err(unreadable(format!("its metadata is a {}", any.type_url)));
    }
    TicketMetadata::decode(any.value.as_slice()).map_err(|error| unreadable(error.to_string()))
}

/// Whether `any` says that it holds a message of this name.
pub(super) fn is_a(any: &prost_types::Any, name: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(name)
}

fn state(name: &str, state: TicketState) -> crate::Result<State> {
    Ok(match state {
        TicketState::Waiting => State::Waiting,
        TicketState::Running => State::Running,
        TicketState::Done => State::Done,
        TicketState::Failed => State::Failed,
        TicketState::Cancelled => State::Cancelled,
        TicketState::Dead => State::Dead,
        TicketState::Unspecified => {
            return Err(Status::internal(format!("{name} is in a state that this client does not know")));
        }
    })
}

fn progress(said: TicketProgress) -> Option<Progress> {
    let TicketProgress { done, total, note } = said;
    let silent = done == 0 && total == 0 && note.is_empty();
    (!silent).then_some(Progress { done, total: Some(total).filter(|total| *total > 0), note })
}

fn time(timestamp: prost_types::Timestamp) -> Option<SystemTime> {
    // Outside of what this machine can tell.
    SystemTime::try_from(timestamp).ok()
}

#[cfg(test)]
mod tests;
