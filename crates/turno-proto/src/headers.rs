//! Names of the headers that the mesh reads or writes.

/// The join token of a node: `authorization: Bearer …` on every call to the nodes' port.
pub const AUTHORIZATION: &str = "authorization";
/// In whose name a node calls: `gallery.v1.Gallery/Thumbnail`. Believed on the nodes' port only.
pub const CALLER_METHOD: &str = "turno-caller-method";
/// Address of the client that the chain of calls began with. Believed on the nodes' port only.
pub const CALLER_PEER: &str = "turno-caller-peer";
/// Relative deadline of a call, as in the gRPC protocol over HTTP/2.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Who pays for a call, or whose ticket it is: then at most 256 bytes. Carried on to nested calls.
pub const TENANT: &str = "turno-tenant";

/// `batch` for work that may wait: it takes the lane behind that of other calls, which has a share of its own. Carried
/// on to nested calls.
pub const LANE: &str = "turno-lane";
/// The value of [`LANE`] that says so.
pub const BATCH: &str = "batch";
/// That of [`LANE`] for the lane of calls that say nothing, and inherit nothing.
pub const CALLS: &str = "calls";
/// `1` or `true` (`0` and `false` do not) asks for a trailer of the same name that says where the time of the call went.
pub const EXPLAIN: &str = "turno-explain";
/// `basic` asks for tickets without their responses: for one, or for a listing.
pub const VIEW: &str = "turno-view";
/// The value of [`VIEW`] that says so.
pub const BASIC: &str = "basic";
/// That of [`VIEW`] which says the same as none.
pub const FULL: &str = "full";

/// The name of the ticket that a method runs for: `operations/0198…`. The mesh says it; a client that does is not heard.
pub const TICKET: &str = "turno-ticket";
/// Which attempt of the ticket it is; the first is 1.
pub const ATTEMPT: &str = "turno-attempt";

/// Metadata that a nested call inherits from the call it is made in.
pub const INHERITED: &[&str] = &[TENANT, LANE, "traceparent", "tracestate", "baggage"];

/// Whether a request header belongs to the transport and not to the user's metadata.
pub fn is_transport(name: &str) -> bool {
    name.starts_with(':')
        || (name.starts_with("grpc-") && !name.ends_with("-bin"))
        || matches!(
            name,
            "te" | "content-type"
                | "content-length"
                | "host"
                | "connection"
                | "accept-encoding"
                | CALLER_METHOD
                | CALLER_PEER
        )
}

#[cfg(test)]
mod tests {
    use super::is_transport;

    #[test]
    fn user_metadata_is_not_the_transports() {
        assert!(is_transport("grpc-timeout"));
        assert!(is_transport("te"));
        assert!(!is_transport("grpc-trace-bin"));
        assert!(!is_transport("turno-tenant"));
        assert!(!is_transport("authorization"));
    }
}
