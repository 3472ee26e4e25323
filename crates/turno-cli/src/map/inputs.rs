//! Requests out of lines of JSON: read and encoded on a thread of their own, as fast as the map takes them. It may block in a
//! read for ever, as on a terminal: nothing waits for its end.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Seek as _, Stdin, Write as _, stdin};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use prost_reflect::MessageDescriptor;
use prost_reflect::prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use turno_proto::v1::{MapHeader, MapRequest};

use super::origin::Requests;
use super::results::Sent;
use crate::aside::Aside;
use crate::call::json;

/// Lines that are to be sent.
pub(super) struct Inputs {
    lines: Source,
    descriptor: MessageDescriptor,
    total: Option<u64>,
    /// Those that have an answer already.
    known: Arc<BTreeSet<u64>>,
    sent: Sent,
    requests: Requests,
    longest: Longest,
}

/// Where they come from; nothing has been read.
pub(super) enum Source {
    File(BufReader<File>),
    Stdin(BufReader<Stdin>),
}

impl Source {
    pub(super) fn open(path: &str) -> anyhow::Result<Self> {
        if path == "-" {
            return Ok(Self::Stdin(BufReader::with_capacity(BUFFER, stdin())));
        }
        let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
        Ok(Self::File(BufReader::with_capacity(BUFFER, file)))
    }

    /// Whether a person writes them just now.
    fn is_typed(&self) -> bool {
        matches!(self, Self::Stdin(_)) && stdin().is_terminal()
    }

    /// How many there are, if that can be known before. A pipe has a name too, as in
    /// `turno map … <(gunzip -c pictures.jsonl.gz)`, and can be read once.
    fn count(&mut self, requests: &mut Requests) -> anyhow::Result<Option<u64>> {
        let Self::File(lines) = self else { return Ok(None) };
        if !lines.get_ref().metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let total = count(&mut *lines, requests)?;
        lines.rewind().context("cannot read the input again")?;
        Ok(Some(total))
    }
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

/// The line of the longest request so far, and how many bytes that has.
#[derive(Clone, Default)]
pub(super) struct Longest(Arc<Mutex<(u64, usize)>>);

impl Longest {
    fn hear(&self, number: u64, bytes: usize) {
        let mut longest = self.0.lock();
        if bytes > longest.1 {
            *longest = (number, bytes);
        }
    }

    /// Where a gateway has said that something is too large, which the longest is then too. One that is full has details, and
    /// a connection that has ended a cause.
    pub(super) fn hint(&self, error: &anyhow::Error) -> Option<String> {
        let status = error.downcast_ref::<Status>()?;
        let is_too_large = matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange)
            && status.details().is_empty()
            && status.source().is_none();
        let (number, bytes) = *self.0.lock();
        (is_too_large && number > 0)
            .then(|| format!("the longest request so far is line {number} of the input, of {bytes} bytes"))
    }
}

/// What is read at once; lines that are there go in one message.
const BUFFER: usize = 64 * 1024;
const MOST_ITEMS: usize = 1024;
const MOST_BYTES: usize = 64 * 1024;
const MESSAGES_WAITING: usize = 4;

impl Inputs {
    pub(super) fn new(
        mut lines: Source,
        descriptor: MessageDescriptor,
        (known, sent): (Arc<BTreeSet<u64>>, Sent),
        mut requests: Requests,
    ) -> anyhow::Result<Self> {
        if lines.is_typed() {
            writeln!(Aside, "requests are read from the terminal, one JSON object a line; Ctrl-D ends them")?;
        }
        let total = lines.count(&mut requests)?;
        Ok(Self { lines, descriptor, total, known, sent, requests, longest: Longest::default() })
    }

    /// Whether a person writes them just now.
    pub(super) fn are_typed(&self) -> bool {
        self.lines.is_typed()
    }

    /// How many there are, if that can be known before.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// What is known of the longest of them, while they are sent.
    pub(super) fn longest(&self) -> Longest {
        self.longest.clone()
    }

