//! The wire of the mesh: generated types, header names, and the one mapping between an outcome and a gRPC
//! status. Everything here is data; what is done with it is the gateway's and the SDK's business. Imports nothing of ours.

pub mod entries;
pub mod habits;
pub mod headers;
pub mod status;
pub mod timeout;

/// As the packages of the `.proto` files lie, since generated code names its neighbours by their paths.
mod generated {
    #![allow(
        missing_docs,
        clippy::large_futures,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]

    pub mod turno {
        pub mod mesh {
            pub mod v1 {
                tonic::include_proto!("turno.mesh.v1");
            }
        }
        pub mod v1 {
            tonic::include_proto!("turno.v1");
        }
    }

    pub mod google {
        pub mod longrunning {
            tonic::include_proto!("google.longrunning");
        }
        pub mod rpc {
            tonic::include_proto!("google.rpc");
        }
    }
}

/// Google's long-running operations and rich status: `proto/google`.
pub use generated::google;
/// The link between node and gateway: `proto/turno/mesh/v1/mesh.proto`.
pub use generated::turno::mesh;
/// What a gateway serves to clients beside their own methods: `proto/turno/v1/*.proto`.
pub use generated::turno::v1;

/// The encoded `google.protobuf.FileDescriptorSet` of what the gateway itself serves to clients, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
