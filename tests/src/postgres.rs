//! A PostgreSQL for tests, in a directory of its own, on a socket there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use crate::eventually;

/// A server; ends when dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// Starts one; `None` where none is installed.
    pub async fn start() -> Option<Self> {
        let programs = programs()?;
        let directory = tempfile::Builder::new().prefix("turno-pg").tempdir().expect("a directory");
        let data = directory.path().join("data").display().to_string();
        give(directory.path());
        let made = ["-D", &data, "-A", "trust", "-U", "turno", "-E", "UTF8", "--no-locale"];
        let made = as_user(&programs, "initdb", &made).status().expect("initdb can be run");
        assert!(made.success(), "initdb: {made}");
        let mut postgres = Self { programs, directory, server: None };
        postgres.run().await;
        Some(postgres)
    }

    /// Starts it on what lies there, and waits until it answers.
    pub async fn run(&mut self) {
        let folder = self.directory.path().display().to_string();
        let data = format!("{folder}/data");
        let arguments = ["-D", &data, "-k", &folder, "-c", "listen_addresses="];
        let server = as_user(&self.programs, "postgres", &arguments).spawn();
        self.server = Some(server.expect("postgres can be started"));
        eventually("PostgreSQL answers", async || {
            let ready = as_user(&self.programs, "pg_isready", &["-h", &folder, "-q"]).status();
            ready.is_ok_and(|status| status.success())
        })
        .await;
    }

    /// Stops it where it is, as a machine does that hangs: its connections stay, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on where it was stopped.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// To the server and its children: all work in its directory.
    fn signal(&self, signal: Signal) {
        let data = self.directory.path().join("data");
        for process in std::fs::read_dir("/proc").expect("a list of processes").flatten() {
            if std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data) {
                let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
                // It may have ended by itself.
                let _gone = pid.and_then(Pid::from_raw).map(|pid| kill_process(pid, signal));
            }
        }
    }

    /// Ends it at once, and its processes with it.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // Who was stopped does not hear that it is to end.
        self.go_on();
        if let Some(pid) = i32::try_from(server.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _gone = kill_process(pid, Signal::QUIT);
        }
        drop(server.wait());
    }

    /// `postgres://…` of the database that it comes with.
    pub fn address(&self) -> String {
        self.address_of("postgres")
    }

    /// That of a new one whose tables lie in `directory`, which is empty. All else of the server lies elsewhere, its log too.
    pub fn database_in(&self, directory: &Path) -> String {
        give(directory);
        self.tell(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", directory.display()));
        self.tell("CREATE DATABASE elsewhere TABLESPACE elsewhere");
        self.address_of("elsewhere")
    }

    fn address_of(&self, database: &str) -> String {
        let socket = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://turno@{socket}/{database}")
    }

    fn tell(&self, sql: &str) {
        let folder = self.directory.path().display().to_string();
        let arguments = ["-X", "-h", &folder, "-U", "turno", "-d", "postgres", "-c", sql];
        let told = as_user(&self.programs, "psql", &arguments).status().expect("psql can be run");
        assert!(told.success(), "{sql}: {told}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// To the user that PostgreSQL runs as, if we are root.
fn give(directory: &Path) {
    if getuid().is_root() {
        let given = Command::new("chown").arg("postgres").arg(directory).status().expect("chown can be run");
        assert!(given.success(), "the directory cannot be given to postgres");
    }
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    versions.into_iter().rev().find(|bin| bin.join("initdb").exists())
}

/// It refuses to run as root.
fn as_user(programs: &Path, program: &str, arguments: &[&str]) -> Command {
    let program = programs.join(program);
    let mut command = Command::new("setpriv");
    if getuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT", "--"]);
    } else {
        command.args(["--pdeathsig=QUIT", "--"]);
    }
    command.arg(program).args(arguments).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
