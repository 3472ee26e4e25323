//! FILE.turno, beside a file of answers: what map these are of, so that `--resume` goes on with no other one's. The answers
//! stay as they are, for `jq` and its like. It is there before the first answer, and stays when the last has come: a file
//! that is whole is the one that tomorrow's requests would be taken for answered by.
//!
//! Of a ticket it has the name. Of `turno map` it has the method, how many requests were read, and a digest over them. That is
//! told before they are sent, so that none that may have an answer is left out, be they lines of a file or of a pipe; and
//! more may be added behind them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::tickets;

/// What FILE.turno says, on one line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Origin {
    Ticket {
        ticket: String,
    },
    Map {
        method: String,
        requests: u64,
        /// Over their lines, without the blank around them.
        xxh3: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket { ticket } => write!(f, "the ticket {ticket}"),
            Self::Map { method, .. } => write!(f, "a map of {method}"),
        }
    }
}

/// The requests that an earlier run has read.
#[derive(Debug)]
pub(super) struct Earlier {
    file: PathBuf,
    count: u64,
    digest: String,
}

impl Earlier {
    fn differ(&self, how: &str) -> anyhow::Error {
        refused(&self.file, &format!("{} has answers to other requests: {how}", self.file.display()))
    }
}

/// The requests that a file has answers to, if it has any; fails unless they are of a map of `method`.
pub(super) fn of_map(file: &Path, method: &str) -> anyhow::Result<Option<Earlier>> {
    match read(file)? {
        None => Ok(None),
        Some(Origin::Map { method: theirs, requests, xxh3 }) if theirs == method => {
            Ok(Some(Earlier { file: file.to_owned(), count: requests, digest: xxh3 }))
        }
        Some(theirs) => Err(others(file, &theirs, &format!("a map of {method}"))),
    }
}

/// Fails if a file has answers, unless they are of this ticket.
pub(super) fn of_ticket(file: &Path, ticket: &str) -> anyhow::Result<()> {
    let wanted = Origin::Ticket { ticket: ticket.to_owned() };
    match read(file)? {
        Some(theirs) if theirs != wanted => Err(others(file, &theirs, &wanted.to_string())),
        _ => Ok(()),
    }
}

/// Says that a file's answers are of this ticket.
pub(super) fn tell_ticket(file: &Path, ticket: &str) -> anyhow::Result<()> {
    match Note::open(file)? {
        Some(mut note) => note.write(&Origin::Ticket { ticket: ticket.to_owned() }),
        None => Ok(()),
    }
}

/// What is said of a file; nothing if it has no answers.
fn read(file: &Path) -> anyhow::Result<Option<Origin>> {
    if !file.metadata().is_ok_and(|file| file.len() > 0) {
        return Ok(None);
    }
    let (path, file) = (beside(file), file.display());
    let note = path.display();
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "nothing says what map {file} has answers of: {note} is not there; if the file was moved, move that one along, \
             and if you know that they are of this map, add --unchecked"
        ),
        text => text.with_context(|| format!("cannot read {note}"))?,
    };
    let line = text.lines().next().unwrap_or_default();
    let damaged = |_| {
        anyhow!(
            "{note} is damaged, and nothing else says what map {file} has answers of; if you know that they are of this \
             map, add --unchecked"
        )
    };
    serde_json::from_str::<Origin>(line).map(Some).map_err(damaged)
}

fn others(file: &Path, theirs: &Origin, wanted: &str) -> anyhow::Error {
    let error = refused(file, &format!("{} has answers of {theirs}, not of {wanted}", file.display()));
    match theirs {
        Origin::Ticket { ticket } => {
            anyhow!("{error}\n`{}` goes on with those", tickets::again(ticket, Some(file)))
        }
        Origin::Map { .. } => error,
    }
}

fn refused(file: &Path, why: &str) -> anyhow::Error {
    let note = beside(file);
    anyhow!(
        "{why}, as {} says; write to another file, or add --unchecked to go on all the same",
        note.display()
    )
}

