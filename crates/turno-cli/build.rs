//! What `turno bench` calls, twice: as a service of Turno's SDK, and as a stock tonic service, its reference.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../proto/turno/bench/v1/bench.proto";
    turno_build::compile(&[proto])?;
    let stubs =
        std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("stubs");
    std::fs::create_dir_all(&stubs)?;
    let descriptors = protox::compile([proto], ["../../proto"])?;
    tonic_prost_build::configure().bytes(".").out_dir(stubs).compile_fds(descriptors)?;
    Ok(())
}
