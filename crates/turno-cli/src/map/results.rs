//! Answers as lines of JSON, to a file or to stdout; and which of them a file has from an earlier run.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde::Deserialize;
use serde_json::{Value, json};
use turno_proto::status;
use turno_proto::v1::MapResult;

use super::again::Again;
use super::origin::{self, Note, Of};
use super::out::Out;
use crate::call::{failure, json as messages};
use crate::stdout::Stdout;
use crate::tickets;

/// Where answers go.
pub(super) struct Results {
    to: Box<dyn Write + Send>,
    answer: MessageDescriptor,
    types: DescriptorPool,
    known: Arc<BTreeSet<u64>>,
    sent: Sent,
    failed: u64,
    /// The index of the last of them that was written, if the map counts it as another.
    renumbered: Option<u64>,
    /// The file, if it can be gone on with.
    file: Option<PathBuf>,
    again: Again,
    /// The same file, and how long it is to be, if its last line was cut off in the middle: that goes before others come.
    torn: Option<(File, u64)>,
    note: Option<Note>,
    /// A digest of the file's first line, until the note has it.
    first: Option<String>,
    is_empty: bool,
}

/// The indexes of the items of this map, in the order in which they were sent: only where some are left out they differ
/// from those that the map counts.
#[derive(Clone, Default)]
pub(super) struct Sent(Option<Arc<Mutex<Vec<u64>>>>);

impl Sent {
    pub(super) fn push(&self, index: u64) {
        if let Some(sent) = &self.0 {
            sent.lock().push(index);
        }
    }

    fn index(&self, place: u64) -> anyhow::Result<u64> {
        let Some(sent) = &self.0 else { return Ok(place) };
        let sent = sent.lock();
        sent.get(usize::try_from(place)?).copied().context("an answer to an item that was not sent")
    }
}

/// What becomes of the answers that a file has already.
#[derive(Clone, Copy)]
pub(super) enum Before<'a> {
    /// Others are written behind them; whether it was checked that these may be.
    Kept { is_checked: bool },
    /// The file is refused, with what to do instead for answers of this.
    Refused(Of<'a>),
}

/// Of a line that is there already, what matters.
#[derive(Deserialize)]
struct Line {
    index: u64,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

impl Results {
    pub(super) fn open(
        out: Option<Out>,
        before: Before<'_>,
        method: &MethodDescriptor,
    ) -> anyhow::Result<Self> {
        let (mut known, mut failed, mut torn, mut file, mut note) = (BTreeSet::new(), 0, None, None, None);
        let to: Box<dyn Write + Send> = match out {
            None => Box::new(BufWriter::new(Stdout)),
            Some(out) => {
                if out.is_file {
                    let (indexes, failures, whole) = there(&out, before)?;
                    (known, failed) = (indexes, failures);
                    if out.file.metadata()?.len() > whole {
                        torn = Some((out.file.try_clone()?, whole));
                    }
                    note = Note::open(&out.path, matches!(before, Before::Kept { is_checked: true }))?;
                    file = Some(out.path);
                }
                Box::new(BufWriter::new(out.file))
            }
        };
        let (sent, is_empty) = (Sent((!known.is_empty()).then(Arc::default)), known.is_empty());
        let (answer, types, known) = (method.output(), method.parent_pool().clone(), Arc::new(known));
        let (again, renumbered, first) = (Again::default(), None, None);
        Ok(Self {
            to,
            answer,
            types,
            known,
            sent,
            failed,
            renumbered,
            file,
            again,
            torn,
            note,
            first,
            is_empty,
        })
    }

    /// Those of a map that is a ticket: none of its items was left out, however many answers there are.
    pub(super) fn of_ticket(self, ticket: &str, address: &str) -> Self {
        let command = tickets::again(ticket, self.file.as_deref()) + &tickets::at(address);
        if let Some(note) = &self.note {
            note.goes_on_by(command.clone());
        }
        Self { sent: Sent::default(), again: Again::by(command), ..self }
    }

    /// What goes on with them, as things are now.
    pub(super) fn command(&self) -> String {
        self.again.command(self.must_vouch())
    }

    /// The same, and from where on: what is in no file that can be gone on with begins anew.
    pub(super) fn reads_on(&self) -> String {
        let how = if self.file.is_some() { "reads on" } else { "begins again with its first answer" };
        format!("`{}` {how}", self.command())
    }

    /// Where there can be no note, always.
    fn must_vouch(&self) -> bool {
        self.file.is_some() && self.note.as_ref().is_none_or(Note::must_vouch)
    }

    /// Fails if the file has an answer to an item that the ticket, which has so many, has not: whoever vouches for it errs.
    pub(super) fn must_be_within(&self, ticket: &str, items: u64) -> anyhow::Result<()> {
        match self.known.last().zip(self.file.as_deref()) {
            Some((last, file)) if *last >= items => bail!(
                "{} has an answer to item {last}, and the map of {ticket} has {items} items, counted from 0: write to \
                 another file",
                file.display()
            ),
            _ => Ok(()),
        }
    }