    /// The messages of the map.
    pub(super) fn send(self, header: MapHeader) -> anyhow::Result<(ReceiverStream<MapRequest>, Failed)> {
        let (tx, messages) = mpsc::channel(MESSAGES_WAITING);
        // It cannot fail: the channel is new and empty.
        let _sent = tx.try_send(MapRequest { header: Some(header), items: Vec::new() });
        let failed = Failed::default();
        let says = failed.clone();
        let Self { lines, descriptor, known, sent, mut requests, longest, .. } = self;
        let reading = move || {
            let encode = |number: u64, line: &[u8]| {
                encoded(&descriptor, line).inspect(|item| longest.hear(number, item.len()))
            };
            let read = match lines {
                Source::File(lines) => read(lines, encode, &known, &sent, &mut requests, &tx),
                Source::Stdin(lines) => read(lines, encode, &known, &sent, &mut requests, &tx),
            };
            *says.0.lock() = read.err();
        };
        let thread = std::thread::Builder::new().name("inputs".to_owned()).spawn(reading);
        thread.context("cannot start a thread that reads the input")?;
        Ok((ReceiverStream::new(messages), failed))
    }
}

/// How many there are; fails if those that were read before were others.
fn count(mut lines: impl BufRead, requests: &mut Requests) -> anyhow::Result<u64> {
    let mut line = Vec::new();
    while next(&mut lines, &mut line)? {
        if !is_blank(&line) {
            requests.add(&line)?;
        }
    }
    requests.end()?;
    Ok(requests.again())
}

/// Sends what is there, line by line; never waits for a line while others could go. A pipe has to bring what it brought before
/// first: until it has, those without an answer are held, which are no more than a gateway takes at once.
fn read<B: io::Read>(
    mut lines: BufReader<B>,
    encode: impl Fn(u64, &[u8]) -> anyhow::Result<Vec<u8>>,
    known: &BTreeSet<u64>,
    sent: &Sent,
    requests: &mut Requests,
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
            match encode(number, &line) {
                Ok(item) => gathered.add(item),
                Err(error) => {
                    // Those before it were right.
                    gathered.send(requests, to)?;
                    return Err(error.context(format!("line {number} of the input")));
                }
            }
            sent.push(index);
        }
        requests.add(&line)?;
        index += 1;
        if (gathered.is_full() || !lines.buffer().contains(&b'\n')) && !gathered.send(requests, to)? {
            return Ok(());
        }
    }
    requests.end()?;
    gathered.send(requests, to)?;
    requests.tell()
}

/// Items that are there at the same time, by the messages that they go in.
#[derive(Default)]
struct Gathered {
    messages: Vec<Vec<Bytes>>,
    /// Of the last message.
    bytes: usize,
}

