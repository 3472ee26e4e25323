//! Processes that a test really kills.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

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
        self.make_end();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("a process of our own");
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until it has ended by itself, with a deadline.
    pub async fn ended(&mut self) -> ExitStatus {
        let process = std::cell::RefCell::new(&mut self.0);
        let ended = || process.borrow_mut().try_wait().expect("a process of our own");
        crate::eventually("the process ends", async || ended().is_some()).await;
        ended().expect("it has ended")
    }

    fn make_end(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.make_end();
    }
}

/// A port of loopback that is free now, and will be taken by a process that can be started again.
pub fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}
