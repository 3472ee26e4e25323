//! Disks that fill and disks that fail. They are mounted for the purpose, which only root may do.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use turno_store::{Error, NewTicket, Outcome, Store, TicketId};

use super::child::{ADDRESS, told_where};
use super::{Acknowledged, request_of, telling};
use crate::suite::server::Server;
use crate::suite::{self, eventually, gateway, new};

/// Something mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(arguments: &[&str], at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        if run("mount", &[arguments, &[at.to_str().unwrap()]].concat()) {
            return Some(Self(at));
        }
        println!("skipped: `mount {}` is not permitted here", arguments.join(" "));
        None
    }

    /// A disk of 64 MiB, which everybody may write to.
    fn small(at: &Path) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"], at.to_owned())
    }

    /// Leaves so much less. The file that takes it.
    fn with_ballast(&self, mib: usize) -> PathBuf {
        let ballast = self.0.join("ballast");
        std::fs::write(&ballast, vec![1; mib << 20]).unwrap();
        ballast
    }

    /// Leaves nothing. The file that takes it.
    fn filled_by_others(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        for bytes in [vec![1_u8; 1 << 20], vec![1; 1 << 12]] {
            while file.write_all(&bytes).is_ok() {}
        }
        ballast
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Submits until the store says no; what it said.
async fn fill(store: &dyn Store, heard: &mut Acknowledged) -> Error {
    loop {
        let id = TicketId::new();
        match store.submit(telling(id, None)).await {
            Ok(_) => heard.stored.insert(id),
            Err(error) => return error,
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_changes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(directory.path()) else { return };
    goes_on_when_there_is_space(disk.0.join("data").to_str().unwrap(), &disk.with_ballast(16)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_whose_disk_is_full_refuses_changes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(directory.path()) else { return };
    let Some(server) = Server::start() else { return };
    let address = server.address(&server.database_in(&disk.0.join("tables")));
    goes_on_when_there_is_space(&address, &disk.with_ballast(40)).await;
}

/// Large tickets that nobody runs, until the store is full: what it has taken.
async fn fill_up(store: &dyn Store) -> Vec<TicketId> {
    let mut stored = Vec::new();
    loop {
        let keep_result_for = Duration::ZERO;
        let ticket = NewTicket { request: vec![7; 400_000].into(), keep_result_for, ..new() };
        let id = ticket.id;
        match store.submit(ticket).await {
            Ok(_) => stored.push(id),
            Err(Error::Full) => return stored,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every other one of them is deleted, and the others expire. All that finds room.
async fn make_room(store: &dyn Store, stored: &[TicketId]) {
    for (number, id) in stored.iter().enumerate() {
        if number % 2 == 0 {
            store.delete(*id).await.unwrap();
        }
        store.cancel(*id).await.unwrap();
    }
    assert_eq!(store.expire(1000).await.unwrap(), stored.len() as u64 / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_filled_its_disk_makes_room_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(directory.path()) else { return };
    let store = turno_store::open(disk.0.join("data").to_str().unwrap()).await.unwrap();
    let gateway = gateway(&*store).await;
    let begun = [suite::begin(&*store, gateway).await, suite::begin(&*store, gateway).await];
    for attempt in begun {
        let stored = fill_up(&*store).await;
        assert!(stored.len() > 50, "{} fill it", stored.len());
        store.finish(attempt, Outcome::Done(vec![7; 100_000].into())).await.unwrap();
        make_room(&*store, &stored).await;
    }
    assert!(fill_up(&*store).await.len() > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_filled_its_disk_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(&directory.path().join("disk")) else { return };
    let Some(copy) = Mounted::small(&directory.path().join("copy")) else { return };
    let (data, left_behind) = (disk.0.join("data"), copy.0.join("data"));
    let store = turno_store::open(data.to_str().unwrap()).await.unwrap();
    let gateway = gateway(&*store).await;
    // It is due when the store opens again, which is written then.
    let held = suite::begin(&*store, gateway).await;
    let stored = fill_up(&*store).await;
    assert!(run("cp", &["-r", data.to_str().unwrap(), left_behind.to_str().unwrap()]));
    drop(store);
    for data in [left_behind, data] {
        let store = turno_store::open(data.to_str().unwrap()).await.unwrap();
        assert_eq!(store.counts().await.unwrap().waiting, stored.len() as u64);
        store.cancel(held.ticket).await.unwrap();
        make_room(&*store, &stored).await;
        assert!(fill_up(&*store).await.len() > 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_others_have_filled_is_used_again_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(directory.path()) else { return };
    let store = turno_store::open(disk.0.join("data").to_str().unwrap()).await.unwrap();
    let mut heard = Acknowledged::default();
    heard.submit_more(&*store).await;
    let ballast = disk.filled_by_others();
    assert!(matches!(store.submit(new()).await, Err(Error::Full)));
    let first = *heard.stored.iter().next().unwrap();
    assert!(matches!(store.cancel(first).await, Err(Error::Full)));
    std::fs::remove_file(ballast).unwrap();
    eventually("it is looked again", || async { store.submit(new()).await.ok() }).await;
    heard.must_be_in_but_for(&*store, 1).await;
    store.cancel(first).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_too_full_for_a_store_to_open_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::small(directory.path()) else { return };
    let data = disk.0.join("data");
    std::fs::create_dir(&data).unwrap();
    disk.filled_by_others();
    let address = data.to_str().unwrap();
    let Err(Error::Unusable(why)) = turno_store::open(address).await.map(|_| ()) else { panic!("opened") };
    assert!(why.contains(address) && why.contains("MiB of room"), "{why}");
}

/// A process whose files may be of 2 MiB, and which hears of that as of a quota: by what a write answers.
const LIMITED: &str = r#"trap "" XFSZ; ulimit -f 4096; exec "$@""#;

#[test]
fn what_its_user_may_have_is_a_disk_that_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", LIMITED, "sh"]).arg(std::env::current_exe().unwrap());
    limited.args(["--ignored", "--exact", "--nocapture", "faults::disk::fills_what_its_user_may_have"]);
    let ended = limited.env(ADDRESS, directory.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of its own, which the test beside it starts"]
async fn fills_what_its_user_may_have() {
    let Some(store) = told_where().await else { return };
    let stored = fill_up(&*store).await;
    assert!(!stored.is_empty());
    make_room(&*store, &stored).await;
    eventually("it is looked again", || async { store.submit(new()).await.ok() }).await;
}

/// What every store does whose disk fills, and has space again without `ballast`.
async fn goes_on_when_there_is_space(address: &str, ballast: &Path) {
    let store = turno_store::open(address).await.unwrap();
    let gateway = gateway(&*store).await;
    let held = suite::begin(&*store, gateway).await;
    let mut heard = Acknowledged::default();
    let refused = fill(&*store, &mut heard).await;
    assert!(matches!(refused, Error::Full), "{refused:?}");
    let large = NewTicket { request: vec![1; 8_000_000].into(), ..new() };
    assert!(matches!(store.submit(large).await, Err(Error::Full)));
    heard.must_be_in_but_for(&*store, 1).await;
    std::fs::remove_file(ballast).unwrap();
    store.finish(held, Outcome::Done("bread".into())).await.unwrap();
    heard.submit_more(&*store).await;
    drop(store);
    let store = turno_store::open(address).await.unwrap();
    for id in &heard.stored {
        assert_eq!(store.request(*id).await.unwrap(), request_of(*id));
    }
    assert_eq!(store.whole(held.ticket).await.unwrap().1, Some("bread".into()));
}

/// A PostgreSQL without space for its log does not refuse, but ends, and cannot even start: what becomes of the change that it
/// was at, nobody knows before it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_whose_log_is_full_has_what_it_acknowledged_when_it_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["-t", "tmpfs", "-o", "size=32m", "tmpfs"];
    let Some(disk) = Mounted::new(&options, directory.path().to_owned()) else { return };
    let Some(mut server) = Server::start_with_log_in(&disk.0.join("log")) else { return };
    let store = turno_store::open(&server.address(&server.database())).await.unwrap();
    let mut heard = Acknowledged::default();
    let refused = fill(&*store, &mut heard).await;
    assert!(matches!(refused, Error::Unavailable(_) | Error::Away(_)), "{refused:?}");
    assert!(heard.stored.len() > 50, "it ended too early to show anything");
    assert!(run("mount", &["-o", "remount,size=128m", disk.0.to_str().unwrap()]));
    tokio::task::block_in_place(|| {
        server.kill();
        server.run();
    });
    eventually("the store answers again", || async { store.counts().await.ok() }).await;
    heard.must_be_in(&*store).await;
    heard.submit_more(&*store).await;
    heard.must_be_in(&*store).await;
}

impl Acknowledged {
    /// Reads go on: everything is there, and `others` besides.
    async fn must_be_in_but_for(&self, store: &dyn Store, others: u64) {
        for id in &self.stored {
            assert_eq!(store.request(*id).await.unwrap(), request_of(*id));
        }
        let counts = store.counts().await.unwrap();
        assert_eq!(counts.waiting + counts.running, self.stored.len() as u64 + others);
    }

    /// Changes go on too.
    async fn submit_more(&mut self, store: &dyn Store) {
        for _ in 0..50 {
            let id = TicketId::new();
            store.submit(telling(id, None)).await.unwrap();
            self.stored.insert(id);
        }
    }
}

/// A filesystem that believes in more space than there is behind it: what it takes into memory it cannot write, and fsync
/// is where that comes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_fsync_that_fails_acknowledges_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["-t", "tmpfs", "-o", "size=12m", "tmpfs"];
    let Some(behind) = Mounted::new(&options, directory.path().join("behind")) else { return };
    let image = behind.0.join("image");
    std::fs::File::create(&image).unwrap().set_len(96 * 1024 * 1024).unwrap();
    let image = image.to_str().unwrap().to_owned();
    if !run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", &image]) {
        println!("skipped: there is no mkfs.ext4");
        return;
    }
    let at = directory.path().join("disk");
    let Some(disk) = Mounted::new(&["-o", "loop", &image], at.clone()) else { return };
    let data = at.join("data");
    let mut heard = Acknowledged::default();
    let store = turno_store::open(data.to_str().unwrap()).await.unwrap();
    let refused = fill(&*store, &mut heard).await;
    assert!(matches!(refused, Error::Unavailable(_) | Error::Full), "{refused:?}");
    assert!(heard.stored.len() > 50, "it failed too early to show anything");
    heard.must_be_in_but_for(&*store, 0).await;
    assert!(run("mount", &["-o", "remount,size=128m", behind.0.to_str().unwrap()]));
    heard.submit_more(&*store).await;
    drop(store);
    let store = turno_store::open(data.to_str().unwrap()).await.unwrap();
    heard.must_be_in_but_for(&*store, 0).await;
    drop(store);
    assert!(unmounted(&at).await, "the disk is let go");
    std::mem::forget(disk);
}

/// The store's connections end a moment after it.
async fn unmounted(at: &Path) -> bool {
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if run("umount", &[at.to_str().unwrap()]) {
            return true;
        }
    }
    false
}
