//! Processes of a mesh that this program starts itself: one a role, watched, started again when they die unless they
//! cannot start, ended in order: the gateway first, so that what is in flight still finds its nodes.

mod wait;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turno_runtime::task;

use crate::aside::Aside;

/// Flags of a process that was started by another `turno`.
#[derive(Debug, Args)]
pub(crate) struct ChildFlags {
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

impl ChildFlags {
    /// Makes them true for this process.
    pub(crate) fn apply(&self) -> Result<()> {
        if self.with_parent {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
                .context("cannot follow the process that started this one")?;
        }
        Ok(())
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// What it is called in messages: "worker 2".
    pub(crate) name: String,
    /// `turno`'s arguments.
    pub(crate) args: Vec<String>,
    /// What nobody is to read in a list of processes.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Whether it hears of the shell's settings (`TURNO_…`), but for those that are the parent's own.
    hears_shell: bool,
    /// A directory of its own, which goes with it.
    #[expect(dead_code, reason = "held for its drop")]
    scratch: Option<Arc<TempDir>>,
}

impl Role {
    pub(crate) fn new(name: impl Into<String>, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { name: name.into(), args, settings: Vec::new(), hears_shell: true, scratch: None }
    }

    /// Of a mesh that lives as long as one command: what the shell has set (`TURNO_TOKEN`, `TURNO_MAX_CALLS`, …) is
    /// said to another mesh.
    pub(crate) fn secluded(mut self) -> Self {
        self.hears_shell = false;
        self
    }

    fn is_hidden(&self, setting: &OsStr) -> bool {
        let Some(setting) = setting.to_str() else { return false };
        OWN_SETTINGS.contains(&setting) || (!self.hears_shell && setting.starts_with("TURNO_"))
    }

    /// A gateway of a mesh that lives as long as one command, tickets included, and keeps quiet unless something is
    /// wrong.
    pub(crate) fn quiet_gateway(listen: &str, nodes: &str) -> Result<Self> {
        let scratch = TempDir::with_prefix("turno-").context("no directory for tickets")?;
        let role = Self::gateway_keeping(listen, nodes, scratch.path());
        Ok(Self { scratch: Some(Arc::new(scratch)), ..role })
    }

    /// The same, with its tickets in `data`.
    pub(crate) fn gateway_keeping(listen: &str, nodes: &str, data: &Path) -> Self {
        let data = data.display().to_string();
        Self::new(
            "gateway",
            &["gateway", "--listen", listen, "--nodes", nodes, "--log", "warn", "--data", &data],
        )
    }
}

/// A process that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    name: String,
    stop: CancellationToken,
    /// Cancelled once it cannot start.
    hopeless: CancellationToken,
    ended: JoinHandle<()>,
    pid: tokio::sync::watch::Receiver<u32>,
}

/// What is said to the parent, or to one role alone: a child hears it by its flags.
const OWN_SETTINGS: [&str; 11] = [
    "TURNO_CONFIG",
    "TURNO_CONSOLE",
    "TURNO_DATA",
    "TURNO_GATEWAY",
    "TURNO_LISTEN",
    "TURNO_LOG",
    "TURNO_METRICS",
    "TURNO_NODES",
    "TURNO_ROLE",
    "TURNO_SLOTS",
    "TURNO_STORE",
];
/// A little more than a role's own time to drain.
const DRAIN: Duration = Duration::from_secs(35);

impl Watched {
    /// Starts `role`, and again whenever it dies, as long as it can start.
    pub(crate) fn start(role: Role) -> Result<Self> {
        let (name, stop, hopeless) = (role.name.clone(), CancellationToken::new(), CancellationToken::new());
        // Asked once: of a program that was replaced meanwhile the system answers no path that can be started.
        let turno = std::env::current_exe().context("cannot find this program's own file")?;
        let child = spawn(&turno, &role)?;
        let (said, pid) = tokio::sync::watch::channel(child.id().unwrap_or_default());
        let watched = watch(turno, role, child, stop.clone(), hopeless.clone(), said);
        let ended = task::spawn("turno.child", watched);
        Ok(Self { name, stop, hopeless, ended, pid })
    }

