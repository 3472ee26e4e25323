//! `turno`: see the library.

/// What a call keeps is small, short-lived, and often dropped by another thread than the one that made it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    turno_cli::main()
}
