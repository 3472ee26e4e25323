//! `turno`: see the library.

fn main() -> std::process::ExitCode {
    turno_cli::main()
}
