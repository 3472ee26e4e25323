//! Generates the wire types with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        "turno/mesh/v1/mesh.proto",
        "turno/mesh/v1/parts.proto",
        "google/longrunning/operations.proto",
        "turno/v1/tickets.proto",
        "turno/v1/admin.proto",
        "turno/v1/calls.proto",
        "turno/v1/map.proto",
        "turno/v1/options.proto",
    ];
    println!("cargo:rerun-if-changed={root}");
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    let mut public = protox::Compiler::new([root])?;
    public.include_imports(true).include_source_info(true).open_files(&files[2..])?;
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), public.encode_file_descriptor_set())?;
    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    let messages = tonic_prost_build::configure().bytes(".");
    messages.compile_fds_with_config(compiler.file_descriptor_set(), prost)?;
    Ok(())
}
