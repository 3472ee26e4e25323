//! A PostgreSQL of our own: in a directory of its own, on a socket there, as a user who is not root.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PREFIX: &str = "turno-postgres-";

/// A running server.
pub(crate) struct Server {
    programs: PathBuf,
    directory: PathBuf,
    running: bool,
}

impl Server {
    /// Starts one; `None` where there is no PostgreSQL, which is said.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// The same with its log in `directory`, in segments of a MiB: all else of it lies elsewhere.
    pub(crate) fn start_with_log_in(directory: &Path) -> Option<Self> {
        Self::start_with(Some(directory))
    }

    fn start_with(log: Option<&Path>) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("skipped: no PostgreSQL is installed (initdb is not to be found)");
            return None;
        };
        let directory = fresh();
        let mut server = Self { programs, directory, running: false };
        let data = server.data();
        let mut options = vec!["-D", &data, "-A", "trust", "-U", "turno", "-E", "UTF8", "--no-locale", "-N"];
        if let Some(log) = log {
            make_for_postgres(log);
            options.extend(["-X", log.to_str().unwrap(), "--wal-segsize=1"]);
        }
        let made = server.as_user("initdb", &options).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.run();
        Some(server)
    }

    fn data(&self) -> String {
        format!("{}/data", self.directory.display())
    }

    /// Starts the server on what lies there, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let (data, socket) = (self.data(), self.directory.to_str().unwrap().to_owned());
        let mut arguments = vec!["-D", &data, "-k", &socket];
        for setting in ["listen_addresses=", "max_connections=400", "max_wal_size=1GB"] {
            arguments.extend(["-c", setting]);
        }
        let mut postgres = self.as_user("postgres", &arguments);
        // It dies with the thread that has started it, and so with these tests: that thread stays with it.
        std::thread::spawn(move || postgres.spawn().unwrap().wait());
        let began = Instant::now();
        while !self.is_ready() {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::yield_now();
        }
        self.running = true;
    }

    fn is_ready(&self) -> bool {
        let socket = self.directory.to_str().unwrap();
        self.as_user("pg_isready", &["-h", socket, "-q"]).status().is_ok_and(|status| status.success())
    }

    /// Kills it, as a power cut would; its children follow by themselves. It may have ended already.
    pub(crate) fn kill(&mut self) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        let pid_file = Path::new(&self.data()).join("postmaster.pid");
        let text = std::fs::read_to_string(pid_file).unwrap_or_default();
        let pid = text.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = kill_process(pid, Signal::KILL);
        }
        // Children that were stopped do not notice.
        self.go_on();
        let began = Instant::now();
        // A server that starts too early finds the memory of the last one in use.
        while pid.is_some_and(|pid| test_kill_process(pid).is_ok()) || !self.processes().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not die");
            std::thread::yield_now();
        }
    }

    /// Stops it where it is, as a machine does that hangs: its connections stay, and nobody answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on where it was stopped.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // It may have ended by itself.
            let _gone = kill_process(process, signal);
        }
    }

    /// The server and its children: all work in its directory.
    fn processes(&self) -> Vec<Pid> {
        let data = self.data();
        let works_there = |process: &DirEntry| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == Path::new(&data))
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(works_there);
        processes
            .filter_map(|process| process.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
            .collect()
    }

    /// The address of a database.
    pub(crate) fn address(&self, database: &str) -> String {
        let socket = self.directory.to_str().unwrap().replace('/', "%2F");
        format!("postgres://turno@{socket}/{database}")
    }

    /// A database that nobody has used yet.
    pub(crate) fn database(&self) -> String {
        self.new_database("")
    }

    /// The same with its tables in `directory`. All else of the server lies elsewhere, its log too.
    pub(crate) fn database_in(&self, directory: &Path) -> String {
        make_for_postgres(directory);
        self.tell(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", directory.display()));
        self.new_database("TABLESPACE elsewhere")
    }

    fn new_database(&self, options: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.tell(&format!("CREATE DATABASE {name} {options}"));
        name
    }

    fn tell(&self, sql: &str) {
        let socket = self.directory.to_str().unwrap();
        let arguments = ["-X", "-h", socket, "-U", "turno", "-d", "postgres", "-c", sql];
        assert!(self.as_user("psql", &arguments).status().unwrap().success(), "{sql}");
    }

    /// A command of PostgreSQL's; it refuses to run as root.
    fn as_user(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL");
        if rustix::process::getuid().is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        }
        command.arg("--").arg(self.programs.join(program));
        command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _it_is_temporary = std::fs::remove_dir_all(&self.directory);
    }
}

/// A directory that is PostgreSQL's, also if we are root.
fn make_for_postgres(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    if rustix::process::getuid().is_root() {
        assert!(Command::new("chown").arg("postgres").arg(directory).status().unwrap().success());
    }
}

/// A directory for a server, and an end to those that earlier processes have left: statics are not dropped.
fn fresh() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let root = std::env::temp_dir();
    for entry in std::fs::read_dir(&root).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _others_may_too = std::fs::remove_dir_all(entry.path());
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = root.join(format!("{PREFIX}{}-{number}", std::process::id()));
    make_for_postgres(&directory);
    directory
}

/// One server for all tests of this process.
pub(crate) fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    SHARED.get_or_init(Server::start).as_ref()
}

/// Where PostgreSQL's programs are: on the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").ok();
    let mut found: Vec<_> =
        debian.into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    found.sort();
    let path = Command::new("sh").args(["-c", "command -v initdb"]).output().ok()?;
    let path = String::from_utf8(path.stdout).ok()?;
    found.extend(Path::new(path.trim()).parent().map(Path::to_path_buf));
    let all = ["initdb", "postgres", "pg_isready", "psql"];
    found.into_iter().rev().find(|directory| all.iter().all(|program| directory.join(program).exists()))
}
