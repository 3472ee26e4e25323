//! The wire of the mesh: generated types, header names, and the one mapping between an outcome and a gRPC
//! status. Everything here is data; what is done with it is the gateway's and the SDK's business. Imports nothing of ours.

pub mod entries;
pub mod headers;
pub mod status;
pub mod timeout;

/// The link between node and gateway: `proto/turno/mesh/v1/mesh.proto`.
pub mod mesh {
    /// `turno.mesh.v1`
    pub mod v1 {
        #![allow(
            missing_docs,
            clippy::large_futures,
            unreachable_pub,
            clippy::allow_attributes_without_reason,
            reason = "generated"
        )]
        tonic::include_proto!("turno.mesh.v1");
    }
}

/// What a gateway serves to clients beside their own methods: `proto/turno/v1/*.proto`.
pub mod v1 {
    #![allow(
        missing_docs,
        clippy::large_futures,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("turno.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of what the gateway itself serves to clients, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