fn beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".turno");
    path.into()
}

/// The requests of a map, as they are read.
pub(super) struct Requests {
    method: String,
    count: u64,
    digest: XxHash3_128,
    /// Those that were read before, until these have come to the same.
    earlier: Option<Earlier>,
    note: Option<Note>,
    /// What it counts. It never counts fewer, or answers to the others would be nobody's.
    told: u64,
}

impl Requests {
    /// Of a map of `method`, whose answers go to `file`. It has answers to `earlier` ones, up to the index `last`.
    pub(super) fn open(
        file: Option<&Path>,
        method: &str,
        earlier: Option<Earlier>,
        last: Option<u64>,
    ) -> anyhow::Result<Self> {
        if let Some((earlier, last)) = earlier.as_ref().zip(last)
            && last >= earlier.count
        {
            let how = format!("one of them is to item {last}, and {} were read", earlier.count);
            return Err(earlier.differ(&how));
        }
        let earlier = earlier.filter(|earlier| earlier.count > 0);
        let told = earlier.as_ref().map_or(0, |earlier| earlier.count);
        let note = file.map(Note::open).transpose()?.flatten();
        let mut requests =
            Self { method: method.to_owned(), count: 0, digest: XxHash3_128::new(), earlier, note, told };
        if requests.are_known() {
            requests.tell()?;
        }
        Ok(requests)
    }

    /// One more; fails if those before were others.
    pub(super) fn add(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.digest.write(line.trim_ascii());
        self.digest.write(b"\n");
        self.count += 1;
        let count = self.count;
        match self.earlier.take_if(|earlier| earlier.count == count) {
            Some(earlier) if earlier.digest != self.so_far() => {
                Err(earlier.differ(&format!("the first {count} of them differ from these")))
            }
            _ => Ok(()),
        }
    }

    /// There are no more; fails if there were more before.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        match &self.earlier {
            Some(earlier) => {
                let how = format!("there were {} at least, and these are {}", earlier.count, self.count);
                Err(earlier.differ(&how))
            }
            None => Ok(()),
        }
    }

    /// They have come to what was read before: none is sent before that.
    pub(super) fn are_known(&self) -> bool {
        self.earlier.is_none()
    }

    /// Says that each so far may have an answer.
    pub(super) fn tell(&mut self) -> anyhow::Result<()> {
        let (method, requests, xxh3) = (self.method.clone(), self.count, self.so_far());
        match &mut self.note {
            Some(note) if requests >= self.told => {
                self.told = requests;
                note.write(&Origin::Map { method, requests, xxh3 })
            }
            _ => Ok(()),
        }
    }

    /// From the first one on, once more; answers how many there were.
    pub(super) fn again(&mut self) -> u64 {
        self.digest = XxHash3_128::new();
        std::mem::take(&mut self.count)
    }

    fn so_far(&self) -> String {
        format!("{:032x}", self.digest.finish_128())
    }
}

/// FILE.turno, to be written over and over.
struct Note {
    file: File,
    path: PathBuf,
    length: usize,
}

impl Note {
    /// Of what is no file, as /dev/null, nothing is said.
    fn open(answers: &Path) -> anyhow::Result<Option<Self>> {
        if !answers.metadata().is_ok_and(|answers| answers.is_file()) {
            return Ok(None);
        }
        let path = beside(answers);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let length = usize::try_from(file.metadata()?.len())?;
        Ok(Some(Self { file, path, length }))
    }

    fn write(&mut self, origin: &Origin) -> anyhow::Result<()> {
        let line = format!("{}\n", serde_json::to_string(origin)?);
        self.replace(&line).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// In place, so that it has a whole line whenever the program is killed.
    fn replace(&mut self, line: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(line.as_bytes())?;
        if line.len() < self.length {
            self.file.set_len(line.len() as u64)?;
        }
        self.length = line.len();
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
