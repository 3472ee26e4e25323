//! Requests out of lines of JSON: read and encoded on a thread of their own, as fast as the map takes them. It may block in a
//! read for ever, as on a terminal: nothing waits for its end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Stdin, stdin};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use prost_reflect::MessageDescriptor;
use prost_reflect::prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use turno_proto::v1::{MapHeader, MapRequest};

use super::results::Sent;
use crate::call::json;

/// Lines that are to be sent.
pub(super) struct Inputs {
    lines: Source,
    descriptor: MessageDescriptor,
    total: Option<u64>,
    /// Those that have an answer already.
    known: Arc<BTreeSet<u64>>,
    sent: Sent,
}

enum Source {
    File(BufReader<File>),
    Stdin(BufReader<Stdin>),
}

/// Why no more lines were sent, if it was for one that is no request.
#[derive(Clone, Default)]
pub(super) struct Failed(Arc<Mutex<Option<anyhow::Error>>>);

impl Failed {
    pub(super) fn is_some(&self) -> bool {
        self.0.lock().is_some()
    }

    pub(super) fn take(&self) -> Option<anyhow::Error> {
        self.0.lock().take()
    }
}

/// What is read at once; lines that are there go in one message.
const BUFFER: usize = 64 * 1024;
const MOST_ITEMS: usize = 1024;
const MOST_BYTES: usize = 64 * 1024;
const MESSAGES_WAITING: usize = 4;

impl Inputs {
    pub(super) fn open(
        path: &str,
        descriptor: MessageDescriptor,
        (known, sent): (Arc<BTreeSet<u64>>, Sent),
    ) -> anyhow::Result<Self> {
        if path == "-" {
            let lines = Source::Stdin(BufReader::with_capacity(BUFFER, stdin()));
            return Ok(Self { lines, descriptor, total: None, known, sent });
        }
        let open = || File::open(path).with_context(|| format!("cannot read {path}"));
        let total = Some(count(BufReader::with_capacity(BUFFER, open()?))?);
        let lines = Source::File(BufReader::with_capacity(BUFFER, open()?));
        Ok(Self { lines, descriptor, total, known, sent })
    }

    /// How many there are, if that can be known before.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// The messages of the map.
    pub(super) fn send(self, header: MapHeader) -> anyhow::Result<(ReceiverStream<MapRequest>, Failed)> {
        let (tx, requests) = mpsc::channel(MESSAGES_WAITING);
        // It cannot fail: the channel is new and empty.
        let _sent = tx.try_send(MapRequest { header: Some(header), items: Vec::new() });
        let failed = Failed::default();
        let says = failed.clone();
        let reading = move || {
            let read = match self.lines {
                Source::File(lines) => read(lines, &self.descriptor, &self.known, &self.sent, &tx),
                Source::Stdin(lines) => read(lines, &self.descriptor, &self.known, &self.sent, &tx),
            };
            *says.0.lock() = read.err();
        };
        let thread = std::thread::Builder::new().name("inputs".to_owned()).spawn(reading);
        thread.context("cannot start a thread that reads the input")?;
        Ok((ReceiverStream::new(requests), failed))
    }
}

fn count(mut lines: impl BufRead) -> anyhow::Result<u64> {
    let (mut line, mut count) = (Vec::new(), 0);
    while next(&mut lines, &mut line)? {
        count += u64::from(!is_blank(&line));
    }
    Ok(count)
}

/// Sends what is there, line by line; never waits for a line while others could go.
fn read<B: io::Read>(
    mut lines: BufReader<B>,
    descriptor: &MessageDescriptor,
    known: &BTreeSet<u64>,
    sent: &Sent,
    to: &mpsc::Sender<MapRequest>,
) -> anyhow::Result<()> {
    let (mut line, mut gathered) = (Vec::new(), Gathered::default());
    let (mut index, mut number) = (0, 0_u64);
    while next(&mut lines, &mut line)? {
        number += 1;
        if is_blank(&line) {
            continue;
        }
        if !known.contains(&index) {
            match encoded(descriptor, &line) {
                Ok(item) => gathered.add(item),
                Err(error) => {
                    // Those before it were right.
                    gathered.send(to);
                    return Err(error.context(format!("line {number} of the input")));
                }
            }
            sent.push(index);
        }
        index += 1;
        if (gathered.is_full() || !lines.buffer().contains(&b'\n')) && !gathered.send(to) {
            return Ok(());
        }
    }
    gathered.send(to);
    Ok(())
}

