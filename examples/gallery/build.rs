//! The one line: messages and rpcs out of the .proto.

fn main() -> Result<(), turno_build::Error> {
    turno_build::compile(&["proto/gallery.proto"])
}
