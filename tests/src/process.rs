//! Processes that a test really kills.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

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

/// A port that will be taken by what can be started again. Its address of loopback is this process's own: no connection and
/// no other test takes the port meanwhile, as they do with those of 127.0.0.1.
pub fn free_port() -> SocketAddr {
    static LAST: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high | 64, middle, low);
    std::iter::repeat_with(|| SocketAddr::from((own, LAST.fetch_add(1, Ordering::Relaxed))))
        .take(10_000)
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free port")
}