impl Gathered {
    /// One that is large goes alone: a gateway takes it then if it takes it as a call's.
    fn add(&mut self, item: Vec<u8>) {
        let (has_room, item) = (!self.is_full() && self.bytes + item.len() <= MOST_BYTES, Bytes::from(item));
        match self.messages.last_mut() {
            Some(last) if has_room => {
                self.bytes += item.len();
                last.push(item);
            }
            _ => {
                self.bytes = item.len();
                self.messages.push(vec![item]);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.messages.last().is_some_and(|last| last.len() >= MOST_ITEMS || self.bytes >= MOST_BYTES)
    }

    /// False once the map has ended; it says why itself.
    fn send(&mut self, requests: &mut Requests, to: &mpsc::Sender<MapRequest>) -> anyhow::Result<bool> {
        if self.messages.is_empty() || !requests.are_known() {
            return Ok(true);
        }
        requests.tell()?;
        let messages = std::mem::take(self).messages;
        Ok(messages.into_iter().all(|items| to.blocking_send(MapRequest { header: None, items }).is_ok()))
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
    use super::super::origin::tests::{again, answered, untold};
    use super::{Inputs, Longest, MOST_ITEMS, Requests, Sent, Source, encoded, read};
    use crate::call::json::tests::album;
    use std::collections::BTreeSet;
    use std::io::{BufReader, Read};
    use std::sync::Arc;
    use tokio::sync::mpsc;
    use tonic::Status;
    use turno_proto::v1::MapRequest;

    /// Reads `text` as from a pipe that brings so many bytes at a time; how many items each message has, and what is wrong.
    fn messages(text: &str, at_a_time: usize, known: &[u64]) -> (Vec<usize>, Option<String>) {
        messages_of(text, at_a_time, known, &mut untold())
    }

    fn messages_of(
        text: &str,
        at_a_time: usize,
        known: &[u64],
        requests: &mut Requests,
    ) -> (Vec<usize>, Option<String>) {
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
        let encode = |_: u64, line: &[u8]| encoded(&album(), line);
        let failed = read(lines, encode, &known, &Sent::default(), requests, &tx).err();
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
        // As some editors begin a file.
        assert_eq!(messages("\u{feff}{}\n{}\n", 1, &[]), (vec![1, 1], None));
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
    fn what_was_read_before_has_to_come_again_before_any_of_it_goes() {
        let lines =
            ["{\"title\":\"a\"}\n", "{\"title\":\"b\"}\n", "{\"title\":\"c\"}\n", "{\"title\":\"d\"}\n"];
        let before = lines[..3].concat();
        let read = |text: &str| {
            let (_folder, mut requests) = answered(&before);
            messages_of(text, lines[0].len(), &[0], &mut requests)
        };
        assert_eq!(read(&lines.concat()), (vec![2, 1], None));
        for (others, why) in [
            (lines[..2].concat(), "there were 3 at least, and these are 2"),
            ([lines[0], lines[1], lines[3], lines[2]].concat(), "the first 3 of them differ"),
            (["{\"title\":7}\n", lines[1], lines[2]].concat(), "the first 3 of them differ"),
        ] {
            let (sent, failed) = read(&others);
            assert!(sent.is_empty() && failed.as_deref().unwrap().contains(why), "{sent:?} {failed:?}");
        }
    }

    #[test]
    fn what_was_held_goes_in_messages_as_large_as_any() {
        let lines = "{}\n".repeat(MOST_ITEMS + 1);
        let (_folder, mut requests) = answered(&lines);
        assert_eq!(messages_of(&lines, 3, &[], &mut requests), (vec![MOST_ITEMS, 1], None));
    }

    #[test]
    fn a_line_that_was_no_request_may_be_mended() {
        let (folder, mut requests) = answered("");
        let file = folder.path().join("out.jsonl");
        assert!(messages_of("{}\n{\"title\":7}\n", 3, &[], &mut requests).1.is_some());
        let mut requests = again(&file, 0).unwrap();
        assert_eq!(messages_of("{}\n{\"title\":\"7\"}\n", 3, &[0], &mut requests), (vec![1], None));
    }

    #[test]
    fn the_longest_is_named_where_a_gateway_has_said_that_something_is_too_large() {
        let longest = Longest::default();
        longest.hear(3, 1500);
        let hint = |status: Status| longest.hint(&status.into());
        assert!(hint(Status::resource_exhausted("more than 1 KiB")).unwrap().contains("line 3"));
        // As of a connection that h2 has ended by itself (ENHANCE_YOUR_CALM).
        let mut ended = Status::resource_exhausted("h2 protocol error");
        ended.set_source(Arc::new(std::io::Error::other("too_many_data_frames")));
        assert_eq!(hint(ended), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failed = Source::open("/no/such/file").err().unwrap();
        assert!(failed.to_string().contains("/no/such/file"));
    }

    #[test]
    fn a_file_is_held_against_what_was_read_before_when_it_is_opened() {
        let (folder, requests) = answered("{}\n{}\n");
        let file = folder.path().join("in.jsonl");
        std::fs::write(&file, "{}\n\n{ }\n").unwrap();
        let open = |requests| {
            let lines = Source::open(file.to_str().unwrap()).unwrap();
            Inputs::new(lines, album(), (Default::default(), Sent::default()), requests)
        };
        assert!(open(requests).err().unwrap().to_string().contains("the first 2 of them differ"));
        assert_eq!(open(untold()).unwrap().total(), Some(2));
    }
}