    /// Its process id, of late.
    pub(crate) fn pid(&self) -> u32 {
        *self.pid.borrow()
    }

    /// Completes with its name once it cannot start. Why, it has said itself.
    pub(crate) async fn cannot_start(&self) -> &str {
        self.hopeless.cancelled().await;
        &self.name
    }

    /// Asks it to end in order, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // A watcher that panicked has dropped its child, which kills it.
        let _ended = self.ended.await;
    }
}

fn spawn(turno: &Path, role: &Role) -> Result<Child> {
    let mut command = Command::new(turno);
    for (name, _) in std::env::vars_os().filter(|(name, _)| role.is_hidden(name)) {
        command.env_remove(name);
    }
    command
        .envs(role.settings.iter().map(|(name, value)| (*name, value)))
        .args(&role.args)
        .arg("--with-parent")
        .stdin(Stdio::null())
        // Ctrl-C is for the parent, which ends its children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", role.name))
}

async fn watch(
    turno: PathBuf,
    role: Role,
    mut child: Child,
    stop: CancellationToken,
    hopeless: CancellationToken,
    said: tokio::sync::watch::Sender<u32>,
) {
    let (mut started, mut wait, mut is_first) = (Instant::now(), Duration::ZERO, true);
    loop {
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = stop.cancelled() => return end(&role, child, DRAIN, &mut Aside).await,
        };
        if ended.as_ref().is_ok_and(|status| wait::is_hopeless(*status, is_first)) {
            return hopeless.cancel();
        }
        report(&role, ended.as_ref().ok());
        is_first = false;
        wait = wait::next(wait, started.elapsed());
        child = loop {
            if tokio::time::timeout(wait, stop.cancelled()).await.is_ok() {
                return;
            }
            match spawn(&turno, &role) {
                Ok(again) => break again,
                // Its file may be on its way, or the machine full.
                Err(error) => {
                    let _said = writeln!(Aside, "{error:#}; trying again");
                    wait = wait::next(wait, Duration::ZERO);
                }
            }
        };
        started = Instant::now();
        said.send_replace(child.id().unwrap_or_default());
    }
}

async fn end(role: &Role, mut child: Child, patience: Duration, say: &mut (dyn Write + Send)) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _gone = rustix::process::kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(patience, child.wait()).await.is_err() {
        let _said = writeln!(say, "{} did not end in time and is killed", role.name);
        // As above.
        let _gone = child.kill().await;
    }
}

fn report(role: &Role, status: Option<&ExitStatus>) {
    let how = status.map_or_else(|| "for an unknown reason".to_owned(), |status| format!("({status})"));
    let _said = writeln!(Aside, "{} ended {how}; starting it again", role.name);
}

/// Two ports that are free now. Whoever takes them meanwhile makes the gateway say so.
pub(crate) fn free_ports() -> Result<(u16, u16)> {
    let bind = || std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port");
    let (one, other) = (bind()?, bind()?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

#[cfg(test)]
mod tests {
    use super::{Command, Duration, Role, Stdio, end};
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn who_does_not_end_when_asked_is_killed_and_named() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo deaf; exec sleep 1000"]);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
        let mut said = Vec::new();
        end(&Role::new("worker 1", &[]), child, Duration::ZERO, &mut said).await;
        assert_eq!(said, b"worker 1 did not end in time and is killed\n");
    }

    #[test]
    fn a_mesh_of_one_command_hears_nothing_of_the_shell() {
        let (kept, secluded) = (Role::new("worker", &[]), Role::new("worker", &[]).secluded());
        for (setting, hidden, hidden_if_secluded) in
            [("TURNO_STORE", true, true), ("TURNO_TOKEN", false, true), ("PATH", false, false)]
        {
            assert_eq!(kept.is_hidden(setting.as_ref()), hidden, "{setting}");
            assert_eq!(secluded.is_hidden(setting.as_ref()), hidden_if_secluded, "{setting}");
        }
    }
}
