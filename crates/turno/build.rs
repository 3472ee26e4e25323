//! Generates the messages and rpcs of the built-in services, so that any node can call or serve them.

fn main() -> Result<(), turno_build::Error> {
    turno_build::Builder::new()
        .turno_path("crate")
        .compile(&["../../proto/turno/io/v1/http.proto", "../../proto/turno/cpu/v1/images.proto"])
}
