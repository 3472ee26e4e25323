//! The one error of this crate.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a process could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file could not be read.
    #[error("configuration file {path} cannot be read: {source}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration file, the environment or a flag says something that makes no sense.
    #[error("configuration: {0}")]
    Config(String),
    /// An address is taken or not ours.
    #[error("cannot listen on {address} for {purpose}: {source}; give another address ({flag})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it was to be used for.
        purpose: &'static str,
        /// The flag that says where: "--listen".
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// tokio-console was asked for in a build that cannot serve it.
    #[error(
        "--console needs a build with --cfg tokio_unstable: see .cargo/config.toml in Turno's repository"
    )]
    ConsoleNotBuilt,
    /// A system call of the process's own set-up failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}
