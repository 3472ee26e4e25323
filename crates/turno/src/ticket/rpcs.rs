//! The rpcs by which a gateway is asked for tickets, as markers like those that `turno-build` generates.

use turno_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, Operation, WaitOperationRequest,
};
use turno_proto::v1::{MapResponse, ReadMapRequest, SubmitMapRequest, SubmitRequest, WatchRequest};

use crate::rpc::{AnswersOne, AnswersStream, Rpc, TakesOne, TakesStream};

/// Asking twice does no more than asking once; a submit has its key for that. That of a map is never sent twice.
macro_rules! rpc {
    ($marker:ident, $path:literal, $takes:ident($request:ty) => $answers:ident($response:ty)) => {
        #[derive(Debug)]
        pub(crate) struct $marker;

        impl Rpc for $marker {
            type Request = $request;
            type Response = $response;
            const NAME: &'static str = $path.split_at(1).1;
            const PATH: &'static str = $path;
            const REPEATABLE: bool = true;
        }

        impl $takes for $marker {}
        impl $answers for $marker {}
    };
}

rpc!(HandIn, "/turno.v1.Tickets/Submit", TakesOne(SubmitRequest) => AnswersOne(Operation));
rpc!(Follow, "/turno.v1.Tickets/Watch", TakesOne(WatchRequest) => AnswersStream(Operation));
rpc!(HandInMap, "/turno.v1.Tickets/SubmitMap", TakesStream(SubmitMapRequest) => AnswersOne(Operation));
rpc!(ReadMap, "/turno.v1.Tickets/ReadMap", TakesOne(ReadMapRequest) => AnswersStream(MapResponse));
rpc!(Get, "/google.longrunning.Operations/GetOperation", TakesOne(GetOperationRequest) => AnswersOne(Operation));
rpc!(Wait, "/google.longrunning.Operations/WaitOperation", TakesOne(WaitOperationRequest) => AnswersOne(Operation));
rpc!(Cancel, "/google.longrunning.Operations/CancelOperation", TakesOne(CancelOperationRequest) => AnswersOne(()));

#[cfg(test)]
mod tests {
    use super::{Cancel, HandIn};
    use crate::rpc::Rpc as _;

    #[test]
    fn a_name_is_a_path_without_its_first_stroke() {
        assert_eq!(HandIn::NAME, "turno.v1.Tickets/Submit");
        assert_eq!(Cancel::NAME, "google.longrunning.Operations/CancelOperation");
    }
}
