//! The one mapping between what a method answered and the status that a client sees. A status crosses the mesh
//! untouched: code, message, rich details (`google.rpc.Status`) and trailers.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::entries;
use crate::google::rpc;
use crate::mesh::v1::{ItemOutcome, Outcome};
use crate::v1::MapError;

/// Whose reasons those are that stand in a `google.rpc.ErrorInfo` of the mesh.
pub const DOMAIN: &str = "turno";
/// What tells an answer that is too large, and will be as large the next time, from a full house, to which one may come again:
/// a reason beside `RESOURCE_EXHAUSTED`.
pub const ANSWER_TOO_LARGE: &str = "ANSWER_TOO_LARGE";
/// What tells a call that its gateway has ended before a node had it from one that may have run: a reason beside `UNAVAILABLE`.
pub const NOT_BEGUN: &str = "NOT_BEGUN";

/// The details of a status that has one of the mesh's reasons.
pub fn because(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new())
}

/// Whether a status has this one of the mesh's reasons.
pub fn has_reason(status: &Status, reason: &str) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == reason && info.domain == DOMAIN)
}

/// The outcome of a call that answered an error.
pub fn to_outcome(call: u64, status: Status) -> Outcome {
    Outcome {
        call,
        code: code_number(status.code()),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
        trailers: entries::from_metadata(status.metadata().clone()),
        ..Outcome::default()
    }
}

/// The same of a call of which nothing has run.
pub fn not_started(call: u64, status: Status) -> Outcome {
    Outcome { not_started: true, ..to_outcome(call, status) }
}

/// Whether a call was handed back: nothing of it ran, and it may fare better elsewhere.
pub fn goes_elsewhere(outcome: &Outcome) -> bool {
    outcome.not_started && code_of(outcome.code) == Code::Unavailable
}

/// The status of an outcome whose code is not `OK`.
pub fn from_outcome(outcome: Outcome) -> Status {
    Status::with_details_and_metadata(
        code_of(outcome.code),
        outcome.message,
        outcome.details,
        entries::to_metadata(outcome.trailers),
    )
}

/// The outcome of an item of a map that answered an error. Its trailers stay behind.
pub fn to_item(status: &Status) -> ItemOutcome {
    ItemOutcome {
        code: code_number(status.code()),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
        body: Bytes::new(),
    }
}

/// What a map says of an item that failed.
pub fn from_map(error: MapError) -> Status {
    Status::with_details(code_of(error.code), error.message, error.details)
}

/// The status that a ticket has ended with. Its metadata is not on record.
pub fn from_rpc(error: rpc::Status) -> Status {
    // An error that says OK is none that a client could be told.
    let code = match u32::try_from(error.code).map_or(Code::Unknown, code_of) {
        Code::Ok => Code::Unknown,
        code => code,
    };
    let details = if error.details.is_empty() { Bytes::new() } else { error.encode_to_vec().into() };
    Status::with_details(code, error.message, details)
}

/// A number off the wire; one that gRPC does not know is `UNKNOWN`.
pub fn code_of(number: u32) -> Code {
    i32::try_from(number).map_or(Code::Unknown, Code::from_i32)
}

/// The number that stands for a code on the wire.
pub fn code_number(code: Code) -> u32 {
    // Codes are 0 to 16.
    code as u32
}

/// "DEADLINE_EXCEEDED": a code as gRPC's documents write it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::{code_name, code_number, code_of, from_outcome, from_rpc, rpc, to_outcome};
    use bytes::Bytes;
    use prost::Message as _;
    use tonic::{Code, Status, metadata::MetadataMap};

    #[test]
    fn a_rich_status_crosses_untouched() {
        let mut trailers = MetadataMap::new();
        trailers.insert("retry-note", "tomorrow".parse().unwrap());
        let sent = Status::with_details_and_metadata(
            Code::FailedPrecondition,
            "oven is cold",
            Bytes::from_static(b"\x08\x09"),
            trailers,
        );
        let got = from_outcome(to_outcome(7, sent));
        assert_eq!(got.code(), Code::FailedPrecondition);
        assert_eq!(got.message(), "oven is cold");
        assert_eq!(got.details(), b"\x08\x09");
        assert_eq!(got.metadata().get("retry-note").unwrap(), "tomorrow");
    }

    #[test]
    fn a_tickets_error_keeps_its_details() {
        let detail = prost_types::Any { type_url: "type.googleapis.com/a.v1.Oven".into(), value: vec![1, 2] };
        let rich = rpc::Status { code: 9, message: "cold".into(), details: vec![detail] };
        let status = from_rpc(rich.clone());
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "cold"));
        assert_eq!(rpc::Status::decode(status.details()).unwrap(), rich);
        assert_eq!(from_rpc(rpc::Status { details: Vec::new(), ..rich }).details(), b"");
        assert_eq!(from_rpc(rpc::Status::default()).code(), Code::Unknown);
        assert_eq!(from_rpc(rpc::Status { code: -3, ..Default::default() }).code(), Code::Unknown);
    }

    #[test]
    fn every_code_has_its_number_and_name() {
        let mut names = std::collections::BTreeSet::new();
        for number in 0..17 {
            assert_eq!(code_number(code_of(number)), number);
            names.insert(code_name(code_of(number)));
        }
        assert_eq!(names.len(), 17);
        assert_eq!(code_of(99), Code::Unknown);
        assert_eq!(code_of(u32::MAX), Code::Unknown);
    }
}
