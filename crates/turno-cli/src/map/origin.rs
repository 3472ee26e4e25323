//! FILE.turno, beside a file of answers: what map these are of, so that `--resume` goes on with no other one's. The answers
//! stay as they are, for `jq` and its like. It is there before the first answer, and stays when the last has come: a file
//! that is whole is the one that tomorrow's requests would be taken for answered by.
//!
//! Of a ticket it has the name. Of `turno map` it has the method, how many requests were read, and a digest over them. That is
//! told before they are sent, so that none that may have an answer is left out, be they lines of a file or of a pipe; and
//! more may be added behind them. Once there is an answer it has a digest of the first, by which it knows its file.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::again::Again;
use crate::aside::Aside;
use crate::tickets;

/// What FILE.turno says, on one line.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    #[serde(flatten)]
    origin: Origin,
    /// Over the first line of FILE, if one was there: before that it may be any file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Of what answers have to be that a run goes on with.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    Method(&'a str),
    Ticket(&'a str),
    /// It has none.
    NewTicket,
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

/// Why nothing is written to a file that has answers, and what to do instead.
pub(super) fn has_answers(file: &Path, wanted: Of<'_>) -> anyhow::Error {
    let has = format!("{} has answers already", file.display());
    let Ok(Some(origin)) = read(file) else {
        return anyhow!("{has}, and nothing says of what map: write to another file");
    };
    match (&origin, wanted) {
        (Origin::Map { method, .. }, Of::Method(wanted)) if method == wanted => {
            anyhow!("{has}: --resume goes on with it, if they are of the same requests")
        }
        (Origin::Ticket { ticket }, Of::Ticket(wanted)) if ticket == wanted => {
            anyhow!("{has}: --resume goes on with it")
        }
        (Origin::Ticket { ticket }, _) => {
            let again = tickets::again(ticket, Some(file));
            anyhow!("{has}, of {origin}: write to another file; `{again}` goes on with those")
        }
        (Origin::Map { .. }, _) => anyhow!("{has}, of {origin}: write to another file"),
    }
}

/// What is said of a file; nothing if it has no answers.
fn read(file: &Path) -> anyhow::Result<Option<Origin>> {
    if !file.metadata().is_ok_and(|file| file.len() > 0) {
        return Ok(None);
    }
    let first = first_line(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (path, file) = (beside(file), file.display());
    let note = path.display();
    let sure = "if you know that they are of this map, add --unchecked";
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| {
            format!("nothing says what map {file} has answers of ({sure}): cannot read {note}")
        })?,
    };
    // A run that was refused, or had no room for a word, leaves an empty one.
    if text.is_empty() {
        bail!(
            "nothing says what map {file} has answers of: {note} is not there, or empty; if the file was moved, move that \
             one along, and {sure}"
        );
    }
    let Ok(said) = serde_json::from_str::<Said>(text.lines().next().unwrap_or_default()) else {
        bail!("{note} is damaged, and nothing else says what map {file} has answers of; {sure}");
    };
    if said.first.zip(first).is_some_and(|(theirs, first)| theirs != first) {
        bail!(
            "{note} is of another file: {file} begins with another answer, and nothing else says what map it has answers \
             of; {sure}"
        );
    }
    Ok(Some(said.origin))
}

/// By what a file of answers is known: a digest of its first line, if that is whole.
fn first_line(file: &Path) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    BufReader::new(File::open(file)?).read_until(b'\n', &mut line)?;
    Ok(line.ends_with(b"\n").then(|| digest(&line)))
}

