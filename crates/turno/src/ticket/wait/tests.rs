//! What a ticket has ended with, read.

use prost::Message as _;
use tonic::Code;
use turno_proto::google::longrunning::Operation;
use turno_proto::google::rpc;
use turno_proto::v1::TicketMetadata;

use super::{Ended, Sort, answer};
use crate::cpu::v1::{Image, InfoResponse, images};

/// A ticket of `Images/Info` that has ended.
fn ended(result: Option<Ended>) -> Operation {
    let metadata = TicketMetadata { method: "turno.cpu.v1.Images/Info".into(), ..TicketMetadata::default() };
    let metadata = Some(any("turno.v1.TicketMetadata", &metadata));
    Operation { name: "operations/7".into(), metadata, done: true, result }
}

fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// What it answers to who waits for it.
fn info(ended: Operation) -> crate::Result<InfoResponse> {
    answer(Sort::call::<images::Info>(), ended)
}

fn wide() -> InfoResponse {
    InfoResponse { width: 640, ..InfoResponse::default() }
}

#[test]
fn a_response_is_of_the_methods_own_type() {
    let answered = ended(Some(Ended::Response(any("turno.cpu.v1.InfoResponse", &wide()))));
    assert_eq!(info(answered).unwrap().width, 640);
    let untold = ended(Some(Ended::Response(any("turno.v1.UnknownResponse", &wide()))));
    assert_eq!(info(untold).unwrap().width, 640);
    let strange = ended(Some(Ended::Response(any("turno.cpu.v1.Image", &wide()))));
    let error = info(strange).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().ends_with("/turno.cpu.v1.Image, not a turno.cpu.v1.InfoResponse"), "{error}");
}

#[test]
fn a_ticket_of_another_method_is_not_read() {
    let answered = ended(Some(Ended::Response(any("turno.cpu.v1.InfoResponse", &wide()))));
    let error = answer::<Image>(Sort::call::<images::Resize>(), answered).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (
            Code::FailedPrecondition,
            "operations/7 is a ticket of turno.cpu.v1.Images/Info, not of turno.cpu.v1.Images/Resize"
        )
    );
}

#[test]
fn an_error_is_the_methods_own() {
    let rich = rpc::Status { code: 3, message: "no picture".into(), details: vec![any("a.v1.Why", &wide())] };
    let error = info(ended(Some(Ended::Error(rich.clone())))).unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "no picture"));
    assert_eq!(rpc::Status::decode(error.details()).unwrap(), rich);
}

#[test]
fn what_cannot_be_read_is_said_with_its_name() {
    let broken = prost_types::Any { type_url: "/turno.cpu.v1.InfoResponse".into(), value: vec![0xff] };
    for result in [None, Some(Ended::Response(broken))] {
        let error = info(ended(result)).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("operations/7"), "{error}");
    }
}
