//! The kitchen twice: as a service of Turno's SDK, and as a stock tonic client, which is what users call with.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    turno_build::compile(&["proto/kitchen.proto"])?;
    let stubs =
        std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("stubs");
    std::fs::create_dir_all(&stubs)?;
    let descriptors = protox::compile(["proto/kitchen.proto"], ["proto", "../proto"])?;
    tonic_prost_build::configure().build_server(false).bytes(".").out_dir(stubs).compile_fds(descriptors)?;
    Ok(())
}
