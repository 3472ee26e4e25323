//! A process that submits and finishes under load and says what was acknowledged, until it is killed: this test program
//! again, with one ignored test and a word in its environment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use turno_runtime::task;
use turno_store::{Inputs, Log, Store, Submitted, TicketId};

use super::{Acknowledged, outcome_of, part_of, telling};

pub(super) const ADDRESS: &str = "TURNO_TEST_STORE";

/// The store that whoever has started this process names; `None` where nobody does.
pub(super) async fn told_where() -> Option<Arc<dyn Store>> {
    #[expect(clippy::disallowed_methods, reason = "a test says so to its child")]
    let address = std::env::var(ADDRESS).ok()?;
    Some(turno_store::open(&address).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of its own, which the tests beside it start and kill"]
async fn submits_until_it_is_killed() {
    let Some(store) = told_where().await else { return };
    let gateway = crate::suite::gateway(&*store).await;
    let tasks = (0..16).map(|number| {
        let store = store.clone();
        task::spawn("submitter", async move {
            loop {
                let id = TicketId::new();
                let begin_at = (number % 4 != 0).then_some(gateway);
                // One of five is a map.
                let is_map = number % 5 == 1;
                let mut ticket = telling(id, begin_at);
                if is_map {
                    store.put_input(id, 0, part_of(id, Log::Inputs)).await.unwrap();
                    ticket.inputs = Some(Inputs { parts: 1, items: 1 });
                }
                let submitted = store.submit(ticket).await.unwrap();
                say("S", id);
                if let Submitted::Stored { attempt: Some(attempt), .. } = &submitted
                    && is_map
                {
                    store.append_results(*attempt, 0, part_of(id, Log::Results), 1).await.unwrap();
                    say("R", id);
                }
                if let Submitted::Stored { attempt: Some(attempt), .. } = submitted {
                    store.finish(attempt, outcome_of(id)).await.unwrap();
                    say("D", id);
                }
            }
        })
    });
    futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
}

fn say(word: &str, id: TicketId) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {id}").unwrap();
    out.flush().unwrap();
}

/// Such a process.
pub(crate) struct Submitter {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Submitter {
    pub(crate) fn start(address: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "faults::child::submits_until_it_is_killed"])
            .env(ADDRESS, address)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // A last line that was cut off has no end, and says nothing.
            for line in out.lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Lets it work for `time` from its first word on, kills it with -9, and adds what it has said.
    pub(crate) fn kill_after(mut self, time: Duration, heard: &mut Acknowledged) {
        let first = loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("it works");
            if line.contains("S ") {
                break line;
            }
        };
        heard.hear(first.trim_start_matches(|c| c != 'S'));
        let until = std::time::Instant::now() + time;
        while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
            if let Ok(line) = self.lines.recv_timeout(left) {
                heard.hear(&line);
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // A pipe ends with a whole line or with a part of one, whose name does not read.
        while let Ok(line) = self.lines.recv() {
            heard.hear(&line);
        }
    }
}
