//! The rpcs by which a gateway is asked for tickets, as markers like those that `turno-build` generates.

use turno_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, Operation, WaitOperationRequest,
};
use turno_proto::v1::{SubmitRequest, WatchRequest};

use crate::rpc::{AnswersOne, AnswersStream, Rpc, TakesOne};

/// Asking twice does no more than asking once; a submit has its key for that.
macro_rules! rpc {
    ($marker:ident, $path:literal, $request:ty => $response:ty, $answers:ident) => {
        #[derive(Debug)]
        pub(crate) struct $marker;

        impl Rpc for $marker {
            type Request = $request;
            type Response = $response;
            const NAME: &'static str = $path.split_at(1).1;
            const PATH: &'static str = $path;
            const REPEATABLE: bool = true;
        }

        impl TakesOne for $marker {}
        impl $answers for $marker {}
    };
}

rpc!(HandIn, "/turno.v1.Tickets/Submit", SubmitRequest => Operation, AnswersOne);
rpc!(Follow, "/turno.v1.Tickets/Watch", WatchRequest => Operation, AnswersStream);
rpc!(Get, "/google.longrunning.Operations/GetOperation", GetOperationRequest => Operation, AnswersOne);
rpc!(Wait, "/google.longrunning.Operations/WaitOperation", WaitOperationRequest => Operation, AnswersOne);
rpc!(Cancel, "/google.longrunning.Operations/CancelOperation", CancelOperationRequest => (), AnswersOne);

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