/// Of a line, without the blank around it.
pub(super) fn digest(line: &[u8]) -> String {
    format!("{:032x}", XxHash3_128::oneshot(line.trim_ascii()))
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

/// Who looks for the one that has changed looks at more than was answered.
const READ_AHEAD: &str = " (those count that were read ahead of their answers)";

/// The requests of a map, as they are read.
pub(super) struct Requests {
    method: String,
    count: u64,
    digest: XxHash3_128,
    /// Those that were read before, until these have come to the same.
    earlier: Option<Earlier>,
    note: Option<Note>,
    /// What it counts, or has to. It never counts fewer, or answers to the others would be nobody's.
    told: u64,
    /// So many there have to be for each answer that is there to have its request.
    answered: u64,
}

impl Requests {
    /// Of a map of `method`, whose answers go to the file that `note` is of. It has answers to `earlier` ones, up to the
    /// index `last`.
    pub(super) fn open(
        note: Option<Note>,
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
        let answered = last.map_or(0, |last| last.saturating_add(1));
        let told = earlier.as_ref().map_or(answered, |earlier| earlier.count);
        let (method, digest) = (method.to_owned(), XxHash3_128::new());
        Ok(Self { method, count: 0, digest, earlier, note, told, answered })
    }

    /// One more; fails if those before were others.
    pub(super) fn add(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.digest.write(line.trim_ascii());
        self.digest.write(b"\n");
        self.count += 1;
        let count = self.count;
        match self.earlier.take_if(|earlier| earlier.count == count) {
            Some(earlier) if earlier.digest != self.so_far() => {
                Err(earlier.differ(&format!("the first {count} of them differ from these{READ_AHEAD}")))
            }
            _ => Ok(()),
        }
    }

    /// There are no more; fails if there were more before.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        let (these, answered) = (self.count, self.answered);
        match &self.earlier {
            Some(earlier) => {
                let theirs = earlier.count;
                let how = format!("there were {theirs} at least, and these are {these}{READ_AHEAD}");
                Err(earlier.differ(&how))
            }
            // Whoever vouches for the answers errs.
            None if these < answered => bail!(
                "there are answers to {answered} requests at least, and these are {these}: bring all of them, or write to \
                 another file"
            ),
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
        match &self.note {
            Some(note) if requests >= self.told => {
                self.told = requests;
                note.tell(Origin::Map { method, requests, xxh3 })
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

/// FILE.turno, to be written over and over: who reads requests tells of them, and who writes answers of the first.
#[derive(Clone)]
pub(super) struct Note(Arc<Mutex<Page>>);

struct Page {
    file: File,
    path: PathBuf,
    length: usize,
    /// What this run has told of.
    origin: Option<Origin>,
    first: Option<String>,
    /// There are answers that somebody vouches for, and it does not say yet what map they are of.
    must_vouch: bool,
    again: Again,
}

impl Note {
    /// Of this file of answers; nothing is written yet. Where that cannot be done, a run that has nothing to check goes on
    /// without, unless there is a note that would be taken for its own.
    pub(super) fn open(answers: &Path, is_checked: bool) -> anyhow::Result<Option<Self>> {
        let path = beside(answers);
        let file = match File::options().create(true).truncate(false).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if path.symlink_metadata().is_ok() => {
                let what = format!("cannot write {}, and what it says would be wrong", path.display());
                return Err(anyhow!(error).context(format!("{what}; remove it, or write to another file")));
            }
            Err(error) if is_checked => {
                let what = format!("cannot write {} (--unchecked goes on without it)", path.display());
                return Err(anyhow!(error).context(what));
            }
            Err(error) => {
                let what = format!("cannot write {}: {error}", path.display());
                writeln!(Aside, "warning: {what}; answers are written, but --resume will need --unchecked")?;
                return Ok(None);
            }
        };
        let length = usize::try_from(file.metadata()?.len())?;
        let first = first_line(answers).unwrap_or_default();
        let must_vouch = !is_checked && answers.metadata()?.len() > 0;
        let again = Again::default();
        let page = Page { file, path, length, origin: None, first, must_vouch, again };
        Ok(Some(Self(Arc::new(Mutex::new(page)))))
    }

    /// What to do when it cannot be written: without it no answer is.
    pub(super) fn goes_on_by(&self, command: String) {
        self.0.lock().again = Again::by(command);
    }

    /// Whoever goes on with the answers has to vouch for them, as this run does.
    pub(super) fn must_vouch(&self) -> bool {
        self.0.lock().must_vouch
    }

    /// Says that the answers are of this ticket.
    pub(super) fn tell_ticket(&self, ticket: &str) -> anyhow::Result<()> {
        self.tell(Origin::Ticket { ticket: ticket.to_owned() })
    }

    /// Says what line the file begins with, which is there: it goes by its digest.
    pub(super) fn bind(&self, first: String) -> anyhow::Result<()> {
        let mut page = self.0.lock();
        page.first = Some(first);
        page.write()
    }

    fn tell(&self, origin: Origin) -> anyhow::Result<()> {
        let mut page = self.0.lock();
        if page.origin.as_ref() == Some(&origin) {
            return Ok(());
        }
        page.origin = Some(origin);
        page.write()
    }
}

impl Page {
    fn write(&mut self) -> anyhow::Result<()> {
        let Some(origin) = self.origin.clone() else { return Ok(()) };
        let line = format!("{}\n", serde_json::to_string(&Said { origin, first: self.first.clone() })?);
        self.replace(&line).with_context(|| {
            let (path, hint) = (self.path.display(), self.again.hint(self.must_vouch));
            format!("cannot write {path}, and so no more answers; those that there are stay ({hint})")
        })?;
        self.must_vouch = false;
        Ok(())
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