    /// Says of what ticket they are, as soon as one has come: until then the file is what it was.
    pub(super) fn tell_ticket(&self, name: &str) -> anyhow::Result<()> {
        self.note.as_ref().map_or(Ok(()), |note| note.tell_ticket(name))
    }

    /// How the file can be gone on with, if it can.
    pub(super) fn hint(&self) -> Option<String> {
        self.file.is_some().then(|| self.again.hint(self.must_vouch()))
    }

    /// The last word of a map that was interrupted.
    pub(super) fn interrupted(&self) -> String {
        match self.file.as_deref().zip(self.hint()) {
            Some((file, hint)) => {
                let file = file.display();
                format!("interrupted: what was answered is in {file}; the same command with {hint}")
            }
            None => "interrupted: of a map with --out FILE, --resume goes on with what is missing".to_owned(),
        }
    }

    /// Where it is told of what they are.
    pub(super) fn note(&self) -> Option<Note> {
        self.note.clone()
    }

    /// What has an answer already, and who hears what is sent.
    pub(super) fn known(&self) -> (Arc<BTreeSet<u64>>, Sent) {
        (self.known.clone(), self.sent.clone())
    }

    /// How many answers there were before.
    pub(super) fn count(&self) -> u64 {
        self.known.len() as u64
    }

    /// Items that failed, in all runs.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// What the file calls the last that failed, if a gateway that says where it has stopped names it otherwise.
    pub(super) fn renumbered(&self) -> Option<String> {
        let index = self.renumbered?;
        Some(format!("what failed is item {index} of the input: the map has those alone that had no answer"))
    }

    pub(super) fn write(&mut self, result: MapResult) -> anyhow::Result<()> {
        self.mend()?;
        let index = self.sent.index(result.index)?;
        let line = match result.error {
            None => json!({ "index": index, "response": self.response(result.response)? }),
            Some(error) => {
                self.failed += 1;
                self.renumbered = (index != result.index).then_some(index);
                json!({ "index": index, "error": failure::object(&status::from_map(error), &self.types) })
            }
        };
        if std::mem::take(&mut self.is_empty) {
            self.first = Some(origin::digest(line.to_string().as_bytes()));
        }
        writeln!(self.to, "{line}").with_context(|| self.what_failed())
    }

    fn response(&self, body: bytes::Bytes) -> anyhow::Result<Value> {
        let message = DynamicMessage::decode(self.answer.clone(), body)
            .with_context(|| format!("the answer is no {}", self.answer.full_name()))?;
        messages::render(&message)
    }

    /// What was cut off in the middle is cut off altogether.
    fn mend(&mut self) -> anyhow::Result<()> {
        match self.torn.take() {
            Some((file, whole)) => file.set_len(whole).with_context(|| self.what_failed()),
            None => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.mend()?;
        self.to.flush().with_context(|| self.what_failed())?;
        // Only now it is there.
        match (self.first.take(), &self.note) {
            (Some(first), Some(note)) => note.bind(first),
            _ => Ok(()),
        }
    }

    fn what_failed(&self) -> String {
        match &self.file {
            Some(file) => {
                format!("cannot write {} ({})", file.display(), self.again.hint(self.must_vouch()))
            }
            None => "cannot write answers".to_owned(),
        }
    }
}

/// What a file has already, if it may have something.
fn there(out: &Out, before: Before<'_>) -> anyhow::Result<(BTreeSet<u64>, u64, u64)> {
    match before {
        Before::Kept { .. } => earlier(&out.path).with_context(|| format!("--resume {}", out.path.display())),
        Before::Refused(of) if out.file.metadata()?.len() > 0 => Err(origin::has_answers(&out.path, of)),
        Before::Refused(_) => Ok(Default::default()),
    }
}

/// The indexes that a file has, how many of them failed, and how long it is without a line that was cut off in the middle.
fn earlier(path: &Path) -> anyhow::Result<(BTreeSet<u64>, u64, u64)> {
    let (mut known, mut failed, mut whole) = (BTreeSet::new(), 0, 0);
    let (mut lines, mut line, mut number) = (BufReader::new(File::open(path)?), Vec::new(), 0);
    while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        number += 1;
        let Line { index, error } =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is no answer of a map"))?;
        failed += u64::from(known.insert(index) && error.is_some());
        whole += line.len() as u64;
        line.clear();
    }
    Ok((known, failed, whole))
}

#[cfg(test)]
mod tests {
    use super::earlier;

    #[test]
    fn what_was_cut_off_has_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let whole = "{\"index\":3,\"response\":{}}\n{\"index\":1,\"error\":{\"code\":\"NOT_FOUND\"}}\n";
        std::fs::write(&path, format!("{whole}{{\"index\":2,\"resp")).unwrap();
        let (known, failed, length) = earlier(&path).unwrap();
        assert_eq!((known.into_iter().collect::<Vec<_>>(), failed), (vec![1, 3], 1));
        assert_eq!(length, whole.len() as u64);
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shopping.txt");
        std::fs::write(&path, "milk\n").unwrap();
        assert!(earlier(&path).unwrap_err().to_string().contains("line 1 is no answer"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "milk\n");
    }
}
