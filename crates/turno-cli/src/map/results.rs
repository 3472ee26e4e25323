//! Answers as lines of JSON, to a file or to stdout; and which of them a file has from an earlier run.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde::Deserialize;
use serde_json::{Value, json};
use turno_proto::status;
use turno_proto::v1::MapResult;

use crate::call::{failure, json as messages};

/// Where answers go.
pub(super) struct Results {
    to: Box<dyn Write + Send>,
    answer: MessageDescriptor,
    types: DescriptorPool,
    known: Arc<BTreeSet<u64>>,
    sent: Sent,
    failed: u64,
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
pub(super) enum Before {
    /// Others are written behind them.
    Kept,
    /// The file is refused, with what to do instead.
    Refused(&'static str),
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
        out: Option<&Path>,
        before: Before,
        method: &MethodDescriptor,
    ) -> anyhow::Result<Self> {
        let (mut known, mut failed) = (BTreeSet::new(), 0);
        let to: Box<dyn Write + Send> = match out {
            None => Box::new(BufWriter::new(io::stdout())),
            Some(path) => {
                match before {
                    Before::Kept => {
                        (known, failed) =
                            earlier(path).with_context(|| format!("--resume {}", path.display()))?;
                    }
                    Before::Refused(instead) if path.metadata().is_ok_and(|file| file.len() > 0) => {
                        bail!("{} has answers already: {instead}", path.display());
                    }
                    Before::Refused(_) => {}
                }
                let file = OpenOptions::new().create(true).append(true).open(path);
                Box::new(BufWriter::new(file.with_context(|| format!("cannot write {}", path.display()))?))
            }
        };
        let sent = Sent((!known.is_empty()).then(Arc::default));
        let (answer, types) = (method.output(), method.parent_pool().clone());
        Ok(Self { to, answer, types, known: Arc::new(known), sent, failed })
    }

    /// Those of a map that is a ticket: none of its items was left out, however many answers there are.
    pub(super) fn of_ticket(self) -> Self {
        Self { sent: Sent::default(), ..self }
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

    pub(super) fn write(&mut self, result: MapResult) -> anyhow::Result<()> {
        let index = self.sent.index(result.index)?;
        let line = match result.error {
            None => json!({ "index": index, "response": self.response(result.response)? }),
            Some(error) => {
                self.failed += 1;
                json!({ "index": index, "error": failure::object(&status::from_map(error), &self.types) })
            }
        };
        writeln!(self.to, "{line}").context("cannot write an answer")
    }

    fn response(&self, body: bytes::Bytes) -> anyhow::Result<Value> {
        let message = DynamicMessage::decode(self.answer.clone(), body)
            .with_context(|| format!("the answer is no {}", self.answer.full_name()))?;
        messages::render(&message)
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.to.flush().context("cannot write answers")
    }
}

/// The indexes that a file has, and how many of them failed. A line that was cut off in the middle is cut off altogether.
fn earlier(path: &Path) -> anyhow::Result<(BTreeSet<u64>, u64)> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((BTreeSet::new(), 0)),
        Err(error) => return Err(error.into()),
    };
    let (mut known, mut failed, mut whole) = (BTreeSet::new(), 0, 0);
    let (mut lines, mut line, mut number) = (BufReader::new(&file), Vec::new(), 0);
    while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        number += 1;
        let Line { index, error } =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is no answer of a map"))?;
        failed += u64::from(known.insert(index) && error.is_some());
        whole += line.len() as u64;
        line.clear();
    }
    file.set_len(whole)?;
    Ok((known, failed))
}

#[cfg(test)]
mod tests {
    use super::earlier;

    #[test]
    fn what_was_cut_off_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        assert_eq!(earlier(&path).unwrap().0.len(), 0);
        let whole = "{\"index\":3,\"response\":{}}\n{\"index\":1,\"error\":{\"code\":\"NOT_FOUND\"}}\n";
        std::fs::write(&path, format!("{whole}{{\"index\":2,\"resp")).unwrap();
        let (known, failed) = earlier(&path).unwrap();
        assert_eq!((known.into_iter().collect::<Vec<_>>(), failed), (vec![1, 3], 1));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
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