/// Items that are there at the same time.
#[derive(Default)]
struct Gathered {
    items: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, item: Vec<u8>) {
        self.bytes += item.len();
        self.items.push(item.into());
    }

    fn is_full(&self) -> bool {
        self.items.len() >= MOST_ITEMS || self.bytes >= MOST_BYTES
    }

    /// False once the map has ended; it says why itself.
    fn send(&mut self, to: &mpsc::Sender<MapRequest>) -> bool {
        let items = std::mem::take(self).items;
        items.is_empty() || to.blocking_send(MapRequest { header: None, items }).is_ok()
    }
}

fn next(lines: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    line.clear();
    Ok(lines.read_until(b'\n', line).context("cannot read the input")? > 0)
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn encoded(descriptor: &MessageDescriptor, line: &[u8]) -> anyhow::Result<Vec<u8>> {
    let text = std::str::from_utf8(line).context("not UTF-8")?;
    Ok(json::parse(descriptor, text)?.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Inputs, MOST_ITEMS, Sent, read};
    use crate::call::json::tests::album;
    use std::collections::BTreeSet;
    use std::io::{BufReader, Read};
    use tokio::sync::mpsc;
    use turno_proto::v1::MapRequest;

    /// Reads `text` as from a pipe that brings so many bytes at a time; how many items each message has, and what is wrong.
    fn messages(text: &str, at_a_time: usize, known: &[u64]) -> (Vec<usize>, Option<String>) {
        struct Pipe<'a>(&'a [u8], usize);
        impl Read for Pipe<'_> {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                let count = self.1.min(self.0.len()).min(to.len());
                to[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        // Nobody reads meanwhile: all of them have room.
        let (tx, mut rx) = mpsc::channel(MOST_ITEMS);
        let (known, lines) =
            (BTreeSet::from_iter(known.iter().copied()), BufReader::new(Pipe(text.as_bytes(), at_a_time)));
        let failed = read(lines, &album(), &known, &Sent::default(), &tx).err();
        drop(tx);
        let mut counts = Vec::new();
        while let Ok(MapRequest { items, .. }) = rx.try_recv() {
            counts.push(items.len());
        }
        (counts, failed.map(|error| format!("{error:#}")))
    }

    #[test]
    fn lines_that_are_there_go_together_and_none_is_waited_for() {
        let line = "{\"title\":\"a\"}\n";
        assert_eq!(messages(&line.repeat(5), 1 << 20, &[]), (vec![5], None));
        assert_eq!(messages(&line.repeat(5), line.len(), &[]), (vec![1; 5], None));
        assert_eq!(
            messages(&line.repeat(MOST_ITEMS / 2 + 1), 7, &[]).0.iter().sum::<usize>(),
            MOST_ITEMS / 2 + 1
        );
        assert_eq!(messages("\n{}\n  \n{}", 1 << 20, &[]), (vec![2], None));
    }

    #[test]
    fn what_has_an_answer_is_left_out() {
        assert_eq!(messages("{}\n{}\n{}\n", 1 << 20, &[0, 2]), (vec![1], None));
    }

    #[test]
    fn a_line_that_is_no_request_ends_it_behind_those_that_are() {
        let (counts, failed) = messages("{}\n\n{\"title\":7}\n{}\n", 1 << 20, &[]);
        assert_eq!(counts, [1]);
        assert!(failed.unwrap().starts_with("line 3 of the input: title: "));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failed = Inputs::open("/no/such/file", album(), (Default::default(), Sent::default()));
        assert!(failed.err().unwrap().to_string().contains("/no/such/file"));
    }
}
