//! Processes that a test really kills.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process; killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `program`, a binary of this package: `env!("CARGO_BIN_EXE_…")`.
    pub fn start(program: &str, args: &[&str]) -> Self {
        Self(
            Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .spawn()
                .expect("a program that can be started"),
        )
    }

    /// A gateway (`test-gateway`) on these ports, with its tickets there.
    pub fn gateway(program: &str, clients: SocketAddr, nodes: SocketAddr, data: &Path) -> Self {
        Self::start(program, &[&clients.to_string(), &nodes.to_string(), &data.display().to_string()])
    }

    /// As `kill -9` does it, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port of loopback that is free now, and will be taken by a process that can be started again.
pub fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}
